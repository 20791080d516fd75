"""Shingles by the kernels are those of the definition in plain Python."""

import itertools
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.normalise import words_of
from stages.shingles import common, reference_shingles, shingle_sets

TEXTS = [
    "",
    "!!!",
    "one two",
    "The quick brown fox jumps over the lazy dog, the quick brown fox.",
    "日本語のテスト ab日本c नमस्ते ที่ภาษา e\u0301",
    "a" * 100_000,
    "x\n" * 1000,
    "\x00 \U0001f600 ق",
]


def sets(texts: list[str], **options: object) -> list[list[int]]:
    values, offsets = shingle_sets(pa.array(texts, pa.large_string()), **options)  # type: ignore[arg-type]
    return [values[a:b].tolist() for a, b in itertools.pairwise(offsets.tolist())]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_word_shingles_are_those_of_the_definition(size: int) -> None:
    assert sets(TEXTS, unit="word", size=size) == [sorted(set(reference_shingles(text, size=size))) for text in TEXTS]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(), max_size=4), st.integers(1, 3))
def test_any_text(texts: list[str], size: int) -> None:
    valid = [text.encode("utf-8", "replace").decode() for text in texts]
    assert sets(valid, unit="word", size=size) == [sorted(set(reference_shingles(text, size=size))) for text in valid]
    assert len(sets(valid, unit="character", size=size)) == len(valid)


def test_a_text_shorter_than_a_shingle_has_none_or_itself() -> None:
    assert sets(["a b", ""], unit="word", size=3) == [[], []]
    whole = sets(["a b", "A  b!", "b a", ""], unit="word", size=3, whole_if_short=True)
    assert [len(found) for found in whole] == [1, 1, 1, 0]
    assert whole[0] == whole[1] != whole[2]


def test_character_shingles_see_where_words_end() -> None:
    one, two, three, four = sets(["ab cd", "AB,\n cd", "abcd", "日本語"], unit="character", size=3)
    assert one == two
    assert len(one) == 3
    assert len(three) == 2
    assert len(four) == 1


def test_common_counts_shared_values() -> None:
    drawn = random.Random(1)
    for _ in range(50):
        one, two = ({drawn.randrange(60) for _ in range(drawn.randrange(40))} for _ in range(2))
        arrays = [np.array(sorted(values), dtype=np.uint64) for values in (one, two)]
        assert common(*arrays) == len(one & two)


def test_words_and_elements_agree_on_separators() -> None:
    text = "a,b\u00a0c\u2028d\u3000e\u200bf"
    assert words_of(text) == ["a", "b", "c", "d", "ef"]
    assert len(sets([text], unit="word", size=5)[0]) == 1
