"""The compiled half of `toxicity` and `quality`: from the bytes of an Arrow column to the windows that fastText scores.

What it cuts is what `one_line` (stages/fasttext_text.py), `paragraphs` (stages/toxicity.py) and `windows` say of one
text; a test holds them against each other. It exists for its speed: in Chinese, where each character is a word, the
Python functions took three times as long as the scoring.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.compiled import compiled
from stages.fasttext_text import END_OF_LINE, LABEL_PREFIX
from stages.utf8 import put_character
from stages.words import DIGIT, KIND, LETTER, LONE_LETTER, SPACE, character_table, code_point, utf8

#: The one letter whose small form depends on where it stands in its word.
_SIGMA: Final = "\u03a3"
#: The one letter whose small form is two characters: i and a dot above.
_DOTTED_I: Final = 0x130
_DOT_ABOVE: Final = 0x307
_END_MARKER: Final = np.frombuffer(END_OF_LINE.encode(), dtype=np.uint8)
_LABEL_MARKER: Final = np.frombuffer(LABEL_PREFIX.encode(), dtype=np.uint8)


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The windows of a batch of documents, in order."""

    #: uint8: the lines of words, one after the other.
    data: np.ndarray
    #: int64[windows]: where each begins and ends in `data`.
    starts: np.ndarray
    ends: np.ndarray
    #: int64: how many windows each paragraph has, and how many paragraphs each document; at least one each.
    of_paragraph: np.ndarray
    of_document: np.ndarray

    def lines(self) -> list[str]:
        """The windows as strings."""
        data = self.data.tobytes()
        places = zip(self.starts.tolist(), self.ends.tolist(), strict=True)
        return [data[start:end].decode() for start, end in places]


#: So many words that a document is one window.
WHOLE: Final = 1 << 60


def cut(column: Any, *, lowercase: bool, split_characters: bool, window_words: int) -> Windows:
    """The windows of a column of texts. A null is an empty text; an empty text is one empty window."""
    if lowercase:
        column = _with_small_sigmas(column)
    data, offsets = utf8(column)
    documents = len(offsets) - 1
    # A character makes at most twice its bytes (`a漢`, four bytes, becomes `a 漢 `), a byte that is not UTF-8 three.
    out = np.empty(3 * int(offsets[-1] - offsets[0]) + 2 * documents, dtype=np.uint8)
    # A paragraph has half a window of words at least, or is the only one; no window is shorter on average.
    room = documents + len(out) // (2 * (window_words // 2)) + 1
    starts, ends, of_paragraph = (np.empty(room, dtype=np.int64) for _ in range(3))
    of_document = np.empty(documents, dtype=np.int64)
    kinds, small = character_table()
    written, windows, paragraphs = _cut(
        data, offsets, kinds, small, lowercase, split_characters, window_words,
        _END_MARKER, _LABEL_MARKER, out, starts, ends, of_paragraph, of_document,
    )  # fmt: skip
    return Windows(
        data=out[:written],
        starts=starts[:windows],
        ends=ends[:windows],
        of_paragraph=of_paragraph[:paragraphs],
        of_document=of_document,
    )


def marks_once(windows: Windows) -> Windows:
    """The same windows, with each run of one and the same mark as one: a mark is a word without a letter or digit.

    `2.1 Hosts . . . . . . 96` becomes `2.1 Hosts . 96`: leaders and rules are layout, and a mean over words would be
    mostly of them. Words proper may stand twice in a row.
    """
    data = np.empty_like(windows.data)
    starts, ends = np.empty_like(windows.starts), np.empty_like(windows.ends)
    kinds, _ = character_table()
    written = _marks_once(windows.data, windows.starts, windows.ends, kinds, data, starts, ends)
    return replace(windows, data=data[:written], starts=starts, ends=ends)


def _with_small_sigmas(column: Any) -> Any:
    """The column with the texts that hold a capital sigma lower-cased by Python, which knows a word's last letter."""
    holds = pc.fill_null(pc.match_substring(column, _SIGMA), fill_value=False)
    if not pc.any(holds).as_py():
        return column
    texts = zip(column.to_pylist(), holds.to_pylist(), strict=True)
    return pa.array([text.lower() if found else text for text, found in texts], pa.large_string())


@compiled
def _is_spaceless(code: Any) -> bool:
    """Kana, Han and its extensions, half-width kana, as `one_line` has them."""
    if code < 0x3040:
        return False
    return bool(
        code <= 0x30FF
        or 0x3400 <= code <= 0x4DBF
        or 0x4E00 <= code <= 0x9FFF
        or 0xF900 <= code <= 0xFAFF
        or 0xFF66 <= code <= 0xFF9F
        or 0x20000 <= code <= 0x3FFFF
    )


@compiled
def _ends_with(out: np.ndarray, begin: int, end: int, marker: np.ndarray) -> bool:
    if end - begin < len(marker):
        return False
    same = True
    for i in range(len(marker)):
        same &= out[end - len(marker) + i] == marker[i]
    return same


@compiled
def _says_something(data: np.ndarray, begin: int, end: int, kinds: np.ndarray) -> bool:
    """Whether the word has a letter or a digit."""
    place: Any = begin
    while place < end:
        code, size = np.int64(data[place]), np.int64(1)
        if code >= 0x80:
            code, size = code_point(data, place, end)
        kind = kinds[code] & KIND
        if kind in (LETTER, LONE_LETTER, DIGIT):
            return True
        place += size
    return False


@compiled
def _marks_once(
    data: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    kinds: np.ndarray,
    out: np.ndarray,
    new_starts: np.ndarray,
    new_ends: np.ndarray,
) -> int:
    """Fills the arrays; returns how many bytes there are."""
    at = 0
    for window in range(len(starts)):
        new_starts[window] = at
        before, before_end = at, at  # the last word that was written
        place, end = starts[window], ends[window]
        while place < end:
            word = place
            while place < end and data[place] != 32:
                place += 1
            size = place - word
            same = size == before_end - before
            for i in range(size if same else 0):
                same &= data[word + i] == out[before + i]
            if not same or _says_something(data, word, place, kinds):
                if at > new_starts[window]:
                    out[at] = 32
                    at += 1
                before = at
                for i in range(size):
                    out[at + i] = data[word + i]
                at += size
                before_end = at
            place += 1  # the space
        new_ends[window] = at
    return at


@compiled
def _windows_of(
    out: np.ndarray, begin: int, end: int, words: int, window_words: int, starts: np.ndarray, ends: np.ndarray, at: int
) -> int:
    """Cuts a paragraph into pieces of nearly equal size, as `windows` does; returns how many they are."""
    whole, rest = words // window_words, words % window_words
    if 2 * rest > window_words or (2 * rest == window_words and whole % 2 == 1):  # round() goes to the even number
        whole += 1
    pieces = max(1, whole)
    piece, passed = 0, 0
    starts[at] = begin
    for place in range(begin, end):
        if out[place] == 32 and piece + 1 < pieces:
            passed += 1
            if passed == words * (piece + 1) // pieces:
                ends[at + piece] = place
                piece += 1
                starts[at + piece] = place + 1
    ends[at + piece] = end
    return pieces


@compiled
def _cut(
    data: np.ndarray,
    offsets: np.ndarray,
    kinds: np.ndarray,
    small: np.ndarray,
    lowercase: bool,
    split_characters: bool,
    window_words: int,
    end_marker: np.ndarray,
    label_marker: np.ndarray,
    out: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    of_paragraph: np.ndarray,
    of_document: np.ndarray,
) -> tuple[int, int, int]:
    """Fills the arrays; returns how many bytes, windows and paragraphs there are."""
    least = window_words // 2
    at, windows, paragraphs = 0, 0, 0
    for document in range(len(offsets) - 1):
        first_paragraph = paragraphs
        document_start = at
        open_start, open_words = at, 0  # the paragraph that is still growing
        held_start, held_end, held_words = at, at, -1  # the one before, which may get what is left at the end
        word_start, in_word = at, False
        place, end = offsets[document], offsets[document + 1]
        while place <= end:
            code, size = np.int64(10), np.int64(1)  # the text's end is the end of a line
            if place < end:
                code = np.int64(data[place])
                if code >= 0x80:
                    code, size = code_point(data, place, end)
            place += size
            if code == 10:
                in_word = False
                if open_words >= least:
                    if held_words >= 0:
                        found = _windows_of(out, held_start, held_end, held_words, window_words, starts, ends, windows)
                        windows += found
                        of_paragraph[paragraphs] = found
                        paragraphs += 1
                    held_start, held_end, held_words = open_start, at, open_words
                    open_start, open_words = at + 1, 0
                continue
            if code == 0 or kinds[code] & KIND == SPACE:
                in_word = False
                continue
            alone = split_characters and _is_spaceless(code)
            if alone or not in_word:
                if at > document_start:
                    out[at] = 32
                    at += 1
                word_start, in_word = at, True
                open_words += 1
            if lowercase:
                if code == _DOTTED_I:
                    at = put_character(out, at, 0x69)
                    code = np.int64(_DOT_ABOVE)
                else:
                    code = np.int64(small[code])
            at = put_character(out, at, code)
            if alone:
                in_word = False
            elif code == 0x3E or code == 0x5F:
                marker = end_marker if code == 0x3E else label_marker
                if _ends_with(out, word_start, at, marker):
                    at -= len(marker)
                    in_word = False
                    if at == word_start:
                        open_words -= 1
                        at -= at > document_start
        if held_words < 0:
            held_end, held_words = at, open_words
        elif open_words > 0:
            held_end = at
            held_words += open_words
        found = _windows_of(out, held_start, held_end, held_words, window_words, starts, ends, windows)
        windows += found
        of_paragraph[paragraphs] = found
        paragraphs += 1
        of_document[document] = paragraphs - first_paragraph
    return at, windows, paragraphs
