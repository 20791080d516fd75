"""Byte-level BPE: learn a vocabulary, encode text to token ids, decode it back without loss.

    learn(texts, settings) -> bytes of a tokenizer.json      load(bytes) -> Tokenizer
    encode(texts, tokenizer) -> (token bytes, token counts)  decode(tokens, tokenizer) -> texts

The merges are learned and applied by the `tokenizers` library; here stand the rules around it that keep promises:
whatever a text holds, `decode(encode(text)) == text`, and no id of a special token ever comes out of text.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

#: How text is cut into words before merging; no merge crosses a word. Every repetition is bounded by {limit}: learning
#: is quadratic in the length of a word (a 300 kB string without spaces does not end within 70 s unbounded).
#: "gpt2" is the rule of GPT-2; "gpt4" that of cl100k_base (digits in threes, no merges of letters across lines);
#: "digits" is "gpt4" with every digit a word of its own, as in Llama 1 and Qwen.
WORDS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}{1,LIMIT}| ?\p{N}{1,LIMIT}| ?[^\s\p{L}\p{N}]{1,LIMIT}"
    r"|\s{1,LIMIT}(?!\S)|\s{1,LIMIT}",
    "gpt4": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}{1,LIMIT}|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]{1,LIMIT}[\r\n]{0,LIMIT}|\s{0,LIMIT}[\r\n]{1,LIMIT}|\s{1,LIMIT}(?!\S)|\s{1,LIMIT}",
}
WORDS["digits"] = WORDS["gpt4"].replace(r"\p{N}{1,3}", r"\p{N}")
#: The 256 bytes are always in the vocabulary: that is what makes every text encodable.
BYTES = 256
#: The library counts pairs in 32 bits and wraps silently. No pair occurs more often than there are bytes.
MAX_LEARN_BYTES = 2**31 - 1
#: A merge that occurs once is memory of one place, not vocabulary.
MIN_FREQUENCY = 2
#: A longer text is encoded in pieces, cut behind a line break where there is one: the library needs about 500
#: bytes of memory a token (measured). Part of the definition of the result.
MAX_PIECE_CHARACTERS = 250_000
#: Characters handed to the library at once. Bounds memory only; no effect on the result.
BATCH_CHARACTERS = 500_000
#: Names under which published tokenizers hold the token that separates documents, in the order of trying.
END_OF_TEXT_NAMES = ("<|endoftext|>", "<|end_of_text|>", "<|end▁of▁sentence|>", "<eos>", "</s>")
#: Text that a lossy tokenizer does not give back: every UTF-8 lead and continuation byte, decomposed and compatibility
#: characters, all kinds of blanks at all places, what a special token looks like.
PROBE = (
    "  Probe\t \r\n\n ﬁ Å A\u030a ｆｕｌｌ İı ß \u200d\ufeff\u2028 don't 12345 👩‍👩‍👧 "
    + "".join(map(chr, range(0x800)))
    + "".join(chr(max(lead << 12, 0x800)) for lead in range(16) if lead != 0xD)
    + "\ud7ff\U00010000\U00050000\U00090000\U000d0000\U0010ffff <|endoftext|></s><s> "
)


@dataclass(frozen=True, kw_only=True)
class BPESettings:
    """What `learn` needs to know."""

    #: Entries of the vocabulary, special tokens and the 256 bytes included.
    vocab_size: int
    #: The first one separates documents. They get the lowest ids, in this order.
    special_tokens: tuple[str, ...] = ("<|endoftext|>",)
    #: Rule that cuts text into words, see WORDS.
    pre_tokenizer: Literal["gpt4", "gpt2", "digits"] = "gpt4"
    #: A longer word is cut after this many characters, in learning and in encoding alike.
    max_word_characters: int = 1000

    def __post_init__(self) -> None:
        least = BYTES + len(self.special_tokens)
        if self.vocab_size < least:
            raise ValueError(
                f"vocab_size {self.vocab_size} is too small: the 256 bytes and {len(self.special_tokens)} special "
                f"tokens need {least}"
            )
        if not self.special_tokens or not all(self.special_tokens):
            raise ValueError("special_tokens needs at least one name, for the token that separates documents")
        if len(set(self.special_tokens)) != len(self.special_tokens):
            raise ValueError(f"special_tokens holds a name twice: {list(self.special_tokens)}")
        if self.pre_tokenizer not in WORDS:
            raise ValueError(f"pre_tokenizer {self.pre_tokenizer!r} is not one of {sorted(WORDS)}")
        if not 1 <= self.max_word_characters <= 10_000:
            raise ValueError(f"max_word_characters {self.max_word_characters} is not within 1 and 10,000")


@dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """A loaded tokenizer.json that has proved lossless. Equal if and only if the bytes of the file are."""

    #: The tokenizer.json itself, as it is to be stored beside shards and models.
    data: bytes = field(repr=False)
    sha256: str
    #: Largest id plus one.
    vocab_size: int
    #: Name and id of the token that stands before every document in training; it never occurs in encoded text.
    end_of_text: str
    end_of_text_id: int
    inner: Any = field(repr=False, compare=False)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored ids: little-endian, 16 bits where every id fits in them, else 32."""
        return token_dtype(self.vocab_size)


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The one rule for the width of stored ids."""
    return np.dtype("<u2" if vocab_size <= 2**16 else "<u4")


def learn(texts: Iterable[str], settings: BPESettings) -> bytes:
    """The tokenizer.json of a vocabulary of exactly `vocab_size` entries learned from the texts.

    Same texts in any order, any number of threads: same bytes. Special tokens found in the texts are text.
    Raises ValueError where the texts are empty, too many for the library's counters, or too few for the vocabulary.
    """
    inner = byte_level(models.BPE(), settings.pre_tokenizer, settings.max_word_characters)
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab_size,
        min_frequency=MIN_FREQUENCY,
        special_tokens=list(settings.special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    fill(inner, texts, trainer, vocab_size=settings.vocab_size)
    return str(inner.to_str()).encode()


def byte_level(model: Any, pre_tokenizer: str, max_word_characters: int) -> Any:
    """An untrained tokenizer of the library's that sees words of bounded length, as bytes."""
    inner = tokenizers.Tokenizer(model)
    words = Regex(WORDS[pre_tokenizer].replace("LIMIT", str(max_word_characters)))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    return inner


def fill(inner: Any, texts: Iterable[str], trainer: Any, *, vocab_size: int, least: float = 1.0) -> None:
    """Learn. ValueError where the texts are empty, too many for the library's counters, or give less than the share
    `least` of the entries."""
    seen = _ByteCount(texts)
    inner.train_from_iterator(iter(seen), trainer)
    if seen.failure is not None:
        raise seen.failure
    if seen.count == 0:
        raise ValueError("there is no text to learn a vocabulary from: the corpus is empty")
    size = inner.get_vocab_size()
    if size < least * vocab_size:
        raise ValueError(
            f"{seen.count:,} bytes of text give at most {size:,} vocabulary entries, not {vocab_size:,}: "
            f"set vocab_size to {size} or less, or give more text"
        )


class _ByteCount:
    """Passes texts on and counts their bytes; stops before the library's counters could wrap.

    The library turns an exception of its iterator into one of its own, so a failure is kept here instead.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = texts
        self.count = 0
        self.failure: ValueError | None = None

    def __iter__(self) -> Iterator[str]:
        for text in self.texts:
            data = text.encode("utf-8", "replace")
            self.count += len(data)
            if self.count > MAX_LEARN_BYTES:
                self.failure = ValueError(
                    f"more than {MAX_LEARN_BYTES:,} bytes of text to learn from: the library's 32-bit counters could "
                    "wrap. Learn from a sample"
                )
                return
            # A lone surrogate has no UTF-8 form; everything else passes as it came.
            yield text if text.isascii() else data.decode("utf-8")


def load(data: bytes, *, end_of_text: str | int | None = None) -> Tokenizer:
    """A tokenizer from the bytes of a tokenizer.json, of `learn` or of anyone else.

    `end_of_text` names the token that separates documents, or is its id, as shards state it; without it the usual names
    are tried. Truncation and padding that the file asks for are switched off. Raises ValueError where the file is no
    tokenizer, where it does not give every text back unchanged (normalisers, missing bytes), or where text could become
    the end-of-text token.
    """
    try:
        inner = tokenizers.Tokenizer.from_str(data.decode("utf-8"))
    except Exception as error:  # the library raises plain Exception
        raise ValueError(f"this is not a tokenizer.json that the tokenizers library can read: {error}") from error
    inner.no_truncation()
    inner.no_padding()
    inner.encode_special_tokens = True
    vocabulary = inner.get_vocab(with_added_tokens=True)
    if isinstance(end_of_text, int):
        names = tuple(name for name, token in vocabulary.items() if token == end_of_text) or (f"of id {end_of_text}",)
    else:
        names = END_OF_TEXT_NAMES if end_of_text is None else (end_of_text,)
    found = next((name for name in names if name in vocabulary), None)
    if found is None:
        raise ValueError(f"the tokenizer has no token {' or '.join(names)}: name the one that ends a document")
    tokenizer = Tokenizer(
        data=data,
        sha256=hashlib.sha256(data).hexdigest(),
        vocab_size=max(vocabulary.values()) + 1,
        end_of_text=found,
        end_of_text_id=vocabulary[found],
        inner=inner,
    )
    _prove(tokenizer)
    return tokenizer


def _prove(tokenizer: Tokenizer) -> None:
    probe = pa.array([PROBE, f"a{tokenizer.end_of_text}b {tokenizer.end_of_text}"], pa.large_string())
    tokens, _ = encode(probe, tokenizer)
    if decode(tokens, tokenizer) != probe:
        raise ValueError(
            "this tokenizer does not give every text back unchanged (it normalises, adds blanks or lacks bytes): "
            "use a byte-level tokenizer without a normaliser"
        )


def encode(texts: pa.Array, tokenizer: Tokenizer) -> tuple[pa.LargeBinaryArray, pa.Int64Array]:
    """Token ids of each text, as little-endian bytes of `tokenizer.dtype`, and the number of tokens, row for row.

    No token is added. An empty text has no tokens; a null raises ValueError. No row depends on its neighbours.
    """
    if texts.null_count:
        raise ValueError("cannot encode a null text: a document without text is the empty string")
    counts = np.zeros(len(texts), dtype=np.int64)
    blocks: list[np.ndarray] = []
    for rows, pieces in _batches(texts):
        encodings = tokenizer.inner.encode_batch_fast(pieces, add_special_tokens=False)
        for row, encoding in zip(rows, encodings, strict=True):
            ids = np.array(encoding.ids, dtype=np.uint32)
            counts[row] += len(ids)
            blocks.append(ids)
    tokens = np.concatenate(blocks) if blocks else np.zeros(0, np.uint32)
    if len(tokens) and int(tokens.max()) >= tokenizer.vocab_size:
        raise ValueError(f"token id {tokens.max()} is not in a vocabulary of {tokenizer.vocab_size}")
    if (tokens == tokenizer.end_of_text_id).any():
        raise ValueError(
            f"text became the token {tokenizer.end_of_text!r}: mark it as special in the tokenizer.json, so that the "
            "same characters in a document stay text"
        )
    return binary_array(tokens.astype(tokenizer.dtype), counts), pa.array(counts, pa.int64())


def decode(tokens: pa.LargeBinaryArray, tokenizer: Tokenizer) -> pa.LargeStringArray:
    """The texts that `encode` was given, row for row."""
    ids = [np.frombuffer(row.as_buffer(), dtype=tokenizer.dtype).tolist() for row in tokens]
    return pa.array(tokenizer.inner.decode_batch(ids, skip_special_tokens=False), pa.large_string())


def binary_array(tokens: np.ndarray, counts: np.ndarray) -> pa.LargeBinaryArray:
    """One binary value a document, from all tokens in a row and each document's number of them. Copies nothing."""
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets * tokens.dtype.itemsize), pa.py_buffer(tokens)]
    return pa.Array.from_buffers(pa.large_binary(), len(counts), buffers)


def _batches(texts: pa.Array) -> Iterator[tuple[list[int], list[str]]]:
    """(row numbers, pieces) of at most about BATCH_CHARACTERS, every text in order and whole."""
    rows: list[int] = []
    pieces: list[str] = []
    characters = 0
    for row, scalar in enumerate(texts):
        for piece in _pieces(scalar.as_py()):
            rows.append(row)
            pieces.append(piece)
            characters += len(piece)
            if characters >= BATCH_CHARACTERS:
                yield rows, pieces
                rows, pieces, characters = [], [], 0
    if pieces:
        yield rows, pieces


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while len(text) - start > MAX_PIECE_CHARACTERS:
        stop = start + MAX_PIECE_CHARACTERS
        stop = (text.rfind("\n", start, stop) + 1) or stop
        yield text[start:stop]
        start = stop
    yield text[start:]
