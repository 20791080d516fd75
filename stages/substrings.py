"""Repeated stretches of bytes: anchors that every text chooses alike, and how far two texts agree around them.

An *anchor* is a place whose choice depends on nothing but the SAMPLE_BYTES + window_bytes bytes from there on: the
smallest hash of SAMPLE_BYTES bytes among the window_bytes + 1 that begin there stands first or last (a closed syncmer,
Edgar 2021, PeerJ 9:e10805). Of any window_bytes places in a row at least one is an anchor. So two copies of
length_bytes + window_bytes - 1 bytes have an anchor in common behind which length_bytes bytes agree, and the hash of
these is what is compared. Since an anchor does not depend on what stands before it, cutting makes no new ones: twice is
once. No stretch reaches across spans.GAP, which is what cutting leaves.

Within a text an anchor's stretch that stood there before is told by how far back (*shift*); runs of the same shift are
joined, so that a text of one repeated pattern is one run, and only new stretches are compared with other texts.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from stages import words
from stages.compiled import compiled
from stages.shingles import mix64
from stages.span_dedup import SAMPLE_BYTES, SubstringDedupSettings
from stages.spans import GAP, bytes_key, doubled

#: An odd multiplier for rolling hashes modulo 2^64 (Knuth's, 2^64 over the golden ratio).
_BASE: Final = np.uint64(0x9E3779B97F4A7C15)
_GAP_BYTE: Final = np.uint8(GAP[0])
_GAP_SIZE: Final = len(GAP)
#: How far a cut is moved to reach the end of a word; what has no end so near is no word (base64, addresses).
_WORD_BYTES: Final = 40


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """What `anchors` finds in several documents; places are in the buffer of all texts."""

    #: int64[n] and uint64[n, 2]: document, place and key of each stretch that is new in its document.
    docs: np.ndarray
    starts: np.ndarray
    keys: np.ndarray
    #: int64[m]: document, first byte, the one behind the last, of runs that stood `shifts` bytes before already.
    run_docs: np.ndarray
    run_starts: np.ndarray
    run_ends: np.ndarray
    run_shifts: np.ndarray


@compiled
def _rehashed(table: np.ndarray, one: np.ndarray) -> np.ndarray:
    larger = np.full(2 * len(table), -1, np.int64)
    mask = np.uint64(len(larger) - 1)
    for held in table:
        if held >= 0:
            slot = one[held] & mask
            while larger[slot] >= 0:
                slot = (slot + np.uint64(1)) & mask
            larger[slot] = held
    return larger


@compiled
def _block_end(data: np.ndarray, place: int, stop: int) -> int:
    """Where the block ends that begins at `place`: behind the next GAP, or at `stop`."""
    breaks = 0
    while place < stop and breaks < _GAP_SIZE:
        breaks = breaks + 1 if data[place] == _GAP_BYTE else 0
        place += 1
    return place


@compiled
def _next_anchor(
    data: np.ndarray, begin: int, end: int, window: int, state: np.ndarray, samples: np.ndarray, rolling: np.ndarray
) -> int:
    """The next anchor of the block [begin, end); -1 if there is none.

    From call to call go on: `state` (int64[2]: next byte, place of the smallest sample or -1), `samples` (a ring, a
    power of two above window) and `rolling` (uint64[2]: hash, and the power of the base with which a byte leaves it).
    """
    ring = len(samples) - 1
    hashed, leaving = rolling[0], rolling[1]
    smallest = state[1]
    for place in range(state[0], end):
        hashed = hashed * _BASE + np.uint64(data[place]) + np.uint64(1)
        sample = place - SAMPLE_BYTES + 1
        if sample < begin:
            continue
        if sample > begin:
            hashed -= leaving * (np.uint64(data[sample - 1]) + np.uint64(1))
        value = mix64(hashed)
        samples[sample & ring] = value
        anchor = sample - window
        if smallest < 0 or value < samples[smallest & ring]:
            smallest = sample
        elif smallest < anchor:
            smallest = anchor
            for other in range(anchor + 1, sample + 1):
                if samples[other & ring] < samples[smallest & ring]:
                    smallest = other
        if anchor >= begin and smallest in (anchor, sample):
            state[0], state[1], rolling[0] = place + 1, smallest, hashed
            return anchor
    return -1


@compiled
def _slot(table: np.ndarray, one: np.ndarray, two: np.ndarray, key0: np.uint64, key1: np.uint64) -> np.uint64:
    """Where in the table the key is held, or the free place where it belongs."""
    mask = np.uint64(len(table) - 1)
    slot = key0 & mask
    while table[slot] >= 0 and (one[table[slot]] != key0 or two[table[slot]] != key1):
        slot = (slot + np.uint64(1)) & mask
    return slot


@compiled
def _anchors(
    data: np.ndarray, offsets: np.ndarray, length: int, window: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    docs, starts = np.empty(1024, np.int64), np.empty(1024, np.int64)
    one, two = np.empty(1024, np.uint64), np.empty(1024, np.uint64)
    latest = np.empty(1024, np.int64)  # where each key stood last
    run_docs, run_starts = np.empty(64, np.int64), np.empty(64, np.int64)
    run_ends, run_shifts = np.empty(64, np.int64), np.empty(64, np.int64)
    count = runs = 0
    ring = 1
    while ring <= window:
        ring *= 2
    samples, state, rolling = np.empty(ring, np.uint64), np.empty(2, np.int64), np.ones(2, np.uint64)
    for _ in range(SAMPLE_BYTES):
        rolling[1] *= _BASE
    for row in range(len(offsets) - 1):
        begin, stop = offsets[row], offsets[row + 1]
        table = np.full(16, -1, np.int64)
        first_of_row = count
        while begin < stop:
            end = _block_end(data, begin, stop)
            state[0], state[1], rolling[0] = begin, -1, np.uint64(0)
            while True:
                anchor = _next_anchor(data, begin, end, window, state, samples, rolling)
                if anchor < 0 or anchor + length > end:
                    break
                key0, key1 = bytes_key(data, anchor, anchor + length)
                slot = _slot(table, one, two, key0, key1)
                held = table[slot]
                if held >= 0:
                    shift = anchor - latest[held]
                    latest[held] = anchor
                    last = runs - 1
                    if runs and run_docs[last] == row and run_shifts[last] == shift and anchor <= run_ends[last]:
                        run_ends[last] = anchor + length
                        continue
                    if runs == len(run_docs):
                        run_docs, run_starts = doubled(run_docs), doubled(run_starts)
                        run_ends, run_shifts = doubled(run_ends), doubled(run_shifts)
                    run_docs[runs], run_starts[runs] = row, anchor
                    run_ends[runs], run_shifts[runs] = anchor + length, shift
                    runs += 1
                    continue
                if count == len(docs):
                    docs, starts, latest = doubled(docs), doubled(starts), doubled(latest)
                    one, two = doubled(one), doubled(two)
                docs[count], starts[count], latest[count] = row, anchor, anchor
                one[count], two[count] = key0, key1
                table[slot] = count
                count += 1
                if 2 * (count - first_of_row) > len(table):
                    table = _rehashed(table, one)
            begin = end
    return (
        docs[:count], starts[:count], one[:count], two[:count],
        run_docs[:runs], run_starts[:runs], run_ends[:runs], run_shifts[:runs],
    )  # fmt: skip


def anchors(data: np.ndarray, offsets: np.ndarray, settings: SubstringDedupSettings) -> Anchors:
    """The anchors of texts, given as UTF-8 bytes and int64 offsets, with the keys of the length_bytes behind them."""
    docs, starts, one, two, *runs = _anchors(data, offsets, settings.length_bytes, settings.window_bytes)
    return Anchors(
        docs=docs, starts=starts, keys=np.stack([one, two], axis=1),
        run_docs=runs[0], run_starts=runs[1], run_ends=runs[2], run_shifts=runs[3],
    )  # fmt: skip


@compiled
def agreeing(
    text: np.ndarray, start: int, end: int, low: int, high: int, other: np.ndarray, there: int, reach: int
) -> tuple[int, int]:
    """How far `text` agrees with `other`, whose byte `there` stands for byte `start`: the stretch around [start, end)
    within [low, high), at most `reach` bytes further to either side. Empty if [start, end) itself does not agree."""
    shift = there - start
    for place in range(start, end):
        if place + shift < 0 or place + shift >= len(other) or text[place] != other[place + shift]:
            return start, start
    first, last = start, end
    while (
        first > low and start - first < reach and first - 1 + shift >= 0
        and text[first - 1] == other[first - 1 + shift]
    ):  # fmt: skip
        first -= 1
    while last < high and last - end < reach and last + shift < len(other) and text[last] == other[last + shift]:
        last += 1
    return first, last


@compiled
def _parts_words(text: np.ndarray, place: int, kinds: np.ndarray) -> bool:
    """Whether a text may be cut before byte `place`: not within a character, nor between two of one word."""
    if place <= 0 or place >= len(text):
        return True
    if text[place] & 0xC0 == 0x80:
        return False
    before = place - 1
    while before > 0 and text[before] & 0xC0 == 0x80:
        before -= 1
    one, _ = words.code_point(text, before, len(text))
    two, _ = words.code_point(text, place, len(text))
    left, right = kinds[one] & words.KIND, kinds[two] & words.KIND
    inside = right in (words.LETTER, words.DIGIT, words.MARK, words.JOINER, words.HIDDEN_JOINER)
    return not (inside and left in (words.LETTER, words.DIGIT, words.MARK, words.JOINER, words.HIDDEN_JOINER))


@compiled
def _whole_characters(text: np.ndarray, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start] & 0xC0 == 0x80:
        start += 1
    while end > start and end < len(text) and text[end] & 0xC0 == 0x80:
        end -= 1
    return start, end


@compiled
def whole_words(text: np.ndarray, start: int, end: int, kinds: np.ndarray) -> tuple[int, int]:
    """The stretch shortened at both ends to where the text may be cut: to words, or where there is no end of a word
    near, to characters."""
    start, end = _whole_characters(text, start, end)
    first, last = start, end
    while first < end and first - start < _WORD_BYTES and not _parts_words(text, first, kinds):
        first += 1
    while last > first and end - last < _WORD_BYTES and not _parts_words(text, last, kinds):
        last -= 1
    if _parts_words(text, first, kinds):
        start = first
    if _parts_words(text, last, kinds):
        end = last
    return start, max(start, end)
