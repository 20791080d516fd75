"""The on-disk token format: writer and reader. The specification is docs/format.md.

    write_shard(sink, docs, metadata)      ShardWriter(sink, metadata).write(docs) ... .close()
    ShardSet(paths)                        documents, row groups and token ranges at random; verify()

A shard is a Parquet file, one row a document. All numbers that a reader needs to find its way (tokens and documents of
each row group) stand in the footer, so a set of thousands of shards is opened without reading a page of data.
"""

import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from tokenizer.bpe import Tokenizer, load, token_dtype

VERSION = 1

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

#: A row group ends with the first document that brings it to this many tokens: 4 MB to read for one document, few
#: enough groups that the footer stays small (50 for a shard of 100 million tokens).
ROW_GROUP_TOKENS = 2_000_000
#: zstd's own default. Level 1 gives 17 % larger files of pydoc text, level 6 8 % smaller ones, 12 another 2 %.
ZSTD_LEVEL = 3
#: Metadata that all shards of a set share.
MUST_AGREE = ("tokenizer_sha256", "vocab_size", "end_of_text_id", "split", "phase_key", "shards")
#: Row groups kept decoded for random access, 4 to 8 MB each.
KEPT_ROW_GROUPS = 4


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

    def __post_init__(self) -> None:
        if not 0 < self.vocab_size <= 2**32:
            raise ValueError(f"vocab_size {self.vocab_size} is not within 1 and 2**32")
        if not 0 <= self.end_of_text_id < self.vocab_size:
            raise ValueError(f"end_of_text_id {self.end_of_text_id} is not in a vocabulary of {self.vocab_size}")
        if not 0 <= self.shard < self.shards:
            raise ValueError(f"shard {self.shard} of {self.shards}: the number must be from 0 to {self.shards - 1}")

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


class ShardWriter:
    """Writes one shard to anything that ParquetWriter accepts. The bytes depend on the documents and the metadata,
    not on how the documents were cut into tables. Holds one row group in memory.

    Leaving the `with` block by an exception leaves a file that no reader of shards opens: Parquet's writer may still
    put a footer under it when it is freed, but not ours.
    """

    def __init__(self, sink: Any, *, metadata: ShardMetadata, row_group_tokens: int = ROW_GROUP_TOKENS) -> None:
        if row_group_tokens < 1:
            raise ValueError(f"row_group_tokens {row_group_tokens} is not positive")
        self.metadata = metadata
        self.totals: ShardTotals | None = None
        self._row_group_tokens = row_group_tokens
        self._pending: list[pa.Table] = []
        self._pending_tokens = 0
        self._group_tokens: list[int] = []
        self._group_documents: list[int] = []
        self._bytes = 0
        self._content = hashlib.sha256()
        self._writer = pq.ParquetWriter(
            sink,
            SCHEMA,
            compression="zstd",
            compression_level=ZSTD_LEVEL,
            use_dictionary=["source"],
            write_statistics=False,
            write_page_checksum=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self.totals is None:
            self.close()

    def write(self, docs: pa.Table) -> None:
        """Append documents in order. Raises ValueError where counts and tokens disagree or an id is out of range."""
        docs = docs.select(SCHEMA.names).cast(SCHEMA)
        _check(docs, self.metadata)
        ends = np.cumsum(docs["n_tokens"].to_numpy())
        start = 0
        while start < docs.num_rows:
            before = int(ends[start - 1]) if start else 0
            # The first row that brings the group to its size; everything up to it goes in.
            room = before + self._row_group_tokens - self._pending_tokens
            stop = min(int(np.searchsorted(ends, room)) + 1, docs.num_rows)
            self._pending.append(docs.slice(start, stop - start))
            self._pending_tokens += int(ends[stop - 1]) - before
            start = stop
            if self._pending_tokens >= self._row_group_tokens:
                self._flush()

    def close(self) -> ShardTotals:
        """Write the footer and return what the shard holds."""
        if self._pending:
            self._flush()
        self.totals = ShardTotals(
            documents=sum(self._group_documents),
            tokens=sum(self._group_tokens),
            bytes=self._bytes,
            content_sha256=self._content.hexdigest(),
            row_group_tokens=tuple(self._group_tokens),
            row_group_documents=tuple(self._group_documents),
        )
        stated = {
            "version": VERSION,
            "dtype": self.metadata.dtype.name,
            **asdict(self.metadata),
            **asdict(self.totals),
        }
        value = json.dumps(stated, sort_keys=True, separators=(",", ":")).encode()
        check = hashlib.sha256(value).hexdigest().encode()
        self._writer.add_key_value_metadata({METADATA_KEY: value, CHECK_KEY: check})
        self._writer.close()
        return self.totals

    def _flush(self) -> None:
        group = pa.concat_tables(self._pending).combine_chunks()
        self._writer.write_table(group, row_group_size=group.num_rows)
        _hash_content(self._content, group)
        self._group_tokens.append(self._pending_tokens)
        self._group_documents.append(group.num_rows)
        self._bytes += int(group["n_bytes"].to_numpy().sum())
        self._pending, self._pending_tokens = [], 0


def write_shard(
    sink: Any, docs: pa.Table | Iterable[pa.Table], *, metadata: ShardMetadata, row_group_tokens: int = ROW_GROUP_TOKENS
) -> ShardTotals:
    """One whole shard from one table, or from tables in order. `docs` has the columns of SCHEMA."""
    with ShardWriter(sink, metadata=metadata, row_group_tokens=row_group_tokens) as writer:
        for table in [docs] if isinstance(docs, pa.Table) else docs:
            writer.write(table)
        return writer.close()


def _check(docs: pa.Table, metadata: ShardMetadata) -> None:
    for name in SCHEMA.names:
        if docs[name].null_count:
            raise ValueError(f"column {name} of a token shard holds a null")
    tokens, _ = _tokens(docs, metadata.dtype)
    if len(tokens) and int(tokens.max()) >= metadata.vocab_size:
        raise ValueError(f"token id {tokens.max()} is not in a vocabulary of {metadata.vocab_size}")


def _hash_content(content: Any, group: pa.Table) -> None:
    """Feed documents to the hash one field after the other, so that it does not depend on row groups."""
    rows = zip(*(group[name].to_pylist() for name in ("doc_id", "source", "n_bytes", "n_tokens")), strict=True)
    for (doc_id, source, n_bytes, n_tokens), tokens in zip(rows, group["tokens"], strict=True):
        content.update(json.dumps([doc_id, source, n_bytes, n_tokens]).encode())
        content.update(tokens.as_buffer())


def _tokens(docs: pa.Table, dtype: np.dtype[Any]) -> tuple[np.ndarray, np.ndarray]:
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


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One opened shard of a set: its path, metadata and totals."""

    path: str
    metadata: ShardMetadata
    totals: ShardTotals
    #: Hash of the footer's metadata: changes whenever a shard's content does.
    check: str = field(repr=False)


class ShardSet:
    """All shards of one split, in the order of their numbers, whatever the order of the paths.

    Raises ShardError where a file is damaged, of another format version, of another tokenizer, run or split than the
    others, given twice, or missing (`complete=False` allows a set with gaps: a chosen subset of a larger one).
    `filesystem` is any that pyarrow takes; None means local paths. Every page read is checked against its checksum.
    """

    def __init__(
        self, paths: Sequence[str | os.PathLike[str]], *, filesystem: Any = None, complete: bool = True
    ) -> None:
        if not paths:
            raise ShardError("no token shards: the list of paths is empty")
        self.filesystem = filesystem
        opened = (_open(os.fspath(path), filesystem)[1] for path in paths)
        self.shards = sorted(opened, key=lambda shard: shard.metadata.shard)
        self._refuse_mixes(complete=complete)
        self.metadata = self.shards[0].metadata
        self.dtype = self.metadata.dtype
        self.documents = sum(shard.totals.documents for shard in self.shards)
        self.tokens = sum(shard.totals.tokens for shard in self.shards)
        self.bytes = sum(shard.totals.bytes for shard in self.shards)
        #: (shard, row group within it) of every row group of the set.
        self.row_groups = [(n, g) for n, s in enumerate(self.shards) for g in range(len(s.totals.row_group_tokens))]
        self.row_group_tokens = [n for shard in self.shards for n in shard.totals.row_group_tokens]
        self.row_group_documents = [n for shard in self.shards for n in shard.totals.row_group_documents]
        self._token_ends = list(accumulate(self.row_group_tokens))
        self._document_ends = list(accumulate(self.row_group_documents))
        self._kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str], *, split: str = "train") -> "ShardSet":
        """All shards of `split` among the `*.parquet` files directly in a folder, local or s3://BUCKET/PREFIX or any
        other address that pyarrow.fs knows. ShardError where there are none."""
        filesystem, paths = _listed(os.fspath(folder))
        chosen = [path for path in paths if _open(path, filesystem)[1].metadata.split == split]
        if not chosen:
            raise ShardError(f"{folder}: no token shards of the split {split!r} among {len(paths)} Parquet files")
        return cls(chosen, filesystem=filesystem)

    @property
    def fingerprint(self) -> str:
        """sha256 over the shards' footers: equal if and only if content, order and making are."""
        return hashlib.sha256("".join(shard.check for shard in self.shards).encode()).hexdigest()

    def made_by(self, data: bytes) -> Tokenizer:
        """The tokenizer of this tokenizer.json, with the separator that the set states, whatever its name. ShardError
        where another tokenizer made the set."""
        found = hashlib.sha256(data).hexdigest()
        if found != self.metadata.tokenizer_sha256:
            raise ShardError(
                f"this is not the tokenizer of these shards: its sha256 is {found}, they name "
                f"{self.metadata.tokenizer_sha256}"
            )
        return load(data, end_of_text=self.metadata.end_of_text_id)

    def read_row_group(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of all documents of row group `number` of the set in a row, and where each document ends (int64)."""
        at, group = self.row_groups[number]
        shard = self.shards[at]
        file, now = _open(shard.path, self.filesystem)
        if now.check != shard.check:
            raise ShardError(f"{shard.path}: the shard was replaced since it was opened")
        table = _read(file, shard.path, group, ["n_tokens", "tokens"])
        try:
            tokens, counts = _tokens(table, self.dtype)
        except ValueError as error:
            raise ShardError(f"{shard.path}: row group {group}: {error}") from error
        if len(tokens) != self.row_group_tokens[number]:
            raise ShardError(f"{shard.path}: row group {group} does not hold the tokens that the footer states")
        if len(tokens) and int(tokens.max()) >= self.metadata.vocab_size:
            raise ShardError(
                f"{shard.path}: row group {group} holds token {tokens.max()}, which is not in the vocabulary of "
                f"{self.metadata.vocab_size} that the footer states"
            )
        return tokens, np.cumsum(counts)

    def read_documents(self, number: int) -> pa.Table:
        """The rows of row group `number` of the set, with all columns of SCHEMA."""
        at, group = self.row_groups[number]
        shard = self.shards[at]
        file, now = _open(shard.path, self.filesystem)
        if now.check != shard.check:
            raise ShardError(f"{shard.path}: the shard was replaced since it was opened")
        return _read(file, shard.path, group, SCHEMA.names)

    def document(self, number: int) -> np.ndarray:
        """Tokens of document `number` of the set (0 to `documents` - 1)."""
        if not 0 <= number < self.documents:
            raise IndexError(f"document {number} of a set of {self.documents}")
        group = bisect_right(self._document_ends, number)
        row = number - (self._document_ends[group - 1] if group else 0)
        tokens, ends = self._row_group(group)
        return tokens[ends[row - 1] if row else 0 : ends[row]]

    def token_range(self, start: int, stop: int) -> np.ndarray:
        """Tokens start..stop-1 of the concatenation of all documents, without separators."""
        if not 0 <= start <= stop <= self.tokens:
            raise IndexError(f"tokens {start} to {stop} of a set of {self.tokens}")
        blocks = []
        group = bisect_right(self._token_ends, start)
        while start < stop:
            first = self._token_ends[group] - self.row_group_tokens[group]
            blocks.append(self._row_group(group)[0][start - first : stop - first])
            start, group = self._token_ends[group], group + 1
        return np.concatenate(blocks) if blocks else np.zeros(0, self.dtype)

    def verify(self) -> None:
        """Re-read everything: page checksums, stated totals, range of ids, content hash. Raises ShardError."""
        for shard in self.shards:
            _verify(shard, self.filesystem)

    def _row_group(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        if number not in self._kept:
            if len(self._kept) == KEPT_ROW_GROUPS:
                self._kept.pop(next(iter(self._kept)))
            self._kept[number] = self.read_row_group(number)
        return self._kept[number]

    def _refuse_mixes(self, *, complete: bool) -> None:
        first = self.shards[0]
        for other in self.shards[1:]:
            for name in MUST_AGREE:
                ours, theirs = getattr(first.metadata, name), getattr(other.metadata, name)
                if ours != theirs:
                    raise ShardError(
                        f"{first.path} and {other.path} cannot be read together: {name} is {ours} and {theirs}"
                    )
        numbers = [shard.metadata.shard for shard in self.shards]
        for one, other in pairwise(self.shards):
            if one.metadata.shard == other.metadata.shard:
                raise ShardError(f"{one.path} and {other.path} are both shard {one.metadata.shard} of the set")
        missing = sorted(set(range(first.metadata.shards)) - set(numbers))
        if missing and complete:
            raise ShardError(
                f"{len(missing)} of {first.metadata.shards} shards are missing, the first is number {missing[0]}: "
                "give all shards of the set"
            )


def _listed(folder: str) -> tuple[Any, list[str]]:
    """The file system (None: local) and the Parquet files directly in the folder, sorted."""
    if "://" not in folder:
        return None, sorted(str(path) for path in Path(folder).glob("*.parquet"))
    try:
        filesystem, base = pafs.FileSystem.from_uri(folder)
        inside = filesystem.get_file_info(pafs.FileSelector(base, allow_not_found=True))
    except (OSError, pa.ArrowException) as error:
        raise ShardError(f"{folder}: cannot be listed: {error}") from error
    return filesystem, sorted(info.path for info in inside if info.is_file and info.path.endswith(".parquet"))


def _open(path: str, filesystem: Any) -> tuple[pq.ParquetFile, Shard]:
    """The Parquet file and what its footer states, checked against its own hash and the Parquet footer."""
    try:
        file = pq.ParquetFile(path, filesystem=filesystem, page_checksum_verification=True)
        footer = file.metadata.metadata or {}
    except FileNotFoundError as error:
        raise ShardError(f"{path}: there is no such shard") from error
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise ShardError(f"{path}: not a whole Parquet file: {error}") from error
    if METADATA_KEY not in footer:
        raise ShardError(f"{path}: a Parquet file, but not a token shard (its footer has no {METADATA_KEY.decode()})")
    value = footer[METADATA_KEY]
    check = hashlib.sha256(value).hexdigest()
    if footer.get(CHECK_KEY) != check.encode():
        raise ShardError(f"{path}: the footer is damaged: its metadata does not have the stated sha256")
    stated = json.loads(value)
    if stated.get("version") != VERSION:
        raise ShardError(f"{path}: format version {stated.get('version')}; this reader knows version {VERSION}")
    metadata = ShardMetadata(**{name: stated[name] for name in ShardMetadata.__dataclass_fields__})
    totals = ShardTotals(**{name: stated[name] for name in ShardTotals.__dataclass_fields__})
    groups = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    if not file.schema_arrow.equals(SCHEMA) or groups != list(totals.row_group_documents):
        raise ShardError(f"{path}: columns or row groups are not those that the footer states")
    return file, Shard(path=path, metadata=metadata, totals=totals, check=check)


def _read(file: pq.ParquetFile, path: str, group: int, columns: list[str]) -> pa.Table:
    try:
        return file.read_row_group(group, columns=columns, use_threads=False)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise ShardError(f"{path}: row group {group} is damaged: {error}") from error


def _verify(shard: Shard, filesystem: Any) -> None:
    file, now = _open(shard.path, filesystem)
    content, totals = hashlib.sha256(), shard.totals
    size = 0
    for group in range(len(totals.row_group_tokens)):
        table = _read(file, shard.path, group, SCHEMA.names)
        try:
            table.validate(full=True)
            _check(table, shard.metadata)
        except (ValueError, pa.ArrowException) as error:
            raise ShardError(f"{shard.path}: row group {group}: {error}") from error
        _hash_content(content, table)
        size += int(table["n_bytes"].to_numpy().sum())
    if now.check != shard.check or content.hexdigest() != totals.content_sha256 or size != totals.bytes:
        raise ShardError(f"{shard.path}: the content is not what the footer states")
