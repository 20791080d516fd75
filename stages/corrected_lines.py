"""The compiled half of `refinedweb_lines`: which lines of a document go, and what is cut from short ones."""

from collections.abc import Iterable
from typing import Final

import numpy as np

from stages import words
from stages.compiled import compiled
from stages.words import code_point

# The columns of the table of counts, in the order of refinedweb_lines.ADDS. A removed line counts under one of them.
(
    WORDS, REMOVED_WORDS, REMOVED_CHARACTERS, UPPERCASE_LINES, NUMERIC_LINES, COUNTER_LINES, SHORT_LINES, EDITED_LINES,
) = range(8)  # fmt: skip
COUNTS: Final = EDITED_LINES + 1
#: What `_fate` says of a line that stays.
_STAYS: Final = -1

# Where in a short line a phrase is cut.
ANYWHERE, AT_END, AT_BEGINNING = range(3)

Phrases = tuple[np.ndarray, np.ndarray, np.ndarray]


def phrase_table(phrases: Iterable[tuple[str, int]]) -> Phrases:
    """Phrases with the place where each is looked for, as the kernel reads them: their bytes one behind the other, in
    small letters; where each begins and the last one ends; the places."""
    listed = [(phrase.lower().encode(), place) for phrase, place in phrases]
    letters = np.frombuffer(b"".join(phrase for phrase, _ in listed), dtype=np.uint8)
    bounds = np.cumsum([0, *(len(phrase) for phrase, _ in listed)]).astype(np.int64)
    return letters, bounds, np.array([place for _, place in listed], dtype=np.int64)


@compiled
def _small(byte: int) -> int:
    return byte | 0x20 if 0x41 <= byte <= 0x5A else byte


@compiled
def _stands_at(line: np.ndarray, place: int, letters: np.ndarray) -> bool:
    """Whether the letters stand there, whatever the case of ASCII's."""
    if place < 0 or place + len(letters) > len(line):
        return False
    same = 0
    while same < len(letters) and _small(line[place + same]) == letters[same]:
        same += 1
    return same == len(letters)


@compiled
def _is_word(kind: int) -> bool:
    return kind == words.LETTER or kind == words.LONE_LETTER or kind == words.DIGIT


@compiled
def _skip_to_word(line: np.ndarray, place: int, kinds: np.ndarray) -> int:
    """Where the next letter or digit stands from `place` on; the end if none does."""
    while place < len(line):
        code, size = code_point(line, place, len(line))
        if _is_word(kinds[code] & words.KIND):
            return place
        place += size
    return place


@compiled
def _is_counter(line: np.ndarray, kinds: np.ndarray, nouns: Phrases) -> bool:
    """Whether the line is a number, possibly in thousands, millions or billions, and a noun, and nothing else."""
    place = _skip_to_word(line, 0, kinds)
    digits = 0
    while place < len(line):
        code, size = code_point(line, place, len(line))
        if kinds[code] & words.KIND == words.DIGIT:
            digits += 1
        elif digits == 0 or not (code == 0x2C or code == 0x2E):
            break
        place += size
    if digits == 0 or place == len(line):
        return False
    if _small(line[place]) in (0x6B, 0x6D, 0x62):  # k, m, b
        place += 1
    spaces = place
    while place < len(line):
        code, size = code_point(line, place, len(line))
        if kinds[code] & words.KIND != words.SPACE:
            break
        place += size
    if place == spaces:
        return False
    letters, bounds, _ = nouns
    for noun in range(len(bounds) - 1):
        size = bounds[noun + 1] - bounds[noun]
        stands = _stands_at(line, place, letters[bounds[noun] : bounds[noun + 1]])
        if stands and _skip_to_word(line, place + size, kinds) == len(line):
            return True
    return False


@compiled
def _count_words(line: np.ndarray, kinds: np.ndarray) -> int:
    """Pieces between white space; where a script writes none, its letters."""
    pieces = 0
    inside = False
    place = 0
    while place < len(line):
        code, size = np.int64(line[place]), 1
        if code >= 0x80:
            code, size = code_point(line, place, len(line))
        kind = kinds[code] & words.KIND
        if kind == words.SPACE:
            inside = False
        else:
            pieces += kind == words.LONE_LETTER or not inside
            inside = True
        place += size
    return pieces


@compiled
def _fate(
    line: np.ndarray, pieces: int, kinds: np.ndarray, small: np.ndarray, nouns: Phrases, limits: np.ndarray
) -> int:
    """The column of the first rule for which the line must go, or _STAYS. The line has no outer white space."""
    characters = 0
    capitals = 0
    digits = 0
    inked = 0
    place = 0
    while place < len(line):
        code, size = np.int64(line[place]), 1
        if code >= 0x80:
            code, size = code_point(line, place, len(line))
        characters += 1
        capitals += small[code] != code
        kind = kinds[code] & words.KIND
        inked += kind != words.SPACE
        digits += kind == words.DIGIT
        place += size
    if capitals > limits[0] * characters:
        return UPPERCASE_LINES
    if digits == inked:
        return NUMERIC_LINES
    if _is_counter(line, kinds, nouns):
        return COUNTER_LINES
    return SHORT_LINES if pieces < limits[1] else _STAYS


@compiled
def _cut(written: np.ndarray, stop: int, begin: int, end: int) -> int:
    """Takes the bytes [begin, end) out of a line that ends at `stop`; returns where it ends then."""
    for place in range(end, stop):
        written[begin + place - end] = written[place]
    return stop - (end - begin)


@compiled
def _edit(written: np.ndarray, at: int, stop: int, phrases: Phrases) -> int:
    """Cuts the phrases out of the line [at, stop), each with a space beside it; returns where it ends then."""
    letters, bounds, places = phrases
    for phrase in range(len(places)):
        sought = letters[bounds[phrase] : bounds[phrase + 1]]
        size = len(sought)
        if places[phrase] == AT_BEGINNING:
            if _stands_at(written[at:stop], 0, sought):
                space = at + size < stop and written[at + size] == 0x20
                stop = _cut(written, stop, at, at + size + space)
        elif places[phrase] == AT_END:
            if _stands_at(written[at:stop], stop - at - size, sought):
                stop -= size
                stop -= stop > at and written[stop - 1] == 0x20
        else:
            place = at
            while place + size <= stop:
                if _stands_at(written[at:stop], place - at, sought):
                    begin = place - (place > at and written[place - 1] == 0x20)
                    stop = _cut(written, stop, begin, place + size)
                    place = begin
                else:
                    place += 1
    return stop


@compiled
def _find_ink(data: np.ndarray, begin: int, end: int, kinds: np.ndarray) -> tuple[int, int]:
    """Where the line's first visible character begins and its last one ends; twice the end for a blank line."""
    first, last = end, end
    place = begin
    while place < end:
        code, size = np.int64(data[place]), 1
        if code >= 0x80:
            code, size = code_point(data, place, end)
        if kinds[code] & words.KIND != words.SPACE:
            first = min(first, place)
            last = place + size
        place += size
    return first, last


@compiled
def _copy(data: np.ndarray, begin: int, end: int, written: np.ndarray, at: int) -> int:
    written[at : at + end - begin] = data[begin:end]
    return at + end - begin


@compiled
def correct_documents(
    data: np.ndarray,
    offsets: np.ndarray,
    kinds: np.ndarray,
    small: np.ndarray,
    nouns: Phrases,
    phrases: Phrases,
    limits: np.ndarray,
    written: np.ndarray,
    ends: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Writes the corrected documents one behind the other into `written`, where each ends into `ends[1:]`; `counts`.

    `written` has room for all the bytes of the documents; `counts` (int64[documents, COUNTS]) is zeros before. `limits`
    are the settings: largest share of capitals, fewest words of a line, most words of a line that is edited.
    """
    done = 0
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        count = counts[row]
        first = done
        touched = False  # whether anything of this document went
        blank_before = True  # whether the line written last is blank, or none is
        gone = False  # whether a line went since
        place = begin
        while place < end:
            stop = place
            while stop < end and data[stop] != 0x0A:
                stop += 1
            behind = min(stop + 1, end)
            inked, last = _find_ink(data, place, stop, kinds)
            if inked == last:
                if not (blank_before and gone):
                    done = _copy(data, place, behind, written, done)
                    blank_before, gone = True, False
                place = behind
                continue
            line = data[inked:last]
            pieces = _count_words(line, kinds)
            count[WORDS] += pieces
            fate = _fate(line, pieces, kinds, small, nouns, limits)
            if fate == _STAYS and pieces <= limits[2]:
                edited = _edit(written, done, _copy(data, inked, last, written, done), phrases)
                if edited - done < last - inked:
                    fate = EDITED_LINES
                    count[EDITED_LINES] += 1
                    left, right = _find_ink(written, done, edited, kinds)
                    for byte in range(left, right):
                        written[done + byte - left] = written[byte]
                    left_over = _count_words(written[done : done + right - left], kinds)
                    count[REMOVED_WORDS] += pieces - left_over
                    touched = True
                    if right > left:
                        done = _copy(data, stop, behind, written, done + right - left)
                        blank_before, gone = False, False
                    else:
                        gone = True
            elif fate != _STAYS:
                count[fate] += 1
                count[REMOVED_WORDS] += pieces
                touched = gone = True
            if fate == _STAYS:
                done = _copy(data, place, behind, written, done)
                blank_before, gone = False, False
            place = behind
        if touched:
            _, done = _find_ink(written, first, done, kinds)
        ends[row + 1] = done
        for byte in range(begin, end):
            count[REMOVED_CHARACTERS] += data[byte] & 0xC0 != 0x80
        for byte in range(first, done):
            count[REMOVED_CHARACTERS] -= written[byte] & 0xC0 != 0x80
