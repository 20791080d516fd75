"""Which script a text is written in, and how much of it is in another one.

A letter's script is the first word of its Unicode name (LATIN, CYRILLIC, ARABIC…). The scripts that Chinese, Japanese
and Korean mix count as one. Letters that belong to no script (ª, mathematical letters, modifiers) do not count.
"""

import unicodedata
from functools import cache
from typing import Final

import numpy as np

from stages.schema import SCORE_DECIMALS

_EAST_ASIAN: Final = frozenset(
    {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "VERTICAL"}
)
_NO_SCRIPT: Final = frozenset(
    {"FEMININE", "MASCULINE", "MICRO", "MODIFIER", "MATHEMATICAL", "DOUBLE-STRUCK", "SCRIPT", "BLACK-LETTER", "ALEF",
     "BET", "GIMEL", "DALET", "KELVIN", "ANGSTROM", "OHM", "EULER", "TURNED", "INFORMATION", "NUMERIC"}
)  # fmt: skip
#: Beyond it Unicode has no letters.
_END: Final = 0x32400


def other_script_fraction(text: str) -> float:
    """Share of the letters of `text` that are not of its commonest script, 4 decimals; 0 for text without letters."""
    if text.isascii():
        return 0.0
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    counts = np.bincount(_table()[codes[codes < _END]])
    letters = int(counts[1:].sum())
    return round(1 - int(counts[1:].max()) / letters, SCORE_DECIMALS) if letters else 0.0


@cache
def _table() -> np.ndarray:
    """uint8 by code point: the script's number, 0 for what is of none."""
    numbers: dict[str, int] = {}
    table = np.zeros(_END, dtype=np.uint8)
    for code in range(_END):
        character = chr(code)
        if unicodedata.category(character)[0] != "L":
            continue
        words = unicodedata.name(character, "").split()
        name = words[1] if len(words) > 1 and words[0] in ("FULLWIDTH", "HALFWIDTH") else next(iter(words), "")
        name = "EAST ASIAN" if name in _EAST_ASIAN else name.partition("-")[0]
        if name and name not in _NO_SCRIPT:
            table[code] = numbers.setdefault(name, len(numbers) + 1)
    assert len(numbers) < 256, "a script's number is one byte"
    return table
