"""The measure that Gopher's quality rules, DCLM's and FineWeb's share: words, marks and lines, counted in one pass.

`measure` belongs to no stage alone: `gopher_quality`, `dclm_quality` and `fineweb_quality` name it, and only judge its
columns. Its one setting is how words are cut (stages/segmentation.py): stages that agree on it ask for the same work.
The kernel counts in whole numbers; numpy divides.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import numpy as np
import pyarrow as pa

from stages import segmentation, words
from stages.compiled import compiled
from stages.segmentation import WordSettings
from stages.stop_words import STOP_WORDS
from stages.words import code_point, find_lines, find_words, mark_repeats

#: A line of at most so many characters is short (FineWeb, arXiv 2406.17557, section 3.6; counted without outer space).
SHORT_LINE_CHARACTERS: Final = 30
#: What a bullet point looks like; `-` and `*` only before white space, so that `-5` and `*note` are none.
_BULLETS: Final = np.array([ord(mark) for mark in "•‣⁃◦∙▪▫●○■□"], dtype=np.int64)

#: The added columns. Fractions and ratios are rounded to 4 decimals, and 0 where there is nothing to divide by.
ADDS: Final = pa.schema(
    [
        pa.field("character_count", pa.int64(), nullable=False),  # code points, line breaks included
        pa.field("word_count", pa.int64(), nullable=False),
        pa.field("line_count", pa.int64(), nullable=False),  # lines with more than white space
        pa.field("mean_word_length", pa.float64(), nullable=False),  # characters
        pa.field("hash_sign_ratio", pa.float64(), nullable=False),  # `#` per word
        pa.field("ellipsis_ratio", pa.float64(), nullable=False),  # `…` and runs of three full stops or more, per word
        pa.field("bullet_line_fraction", pa.float64(), nullable=False),
        pa.field("ellipsis_line_fraction", pa.float64(), nullable=False),
        # Of what stands between white space, the share with at least one letter.
        pa.field("alpha_word_fraction", pa.float64(), nullable=False),
        # Lines that end in a mark of SENTENCE_ENDS or a closing quotation mark.
        pa.field("punctuated_line_fraction", pa.float64(), nullable=False),
        pa.field("short_line_fraction", pa.float64(), nullable=False),
        # Characters of lines that stood further up already, per character that is no line break.
        pa.field("repeated_line_character_fraction", pa.float64(), nullable=False),
        pa.field("newline_ratio", pa.float64(), nullable=False),  # line breaks per word or visible mark
        # The next four are DCLM's (stages/dclm_quality.py). A piece is what stands between white space.
        pa.field("mean_piece_length", pa.float64(), nullable=False),  # characters
        pa.field("symbol_ratio", pa.float64(), nullable=False),  # `#` and ellipses together, per piece
        pa.field("loose_bullet_line_fraction", pa.float64(), nullable=False),  # lines that begin with ●, •, * or -
        # Lines that end so before the bar of a table's last cell, or with a Chinese or Japanese closing quote.
        pa.field("ended_cell_line_fraction", pa.float64(), nullable=False),
        pa.field("stop_word_occurrences_en", pa.int64(), nullable=False),  # each time counted
        # How many different ones of the language's stop words occur.
        *(pa.field(f"stop_words_{language}", pa.int64(), nullable=False) for language in STOP_WORDS),
    ]
)
#: What enters the key of the measure besides this module, for the records of the stages that share it.
LIBRARIES: Final = ("numba",)
MODULES: Final = ("stages.words", "stages.compiled", "stages.stop_words", "stages.segmentation")

# The columns of the kernel's table of counts; the stop words of each language follow.
(
    _CHARACTERS, _BREAKS, _WORDS, _WORD_CHARACTERS, _MARKS, _CHUNKS, _ALPHA_CHUNKS, _HASH_SIGNS, _ELLIPSES, _LINES,
    _BULLET_LINES, _ELLIPSIS_LINES, _PUNCTUATED_LINES, _SHORT_LINES, _REPEATED_CHARACTERS,
    _CHUNK_CHARACTERS, _LOOSE_BULLET_LINES, _ENDED_CELL_LINES, _ENGLISH_STOP_WORDS, _STOP_WORDS,
) = range(20)  # fmt: skip
_ENGLISH: Final = list(STOP_WORDS).index("en")


def measure(docs: pa.Table, settings: WordSettings, _resources: Mapping[str, Any]) -> pa.Table:
    """The columns of ADDS for the `text` of each document, in order; a null or empty text counts as nothing."""
    data, offsets = words.utf8(docs["text"])
    kinds, small = words.character_table()
    counts = np.zeros((docs.num_rows, _STOP_WORDS + len(STOP_WORDS)), dtype=np.int64)
    word_text = segmentation.word_text(docs["text"], settings.segmenters)
    _count_documents(data, offsets, kinds, small, word_text, _stop_word_table(), _BULLETS, counts)
    column = counts.T
    word_count, line_count = column[_WORDS], column[_LINES]
    measured = [
        column[_CHARACTERS],
        word_count,
        line_count,
        words.fraction(column[_WORD_CHARACTERS], word_count),
        words.fraction(column[_HASH_SIGNS], word_count),
        words.fraction(column[_ELLIPSES], word_count),
        words.fraction(column[_BULLET_LINES], line_count),
        words.fraction(column[_ELLIPSIS_LINES], line_count),
        words.fraction(column[_ALPHA_CHUNKS], column[_CHUNKS]),
        words.fraction(column[_PUNCTUATED_LINES], line_count),
        words.fraction(column[_SHORT_LINES], line_count),
        words.fraction(column[_REPEATED_CHARACTERS], column[_CHARACTERS] - column[_BREAKS]),
        words.fraction(column[_BREAKS], word_count + column[_MARKS]),
        words.fraction(column[_CHUNK_CHARACTERS], column[_CHUNKS]),
        words.fraction(column[_HASH_SIGNS] + column[_ELLIPSES], column[_CHUNKS]),
        words.fraction(column[_LOOSE_BULLET_LINES], line_count),
        words.fraction(column[_ENDED_CELL_LINES], line_count),
        *column[_ENGLISH_STOP_WORDS:],
    ]
    return pa.table([np.ascontiguousarray(values) for values in measured], schema=ADDS)


StopWords = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
#: Few words are stop words: a table of so many flags by the last bits of the hash spares nearly all others the search.
_FLAGS: Final = 4096


@cache
def _stop_word_table() -> StopWords:
    """For each pair of word and language, sorted by hash: the hash, the language's and the word's number; the flags."""
    rows = sorted(
        (words.word_hash(word), language, number)
        for language, stop_words in enumerate(STOP_WORDS.values())
        for number, word in enumerate(stop_words)
    )
    hashes, languages, numbers = zip(*rows, strict=True)
    flags = np.zeros(_FLAGS, np.bool_)
    flags[[value % _FLAGS for value in hashes]] = True
    return np.array(hashes, np.uint64), np.array(languages, np.int64), np.array(numbers, np.int64), flags


@compiled
def _count_stop_words(hashes: np.ndarray, stop_words: StopWords, seen: np.ndarray, found: np.ndarray) -> int:
    """Sets `found` to how many different stop words of each language are among the words; `seen` is scratch. Returns
    how often English ones occur."""
    stop_hashes, languages, numbers, flags = stop_words
    seen[:] = 0
    english = 0
    for word in hashes:
        if flags[word & np.uint64(_FLAGS - 1)]:
            at = np.searchsorted(stop_hashes, word)
            while at < len(stop_hashes) and stop_hashes[at] == word:
                seen[languages[at]] |= np.int64(1) << numbers[at]
                english += languages[at] == _ENGLISH
                at += 1
    for language in range(len(seen)):
        found[language] = 0
        left = seen[language]
        while left:
            found[language] += left & 1
            left >>= 1
    return english


@compiled
def _count_chunks(data: np.ndarray, begin: int, end: int, kinds: np.ndarray, counts: np.ndarray) -> None:
    """Adds what needs no words or lines: pieces between white space, those with a letter, hash signs, ellipses."""
    inside = False
    alpha = False
    dots = 0
    place = begin
    while place < end:
        code, size = np.int64(data[place]), 1
        if code >= 0x80:
            code, size = code_point(data, place, end)
        kind = kinds[code] & words.KIND
        if kind == words.SPACE:
            inside = False
        else:
            if not inside:
                counts[_CHUNKS] += 1
                inside = True
                alpha = False
            counts[_CHUNK_CHARACTERS] += 1
            if not alpha and kind in (words.LETTER, words.LONE_LETTER):
                counts[_ALPHA_CHUNKS] += 1
                alpha = True
        counts[_HASH_SIGNS] += code == 0x23
        dots = dots + 1 if code == 0x2E else 0
        counts[_ELLIPSES] += dots == 3 or code == 0x2026
        place += size


@compiled
def _last_character(data: np.ndarray, begin: int, end: int) -> Any:
    """The last code point of the bytes [begin, end), which are not empty."""
    place = end - 1
    while place > begin and data[place] & 0xC0 == 0x80:
        place -= 1
    code, _ = code_point(data, place, end)
    return code


@compiled
def _judge_line(
    data: np.ndarray, begin: int, end: int, kinds: np.ndarray, bullets: np.ndarray, counts: np.ndarray
) -> None:
    """Adds what one line without outer white space says of itself: its bullet, its ellipsis, its last mark."""
    first, size = code_point(data, begin, end)
    following, _ = code_point(data, begin + size, end) if begin + size < end else (np.int64(0x20), np.int64(1))
    counts[_LOOSE_BULLET_LINES] += first in (0x25CF, 0x2022, 0x2A, 0x2D)
    hyphen = (first == 0x2D or first == 0x2A) and kinds[following] & words.KIND == words.SPACE
    bullet = False
    for mark in bullets:
        bullet = bullet or first == mark
    counts[_BULLET_LINES] += hyphen or bullet
    last = _last_character(data, begin, end)
    dots = end - begin >= 3 and data[end - 1] == 0x2E and data[end - 2] == 0x2E and data[end - 3] == 0x2E
    counts[_ELLIPSIS_LINES] += last == 0x2026 or dots
    closing_quote = last in (0x22, 0x27, 0x2019, 0x201D)
    counts[_PUNCTUATED_LINES] += closing_quote or kinds[last] & words.TERMINAL != 0
    while end > begin and (data[end - 1] == 0x7C or data[end - 1] == 0x20):  # the bar behind a table's last cell
        end -= 1
    if end > begin:
        last = _last_character(data, begin, end)
        closing_quote = last in (0x22, 0x27, 0x2019, 0x201D, 0x300D, 0x300F)
        counts[_ENDED_CELL_LINES] += closing_quote or kinds[last] & words.TERMINAL != 0


@compiled
def _count_documents(
    data: np.ndarray,
    offsets: np.ndarray,
    kinds: np.ndarray,
    small: np.ndarray,
    word_text: segmentation.Words,
    stop_words: StopWords,
    bullets: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Fills one row of `counts` for each document. Scratch arrays grow to the largest document's words and lines."""
    word_data, word_offsets, word_kinds = word_text
    room = 1024
    starts, ends, lengths = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    hashes, flags = np.empty(room, np.uint64), np.empty(room, np.bool_)
    seen = np.zeros(counts.shape[1] - _STOP_WORDS, np.int64)
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        word_begin, word_end = word_offsets[row], word_offsets[row + 1]
        most = max(end - begin, word_end - word_begin) // 2 + 1
        if most > room:  # a word takes a byte and the gap before it another; so does a line
            room = max(2 * room, most)
            starts, ends, lengths = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
            hashes, flags = np.empty(room, np.uint64), np.empty(room, np.bool_)
        count = counts[row]
        _count_chunks(data, begin, end, kinds, count)

        n, marks = find_words(word_data, word_begin, word_end, word_kinds, small, starts, ends, hashes)
        count[_WORDS] = n
        count[_MARKS] = marks
        for i in range(n):
            count[_WORD_CHARACTERS] += ends[i] - starts[i]
        count[_ENGLISH_STOP_WORDS] = _count_stop_words(hashes[:n], stop_words, seen, count[_STOP_WORDS:])

        n, breaks, characters = find_lines(data, begin, end, kinds, starts, ends, lengths, hashes, flags)
        count[_LINES] = n
        count[_BREAKS] = breaks
        count[_CHARACTERS] = characters
        mark_repeats(hashes, n, flags)
        for i in range(n):
            count[_SHORT_LINES] += lengths[i] <= SHORT_LINE_CHARACTERS
            count[_REPEATED_CHARACTERS] += lengths[i] if flags[i] else 0
            _judge_line(data, starts[i], ends[i], kinds, bullets, count)
