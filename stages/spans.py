"""How a text is cut into the units that are compared with those of other texts, and the key of each.

**Line.** What stands between two \\n, without white space at its ends. **Paragraph.** A run of lines without a blank
one between. **Sentence.** Ends with a run of end marks and closing quotes before white space that no small letter
follows (the marks of Chinese and Japanese need no white space), not behind a single letter and a full stop. A line that
ends without one (a heading, a list entry) is no sentence, and no span of sentences reaches across it, nor across GAP,
which is what cutting out of the middle of a line leaves: so cutting makes no span that was not there before, and doing
it twice is doing it once.

Kernels look at bytes and make no Python object per unit. White space is ASCII's here.
"""

import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import pyarrow as pa

from stages import words
from stages.compiled import compiled
from stages.normalise import FOLDED_MASK, KIND_SHIFT, WORD, character_table, must_compose, text_buffers
from stages.shingles import MIX_1, MIX_2, mix64, sequence_key, word_elements
from stages.span_dedup import (
    LineDedupSettings,
    Normalisation,
    ParagraphDedupSettings,
    SentenceDedupSettings,
    UnitSettings,
)

#: What stands where something was cut out of the middle of a text: two empty lines, which web text seldom has.
GAP: Final = b"\n\n\n"
_GAP_BREAKS: Final = len(GAP)
LINES, PARAGRAPHS, SENTENCES = range(3)
_DIGIT_ZERO: Final = 0x30


@dataclass(frozen=True, kw_only=True)
class Units:
    """Units of several documents, in the order of documents and then of their ends."""

    #: int64[n]: number of the document.
    docs: np.ndarray
    #: int64[n]: first byte and the one behind the last, in the buffer of all texts.
    starts: np.ndarray
    ends: np.ndarray


@compiled
def doubled(values: np.ndarray) -> np.ndarray:
    """A copy with as much room again behind."""
    larger = np.empty(2 * len(values), values.dtype)
    larger[: len(values)] = values
    return larger


@compiled
def is_space(byte: Any) -> bool:
    return bool(byte == 0x20 or 0x09 <= byte <= 0x0D)


@compiled
def _next_unit(data: np.ndarray, place: int, stop: int, paragraphs: bool) -> tuple[int, int, int]:
    """First byte of the next line or paragraph and the one behind its last, and where to go on; -1 if there is none.

    Loops over bytes stand apart from those that may get larger arrays: numba counts references at each turn of these.
    """
    first = last = -1
    blank = True  # no ink on this line so far
    while place < stop:
        byte = data[place]
        place += 1
        if byte == 0x0A:
            if first >= 0 and (blank or not paragraphs):
                break
            blank = True
        elif not is_space(byte):
            blank = False
            first = place - 1 if first < 0 else first
            last = place
    return first, last, place


@compiled
def _cut_lines(
    data: np.ndarray, offsets: np.ndarray, paragraphs: bool, least: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    docs, starts, ends = np.empty(1024, np.int64), np.empty(1024, np.int64), np.empty(1024, np.int64)
    count = 0
    for row in range(len(offsets) - 1):
        place, stop = offsets[row], offsets[row + 1]
        while place < stop:
            first, last, place = _next_unit(data, place, stop, paragraphs)
            if first < 0 or last - first < least:
                continue
            if count == len(docs):
                docs, starts, ends = doubled(docs), doubled(starts), doubled(ends)
            docs[count], starts[count], ends[count] = row, first, last
            count += 1
    return docs[:count], starts[:count], ends[:count]


@compiled
def _ends_sentence(data: np.ndarray, place: int, stop: int, kinds: np.ndarray) -> bool:
    """Whether, behind an end mark at `place`, white space and then no small letter follow; so at the text's end."""
    spaces = False
    while place < stop:
        code, size = words.code_point(data, place, stop)
        if kinds[code] & words.KIND == words.SPACE:
            spaces = True
        elif not spaces:
            return False
        elif kinds[code] & words.QUOTE == 0:
            return bool(kinds[code] & words.LOWER == 0)
        place += size
    return True


@compiled
def _next_sentence(data: np.ndarray, place: int, stop: int, kinds: np.ndarray) -> tuple[int, int, int, int, bool]:
    """First byte of the next sentence and the one behind its last, where to go on, the line breaks before it, and
    whether it has an end mark."""
    first = last = -1
    breaks = 0
    letters = 0  # of the word that ends here
    marked = False
    while place < stop:
        code, size = np.int64(data[place]), 1
        if code >= 0x80:
            code, size = words.code_point(data, place, stop)
        kind = kinds[code] & words.KIND
        if kind == words.SPACE:
            if code == 0x0A:
                if first >= 0:
                    break
                breaks += 1
            place += size
            letters = 0
            continue
        first = place if first < 0 else first
        place += size
        last = place
        marked = False
        if kinds[code] & words.TERMINAL == 0:
            letters = letters + 1 if kind == words.LETTER else 0
            continue
        while place < stop:
            following, size = words.code_point(data, place, stop)
            if kinds[following] & (words.TERMINAL | words.QUOTE) == 0:
                break
            place += size
        last = place
        marked = True  # if nothing but a line's end follows
        initial = code == 0x2E and letters == 1
        letters = 0
        if code >= 0x3000 or (not initial and _ends_sentence(data, place, stop, kinds)):
            break
    return first, last, place, breaks, marked


@compiled
def _cut_sentences(
    data: np.ndarray, offsets: np.ndarray, kinds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(starts, ends, block) of every sentence: no span reaches from one block into the next."""
    starts, ends, blocks = np.empty(1024, np.int64), np.empty(1024, np.int64), np.empty(1024, np.int64)
    count = 0
    block = -1
    for row in range(len(offsets) - 1):
        place, stop = offsets[row], offsets[row + 1]
        block += 1
        while place < stop:
            first, last, place, breaks, marked = _next_sentence(data, place, stop, kinds)
            if first < 0 or not marked:
                block += 1
                continue
            block += breaks >= _GAP_BREAKS
            if count == len(starts):
                starts, ends, blocks = doubled(starts), doubled(ends), doubled(blocks)
            starts[count], ends[count], blocks[count] = first, last, block
            count += 1
    return starts[:count], ends[:count], blocks[:count]


def _sentence_spans(data: np.ndarray, offsets: np.ndarray, size: int, least: int) -> Units:
    starts, ends, blocks = _cut_sentences(data, offsets, words.character_table()[0])
    count = max(0, len(starts) - size + 1)
    first, last = starts[:count], ends[size - 1 :][:count]
    whole = np.flatnonzero((blocks[:count] == blocks[size - 1 :][:count]) & (last - first >= least))
    docs = np.searchsorted(offsets, first[whole], side="right") - 1
    return Units(docs=docs, starts=first[whole], ends=last[whole])


def cut(data: np.ndarray, offsets: np.ndarray, settings: UnitSettings) -> Units:
    """The units of texts, given as UTF-8 bytes and int64 offsets, that are long enough to be compared."""
    if isinstance(settings, SentenceDedupSettings):
        return _sentence_spans(data, offsets, settings.sentences, settings.min_unit_bytes)
    assert isinstance(settings, LineDedupSettings | ParagraphDedupSettings)
    paragraphs = isinstance(settings, ParagraphDedupSettings)
    docs, starts, ends = _cut_lines(data, offsets, paragraphs, settings.min_unit_bytes)
    return Units(docs=docs, starts=starts, ends=ends)


@cache
def _table(normalisation: Normalisation) -> np.ndarray:
    table = character_table()
    if normalisation != "ccnet":
        return table
    folded = table.copy()
    for code in np.flatnonzero(table >> KIND_SHIFT & 7 == WORD):
        if unicodedata.category(chr(code)) == "Nd":
            folded[code] = (table[code] & ~np.uint32(FOLDED_MASK)) | np.uint32(_DIGIT_ZERO)
    return folded


@compiled
def bytes_key(data: np.ndarray, start: int, end: int) -> tuple[np.uint64, np.uint64]:
    """128 bits that name the bytes [start, end), eight at a time."""
    one, two = np.uint64(end - start), ~np.uint64(end - start)
    place = start
    while place < end:
        word = np.uint64(0)
        for byte in range(place, min(place + 8, end)):
            word = word << np.uint64(8) | np.uint64(data[byte])
        one = (one ^ word) * MIX_1
        one ^= one >> np.uint64(32)
        two = (two + word) * MIX_2
        two ^= two >> np.uint64(29)
        place += 8
    return mix64(one), mix64(two)


@compiled
def _keys(
    data: np.ndarray, starts: np.ndarray, ends: np.ndarray, table: np.ndarray, verbatim: bool, keys: np.ndarray
) -> None:
    """Fills keys (uint64[n, 2]); both are 0 for a unit without a word."""
    room = np.empty(1024, np.uint64)
    for unit in range(len(starts)):
        start, end = starts[unit], ends[unit]
        if verbatim:
            keys[unit, 0], keys[unit, 1] = bytes_key(data, start, end)
            continue
        if (end - start) // 2 + 3 > len(room):  # a word takes a byte and what parts it from the next another
            room = np.empty((end - start) // 2 + 3, np.uint64)
        count = word_elements(data, start, end, table, room)
        if count:
            keys[unit, 0], keys[unit, 1] = sequence_key(room, count)


def unit_keys(data: np.ndarray, offsets: np.ndarray, units: Units, normalisation: Normalisation) -> np.ndarray:
    """uint64[n, 2]: 128 bits that name each unit in its normalisation; zeros for a unit without a word."""
    table = _table(normalisation)
    keys = np.zeros((len(units.docs), 2), dtype=np.uint64)
    verbatim = normalisation == "verbatim"
    _keys(data, units.starts, units.ends, table, verbatim, keys)
    if verbatim:
        return keys
    # A text that is not in NFC is compared as if it were: unit by unit, since its places are those of the text.
    composing = np.flatnonzero(must_compose(data, offsets, character_table())[units.docs])
    if len(composing):
        pieces = [data[units.starts[unit] : units.ends[unit]].tobytes().decode() for unit in composing]
        other, bounds = text_buffers(pa.array(pieces, pa.large_string()))
        found = np.zeros((len(composing), 2), dtype=np.uint64)
        _keys(other, bounds[:-1], bounds[1:], table, verbatim, found)
        keys[composing] = found
    return keys


@compiled
def _first_alike(docs: np.ndarray, keys: np.ndarray, first: np.ndarray) -> None:
    size = 16
    begin = 0
    while begin < len(docs):
        end = begin
        while end < len(docs) and docs[end] == docs[begin]:
            end += 1
        while size < 2 * (end - begin):
            size *= 2
        table = np.full(size, -1, np.int64)
        mask = np.uint64(size - 1)
        for unit in range(begin, end):
            slot = keys[unit, 0] & mask
            while table[slot] >= 0 and (keys[table[slot], 0] != keys[unit, 0] or keys[table[slot], 1] != keys[unit, 1]):
                slot = (slot + np.uint64(1)) & mask
            if table[slot] < 0:
                table[slot] = unit
            first[unit] = table[slot]
        begin = end
        size = 16


def first_alike(docs: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """int64[n]: for each unit the first one of the same document with the same key, which may be itself."""
    first = np.empty(len(docs), dtype=np.int64)
    _first_alike(docs, keys, first)
    return first
