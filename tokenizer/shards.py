"""The on-disk token format: writer and reader. The specification is docs/format.md.

    write_shard(sink, docs, metadata)      ShardWriter(sink, metadata).write(docs) ... .close()
    ShardSet(paths)                        documents, row groups and token ranges at random; verify()

A shard is a Parquet file, one row a document. This module is what others import; the parts are shard_format.py (columns
and footer), shard_writer.py, shard_file.py (one file, read and verified) and shard_set.py (all shards of a split).
"""

from tokenizer.shard_file import Shard
from tokenizer.shard_format import SCHEMA, VERSION, ShardError, ShardMetadata, ShardTotals
from tokenizer.shard_set import ShardSet
from tokenizer.shard_writer import ROW_GROUP_TOKENS, ShardWriter, write_shard

__all__ = [
    "ROW_GROUP_TOKENS",
    "SCHEMA",
    "VERSION",
    "Shard",
    "ShardError",
    "ShardMetadata",
    "ShardSet",
    "ShardTotals",
    "ShardWriter",
    "write_shard",
]
