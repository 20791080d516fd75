"""Encoding loses nothing, text never becomes a special token, and learning is a function of the texts."""

import json
import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.bpe import MAX_PIECE_CHARACTERS, BPESettings, Tokenizer, decode, encode, learn, load, token_dtype
from tokenizer.evaluate import compression

CORPUS = [
    "the quick brown fox jumps over the lazy dog. ",
    "der schnelle braune Fuchs\n\n",
    "def f(x):\n    return x\n",
] * 30
SMALL = BPESettings(vocab_size=320)


@pytest.fixture(scope="module", params=["gpt4", "gpt2"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return load(learn(CORPUS, BPESettings(vocab_size=310, pre_tokenizer=request.param)))


def texts(*items: str) -> pa.Array:
    return pa.array(items, pa.large_string())


def ids(tokens: pa.LargeBinaryArray, tokenizer: Tokenizer, row: int = 0) -> list[int]:
    return np.frombuffer(tokens[row].as_py(), tokenizer.dtype).tolist()


HOSTILE = ["<|endoftext|>", "\x00", "\u2028", "\ufeff", "\r\n", "e\u0301", "ﬁ", "👩‍👩‍👧", "שלום", "  ", "\x1b[0m"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=20), st.sampled_from(HOSTILE)), max_size=8).map("".join))
def test_every_text_comes_back_and_holds_no_special_id(text: str) -> None:
    tokens, counts = encode(texts(text), LEARNED)
    assert decode(tokens, LEARNED).to_pylist() == [text]
    assert LEARNED.end_of_text_id not in ids(tokens, LEARNED)
    assert counts.to_pylist() == [len(ids(tokens, LEARNED))]


LEARNED = load(learn(CORPUS, SMALL))


def test_every_byte_and_kind_of_blank(tokenizer: Tokenizer) -> None:
    every = texts("", "".join(map(chr, range(0x3000))), " a  b\t\n \n\n c ", "\U0010ffff" * 3)
    tokens, counts = encode(every, tokenizer)
    assert decode(tokens, tokenizer) == every
    assert counts[0].as_py() == 0
    assert tokens[0].as_py() == b""


def test_rows_do_not_depend_on_their_neighbours() -> None:
    together, counts = encode(texts("the lazy dog", "", "return x"), LEARNED)
    for row, text in enumerate(["the lazy dog", "", "return x"]):
        alone, count = encode(texts(text), LEARNED)
        assert alone[0] == together[row]
        assert count[0] == counts[row]


def test_a_sliced_array_is_encoded_as_its_rows() -> None:
    sliced = texts("aaa", "the dog", "bbb").slice(1, 1)
    assert encode(sliced, LEARNED)[0].to_pylist() == encode(texts("the dog"), LEARNED)[0].to_pylist()


@pytest.mark.parametrize("order", [1, -1])
def test_learning_depends_on_the_texts_only(order: int) -> None:
    assert learn(iter(CORPUS[::order]), SMALL) == LEARNED.data


def test_special_tokens_get_the_lowest_ids_and_the_vocabulary_its_size() -> None:
    tokenizer = load(learn(CORPUS, BPESettings(vocab_size=300, special_tokens=("<eos>", "<pad>"))))
    assert (tokenizer.end_of_text, tokenizer.end_of_text_id, tokenizer.vocab_size) == ("<eos>", 0, 300)
    tokens, _ = encode(texts("<eos><pad>"), tokenizer)
    assert not {0, 1} & set(ids(tokens, tokenizer))
    assert decode(tokens, tokenizer).to_pylist() == ["<eos><pad>"]


@pytest.mark.parametrize("character", ["a", " ", "\n", "\x00", ".", "7", "é"])
def test_strings_without_a_break_stall_neither_learning_nor_encoding(character: str) -> None:
    start = time.process_time()
    tokenizer = load(learn([*CORPUS, character * 300_000, "ab" * 150_000], SMALL))
    long = texts(character * 500_000)
    tokens, _ = encode(long, tokenizer)
    assert decode(tokens, tokenizer) == long
    # Unbounded, learning alone does not end within 70 s.
    assert time.process_time() - start < 10


def test_a_text_longer_than_a_piece_is_whole() -> None:
    long = texts("word and\n" * (MAX_PIECE_CHARACTERS // 9 + 5), "x" * (MAX_PIECE_CHARACTERS + 1))
    tokens, _ = encode(long, LEARNED)
    assert decode(tokens, LEARNED) == long


def test_an_empty_corpus_is_refused() -> None:
    with pytest.raises(ValueError, match="corpus is empty"):
        learn(iter(["", ""]), SMALL)


def test_a_vocabulary_that_the_texts_cannot_give_names_the_size_they_can() -> None:
    with pytest.raises(ValueError, match="set vocab_size to 261 or less"):
        learn(["hello hello"], SMALL)


def test_a_failure_of_the_source_of_texts_is_passed_on() -> None:
    def failing():
        yield "some text"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        learn(failing(), SMALL)


def test_lone_surrogates_are_learned_from_as_replacement() -> None:
    assert learn([*CORPUS, "\ud800"], SMALL) == learn([*CORPUS, "?"], SMALL)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 256}, "too small"),
        ({"special_tokens": ()}, "at least one name"),
        ({"special_tokens": ("<a>", "<a>")}, "twice"),
        ({"pre_tokenizer": "gpt9"}, "not one of"),
        ({"max_word_characters": 0}, "within 1 and 10,000"),
    ],
)
def test_wrong_settings_say_what_is_wrong(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BPESettings(**{"vocab_size": 320, **changes})


def changed(**parts: object) -> bytes:
    return json.dumps({**json.loads(LEARNED.data), **parts}).encode()


def test_lossy_tokenizers_are_refused() -> None:
    with pytest.raises(ValueError, match="does not give every text back"):
        load(changed(normalizer={"type": "Lowercase"}))
    with pytest.raises(ValueError, match="does not give every text back"):
        load(changed(normalizer={"type": "NFC"}))


def test_truncation_and_padding_of_a_file_are_switched_off() -> None:
    truncation = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    tokenizer = load(changed(truncation=truncation))
    assert encode(texts("the lazy dog"), tokenizer)[0] == encode(texts("the lazy dog"), LEARNED)[0]


def test_a_separator_that_text_can_become_is_refused() -> None:
    added = [{**json.loads(LEARNED.data)["added_tokens"][0], "special": False}]
    with pytest.raises(ValueError, match="mark it as special"):
        load(changed(added_tokens=added))


def test_files_that_are_no_tokenizer_and_unknown_separators_are_refused() -> None:
    with pytest.raises(ValueError, match=r"not a tokenizer\.json"):
        load(b"{}")
    with pytest.raises(ValueError, match="has no token <none>"):
        load(LEARNED.data, end_of_text="<none>")


def test_nulls_are_refused() -> None:
    with pytest.raises(ValueError, match="null"):
        encode(pa.array(["a", None], pa.large_string()), LEARNED)


@pytest.mark.parametrize(("size", "width"), [(257, 2), (65_536, 2), (65_537, 4), (200_000, 4)])
def test_ids_are_as_wide_as_the_largest_needs(size: int, width: int) -> None:
    assert token_dtype(size).itemsize == width
    assert np.array([size - 1]).astype(token_dtype(size))[0] == size - 1


def test_compression_counts_bytes_and_tokens_by_domain() -> None:
    scores = compression({"known": ["the lazy dog"] * 300, "cjk": ["漢字"], "none": [""]}, LEARNED)
    tokens, counts = encode(texts("the lazy dog"), LEARNED)
    assert scores["known"].bytes == 12 * 300
    assert scores["known"].tokens == counts[0].as_py() * 300
    assert scores["known"].bytes_per_token == round(12 / counts[0].as_py(), 4)
    assert scores["known"].vocabulary_used == round(len(set(ids(tokens, LEARNED))) / 320, 4)
    assert scores["cjk"].bytes == 6
    assert scores["none"].bytes_per_token == 0.0
