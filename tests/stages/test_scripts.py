"""The share of a text that is in another script."""

import pytest

from stages.scripts import other_script_fraction


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0.0), ("123 !?", 0.0), ("plain words", 0.0),
        ("abcЖ", 0.25), ("Жуabcdef", 0.25), ("日本語のテキスト 한국어", 0.0),
        ("今天abc天气", 0.4286), ("αβγδ abcd", 0.5), ("ＡＢＣabc", 0.0), ("é̂ à ß ñ", 0.0), ("שלום abcdefgh", 0.3333),
        ("\ud800abc", 0.0), ("\U0010ffffabc", 0.0), ("ªº𝒜abc", 0.0),
    ],
)  # fmt: skip
def test_other_script_fraction(text: str, expected: float) -> None:
    assert other_script_fraction(text) == expected
