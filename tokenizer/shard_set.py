"""All shards of one split: documents, row groups and token ranges at random, and whether they belong together.

All numbers that a reader needs to find its way (tokens and documents of each row group) stand in the footers, so a set
of thousands of shards is opened without reading a page of data.
"""

import hashlib
import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs

from tokenizer.bpe import Tokenizer, load
from tokenizer.shard_file import open_shard, read_columns, verify_shard
from tokenizer.shard_format import MUST_AGREE, SCHEMA, ShardError, tokens_of

#: Row groups kept decoded for random access, 4 to 8 MB each.
KEPT_ROW_GROUPS = 4


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
        opened = (open_shard(os.fspath(path), filesystem)[1] for path in paths)
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
        chosen = [path for path in paths if open_shard(path, filesystem)[1].metadata.split == split]
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
        file, now = open_shard(shard.path, self.filesystem)
        if now.check != shard.check:
            raise ShardError(f"{shard.path}: the shard was replaced since it was opened")
        table = read_columns(file, shard.path, group, ["n_tokens", "tokens"])
        try:
            tokens, counts = tokens_of(table, self.dtype)
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
        file, now = open_shard(shard.path, self.filesystem)
        if now.check != shard.check:
            raise ShardError(f"{shard.path}: the shard was replaced since it was opened")
        return read_columns(file, shard.path, group, SCHEMA.names)

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
            verify_shard(shard, self.filesystem)

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
            if one.metadata.bucket > other.metadata.bucket:
                raise ShardError(f"{other.path} belongs before {one.path}: the order {one.metadata.order!r} is broken")
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
