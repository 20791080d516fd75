"""The normal form of a text for deduplication: which differences between two texts do not count.

A text is read as a sequence of words, each of folded characters:

1. The text is put into Unicode NFC, so that a letter with an accent is one character however it was typed.
2. Characters are case-folded one by one (`STRASSE` and `strasse` agree; the final sigma is a sigma; `ß` stays `ß`).
3. Letters, digits, marks and the underscore make words, as `\\w` does; marks belong to the letter before them, also
   in scripts where Python's `\\w` leaves them out (the vowel signs of Hindi).
4. In scripts written without spaces (Han, kana, Thai, Lao, Khmer, Myanmar, Tibetan) each letter is a word of its own.
5. Format characters (soft hyphen, zero-width joiners, directional marks) are left out as if they were not there.
6. All else (white space, punctuation, symbols, emoji, control characters) separates words and says nothing more.

Digits and accents are kept: pages that differ in a date or a price are different pages, and without its marks Hindi is
another text. The normal form, as text, is these words joined by single spaces. A text without words has no normal form:
its key is null, and it is nobody's duplicate.
"""

import functools
import itertools
import sys
import unicodedata
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from stages.compiled import compiled
from stages.utf8 import put_character

#: What a character does in a text: the three bits above its folded form in the character table.
SEPARATES: Final = 0
WORD: Final = 1
ALONE: Final = 2
MARK: Final = 3
IGNORED: Final = 4
#: Unicode needs 21 bits; the kind stands above, and above that whether NFC may change the character or its neighbours.
KIND_SHIFT: Final = 21
FOLDED_MASK: Final = (1 << KIND_SHIFT) - 1
COMPOSES: Final = 1 << 24

#: Blocks of scripts that put no spaces between words, first and last code point (Unicode 15 block list).
_UNSPACED: Final = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x0FFF),  # Tibetan
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # ideographic iteration mark, closing mark and zero
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),  # Katakana phonetic extensions
    (0x3400, 0x4DBF),  # CJK extension A
    (0x4E00, 0x9FFF),  # CJK unified ideographs
    (0xF900, 0xFAFF),  # CJK compatibility ideographs
    (0xFF66, 0xFF9F),  # halfwidth Katakana
    (0x1B000, 0x1B16F),  # Kana supplements
    (0x20000, 0x33FFF),  # CJK extensions B and later
)
#: Hangul vowels and final consonants, which compose with the letter before them.
_HANGUL_TAILS: Final = ((0x1161, 0x1175), (0x11A8, 0x11C2))
#: No assigned letter or mark lies above this but the variation selectors, which are marks that no page needs.
_LAST_LETTER: Final = 0x33FFF


@functools.cache
def character_table() -> np.ndarray:
    """uint32[0x110000]: for each code point its folded form, its kind, and COMPOSES where NFC has to look at it."""
    table = np.arange(sys.maxunicode + 1, dtype=np.uint32)  # folded to itself, SEPARATES
    unspaced = np.zeros(_LAST_LETTER + 1, dtype=bool)
    for first, last in _UNSPACED:
        unspaced[first : last + 1] = True
    for code in range(_LAST_LETTER + 1):
        character = chr(code)
        category = unicodedata.category(character)
        if category[0] in "LN" or character == "_":
            kind = ALONE if unspaced[code] and category[0] == "L" else WORD
        elif category[0] == "M":
            kind = MARK
        elif category == "Cf":
            kind = IGNORED
        else:
            continue
        folded = character.casefold()
        if len(folded) != 1:
            folded = character.lower()[0]
        table[code] = ord(folded) | kind << KIND_SHIFT
    table[_composing()] |= COMPOSES
    return table


def _composing() -> np.ndarray:
    """Code points that are not their own NFC, or that may combine or change places with what stands before them."""
    found = []
    for code in range(_LAST_LETTER + 1):
        character = chr(code)
        if unicodedata.combining(character):
            found.append(code)
        decomposed = unicodedata.decomposition(character)
        if decomposed and not decomposed.startswith("<"):
            found += [int(part, 16) for part in decomposed.split()[1:]]
            if unicodedata.normalize("NFC", character) != character:
                found.append(code)
    for first, last in _HANGUL_TAILS:
        found += range(first, last + 1)
    return np.unique(np.array(found))


@compiled
def next_character(data: np.ndarray, place: np.int64) -> tuple[np.int64, np.int64]:
    """The code point at byte `place` of valid UTF-8, and the place of the next one."""
    first = np.int64(data[place])
    if first < 0x80:
        return first, place + 1
    if first < 0xE0:
        return (first & 0x1F) << 6 | (np.int64(data[place + 1]) & 0x3F), place + 2
    if first < 0xF0:
        return (
            (first & 0x0F) << 12 | (np.int64(data[place + 1]) & 0x3F) << 6 | (np.int64(data[place + 2]) & 0x3F),
            place + 3,
        )
    return (
        (first & 0x07) << 18
        | (np.int64(data[place + 1]) & 0x3F) << 12
        | (np.int64(data[place + 2]) & 0x3F) << 6
        | (np.int64(data[place + 3]) & 0x3F),
        place + 4,
    )


#: Bytes that are looked at together for being ASCII: a cache line.
_LINE: Final = 64


@compiled
def must_compose(data: np.ndarray, offsets: np.ndarray, table: np.ndarray) -> np.ndarray:
    """bool[n]: which of the texts NFC may change, given the character table."""
    found = np.zeros(len(offsets) - 1, dtype=np.bool_)
    for document in range(len(offsets) - 1):
        place, end = offsets[document], offsets[document + 1]
        while place < end and not found[document]:
            line = min(place + _LINE, end)
            together = np.uint8(0)
            for byte in data[place:line]:
                together |= byte
            if together < 0x80:
                place = line
                continue
            while place < line:
                code, place = next_character(data, place)
                if table[code] & COMPOSES:
                    found[document] = True
    return found


def text_buffers(texts: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """UTF-8 bytes (uint8) and offsets (int64, one more than texts) of texts in NFC; a null text is an empty one.

    The bytes are Arrow's own wherever the text is in NFC already, which nearly all of the web is.
    """
    array = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    array = array.cast(pa.large_string())
    if array.null_count:
        array = array.fill_null("")
    data, offsets = _buffers(array)
    composing = np.flatnonzero(must_compose(data, offsets, character_table()))
    if not len(composing):
        return data, offsets
    changed = np.zeros(len(array), dtype=bool)
    changed[composing] = True
    composed = [unicodedata.normalize("NFC", text) for text in array.take(pa.array(composing)).to_pylist()]
    return _buffers(pc.replace_with_mask(array, pa.array(changed), pa.array(composed, pa.large_string())))


def _buffers(array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    _, offsets, data = array.buffers()
    if len(array) == 0 or data is None:
        return np.zeros(1, dtype=np.uint8), np.zeros(len(array) + 1, dtype=np.int64)
    return np.frombuffer(data, dtype=np.uint8), np.frombuffer(offsets, dtype=np.int64)[
        array.offset : array.offset + len(array) + 1
    ]


@compiled
def _normal_form(
    data: np.ndarray, offsets: np.ndarray, table: np.ndarray, out: np.ndarray, out_offsets: np.ndarray
) -> None:
    written = 0
    for document in range(len(offsets) - 1):
        place, end, first = offsets[document], offsets[document + 1], written
        inside = SEPARATES
        while place < end:
            code, place = next_character(data, place)
            entry = table[code]
            kind = entry >> KIND_SHIFT & 7
            if kind == IGNORED:
                continue
            if kind == SEPARATES:
                inside = SEPARATES
                continue
            if inside == SEPARATES or (kind != MARK and (inside != WORD or kind != WORD)):
                inside = ALONE if kind == ALONE else WORD
                if written > first:
                    out[written] = 0x20
                    written += 1
            written = put_character(out, written, np.int64(entry) & FOLDED_MASK)
        out_offsets[document + 1] = written


def normal_forms(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The normal form of each text as large_string, in order: words joined by single spaces; empty if it has none."""
    data, offsets = text_buffers(texts)
    size = int(offsets[-1] - offsets[0])
    # A folded character takes up to half as many bytes again (U+023A: two to three), and a word of one character
    # (three bytes in the unspaced scripts, or a letter and a separator) gets a space.
    out = np.empty(2 * size + 16, dtype=np.uint8)
    out_offsets = np.zeros(len(offsets), dtype=np.int64)
    _normal_form(data, offsets, character_table(), out, out_offsets)
    return pa.LargeStringArray.from_buffers(
        len(offsets) - 1, pa.py_buffer(out_offsets), pa.py_buffer(out[: out_offsets[-1]].tobytes())
    )


def text_keys(texts: pa.Array | pa.ChunkedArray, *, normalised: bool) -> tuple[np.ndarray, np.ndarray]:
    """(uint64[n, 2], bool[n]): the 128-bit XXH3 of each text or of its normal form, and whether it has one.

    The lowest bit of the second word is always 0, so that a key with that bit set belongs to no text.
    """
    data, offsets = _buffers(normal_forms(texts) if normalised else pa.array(texts).cast(pa.large_string()))
    keys = np.zeros((len(offsets) - 1, 2), dtype=np.uint64)
    view, bounds = data.data, offsets.tolist()
    for document, (start, end) in enumerate(itertools.pairwise(bounds)):
        keys[document] = np.frombuffer(xxhash.xxh3_128_digest(view[start:end]), dtype=">u8")
    keys[:, 1] &= np.uint64(0xFFFF_FFFF_FFFF_FFFE)
    return keys, np.diff(offsets) > 0


def words_of(text: str) -> Sequence[str]:
    """The words of one text's normal form: the definition in small, for tests and for reading results by eye."""
    form = normal_forms(pa.array([text], pa.large_string()))[0].as_py()
    return form.split(" ") if form else []
