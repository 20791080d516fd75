"""Which script a text is written in, and how much of it is in another one.

A letter's script is the first word of its Unicode name (LATIN, CYRILLIC, ARABIC…). The scripts that Chinese, Japanese
and Korean mix count as one. Letters that belong to no script (ª, mathematical letters, modifiers) do not count.
"""

import unicodedata
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
#: A character that was not asked for yet.
_UNKNOWN: Final = 255
#: uint8 by code point: the script's number, 0 for none. Filled as characters are met: all of them at once took a third
#: of a second, a page's a few microseconds.
_TABLE: Final = np.full(_END, _UNKNOWN, dtype=np.uint8)
_NUMBERS: Final[dict[str, int]] = {}


def other_script_fraction(text: str) -> float:
    """Share of the letters of `text` that are not of its commonest script, 4 decimals; 0 for text without letters."""
    if text.isascii():
        return 0.0
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    codes = codes[codes < _END]
    scripts = _TABLE[codes]
    if (unknown := scripts == _UNKNOWN).any():
        for code in set(codes[unknown].tolist()):
            _TABLE[code] = _number(chr(code))
        scripts = _TABLE[codes]
    counts = np.bincount(scripts)
    letters = int(counts[1:].sum())
    return round(1 - int(counts[1:].max()) / letters, SCORE_DECIMALS) if letters else 0.0


def _number(character: str) -> int:
    """The number of a character's script, 0 for what is of none. Which script has which depends on what was asked
    before; nothing but whether two are the same may follow from it."""
    if unicodedata.category(character)[0] != "L":
        return 0
    words = unicodedata.name(character, "").split()
    name = words[1] if len(words) > 1 and words[0] in ("FULLWIDTH", "HALFWIDTH") else next(iter(words), "")
    name = "EAST ASIAN" if name in _EAST_ASIAN else name.partition("-")[0]
    if not name or name in _NO_SCRIPT:
        return 0
    number = _NUMBERS.setdefault(name, len(_NUMBERS) + 1)
    assert number < _UNKNOWN, "a script's number is one byte"
    return number
