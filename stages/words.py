"""What a character, a word and a line are: the one reading of text that all rule stages share, compiled with numba.

**Word.** A maximal run of letters (Unicode L*) and digits (N*) with the marks (M*) that follow them. Connectors (Pc,
such as `_`), apostrophes (' and ’), soft hyphens and zero-width joiners belong to the word where they stand between
two of its characters: `don't` and `snake_case` are one word, `well-known` is two, `_` and `'` alone are none.
In scripts that put no space between words (Han, kana, Bopomofo, Thai, Lao, Myanmar, Khmer) each letter is a word,
with its marks: a count of such words is a count of characters, and thresholds made for English do not fit it. A
segmenter may find the words instead (stages/segmentation.py).

**Line.** What stands between two \\n, without white space at its ends; a line of nothing but white space is none.
**Paragraph.** A maximal run of lines with no such blank line between them.
**Length** is in code points everywhere.

Kernels take the UTF-8 bytes of an Arrow column and make no Python object per document or word. They never read
outside a document's bytes: what is not UTF-8 counts as U+FFFD, one a byte.
"""

import unicodedata
from functools import cache
from typing import Any, Final

import numpy as np
import pyarrow as pa

from stages.compiled import compiled

# Kinds of characters: the low four bits of an entry of `character_table`.
OTHER: Final = 0  # controls, unassigned, private use: neither word nor mark
SPACE: Final = 1  # what str.isspace says
LETTER: Final = 2
LONE_LETTER: Final = 3  # a letter of a script without spaces: a word by itself
DIGIT: Final = 4
MARK: Final = 5  # accents and vowel signs: go on with a word, never begin one
JOINER: Final = 6  # visible, within a word only between two of its characters
HIDDEN_JOINER: Final = 7  # the same, but without ink: soft hyphen, zero-width joiners
SYMBOL: Final = 8  # all other punctuation and symbols
KIND: Final = 0x0F

# Flags on top of the kind.
TERMINAL: Final = 0x10  # ends a sentence
QUOTE: Final = 0x20  # quotation marks and brackets, which may stand around a sentence
LOWER: Final = 0x40  # a small letter: no sentence begins with it

#: Marks that end a sentence: those of Latin script and their counterparts elsewhere (but Greek's, which is `;`).
SENTENCE_ENDS: Final = ".?!…。！？｡．؟۔।॥։።፧၊။។៕‼⁇⁈⁉"
_JOINERS: Final = "'\u2019"
_HIDDEN_JOINERS: Final = "\u00ad\u200c\u200d\u2060"
#: Scripts that write no space between words, as ranges of code points (Unicode's block chart).
_SPACELESS: Final = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # iteration marks and zero of Han
    (0x3021, 0x30FF),  # Hangzhou numerals, Hiragana, Katakana
    (0x3100, 0x312F),  # Bopomofo
    (0x31A0, 0x31BF),  # Bopomofo, extended
    (0x31F0, 0x31FF),  # Katakana, extended
    (0x3400, 0x4DBF),  # Han, extension A
    (0x4E00, 0x9FFF),  # Han
    (0xF900, 0xFAFF),  # Han, compatibility
    (0xFF66, 0xFF9F),  # half-width Katakana
    (0x1AFF0, 0x1B16F),  # kana supplements
    (0x20000, 0x3FFFF),  # Han, further extensions
)
#: Unicode assigns nothing from here to the variation selectors at E0100: the table need not look.
_ASSIGNED_BELOW: Final = 0x40000
_VARIATION_SELECTORS: Final = slice(0xE0100, 0xE01F0)

#: Stands between words that a segmenter found (stages/segmentation.py). A noncharacter, which Unicode keeps for uses
#: within a program: it takes no place in the text.
SEPARATOR: Final = "\ufdd0"
_SEPARATOR: Final = 0xFDD0

FNV_PRIME: Final = np.uint64(0x100000001B3)  # FNV-1a's prime and start, here over code points
FNV_START: Final = np.uint64(0xCBF29CE484222325)
_MIX_1: Final = np.uint64(0xFF51AFD7ED558CCD)  # MurmurHash3's finaliser, which spreads every bit over all others
_MIX_2: Final = np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT: Final = np.uint64(33)
#: The character that stands for what is not UTF-8, and how many bytes it takes.
_REPLACEMENT: Final[tuple[Any, Any]] = (np.int64(0xFFFD), np.int64(1))


def _kind(code: int, character: str, category: str) -> int:
    if character.isspace():
        return SPACE
    if character in _JOINERS or category == "Pc":
        return JOINER
    if character in _HIDDEN_JOINERS:
        return HIDDEN_JOINER
    if category[0] in "LN" and any(low <= code <= high for low, high in _SPACELESS) and category != "Nd":
        return LONE_LETTER
    return {"L": LETTER, "N": DIGIT, "M": MARK, "P": SYMBOL, "S": SYMBOL}.get(category[0], OTHER)


@cache
def character_table() -> tuple[np.ndarray, np.ndarray]:
    """For each code point: uint8 kind and flags, and int32 code point of its small form. Built once per process.

    It follows the interpreter's own Unicode data, so a newly assigned letter may count differently under another
    version of Python. Only foldings to one character are made: `İ` stays as it is.
    """
    kinds = np.zeros(0x110000, dtype=np.uint8)
    small = np.arange(0x110000, dtype=np.int32)
    for code in range(_ASSIGNED_BELOW):
        character = chr(code)
        category = unicodedata.category(character)
        if category == "Cn":
            continue
        flags = QUOTE if category in ("Ps", "Pe", "Pi", "Pf") or character in "\"'" else 0
        flags |= LOWER if category == "Ll" else 0
        kinds[code] = _kind(code, character, category) | flags
        lowered = character.lower()
        if len(lowered) == 1:
            small[code] = ord(lowered)
    kinds[_VARIATION_SELECTORS] = MARK
    for character in SENTENCE_ENDS:
        kinds[ord(character)] |= TERMINAL
    return kinds, small


@cache
def joined_kinds() -> np.ndarray:
    """The kinds of characters for texts that a segmenter has cut: there, letters without spaces join like others."""
    kinds, _ = character_table()
    joined = kinds.copy()
    lone = kinds & KIND == LONE_LETTER
    joined[lone] = (kinds[lone] & ~np.uint8(KIND)) | LETTER
    return joined


def utf8(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of a string column (array or chunked) and the int64[n + 1] places where its documents begin and end.

    A null is an empty document. Nothing is copied if the column is one chunk of large_string.
    """
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    if column.null_count:
        column = column.fill_null("")
    column = column.cast(pa.large_string())
    _, places, data = column.buffers()
    if not len(column):
        return np.empty(0, dtype=np.uint8), np.zeros(1, dtype=np.int64)
    offsets = np.frombuffer(places, dtype=np.int64)[column.offset : column.offset + len(column) + 1]
    return (np.frombuffer(data, dtype=np.uint8) if data is not None else np.empty(0, dtype=np.uint8)), offsets


@compiled
def code_point(data: np.ndarray, place: int, end: int) -> tuple[Any, Any]:
    """The character at `place` and how many bytes it takes; U+FFFD and 1 for what is not UTF-8 or not whole.

    The call costs ten times what a loop over ASCII does: hot loops take bytes below 0x80 as they are.
    """
    first = np.int64(data[place])
    if first < 0x80:
        return first, np.int64(1)
    code, size = _REPLACEMENT
    if 0xC0 <= first < 0xE0 and place + 1 < end:
        code = ((first & 0x1F) << 6) | (np.int64(data[place + 1]) & 0x3F)
        size = 2
    elif 0xE0 <= first < 0xF0 and place + 2 < end:
        code = ((first & 0x0F) << 12) | ((np.int64(data[place + 1]) & 0x3F) << 6) | (np.int64(data[place + 2]) & 0x3F)
        size = 3
    elif 0xF0 <= first < 0xF5 and place + 3 < end:
        code = ((first & 0x07) << 18) | ((np.int64(data[place + 1]) & 0x3F) << 12)
        code |= ((np.int64(data[place + 2]) & 0x3F) << 6) | (np.int64(data[place + 3]) & 0x3F)
        size = 4
    if code > 0x10FFFF:
        return _REPLACEMENT
    return code, size


@compiled
def mix(value: np.uint64) -> np.uint64:
    """MurmurHash3's 64-bit finaliser; never 0, which marks an empty place in the hash tables."""
    value ^= value >> _SHIFT
    value *= _MIX_1
    value ^= value >> _SHIFT
    value *= _MIX_2
    value ^= value >> _SHIFT
    return value if value != np.uint64(0) else np.uint64(1)


@compiled
def find_words(
    data: np.ndarray,
    begin: int,
    end: int,
    kinds: np.ndarray,
    small: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    hashes: np.ndarray,
) -> tuple[int, int]:
    """How many words and how many other visible marks the bytes [begin, end) hold; and the words, in order.

    `starts` and `ends` get the words' places in code points from `begin`, `hashes` the 64-bit hash of the word in small
    letters. Where there are more words than room, the rest is counted but not written. A mark repeated without a
    break counts once (`...`, `-----`).
    """
    room = len(starts)
    words = 0
    marks = 0
    position = 0
    open_word = 0  # 0: outside; LETTER: in a word; LONE_LETTER: in one that takes only marks
    held = 0  # visible joiners behind the open word, which belong to it if a letter follows
    last_mark: Any = -1
    running = FNV_START
    reached, whole = 0, FNV_START  # where the open word ends so far, and its hash
    place = begin
    while place < end:
        code, size = np.int64(data[place]), 1
        if code >= 0x80:
            code, size = code_point(data, place, end)
        kind = kinds[code] & KIND
        if kind in (LETTER, DIGIT, LONE_LETTER) or (kind == MARK and open_word and held == 0):
            if open_word == 0 or (kind != MARK and (open_word == LONE_LETTER or kind == LONE_LETTER)):
                if open_word and words <= room:
                    ends[words - 1], hashes[words - 1] = reached, mix(whole)
                marks += held
                words += 1
                running = FNV_START
                open_word = LONE_LETTER if kind == LONE_LETTER else LETTER
                if words <= room:
                    starts[words - 1] = position
            held = 0
            last_mark = -1
            running = (running ^ np.uint64(small[code])) * FNV_PRIME
            reached, whole = position + 1, running
        elif kind in (JOINER, HIDDEN_JOINER) and open_word == LETTER:
            held += kind == JOINER
            running = (running ^ np.uint64(code)) * FNV_PRIME
        else:
            if open_word and words <= room:
                ends[words - 1], hashes[words - 1] = reached, mix(whole)
            marks += held
            held = 0
            open_word = 0
            if kind in (SYMBOL, JOINER):
                marks += code != last_mark
                last_mark = code
            elif kind != MARK:
                last_mark = -1
        position += code != _SEPARATOR
        place += size
    if open_word and words <= room:
        ends[words - 1], hashes[words - 1] = reached, mix(whole)
    return words, marks + held


@compiled
def find_lines(
    data: np.ndarray,
    begin: int,
    end: int,
    kinds: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    lengths: np.ndarray,
    hashes: np.ndarray,
    opens: np.ndarray,
) -> tuple[int, int, int]:
    """How many lines, line breaks and characters the bytes [begin, end) hold; and the lines, in order.

    `starts` and `ends` get byte places in `data`, `lengths` the characters between them, `hashes` the 64-bit hash of
    exactly these characters, `opens` whether the line is the first of a paragraph. Blank lines are skipped; where
    there are more lines than room, the rest is counted but not written.
    """
    room = len(starts)
    lines = 0
    breaks = 0
    characters = 0
    blank_before = True
    inside = False
    length = 0
    running = FNV_START
    reached, inked, whole = 0, 0, FNV_START  # end, length and hash of the open line up to its last ink
    place = begin
    while place < end:
        code, size = np.int64(data[place]), 1
        if code >= 0x80:
            code, size = code_point(data, place, end)
        place += size
        characters += 1
        if code == 10:
            if inside and lines <= room:
                ends[lines - 1], lengths[lines - 1], hashes[lines - 1] = reached, inked, mix(whole)
            breaks += 1
            blank_before = not inside
            inside = False
            continue
        ink = kinds[code] & KIND != SPACE
        if ink and not inside:
            inside = True
            lines += 1
            length = 0
            running = FNV_START
            if lines <= room:
                starts[lines - 1] = place - size
                opens[lines - 1] = blank_before
        length += 1
        running = (running ^ np.uint64(code)) * FNV_PRIME
        if ink:
            reached, inked, whole = place, length, running
    if inside and lines <= room:
        ends[lines - 1], lengths[lines - 1], hashes[lines - 1] = reached, inked, mix(whole)
    return lines, breaks, characters


@compiled
def mark_repeats(hashes: np.ndarray, count: int, repeats: np.ndarray) -> None:
    """Sets `repeats[i]` if one of `hashes[:i]` equals `hashes[i]`, for i < count. Hashes are never 0. Linear."""
    size = 16
    while size < 2 * count:
        size *= 2
    table = np.zeros(size, dtype=np.uint64)
    mask = np.uint64(size - 1)
    for i in range(count):
        slot = hashes[i] & mask
        while table[slot] != 0 and table[slot] != hashes[i]:
            slot = (slot + np.uint64(1)) & mask
        repeats[i] = table[slot] == hashes[i]
        table[slot] = hashes[i]


@compiled
def mark_copies(hashes: np.ndarray, count: int, repeats: np.ndarray, copies: np.ndarray) -> None:
    """`mark_repeats`, and sets `copies[i]` if any other of `hashes[:count]` equals `hashes[i]`. Linear."""
    size = 16
    while size < 2 * count:
        size *= 2
    table = np.zeros(size, dtype=np.uint64)
    first = np.zeros(size, dtype=np.int64)
    mask = np.uint64(size - 1)
    for i in range(count):
        slot = hashes[i] & mask
        while table[slot] != 0 and table[slot] != hashes[i]:
            slot = (slot + np.uint64(1)) & mask
        repeats[i] = copies[i] = table[slot] == hashes[i]
        if repeats[i]:
            copies[first[slot]] = True
        else:
            first[slot] = i
        table[slot] = hashes[i]


def word_hash(word: str) -> int:
    """The hash that `find_words` gives to `word`. `ValueError` if it is not one word (a segmenter's will do)."""
    kinds, small = joined_kinds(), character_table()[1]
    data = np.frombuffer(word.encode(), dtype=np.uint8)
    starts, ends, hashes = np.zeros(2, np.int64), np.zeros(2, np.int64), np.zeros(2, np.uint64)
    words, _ = find_words(data, 0, len(data), kinds, small, starts, ends, hashes)
    if words != 1:
        raise ValueError(f"{word!r} is {words} words, not one")
    return int(hashes[0])


def fraction(part: np.ndarray, whole: np.ndarray) -> Any:
    """part / whole, 0 where the whole is 0: a float64 array, rounded to 4 decimals."""
    return np.round(part / np.maximum(whole, 1), 4)
