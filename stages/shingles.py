"""Shingles: the overlapping runs of words or characters by which texts are compared, as 64-bit hashes.

    text -> elements (words of the normal form, or its characters) -> shingles of `size` elements -> uint64 hashes

An element hashes its folded code points (FNV-1a over code points, finished by a mixer); a shingle hashes its elements
by a rolling polynomial, finished by the same mixer. Two different shingles agree with probability 2^-64: a set of
hashes stands for the set of shingles. A text with fewer elements than `size` has no shingles.
"""

import itertools
from typing import Final, Literal

import numpy as np
import pyarrow as pa

from stages.compiled import compiled
from stages.normalise import (
    ALONE,
    FOLDED_MASK,
    IGNORED,
    KIND_SHIFT,
    MARK,
    SEPARATES,
    WORD,
    character_table,
    next_character,
    text_buffers,
    words_of,
)

Unit = Literal["word", "character"]

#: FNV-1a, 64 bits: offset basis and prime of its authors (Fowler, Noll, Vo).
FNV_BASIS: Final = np.uint64(0xCBF29CE484222325)
FNV_PRIME: Final = np.uint64(0x00000100000001B3)
#: MurmurHash3's 64-bit finaliser (Appleby): each input bit changes each output bit with probability one half.
MIX_1: Final = np.uint64(0xFF51AFD7ED558CCD)
MIX_2: Final = np.uint64(0xC4CEB9FE1A85EC53)
_33: Final = np.uint64(33)
#: Odd multipliers (the golden ratio's, and one of xxHash's primes): of a shingle, and of the halves of a text key.
SHINGLE_BASE: Final = np.uint64(0x9E3779B97F4A7C15)
KEY_BASE: Final = np.uint64(0xC2B2AE3D27D4EB4F)
SPACE: Final = np.uint64(0x20)


@compiled
def mix64(value: np.uint64) -> np.uint64:
    """A fixed bijection of 64 bits that spreads every input bit (MurmurHash3's finaliser)."""
    value ^= value >> _33
    value *= MIX_1
    value ^= value >> _33
    value *= MIX_2
    return value ^ (value >> _33)


@compiled
def word_elements(data: np.ndarray, start: int, end: int, table: np.ndarray, out: np.ndarray) -> np.int64:
    """Write the hash of each word of one text to `out` (see `elements_bound`), and return their number.

    ASCII goes through without a branch that depends on the text: at each byte the word so far is written where the next
    word belongs, and the count moves on where a word ends (730 MB/s; 410 with a loop over words, which mispredicts
    once a word). Unsigned places spare the compiler the case of a negative index.
    """
    place, stop, one = np.uint64(start), np.uint64(end), np.uint64(1)
    count = np.uint64(0)
    inside = np.uint64(0)
    state = FNV_BASIS
    while place < stop:
        byte = data[place]
        if byte < 0x80:
            entry = table[byte]
            is_word = np.uint64(entry >> KIND_SHIFT) & one  # of the kinds, ASCII has only SEPARATES and WORD
            out[count] = state
            count += inside & (one - is_word)
            grown = (state ^ np.uint64(entry & FOLDED_MASK)) * FNV_PRIME
            state = grown if is_word else FNV_BASIS
            inside = is_word
            place += one
            continue
        code, after = next_character(data, np.int64(place))
        place = np.uint64(after)
        entry = table[code]
        kind = entry >> KIND_SHIFT & 7
        if kind == IGNORED:
            continue
        if inside and kind != WORD and kind != MARK:
            out[count] = state
            count += one
        if kind == SEPARATES:
            state, inside = FNV_BASIS, np.uint64(0)
            continue
        if kind == ALONE:
            state = FNV_BASIS
        state = (state ^ np.uint64(entry & FOLDED_MASK)) * FNV_PRIME
        inside = one
        if kind == ALONE:
            place, state = _following_marks(data, place, stop, table, state)
            out[count] = state
            count += one
            state, inside = FNV_BASIS, np.uint64(0)
    out[count] = state
    count += inside
    for word in range(count):
        out[word] = mix64(out[word])
    return np.int64(count)


@compiled
def _following_marks(
    data: np.ndarray, place: np.uint64, stop: np.uint64, table: np.ndarray, state: np.uint64
) -> tuple[np.uint64, np.uint64]:
    """Take the marks after a letter that is a word of its own into its hash; where they end, and the hash."""
    while place < stop:
        code, after = next_character(data, np.int64(place))
        entry = table[code]
        kind = entry >> KIND_SHIFT & 7
        if kind == MARK:
            state = (state ^ np.uint64(entry & FOLDED_MASK)) * FNV_PRIME
        elif kind != IGNORED:
            break
        place = np.uint64(after)
    return place, state


@compiled
def character_elements(
    data: np.ndarray, start: np.int64, end: np.int64, table: np.ndarray, out: np.ndarray
) -> np.int64:
    """Write the hash of each folded character to `out` (as long as the text), with one space where words are apart."""
    count = 0
    apart = False
    place = start
    while place < end:
        code, place = next_character(data, place)
        entry = table[code]
        kind = entry >> KIND_SHIFT & 7
        if kind == IGNORED:
            continue
        if kind == SEPARATES:
            apart = True
            continue
        if apart and count:
            out[count] = mix64(SPACE)
            count += 1
        apart = False
        out[count] = mix64(np.uint64(entry & FOLDED_MASK))
        count += 1
    return np.int64(count)


@compiled
def shingle_hashes(elements: np.ndarray, count: np.int64, size: np.int64, out: np.ndarray) -> np.int64:
    """Write the hash of each shingle of the first `count` elements to `out`, in text order; their number.

    A shingle's hash is mix64(sum of element i * SHINGLE_BASE^(size-1-i)), modulo 2^64. `out` may be `elements`.
    """
    if count < size:
        return np.int64(0)
    leaving = np.uint64(1)
    state = np.uint64(0)
    for place in range(size - 1):
        leaving *= SHINGLE_BASE
        state = state * SHINGLE_BASE + elements[place]
    for place in range(size - 1, count):
        state = state * SHINGLE_BASE + elements[place]
        first = elements[place - size + 1]
        out[place - size + 1] = mix64(state)
        state -= first * leaving
    return np.int64(count - size + 1)


@compiled
def sequence_key(elements: np.ndarray, count: np.int64) -> tuple[np.uint64, np.uint64]:
    """128 bits that name a sequence of elements."""
    one, two = np.uint64(count), np.uint64(count)
    for place in range(count):
        one = one * SHINGLE_BASE + elements[place]
        two = (two ^ elements[place]) * KEY_BASE
        two ^= two >> _33
    return mix64(one), mix64(two)


@compiled
def _all_shingles(
    data: np.ndarray,
    offsets: np.ndarray,
    table: np.ndarray,
    words: bool,
    size: int,
    whole_if_short: bool,
    out: np.ndarray,
    out_offsets: np.ndarray,
) -> None:
    written = np.int64(0)
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        room = out[written:]
        if words:
            count = word_elements(data, start, end, table, room)
        else:
            count = character_elements(data, start, end, table, room)
        shorter = whole_if_short and 0 < count < size
        written += shingle_hashes(room, count, np.int64(count) if shorter else np.int64(size), room)
        out_offsets[document + 1] = written


@compiled
def _distinct(values: np.ndarray, offsets: np.ndarray) -> None:
    """Close the gaps that repeated values leave in sorted runs, in place."""
    kept = 0
    first = offsets[0]
    for run in range(len(offsets) - 1):
        last = offsets[run + 1]
        for place in range(first, last):
            if place == first or values[place] != values[place - 1]:
                values[kept] = values[place]
                kept += 1
        first = last
        offsets[run + 1] = kept


def elements_bound(size_bytes: int, documents: int, unit: Unit) -> int:
    """Room for the elements of texts of so many bytes.

    A word takes a separator besides itself, or three bytes; the word kernel writes one place further than it counts.
    """
    return size_bytes // 2 + 2 * documents if unit == "word" else size_bytes


def shingle_sets(
    texts: pa.Array | pa.ChunkedArray, *, unit: Unit, size: int, whole_if_short: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """(values uint64, offsets int64[n+1]): the sorted distinct shingle hashes of each text, one after the other.

    A text with fewer than `size` elements has an empty set, or, with `whole_if_short`, itself as its only shingle.
    """
    data, offsets = text_buffers(texts)
    documents = len(offsets) - 1
    out = np.empty(elements_bound(int(offsets[-1] - offsets[0]), documents, unit) + 1, dtype=np.uint64)
    out_offsets = np.zeros(documents + 1, dtype=np.int64)
    _all_shingles(data, offsets, character_table(), unit == "word", size, whole_if_short, out, out_offsets)
    bounds = out_offsets.tolist()
    for start, end in itertools.pairwise(bounds):
        out[start:end].sort()  # numpy's vectorised sort: several times as fast as a compiled loop's
    _distinct(out, out_offsets)
    return out[: out_offsets[-1]].copy(), out_offsets


def contained(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """bool beside `values`: which of them stand in `index`, an array in ascending order."""
    places = np.searchsorted(index, values)
    found = np.zeros(len(values), dtype=bool)
    inside = places < len(index)
    found[inside] = index[places[inside]] == values[inside]
    return found


@compiled
def common(one: np.ndarray, two: np.ndarray) -> int:
    """How many values two sorted arrays of distinct values share."""
    i, j, shared = 0, 0, 0
    while i < len(one) and j < len(two):
        a, b = one[i], two[j]
        shared += a == b
        i += a <= b
        j += b <= a
    return shared


def reference_shingles(text: str, *, size: int) -> list[int]:
    """Word shingle hashes of one text in text order, in plain Python: the definition that the kernels are tested by."""
    limit = (1 << 64) - 1

    def mix(value: int) -> int:
        for multiplier in (int(MIX_1), int(MIX_2)):
            value = (value ^ value >> 33) * multiplier & limit
        return value ^ value >> 33

    hashed = []
    for word in words_of(text):
        state = int(FNV_BASIS)
        for character in word:
            state = (state ^ ord(character)) * int(FNV_PRIME) & limit
        hashed.append(mix(state))
    found = []
    for start in range(len(hashed) - size + 1):
        state = 0
        for element in hashed[start : start + size]:
            state = (state * int(SHINGLE_BASE) + element) & limit
        found.append(mix(state))
    return found
