"""C4's cleaning: keep the lines that are sentences, then the documents in which enough of them are left.

Source: Raffel et al. 2020 (arXiv 1910.10683), section 2.2, in the reading of datatrove 0.10, which follows C4's
published code. Line by line:

1. a line with a piece between white space of more than `max_word_characters` goes (code, not paper);
2. Wikipedia's citation marks (`[1]`, `[]`, `[edit]`, `[citation needed]`) are cut out (code, not paper);
3. a line that does not end with a sentence's end mark or a closing quote, or that ends with an ellipsis, goes;
4. a line of fewer than `min_words_per_line` pieces between white space goes;
5. a line with `javascript` goes, one with a phrase of POLICY_PHRASES too (code, not paper), whatever the case of ASCII.

`lorem ipsum` and `{` count only in lines that come so far (`{` after `javascript`), as in C4's code: a document is
judged by what is left of it. The lines that stay are joined with one \\n; blank lines go.

Where we differ from datatrove: a citation mark behind the full stop takes the white space before it along, so that the
line still ends with the full stop; end marks and quotes of all scripts count, not only ASCII's; lines end at \\n
alone; and a document that breaks two rules gets the reason that comes first in `judge`, not in the text.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import numpy as np
import pyarrow as pa

from stages import words
from stages.compiled import compiled
from stages.stage import Rule, Settings, Stage, setting, threshold, verdicts
from stages.words import code_point, find_lines, mix

_PAPER: Final = "(C4, section 2.2)"

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

# The columns of the kernel's table of counts, in the order of ADDS.
(
    _KEPT_LINES, _REMOVED_LINES, _REMOVED_CHARACTERS, _LONG_WORD, _UNFINISHED, _SHORT, _SCRIPT_LINES, _POLICY_LINES,
    _LOREM_LINES, _BRACKET_LINES, _SENTENCES,
) = range(11)  # fmt: skip

#: The counts are of lines, but for characters and sentences. A removed line counts under the first rule that it breaks.
ADDS: Final = pa.schema(
    [
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("c4_kept_lines", pa.int64(), nullable=False),
        pa.field("c4_removed_lines", pa.int64(), nullable=False),
        # Length of the text before less after, so with citation marks, blank lines and outer white space.
        pa.field("c4_removed_characters", pa.int64(), nullable=False),
        pa.field("c4_long_word_lines", pa.int64(), nullable=False),
        pa.field("c4_unfinished_lines", pa.int64(), nullable=False),
        pa.field("c4_short_lines", pa.int64(), nullable=False),
        pa.field("c4_javascript_lines", pa.int64(), nullable=False),
        pa.field("c4_policy_lines", pa.int64(), nullable=False),
        pa.field("c4_lorem_ipsum_lines", pa.int64(), nullable=False),  # lines that pass rules 1 to 4
        pa.field("c4_curly_bracket_lines", pa.int64(), nullable=False),  # those of them without javascript
        pa.field("c4_sentences", pa.int64(), nullable=False),  # in kept lines
    ]
)


class C4QualitySettings(Settings):
    """What makes a line a sentence (measured), and how many a document must keep (judged)."""

    min_words_per_line: int = setting(
        3, f"Pieces between white space; shorter lines are removed {_PAPER}. C4's later code has 5.", ge=0
    )
    max_word_characters: int = setting(
        1000, "Characters of a piece between white space; lines with a longer one are removed (C4's code).", ge=1
    )
    require_end_mark: bool = setting(
        True,
        f"Whether lines without a sentence's end mark are removed {_PAPER}. FineWeb turned this off (section 3.5).",
    )
    min_sentences: int = threshold(
        5, f"Sentences in the kept lines {_PAPER}; 0 asks for none. C4's later code has 3.", ge=0
    )
    max_lorem_ipsum_lines: int = threshold(
        0, f"Lines with the placeholder `lorem ipsum` that pass rules 1 to 4 {_PAPER}.", ge=0
    )
    max_curly_bracket_lines: int = threshold(
        0,
        f"Lines with a curly bracket, the mark of code, that pass rules 1 to 4 and hold no javascript {_PAPER}.",
        ge=0,
    )


def measure(docs: pa.Table, settings: C4QualitySettings, _resources: Mapping[str, Any]) -> pa.Table:
    """The cleaned `text` and the counts of ADDS, one row for each document, in order; the text may end up empty."""
    data, offsets = words.utf8(docs["text"])
    counts = np.zeros((docs.num_rows, _SENTENCES + 1), dtype=np.int64)
    written = np.empty(int(offsets[-1] - offsets[0]), dtype=np.uint8)
    ends = np.zeros(docs.num_rows + 1, dtype=np.int64)
    limits = np.array(
        [settings.min_words_per_line, settings.max_word_characters, settings.require_end_mark], dtype=np.int64
    )
    kinds, small = words.character_table()
    _clean_documents(data, offsets, kinds, small, _tables(), limits, written, ends, counts)
    text = pa.LargeStringArray.from_buffers(
        docs.num_rows, pa.py_buffer(ends), pa.py_buffer(written[: ends[-1]].tobytes())
    )
    return pa.table([text, *(np.ascontiguousarray(column) for column in counts.T)], schema=ADDS)


def judge(docs: pa.Table, settings: C4QualitySettings) -> pa.Table:
    """The first rule that each document fails; the count and its limit."""
    value = {name: docs[name].to_numpy() for name in STAGE.judges}
    notices = value["c4_javascript_lines"] + value["c4_policy_lines"]
    rules = [
        Rule(
            reason="lorem_ipsum",
            passes=value["c4_lorem_ipsum_lines"] <= settings.max_lorem_ipsum_lines,
            measured=value["c4_lorem_ipsum_lines"],
            threshold=settings.max_lorem_ipsum_lines,
        ),
        Rule(
            reason="curly_bracket",
            passes=value["c4_curly_bracket_lines"] <= settings.max_curly_bracket_lines,
            measured=value["c4_curly_bracket_lines"],
            threshold=settings.max_curly_bracket_lines,
        ),
        Rule(
            reason="policy",
            passes=(value["c4_kept_lines"] > 0) | (notices == 0),
            measured=notices,
            detail="policy and script notices were removed, and no line is left",
        ),
        Rule(
            reason="sentence_count",
            passes=value["c4_sentences"] >= settings.min_sentences,
            measured=value["c4_sentences"],
            threshold=settings.min_sentences,
        ),
    ]
    return verdicts(rules, docs.num_rows)


Tables = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@cache
def _tables() -> Tables:
    """For the kernel: phrases one behind the other, where each begins, its bit, which bytes begin one; abbreviations.

    Phrases and abbreviations are ASCII in small letters.
    """
    phrases = np.frombuffer("".join(phrase for phrase, _ in _PHRASES).encode(), dtype=np.uint8)
    bounds = np.cumsum([0, *(len(phrase) for phrase, _ in _PHRASES)])
    bits = np.array([bit for _, bit in _PHRASES], dtype=np.int64)
    begins = np.zeros(256, dtype=np.bool_)
    begins[[ord(phrase[0]) for phrase, _ in _PHRASES]] = True
    return phrases, bounds, bits, begins, np.array([words.word_hash(word) for word in ABBREVIATIONS], dtype=np.uint64)


@compiled
def _small(byte: int) -> int:
    return byte | 0x20 if 0x41 <= byte <= 0x5A else byte


@compiled
def _phrases_in(data: np.ndarray, begin: int, end: int, tables: Tables) -> int:
    """The bits of the phrases that occur in the bytes [begin, end), whatever the case of their ASCII letters."""
    phrases, bounds, bits, begins, _ = tables
    found = 0
    for place in range(begin, end):
        if not begins[_small(data[place])]:
            continue
        for phrase in range(len(bits)):
            first, size = bounds[phrase], bounds[phrase + 1] - bounds[phrase]
            if place + size > end or found & bits[phrase]:
                continue
            same = 0
            while same < size and _small(data[place + same]) == phrases[first + same]:
                same += 1
            if same == size:
                found |= bits[phrase]
    return found


@compiled
def _stands_at(data: np.ndarray, begin: int, end: int, expected: np.ndarray) -> bool:
    return begin + len(expected) <= end and bool((data[begin : begin + len(expected)] == expected).all())


@compiled
def _citation(data: np.ndarray, begin: int, end: int) -> int:
    """How many bytes the citation mark takes that begins at `begin`; 0 if none does."""
    if data[begin] != 0x5B:
        return 0
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
        code, size = code_point(data, place, end)
        space = kinds[code] & words.KIND == words.SPACE
        length = 0 if space else length + 1
        pieces += length == 1
        longest = max(longest, length)
        if place >= resume:
            resume = place + _citation(data, place, end)
        if place >= resume and not (space and inked == at):
            written[stop : stop + size] = data[place : place + size]
            stop += size
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
        sentences += ended
        begun = not ended
        letters = 0
        running = words.FNV_START
    return sentences + begun


@compiled
def _rule_broken(line: np.ndarray, pieces: int, longest: int, kinds: np.ndarray, limits: np.ndarray, found: int) -> int:
    """The column of the first rule for which the line must go; _KEPT_LINES if it may stay."""
    if longest > limits[1]:
        return _LONG_WORD
    if len(line) == 0:
        return _SHORT
    if limits[2] and not _ends_well(line, kinds):
        return _UNFINISHED
    if pieces < limits[0]:
        return _SHORT
    if found & _SCRIPT:
        return _SCRIPT_LINES
    if found & _POLICY:
        return _POLICY_LINES
    return _KEPT_LINES


@compiled
def _clean_documents(
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
    """Writes the documents one behind the other into `written`, where each ends into `ends`, and their `counts`."""
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
            at = done if done == first else done + 1
            stop, pieces, longest = _copy_line(data, starts[i], stops[i], kinds, written, at)
            line = written[at:stop]
            found = _phrases_in(line, 0, len(line), tables)
            broken = _rule_broken(line, pieces, longest, kinds, limits, found)
            count[broken] += 1
            past_script = broken in (_KEPT_LINES, _POLICY_LINES)
            count[_BRACKET_LINES] += past_script and found & _BRACKET != 0
            count[_LOREM_LINES] += (past_script or broken == _SCRIPT_LINES) and found & _LOREM != 0
            if broken == _KEPT_LINES:
                count[_SENTENCES] += _sentences(line, kinds, small, tables[4])
                if at > done:
                    written[done] = 0x0A
                done = stop
        count[_REMOVED_LINES] = lines - count[_KEPT_LINES]
        kept_characters = 0
        for place in range(first, done):
            kept_characters += written[place] & 0xC0 != 0x80
        count[_REMOVED_CHARACTERS] = characters - kept_characters
        ends[row + 1] = done


STAGE: Final = Stage(
    name="c4_quality",
    settings=C4QualitySettings,
    adds=ADDS,
    measure=measure,
    judge=judge,
    judges=(
        "c4_kept_lines",
        "c4_javascript_lines",
        "c4_policy_lines",
        "c4_lorem_ipsum_lines",
        "c4_curly_bracket_lines",
        "c4_sentences",
    ),
    libraries=("numba",),
    modules=("stages.words",),
)
