"""The compiled half of `c4_quality`: which lines of a document stay, and what they hold. The rules stand there."""

from functools import cache
from typing import Final

import numpy as np

from stages import words
from stages.compiled import compiled
from stages.words import code_point, find_lines, mix

#: From the list in C4's published code, for notices that extraction leaves in the text.
POLICY_PHRASES: Final = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
_EDIT: Final = np.frombuffer(b"edit]", dtype=np.uint8)
_CITATION_NEEDED: Final = np.frombuffer(b"citation needed]", dtype=np.uint8)
#: A full stop behind one of these ends no sentence; nor one behind a single letter (`J.`, `e.g.`).
ABBREVIATIONS: Final = (
    *("mr", "mrs", "ms", "dr", "prof", "st", "sr", "jr", "rev", "hon", "gen", "col", "capt", "lt", "sgt", "sen", "gov"),
    *("vs", "fig", "figs", "no", "nos", "vol", "pp", "ed", "eds", "cf", "ca", "al", "approx", "dept", "est"),
    *("jan", "feb", "mar", "apr", "aug", "sept", "sep", "oct", "nov", "dec"),
)

# What a line may hold, as bits.
_LOREM, _SCRIPT, _BRACKET, _POLICY = 1, 2, 4, 8
_PHRASES: Final = (
    ("lorem ipsum", _LOREM),
    ("javascript", _SCRIPT),
    ("{", _BRACKET),
    *((phrase, _POLICY) for phrase in POLICY_PHRASES),
)

#: A line of at least so many characters is a long one (mC4: Xue et al. 2021, arXiv 2010.11934, section 3.1).
LONG_LINE_CHARACTERS: Final = 200

# The columns of the table of counts, in the order of c4_quality.ADDS.
(
    KEPT_LINES, REMOVED_LINES, REMOVED_CHARACTERS, LONG_WORD_LINES, UNFINISHED_LINES, SHORT_LINES, SCRIPT_LINES,
    POLICY_LINES, LOREM_LINES, BRACKET_LINES, SENTENCES, LONG_LINES,
) = range(12)  # fmt: skip
COUNTS: Final = LONG_LINES + 1

Tables = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@cache
def tables() -> Tables:
    """What the kernel looks for: phrases one behind the other, where each begins and the last one ends, the bit of
    each; for each byte, which phrases may begin with it and which may go on with it, as bits; hashes of abbreviations.
    """
    letters = "".join(phrase for phrase, _ in _PHRASES)
    bounds = np.cumsum([0, *(len(phrase) for phrase, _ in _PHRASES)])
    bits = np.array([bit for _, bit in _PHRASES], dtype=np.int64)
    first, second = np.zeros(256, dtype=np.int64), np.zeros(256, dtype=np.int64)
    for number, (phrase, _) in enumerate(_PHRASES):
        first[[ord(phrase[0]), ord(phrase[0].upper())]] |= 1 << number
        if len(phrase) == 1:
            second |= 1 << number
        else:
            second[[ord(phrase[1]), ord(phrase[1].upper())]] |= 1 << number
    abbreviations = np.array([words.word_hash(word) for word in ABBREVIATIONS], dtype=np.uint64)
    return np.frombuffer(letters.encode(), dtype=np.uint8), bounds, bits, first, second, abbreviations


@compiled
def _small(byte: int) -> int:
    return byte | 0x20 if 0x41 <= byte <= 0x5A else byte


@compiled
def _phrases_in(line: np.ndarray, tables: Tables) -> int:
    """The bits of the phrases that occur in the line, whatever the case of their ASCII letters."""
    letters, bounds, bits, first, second, _ = tables
    found = 0
    for place in range(len(line)):
        may_be = first[line[place]]
        if may_be and place + 1 < len(line):
            may_be &= second[line[place + 1]]
        phrase = 0
        while may_be:
            begin, size = bounds[phrase], bounds[phrase + 1] - bounds[phrase]
            if may_be & 1 and place + size <= len(line):
                same = 1
                while same < size and _small(line[place + same]) == letters[begin + same]:
                    same += 1
                if same == size:
                    found |= bits[phrase]
            may_be >>= 1
            phrase += 1
    return found


@compiled
def _stands_at(data: np.ndarray, begin: int, end: int, expected: np.ndarray) -> bool:
    return begin + len(expected) <= end and bool((data[begin : begin + len(expected)] == expected).all())


@compiled
def _citation(data: np.ndarray, begin: int, end: int) -> int:
    """How many bytes the citation mark takes whose bracket opens at `begin`; 0 if it is none."""
    place = begin + 1
    while place < end and 0x30 <= data[place] <= 0x39:
        place += 1
    if place < end and data[place] == 0x5D:
        return place + 1 - begin
    if _stands_at(data, begin + 1, end, _EDIT):
        return 1 + len(_EDIT)
    if _stands_at(data, begin + 1, end, _CITATION_NEEDED):
        return 1 + len(_CITATION_NEEDED)
    return 0


@compiled
def _copy_line(
    data: np.ndarray, begin: int, end: int, kinds: np.ndarray, written: np.ndarray, at: int
) -> tuple[int, int, int]:
    """Writes the line [begin, end) from `written[at]` on, without citation marks and then outer white space.

    Returns where it ends there; and, of the line as it was, how many pieces stand between white space, and how many
    characters the longest has.
    """
    pieces = 0
    longest = 0
    length = 0
    resume = begin  # where the citation mark ends in which we are
    stop = at
    inked = at  # behind the last character written that is no white space
    place = begin
    while place < end:
        code, size = np.int64(data[place]), 1
        if code >= 0x80:
            code, size = code_point(data, place, end)
        space = kinds[code] & words.KIND == words.SPACE
        length = 0 if space else length + 1
        pieces += length == 1
        longest = max(longest, length)
        if code == 0x5B and place >= resume:
            resume = place + _citation(data, place, end)
        if place >= resume and not (space and inked == at):
            for byte in range(place, place + size):
                written[stop] = data[byte]
                stop += 1
            if not space:
                inked = stop
        place += size
    return inked, pieces, longest


@compiled
def _ends_well(line: np.ndarray, kinds: np.ndarray) -> bool:
    """Whether a line that is not empty ends with a sentence's end mark or a closing quote, and with no ellipsis."""
    place = len(line) - 1
    while place > 0 and line[place] & 0xC0 == 0x80:
        place -= 1
    last, _ = code_point(line, place, len(line))
    if last == 0x2026 or (len(line) >= 3 and line[-1] == 0x2E and line[-2] == 0x2E and line[-3] == 0x2E):
        return False
    return last in (0x22, 0x27, 0x2019, 0x201D) or bool(kinds[last] & words.TERMINAL != 0)


@compiled
def _opens_sentence(line: np.ndarray, place: int, kinds: np.ndarray) -> bool:
    """Whether, behind an end mark at `place`, white space and then no small letter follow; so at the line's end."""
    spaces = 0
    while place < len(line):
        code, size = code_point(line, place, len(line))
        if kinds[code] & words.KIND == words.SPACE:
            spaces += 1
        elif spaces == 0:
            return False
        elif kinds[code] & words.QUOTE == 0:
            return bool(kinds[code] & words.LOWER == 0)
        place += size
    return True


@compiled
def _sentences(line: np.ndarray, kinds: np.ndarray, small: np.ndarray, abbreviations: np.ndarray) -> int:
    """How many sentences the line holds; what stands behind the last end mark is one too.

    One ends with a run of end marks and closing quotes, before white space and no small letter; not with the full
    stop of an abbreviation or initial. The marks of Chinese and Japanese need no white space.
    """
    sentences = 0
    begun = False
    letters = 0  # of the word that ends here
    running = words.FNV_START
    place = 0
    while place < len(line):
        code, size = np.int64(line[place]), 1
        if code >= 0x80:
            code, size = code_point(line, place, len(line))
        place += size
        kind = kinds[code] & words.KIND
        if kinds[code] & words.TERMINAL == 0:
            begun = begun or kind != words.SPACE
            if kind == words.LETTER or kind == words.MARK:
                letters += 1
                running = (running ^ np.uint64(small[code])) * words.FNV_PRIME
            else:
                letters = 0
                running = words.FNV_START
            continue
        full_stop = code == 0x2E
        while place < len(line):
            following, size = code_point(line, place, len(line))
            if kinds[following] & (words.TERMINAL | words.QUOTE) == 0:
                break
            full_stop = full_stop and kinds[following] & words.TERMINAL == 0
            place += size
        short = full_stop and (letters == 1 or (letters > 1 and bool((abbreviations == mix(running)).any())))
        ended = code >= 0x3000 or (_opens_sentence(line, place, kinds) and (place == len(line) or not short))
        sentences += 1 if ended else 0
        begun = not ended
        letters = 0
        running = words.FNV_START
    return sentences + begun


@compiled
def _rule_broken(line: np.ndarray, pieces: int, longest: int, kinds: np.ndarray, limits: np.ndarray) -> int:
    """The column of the first rule about form for which the line must go; KEPT_LINES if it may stay."""
    if longest > limits[1]:
        return LONG_WORD_LINES
    if len(line) == 0:
        return SHORT_LINES
    if limits[2] and not _ends_well(line, kinds):
        return UNFINISHED_LINES
    return SHORT_LINES if pieces < limits[0] else KEPT_LINES


@compiled
def _fate(line: np.ndarray, tables: Tables, count: np.ndarray) -> int:
    """The column of the rule about content for which a well-formed line must go; counts what judges the document."""
    found = _phrases_in(line, tables)
    count[LOREM_LINES] += found & _LOREM != 0
    if found & _SCRIPT:
        return SCRIPT_LINES
    count[BRACKET_LINES] += found & _BRACKET != 0
    return POLICY_LINES if found & _POLICY else KEPT_LINES


@compiled
def clean_documents(
    data: np.ndarray,
    offsets: np.ndarray,
    kinds: np.ndarray,
    small: np.ndarray,
    tables: Tables,
    limits: np.ndarray,
    written: np.ndarray,
    ends: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Writes the cleaned documents one behind the other into `written`, where each ends into `ends[1:]`, and `counts`.

    `written` has room for all the bytes of the documents; `counts` (int64[documents, COUNTS]) is zeros before. `limits`
    are the settings: least pieces of a line, most characters of a piece, whether an end mark is asked for.
    """
    room = 1024
    starts, stops, lengths = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    hashes, flags = np.empty(room, np.uint64), np.empty(room, np.bool_)
    done = 0
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        if (end - begin) // 2 + 1 > room:  # a line takes a byte and its break another
            room = max(2 * room, (end - begin) // 2 + 1)
            starts, stops, lengths = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
            hashes, flags = np.empty(room, np.uint64), np.empty(room, np.bool_)
        count = counts[row]
        lines, _, characters = find_lines(data, begin, end, kinds, starts, stops, lengths, hashes, flags)
        first = done
        for i in range(lines):
            count[LONG_LINES] += lengths[i] >= LONG_LINE_CHARACTERS
            at = done if done == first else done + 1
            stop, pieces, longest = _copy_line(data, starts[i], stops[i], kinds, written, at)
            line = written[at:stop]
            broken = _rule_broken(line, pieces, longest, kinds, limits)
            if broken == KEPT_LINES:
                broken = _fate(line, tables, count)
            count[broken] += 1
            if broken == KEPT_LINES:
                count[SENTENCES] += _sentences(line, kinds, small, tables[-1])
                if at > done:
                    written[done] = 0x0A
                done = stop
        count[REMOVED_LINES] = lines - count[KEPT_LINES]
        kept_characters = 0
        for place in range(first, done):
            kept_characters += written[place] & 0xC0 != 0x80
        count[REMOVED_CHARACTERS] = characters - kept_characters
        ends[row + 1] = done
