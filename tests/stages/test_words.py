"""What counts as a word, a line and a character, shown on text that one can read."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import words


def words_of(text: str) -> tuple[list[str], int]:
    """The words as `find_words` cuts them out of the text, and how many other marks it counts."""
    data = np.frombuffer(text.encode(), dtype=np.uint8)
    kinds, small = words.character_table()
    starts, ends = np.zeros(len(data) + 1, np.int64), np.zeros(len(data) + 1, np.int64)
    hashes = np.zeros(len(data) + 1, np.uint64)
    found, marks = words.find_words(data, 0, len(data), kinds, small, starts, ends, hashes)
    return [text[start:end] for start, end in zip(starts[:found], ends[:found], strict=True)], marks


def lines_of(text: str) -> tuple[list[str], list[bool], int, int]:
    """The lines, whether each opens a paragraph, the line breaks and the characters of the text."""
    data = np.frombuffer(text.encode(), dtype=np.uint8)
    kinds, _ = words.character_table()
    starts, ends, lengths = (np.zeros(len(data) + 1, np.int64) for _ in range(3))
    hashes, opens = np.zeros(len(data) + 1, np.uint64), np.zeros(len(data) + 1, np.bool_)
    found, breaks, characters = words.find_lines(data, 0, len(data), kinds, starts, ends, lengths, hashes, opens)
    lines = [data[start:end].tobytes().decode() for start, end in zip(starts[:found], ends[:found], strict=True)]
    assert [len(line) for line in lines] == lengths[:found].tolist()
    return lines, opens[:found].tolist(), breaks, characters


@pytest.mark.parametrize(
    ("text", "expected", "marks"),
    [
        ("Don't panic, it’s 4 o'clock!", ["Don't", "panic", "it’s", "4", "o'clock"], 2),
        ("snake_case and _ alone, well-known", ["snake_case", "and", "alone", "well", "known"], 3),
        ("'quoted' rock'n'roll dogs'", ["quoted", "rock'n'roll", "dogs"], 3),
        ("cafe\u0301 हिन्दी भाषा", ["cafe\u0301", "हिन्दी", "भाषा"], 0),
        ("今天 a字b カナ", ["今", "天", "a", "字", "b", "カ", "ナ"], 0),
        ("สวัสดี", ["ส", "วั", "ส", "ดี"], 0),
        ("wait... ----- ??! <br/>", ["wait", "br"], 7),
        ("❤\ufe0f 😀", [], 2),
        ("soft\u00adhyphen zero\u200dwidth", ["soft\u00adhyphen", "zero\u200dwidth"], 0),
        ("", [], 0),
    ],
)
def test_words_and_marks(text, expected, marks):
    assert words_of(text) == (expected, marks)


def test_a_words_hash_ignores_case_and_nothing_else():
    assert words.word_hash("The") == words.word_hash("the")
    assert words.word_hash("ÉTÉ") == words.word_hash("été")
    assert words.word_hash("ete") != words.word_hash("été")
    with pytest.raises(ValueError, match="2 words"):
        words.word_hash("two words")


def test_lines_have_no_outer_white_space_and_blank_ones_part_paragraphs():
    text = "one\n \u3000two \n\n\t\n three é \nfour\n"
    lines, opens, breaks, characters = lines_of(text)
    assert lines == ["one", "two", "three é", "four"]
    assert opens == [True, False, True, False]
    assert (breaks, characters) == (6, len(text))


@given(st.text())
def test_lines_are_those_of_str_split(text):
    lines, _, breaks, characters = lines_of(text)
    assert lines == [line.strip() for line in text.split("\n") if line.strip()]
    assert (breaks, characters) == (text.count("\n"), len(text))


@given(st.binary(max_size=60))
def test_bytes_that_are_no_text_stay_within_bounds(data):
    kinds, small = words.character_table()
    room = len(data) + 1
    whole = np.frombuffer(data, dtype=np.uint8)
    starts, ends, hashes = np.zeros(room, np.int64), np.zeros(room, np.int64), np.zeros(room, np.uint64)
    found, marks = words.find_words(whole, 0, len(data), kinds, small, starts, ends, hashes)
    assert 0 <= found + marks <= len(data)
    assert (ends[:found] <= len(data)).all()


def test_repeats_are_marked_from_the_second_on():
    repeats = np.zeros(6, np.bool_)
    words.mark_repeats(np.array([5, 7, 5, 5, 9, 7], dtype=np.uint64), 6, repeats)
    assert repeats.tolist() == [False, False, True, True, False, True]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_bytes_of_a_column_whether_sliced_chunked_or_null(kind):
    chunks = pa.chunked_array([pa.array(["ab", None, "é"], kind), pa.array([], kind), pa.array(["x"], kind)])
    for column, expected in [
        (chunks, ["ab", "", "é", "x"]),
        (chunks.chunk(0)[1:], ["", "é"]),
        (chunks.slice(2), ["é", "x"]),
        (pa.chunked_array([], kind), []),
        (pa.array([], kind), []),
        (pa.array(["", ""], kind), ["", ""]),
    ]:
        data, offsets = words.utf8(column)
        assert [data[a:b].tobytes().decode() for a, b in pairwise(offsets)] == expected
