"""What can be measured as a tokenizer: ours, anyone's tokenizer.json, GPT-2's original files, tiktoken's encodings.

subject("out/tokenizer")   a folder with tokenizer.json, or with GPT-2's two files (vocab.bpe and encoder.json)
subject("x.json")          a tokenizer.json, lossless or not
subject("tiktoken:NAME")   an encoding of tiktoken, which fetches its vocabulary from the network unless it is cached
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from tokenizer.bpe import PROBE, encode, load

#: GPT-2's files by the names that OpenAI and Hugging Face gave them: (vocabulary, merges).
_GPT2_FILES = (("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt"))
TIKTOKEN = "tiktoken:"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Anything that turns texts into ids. Special tokens in a text are text."""

    name: str
    vocab_size: int
    #: Identifies the vocabulary: sha256 of the file, or of tiktoken's own pieces.
    sha256: str
    #: Whether a text with every kind of character comes back unchanged.
    lossless: bool
    encode: Callable[[Sequence[str]], list[np.ndarray]] = field(repr=False)
    #: The text of one id; bytes that are no character alone are shown as U+FFFD.
    piece: Callable[[int], str] = field(repr=False)


def subject(reference: str) -> Subject:
    """ValueError where there is no such tokenizer, or it cannot be loaded; it says what to do."""
    if reference.startswith(TIKTOKEN):
        return _tiktoken(reference)
    path = Path(reference)
    if path.is_dir():
        if (path / "tokenizer.json").is_file():
            return _library(reference, (path / "tokenizer.json").read_bytes())
        for vocabulary, merges in _GPT2_FILES:
            if (path / vocabulary).is_file() and (path / merges).is_file():
                return _library(reference, _gpt2(path / vocabulary, path / merges))
        raise ValueError(f"{reference}: a folder without tokenizer.json (or encoder.json and vocab.bpe, as of GPT-2)")
    if not path.is_file():
        raise ValueError(f"{reference}: no such file. Name a tokenizer.json, its folder, or {TIKTOKEN}NAME")
    return _library(reference, path.read_bytes())


def _library(name: str, data: bytes) -> Subject:
    """Through our own encoder where the tokenizer is lossless, so that its speed is what a run would see."""
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        ours = load(data)
    except ValueError:
        return _lossy(name, data, sha256)

    def ids(texts: Sequence[str]) -> list[np.ndarray]:
        tokens, _ = encode(pa.array(texts, pa.large_string()), ours)
        return [np.frombuffer(row.as_buffer(), ours.dtype) for row in tokens]

    return Subject(
        name=name, vocab_size=ours.vocab_size, sha256=sha256, lossless=True, encode=ids,
        piece=lambda token: str(ours.inner.decode([token], skip_special_tokens=False)),
    )  # fmt: skip


def _lossy(name: str, data: bytes, sha256: str) -> Subject:
    try:
        inner = tokenizers.Tokenizer.from_str(data.decode())
    except Exception as error:  # the library raises plain Exception
        raise ValueError(f"{name}: not a tokenizer.json that the tokenizers library can read: {error}") from error
    inner.no_truncation()
    inner.no_padding()
    inner.encode_special_tokens = True

    def ids(texts: Sequence[str]) -> list[np.ndarray]:
        found = inner.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.uint32) for encoding in found]

    back = inner.decode(ids([PROBE])[0].tolist(), skip_special_tokens=False)
    return Subject(
        name=name, vocab_size=max(inner.get_vocab(with_added_tokens=True).values()) + 1, sha256=sha256,
        lossless=back == PROBE, encode=ids, piece=lambda token: str(inner.decode([token], skip_special_tokens=False)),
    )  # fmt: skip


def _gpt2(vocabulary: Path, merges: Path) -> bytes:
    """GPT-2's files as a tokenizer.json."""
    inner: Any = tokenizers.Tokenizer(models.BPE.from_file(str(vocabulary), str(merges)))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["<|endoftext|>"])
    return str(inner.to_str()).encode()


def _tiktoken(reference: str) -> Subject:
    name = reference.removeprefix(TIKTOKEN)
    try:
        library: Any = import_module("tiktoken")
    except ImportError as error:
        raise ValueError(f"{reference}: needs the package tiktoken, which is not installed") from error
    if name not in library.list_encoding_names():
        raise ValueError(f"{reference}: tiktoken knows {', '.join(sorted(library.list_encoding_names()))}")
    try:
        encoding = library.get_encoding(name)
    except Exception as error:  # whatever its HTTP client raises
        raise ValueError(
            f"{reference}: tiktoken ships no vocabularies, it fetches them, and that failed ({type(error).__name__}). "
            "Load it once on a connected machine and set TIKTOKEN_CACHE_DIR to its cache"
        ) from error

    def ids(texts: Sequence[str]) -> list[np.ndarray]:
        return [np.array(row, dtype=np.uint32) for row in encoding.encode_ordinary_batch(list(texts))]

    pieces = json.dumps([piece.hex() for piece in encoding.token_byte_values()]).encode()
    return Subject(
        name=reference, vocab_size=encoding.n_vocab, sha256=hashlib.sha256(pieces).hexdigest(),
        lossless=encoding.decode(ids([PROBE])[0].tolist()) == PROBE, encode=ids,
        piece=lambda token: str(encoding.decode([token])),
    )  # fmt: skip
