"""Every kind of vocabulary: the same bytes from the same texts, nothing lost where nothing may be, clear refusals."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.bpe import decode, encode, load
from tokenizer.learners import UNKNOWN, VocabularySettings, learn, lossless
from tokenizer.shards import ShardMetadata, ShardSet, write_shard

ROOT = Path(__file__).parents[2]
CORPUS = ["the quick brown fox jumps over the lazy dog, ", "der schnelle braune Fuchs 12345\n\n", "x ## ##y ▁z"] * 40
SIZES = {"bpe": 310, "unigram": 261, "wordpiece": 560, "wordlevel": 20}
LOSSLESS = ["bpe", "unigram", "wordpiece"]


def asked(kind: str, **changes) -> VocabularySettings:
    return VocabularySettings(**{"type": kind, "vocab_size": SIZES[kind], **changes})


def texts(*items: str) -> pa.Array:
    return pa.array(items, pa.large_string())


LOADED = {kind: load(learn(CORPUS, asked(kind))) for kind in LOSSLESS}


@pytest.mark.parametrize("kind", LOSSLESS)
@settings(max_examples=340, deadline=None)
@given(text=st.lists(st.one_of(st.text(max_size=20), st.sampled_from(["##", "▁", "<|endoftext|>", "\0"]))).map("".join))
def test_every_text_comes_back(kind: str, text: str) -> None:
    tokens, _ = encode(texts(text), LOADED[kind])
    assert decode(tokens, LOADED[kind]).to_pylist() == [text]


#: What could be taken for something else than text: special tokens, every kind's marks, control characters.
HOSTILE = [
    "<|endoftext|>",
    "<|pad|>",
    "</s>",
    "##",
    "▁",
    "Ġ",
    "\0",
    "\x1b",
    "\x7f",
    "\x85",
    "\u2028",
    "\ufeff",
    "\r\n",
    " \t ",
]


@pytest.fixture(scope="module")
def ten_thousand() -> list[str]:
    """Texts of all of Unicode, with everything hostile in between."""
    drawn: list[str] = []

    @settings(max_examples=10_000, deadline=None, database=None)
    @given(text=st.lists(st.one_of(st.text(max_size=60), st.sampled_from(HOSTILE)), max_size=6).map("".join))
    def draw(text: str) -> None:
        drawn.append(text)

    draw()
    assert len(drawn) >= 10_000
    return drawn


@pytest.mark.slow
@pytest.mark.parametrize("kind", LOSSLESS)
def test_ten_thousand_texts_come_back_from_a_shard(kind: str, ten_thousand: list[str], tmp_path: Path) -> None:
    tokenizer = LOADED[kind]
    tokens, counts = encode(texts(*ten_thousand), tokenizer)
    metadata = ShardMetadata(
        tokenizer_sha256=tokenizer.sha256, vocab_size=tokenizer.vocab_size, end_of_text_id=tokenizer.end_of_text_id
    )
    docs = {
        "doc_id": [str(row) for row in range(len(ten_thousand))],
        "source": ["drawn"] * len(ten_thousand),
        "n_bytes": [len(text.encode()) for text in ten_thousand],
        "n_tokens": counts,
        "tokens": tokens,
    }
    write_shard(tmp_path / "a.parquet", pa.table(docs), metadata=metadata, row_group_tokens=100_000)
    shards = ShardSet([tmp_path / "a.parquet"])
    stored = pa.concat_tables(shards.read_documents(group) for group in range(len(shards.row_groups)))
    assert decode(stored["tokens"].combine_chunks(), tokenizer).to_pylist() == ten_thousand
    for group in range(len(shards.row_groups)):
        assert tokenizer.end_of_text_id not in shards.read_row_group(group)[0]


@pytest.mark.parametrize("kind", SIZES)
def test_the_same_texts_give_the_same_bytes_in_any_order_and_process(kind: str) -> None:
    expected = learn(CORPUS, asked(kind))
    assert learn(CORPUS[::-1], asked(kind)) == expected
    code = (
        "import hashlib, sys; sys.path.insert(0, 'tests/tokenizer'); import test_learners as t\n"
        f"print(hashlib.sha256(t.learn(t.CORPUS, t.asked({kind!r}))).hexdigest())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7", "TOKENIZERS_PARALLELISM": "false"},
    )  # fmt: skip
    assert found.stdout.strip() == hashlib.sha256(expected).hexdigest()


def test_a_kind_that_knows_whole_words_only_is_refused_for_shards() -> None:
    learned = learn(CORPUS, asked("wordlevel"))
    assert UNKNOWN.encode() in learned
    assert not lossless(asked("wordlevel"))
    with pytest.raises(ValueError, match="does not give every text back"):
        load(learned)


@pytest.mark.parametrize("normalization", ["nfc", "nfkc", "lowercase"])
def test_normalisation_is_learned_with_and_refused_for_shards(normalization: str) -> None:
    chosen = asked("bpe", vocab_size=280, normalization=normalization)
    learned = learn([*CORPUS, "THE FOX" * 20], chosen)
    assert not lossless(chosen)
    with pytest.raises(ValueError, match="does not give every text back"):
        load(learned)


def test_digits_stand_alone_where_asked_for() -> None:
    numbers = [f"{n} bottles " for n in range(10_000, 10_200)]
    threes = load(learn(numbers, asked("bpe", vocab_size=350)))
    ones = load(learn(numbers, asked("bpe", vocab_size=264, pre_tokenizer="digits")))
    assert encode(texts("10007"), ones)[1].to_pylist() == [5]
    assert encode(texts("10007"), threes)[1].to_pylist()[0] < 5


@pytest.mark.parametrize("kind", LOSSLESS)
def test_half_a_megabyte_without_a_space_does_not_stall(kind: str) -> None:
    tokenizer = load(learn([*CORPUS, "x" * 500_000], asked(kind)))
    long = texts("x" * 500_000)
    assert decode(encode(long, tokenizer)[0], tokenizer) == long


@pytest.mark.parametrize("kind", SIZES)
def test_an_empty_corpus_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="corpus is empty"):
        learn(iter(["", ""]), asked(kind))


@pytest.mark.parametrize("kind", SIZES)
def test_a_vocabulary_larger_than_the_data_names_the_size_that_is_possible(kind: str) -> None:
    with pytest.raises(ValueError, match="set vocab_size to"):
        learn(["hello hello"], asked(kind, vocab_size=5000))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "wordpiece", "vocab_size": 400}, "a wordpiece vocabulary needs 513"),
        ({"vocab_size": 256}, "a bpe vocabulary needs 257"),
        ({"special_tokens": ("eos",)}, "could be learned as a word"),
        ({"special_tokens": ("<|a|>", UNKNOWN)}, "entry of a wordlevel"),
        ({"max_word_characters": 0}, "within 1 and 10,000"),
    ],
)
def test_wrong_settings_say_what_is_wrong(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VocabularySettings(**{"vocab_size": 600, **changes})
