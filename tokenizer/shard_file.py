"""One shard as it is read: opened against its footer, read with checksums, and verified whole."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tokenizer.shard_format import SCHEMA, ShardError, ShardMetadata, ShardTotals, check_documents, hash_content, stated


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One opened shard of a set: its path, metadata and totals."""

    path: str
    metadata: ShardMetadata
    totals: ShardTotals
    #: Hash of the footer's metadata: changes whenever a shard's content does.
    check: str = field(repr=False)


def open_shard(path: str, filesystem: Any) -> tuple[pq.ParquetFile, Shard]:
    """The Parquet file and what its footer states, checked against its own hash and the Parquet footer."""
    try:
        file = pq.ParquetFile(path, filesystem=filesystem, page_checksum_verification=True)
        footer = file.metadata.metadata or {}
    except FileNotFoundError as error:
        raise ShardError(f"{path}: there is no such shard") from error
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise ShardError(f"{path}: not a whole Parquet file: {error}") from error
    metadata, totals, check = stated(footer, path)
    groups = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    if not file.schema_arrow.equals(SCHEMA) or groups != list(totals.row_group_documents):
        raise ShardError(f"{path}: columns or row groups are not those that the footer states")
    return file, Shard(path=path, metadata=metadata, totals=totals, check=check)


def read_columns(file: pq.ParquetFile, path: str, group: int, columns: list[str]) -> pa.Table:
    """Some columns of one row group; every page's checksum is compared. ShardError where it is damaged."""
    try:
        return file.read_row_group(group, columns=columns, use_threads=False)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise ShardError(f"{path}: row group {group} is damaged: {error}") from error


def verify_shard(shard: Shard, filesystem: Any) -> None:
    """Re-read everything: page checksums, stated totals, range of ids, content hash. Raises ShardError."""
    file, now = open_shard(shard.path, filesystem)
    content, totals = hashlib.sha256(), shard.totals
    size = 0
    for group in range(len(totals.row_group_tokens)):
        table = read_columns(file, shard.path, group, SCHEMA.names)
        try:
            table.validate(full=True)
            check_documents(table, shard.metadata)
        except (ValueError, pa.ArrowException) as error:
            raise ShardError(f"{shard.path}: row group {group}: {error}") from error
        hash_content(content, table)
        size += int(table["n_bytes"].to_numpy().sum())
    if now.check != shard.check or content.hexdigest() != totals.content_sha256 or size != totals.bytes:
        raise ShardError(f"{shard.path}: the content is not what the footer states")
