"""The on-disk token format: columns, footer, and what must be true of both. The specification is docs/format.md.

Others import from `tokenizer/shards.py`. The writer is shard_writer.py; shard_file.py reads one file, shard_set.py all
of a split.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tokenizer.bpe import token_dtype

VERSION = 2
#: Version 1 had no order: its documents are shuffled over the whole set.
READABLE = (1, 2)

SCHEMA = pa.schema(
    [
        # The document's stable id (32 hex digits where Tamis made it).
        pa.field("doc_id", pa.string(), nullable=False),
        # Where the document came from: the input file, or a name of a domain.
        pa.field("source", pa.string(), nullable=False),
        # UTF-8 bytes of the original text: the denominator of bits per byte.
        pa.field("n_bytes", pa.int64(), nullable=False),
        # Tokens of the text; no separator is stored.
        pa.field("n_tokens", pa.int64(), nullable=False),
        # The ids, little-endian, 2 or 4 bytes each as the metadata's dtype says.
        pa.field("tokens", pa.large_binary(), nullable=False),
    ]
)

#: Footer keys: the metadata as JSON, and its sha256 (Parquet protects pages by checksums, but not its footer).
METADATA_KEY = b"tamis.shard"
CHECK_KEY = b"tamis.shard.sha256"

#: Metadata that all shards of a set share.
MUST_AGREE = ("tokenizer_sha256", "vocab_size", "end_of_text_id", "split", "phase_key", "shards", "order")


class ShardError(ValueError):
    """A shard or a set of shards that must not be read: damaged, incomplete, or of different making."""


@dataclass(frozen=True, kw_only=True)
class ShardMetadata:
    """What a writer must know about a shard before its first document."""

    #: sha256 of the tokenizer.json.
    tokenizer_sha256: str
    #: Largest id plus one; decides the width of the stored ids.
    vocab_size: int
    #: Id that stands between documents in training. Never stored.
    end_of_text_id: int
    #: What made the shard: the phase key of the run; empty where there is none.
    phase_key: str = ""
    #: `train` or `validation`. A set is of one split.
    split: str = "train"
    #: Place of this shard in its set, from 0, and the number of shards in the set.
    shard: int = 0
    shards: int = 1
    #: What the set's documents are ordered by, in words; empty where they are shuffled over the whole set.
    order: str = ""
    #: Which part of that order this shard is of, from 0; parts never decrease from one shard to the next.
    bucket: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.vocab_size <= 2**32:
            raise ValueError(f"vocab_size {self.vocab_size} is not within 1 and 2**32")
        if not 0 <= self.end_of_text_id < self.vocab_size:
            raise ValueError(f"end_of_text_id {self.end_of_text_id} is not in a vocabulary of {self.vocab_size}")
        if not 0 <= self.shard < self.shards:
            raise ValueError(f"shard {self.shard} of {self.shards}: the number must be from 0 to {self.shards - 1}")
        if self.bucket < 0 or (self.bucket and not self.order):
            raise ValueError(f"bucket {self.bucket} of the order {self.order!r}: there is no such part")

    @property
    def dtype(self) -> np.dtype[Any]:
        return token_dtype(self.vocab_size)


@dataclass(frozen=True, kw_only=True)
class ShardTotals:
    """What a finished shard holds. `row_group_tokens` and `row_group_documents` have one entry a row group."""

    documents: int
    tokens: int
    bytes: int
    #: Over ids, sizes, counts and tokens of all documents in order, whatever the row groups; see docs/format.md.
    content_sha256: str
    row_group_tokens: tuple[int, ...]
    row_group_documents: tuple[int, ...]


def footer(metadata: ShardMetadata, totals: ShardTotals) -> dict[bytes, bytes]:
    """The footer's two entries of a shard."""
    said = {"version": VERSION, "dtype": metadata.dtype.name, **asdict(metadata), **asdict(totals)}
    value = json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
    return {METADATA_KEY: value, CHECK_KEY: hashlib.sha256(value).hexdigest().encode()}


def stated(footer: Mapping[bytes, bytes], path: str) -> tuple[ShardMetadata, ShardTotals, str]:
    """What a footer says, and the hash of that. ShardError where it is no shard's, damaged, or of another version."""
    if METADATA_KEY not in footer:
        raise ShardError(f"{path}: a Parquet file, but not a token shard (its footer has no {METADATA_KEY.decode()})")
    value = footer[METADATA_KEY]
    check = hashlib.sha256(value).hexdigest()
    if footer.get(CHECK_KEY) != check.encode():
        raise ShardError(f"{path}: the footer is damaged: its metadata does not have the stated sha256")
    said = json.loads(value)
    version = said.get("version")
    if version not in READABLE:
        raise ShardError(f"{path}: format version {version}; this reader knows {' and '.join(map(str, READABLE))}")
    if version == 1:
        said |= {"order": "", "bucket": 0}
    metadata = ShardMetadata(**{name: said[name] for name in ShardMetadata.__dataclass_fields__})
    totals = ShardTotals(**{name: said[name] for name in ShardTotals.__dataclass_fields__})
    return metadata, totals, check


def check_documents(docs: pa.Table, metadata: ShardMetadata) -> None:
    """ValueError where a column holds a null, counts and tokens disagree, or an id is out of range."""
    for name in SCHEMA.names:
        if docs[name].null_count:
            raise ValueError(f"column {name} of a token shard holds a null")
    tokens, _ = tokens_of(docs, metadata.dtype)
    if len(tokens) and int(tokens.max()) >= metadata.vocab_size:
        raise ValueError(f"token id {tokens.max()} is not in a vocabulary of {metadata.vocab_size}")


def hash_content(content: Any, group: pa.Table) -> None:
    """Feed documents to the hash one field after the other, so that it does not depend on row groups."""
    rows = zip(*(group[name].to_pylist() for name in ("doc_id", "source", "n_bytes", "n_tokens")), strict=True)
    for (doc_id, source, n_bytes, n_tokens), tokens in zip(rows, group["tokens"], strict=True):
        content.update(json.dumps([doc_id, source, n_bytes, n_tokens]).encode())
        content.update(tokens.as_buffer())


def tokens_of(docs: pa.Table, dtype: np.dtype[Any]) -> tuple[np.ndarray, np.ndarray]:
    """All ids of a table in a row, and each document's number of them. ValueError where counts and bytes differ."""
    stated = docs["n_tokens"].to_numpy()
    blocks, sizes = [np.zeros(0, np.uint8)], [np.zeros(0, np.int64)]
    for chunk in docs["tokens"].chunks:
        if len(chunk):
            _, offsets, data = chunk.buffers()
            ends = np.frombuffer(offsets, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
            blocks.append(np.frombuffer(data or b"", np.uint8)[ends[0] : ends[-1]])
            sizes.append(np.diff(ends))
    found = np.concatenate(sizes)
    wrong = np.flatnonzero(found != stated * dtype.itemsize)
    if len(wrong):
        row = int(wrong[0])
        raise ValueError(f"document {row} states {stated[row]} tokens of {dtype.name} and brings {found[row]} bytes")
    raw = blocks[1] if len(blocks) == 2 else np.concatenate(blocks)
    return raw.view(dtype), stated
