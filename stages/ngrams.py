"""Repeated lines, paragraphs and word n-grams, counted in characters: the kernel of `gopher_repetition` and DCLM's.

An n-gram can only be repeated where both (n-1)-grams in it are. So after the pairs each n looks only at the places that
the n before left over, and ordinary text costs little more than one pass over its pairs. Everything is linear:
n-grams are compared by 64-bit hashes (in a document of a million words, two different n-grams of a kind share one with
a probability of 3e-8), in open-addressing tables at most half full.
"""

from typing import Final

import numpy as np

from stages.compiled import compiled
from stages.words import find_lines, find_words, mark_copies, mix

#: n for which the commonest n-gram counts, and n for which all repeated ones do (Gopher, table A1).
TOP: Final = (2, 3, 4)
REPEATED: Final = (5, 6, 7, 8, 9, 10)

# The columns of the kernel's table of counts; then the characters of the top n-grams, then of the repeated ones.
(
    CHARACTERS, LINES, REPEATED_LINES, REPEATED_LINE_CHARACTERS,
    PARAGRAPHS, REPEATED_PARAGRAPHS, REPEATED_PARAGRAPH_CHARACTERS, TOP_CHARACTERS,
) = range(8)  # fmt: skip
REPEATED_CHARACTERS: Final = TOP_CHARACTERS + len(TOP)
# The same as DCLM counts it: every copy, the first one too, and of n-grams the characters of the words alone.
_DCLM: Final = REPEATED_CHARACTERS + len(REPEATED)
(
    COPIED_LINES, COPIED_LINE_CHARACTERS, LINE_CHARACTERS,
    COPIED_PARAGRAPHS, COPIED_PARAGRAPH_CHARACTERS, PARAGRAPH_CHARACTERS, WORD_CHARACTERS, TOP_WORD_CHARACTERS,
) = range(_DCLM, _DCLM + 8)  # fmt: skip
COPIED_WORD_CHARACTERS: Final = TOP_WORD_CHARACTERS + len(TOP)
COUNTS: Final = COPIED_WORD_CHARACTERS + len(REPEATED)

_FIRST_TOP: Final = TOP[0]
_LAST_TOP: Final = TOP[-1]
_FIRST_REPEATED: Final = REPEATED[0]
_LAST: Final = REPEATED[-1]
#: An odd multiplier (2^64 divided by the golden ratio): makes the hash of an n-gram depend on the order of its words.
_ORDER: Final = np.uint64(0x9E3779B97F4A7C15)


@compiled
def count_documents(
    data: np.ndarray,
    offsets: np.ndarray,
    kinds: np.ndarray,
    small: np.ndarray,
    word_text: tuple[np.ndarray, np.ndarray, np.ndarray],
    counts: np.ndarray,
) -> None:
    """Fills one row of `counts` (int64[documents, COUNTS], zeros before) for each document.

    `word_text`: the documents as words are to be found in them (stages/segmentation.py); lines are those of `data`.
    """
    word_data, word_offsets, word_kinds = word_text
    room = 1024
    starts, ends, lengths = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    hashes, flags = np.empty(room, np.uint64), np.empty(room, np.bool_)
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        word_begin, word_end = word_offsets[row], word_offsets[row + 1]
        most = max(end - begin, word_end - word_begin) // 2 + 1
        if most > room:  # a word takes a byte and the gap before it another; so does a line
            room = max(2 * room, most)
            starts, ends, lengths = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
            hashes, flags = np.empty(room, np.uint64), np.empty(room, np.bool_)
        count = counts[row]
        lines, _, characters = find_lines(data, begin, end, kinds, starts, ends, lengths, hashes, flags)
        count[CHARACTERS] = characters
        _count_lines(lengths, hashes, flags, lines, count)
        words, _ = find_words(word_data, word_begin, word_end, word_kinds, small, starts, ends, hashes)
        _count_ngrams(starts, ends, hashes, words, count)


@compiled
def _count_lines(lengths: np.ndarray, hashes: np.ndarray, opens: np.ndarray, lines: int, count: np.ndarray) -> None:
    """Lines and paragraphs; which stood further up already, and which stand twice. Overwrites all three arrays."""
    repeats, copies = np.empty(lines, np.bool_), np.empty(lines, np.bool_)
    mark_copies(hashes, lines, repeats, copies)
    count[LINES] = lines
    paragraphs = 0
    for i in range(lines):
        count[LINE_CHARACTERS] += lengths[i]
        count[REPEATED_LINES] += repeats[i]
        count[REPEATED_LINE_CHARACTERS] += lengths[i] if repeats[i] else 0
        count[COPIED_LINES] += copies[i]
        count[COPIED_LINE_CHARACTERS] += lengths[i] if copies[i] else 0
        if opens[i]:
            paragraphs += 1
            hashes[paragraphs - 1] = hashes[i]
            lengths[paragraphs - 1] = lengths[i]
        else:
            hashes[paragraphs - 1] = mix(hashes[paragraphs - 1] * _ORDER + hashes[i])
            lengths[paragraphs - 1] += 1 + lengths[i]
    mark_copies(hashes, paragraphs, repeats, copies)
    count[PARAGRAPHS] = paragraphs
    for i in range(paragraphs):
        count[PARAGRAPH_CHARACTERS] += lengths[i]
        count[REPEATED_PARAGRAPHS] += repeats[i]
        count[REPEATED_PARAGRAPH_CHARACTERS] += lengths[i] if repeats[i] else 0
        count[COPIED_PARAGRAPHS] += copies[i]
        count[COPIED_PARAGRAPH_CHARACTERS] += lengths[i] if copies[i] else 0


@compiled
def _count_ngrams(starts: np.ndarray, ends: np.ndarray, hashes: np.ndarray, words: int, count: np.ndarray) -> None:
    """Characters in the commonest n-gram, and in those that occurred before, for each n.

    An n-gram's characters are the text from its first word to its last, what stands between included; a character in
    several of them counts once. For DCLM's counts they are those of its words.
    """
    letters = np.zeros(words + 1, np.int64)  # characters of the words before each one
    for i in range(words):
        letters[i + 1] = letters[i] + ends[i] - starts[i]
    count[WORD_CHARACTERS] = letters[words]
    places = np.arange(words)  # where an n-gram may be repeated
    grams = hashes[:words].copy()  # the hash of the n-gram at each of these places
    slots = np.empty(words, np.int64)
    again = np.empty(words, np.bool_)
    left = words
    for n in range(2, _LAST + 1):
        size = 16
        while size < 2 * left:
            size *= 2
        table = np.zeros(size, np.uint64)
        times = np.zeros(size, np.int32)
        mask = np.uint64(size - 1)
        kept = 0
        for i in range(left):
            last = places[i] + n - 1
            if last >= words:
                break
            gram = mix(grams[i] * _ORDER + hashes[last])
            slot = gram & mask
            while table[slot] != 0 and table[slot] != gram:
                slot = (slot + np.uint64(1)) & mask
            again[i] = table[slot] == gram
            table[slot] = gram
            times[slot] += 1
            grams[i] = gram
            slots[i] = slot
            kept = i + 1
        left = kept
        if _FIRST_TOP <= n <= _LAST_TOP:
            top = np.int64(-1)
            for i in range(left):
                if times[slots[i]] >= 2 and (top < 0 or times[slots[i]] > times[top]):
                    top = slots[i]
            if top >= 0:
                count[TOP_CHARACTERS + n - _FIRST_TOP] = _covered(starts, ends, places, slots[:left] == top, n)
                longest = np.int64(0)  # of all that are as common as the top one
                for i in range(left):
                    if times[slots[i]] == times[top]:
                        longest = max(longest, letters[places[i] + n] - letters[places[i]])
                count[TOP_WORD_CHARACTERS + n - _FIRST_TOP] = longest * times[top]
        elif n >= _FIRST_REPEATED:
            count[REPEATED_CHARACTERS + n - _FIRST_REPEATED] = _covered(starts, ends, places, again[:left], n)
            reached = np.int64(0)
            for i in range(left):
                if times[slots[i]] >= 2:
                    behind = places[i] + n
                    count[COPIED_WORD_CHARACTERS + n - _FIRST_REPEATED] += (
                        letters[behind] - letters[max(places[i], reached)]
                    )
                    reached = behind
        left = _thin_out(places, grams, slots, times, left)


@compiled
def _covered(starts: np.ndarray, ends: np.ndarray, places: np.ndarray, chosen: np.ndarray, n: int) -> int:
    """Characters in the chosen n-grams, which are in the order of the text; each counts once."""
    covered = 0
    reached = 0
    for i in range(len(chosen)):
        if chosen[i]:
            end = ends[places[i] + n - 1]
            covered += end - max(starts[places[i]], reached)
            reached = end
    return covered


@compiled
def _thin_out(places: np.ndarray, grams: np.ndarray, slots: np.ndarray, times: np.ndarray, left: int) -> int:
    """Keeps the places whose n-gram and whose next place's n-gram both occur twice or more; returns how many."""
    kept = 0
    for i in range(left - 1):
        if places[i + 1] == places[i] + 1 and times[slots[i]] >= 2 and times[slots[i + 1]] >= 2:
            places[kept] = places[i]
            grams[kept] = grams[i]
            kept += 1
    return kept
