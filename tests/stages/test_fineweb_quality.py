"""FineWeb's rules: each one on text that breaks it alone, and datatrove's decisions, which must be ours."""

import pytest
from rule_cases import peer_cases, verdict

from stages.fineweb_quality import STAGE

LINE = "This line number {} is long enough and ends with a full stop as it should.\n"
GOOD = "".join(LINE.format(number) for number in range(10))


def test_prose_passes():
    assert verdict(STAGE, GOOD)["reason"] is None


@pytest.mark.parametrize(
    ("text", "reason", "measured", "threshold"),
    [
        (GOOD.replace(".", ","), "line_punctuation", 0, 0.12),
        ("".join(f"Short line {number}.\n" for number in range(10)), "short_lines", 1, 0.67),
        (GOOD + LINE.format(3), "character_duplication", 0.0909, 0.01),
        (GOOD.replace("\n", "\n" * 8), "newline_ratio", 0.4706, 0.3),
    ],
)
def test_each_rule(text, reason, measured, threshold):
    found = verdict(STAGE, text)
    assert (found["reason"], found["measured"], found["threshold"]) == (reason, measured, threshold)


@pytest.mark.parametrize("text", ["", " \n\n "])
def test_a_text_without_a_line_never_passes(text):
    assert verdict(STAGE, text, min_punctuated_line_fraction=0)["reason"] == "line_punctuation"


def test_a_page_that_is_one_table_ends_its_lines_before_the_bars():
    page = GOOD.replace("This", "| This").replace(".", ". |")
    assert verdict(STAGE, page)["reason"] == "line_punctuation"
    assert verdict(STAGE, page, line_end="before_bar")["reason"] is None
    menu = "".join(f"| Section number {number} of the catalogue | all of its articles |\n" for number in range(10))
    assert verdict(STAGE, menu, line_end="before_bar")["reason"] == "line_punctuation"


def test_datatrove_decides_alike():
    """Every decision is the same. The reason is too, but for `empty`: here, no line ends with punctuation."""
    reasons = {
        "empty": "line_punctuation",
        "line_punct_ratio": "line_punctuation",
        "short_line_ratio": "short_lines",
        None: None,
    }
    names = {
        "line_punct_thr": "min_punctuated_line_fraction",
        "short_line_thr": "max_short_line_fraction",
        "new_line_ratio": "max_newline_ratio",
    }
    for case in peer_cases("fineweb_quality"):
        params = dict(case["params"])
        assert params.pop("short_line_length", 30) == 30, "the length of a short line is not a setting of ours"
        found = verdict(STAGE, case["text"], **{names[key]: value for key, value in params.items()})
        assert found["reason"] == reasons[case["expected"]["reason"]], case["text"][:60]
