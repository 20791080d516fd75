"""Small shards on disk for the tests of training."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenizer.bpe import BPESettings, Tokenizer, binary_array, encode, learn, load
from tokenizer.shards import ShardMetadata, ShardSet, write_shard

TEXTS = [
    f"{n} bottles of beer on the wall, {n} bottles of beer. Take one down, pass it around. " * 3 for n in range(60)
]


def tokenizer() -> Tokenizer:
    return load(learn(TEXTS, BPESettings(vocab_size=280)))


def shards_of_texts(
    folder: Path, texts: list[str] = TEXTS, *, row_group_tokens: int = 1000, made: Tokenizer | None = None
) -> ShardSet:
    made_by = made or tokenizer()
    tokens, counts = encode(pa.array(texts, pa.large_string()), made_by)
    docs = pa.table(
        {
            "doc_id": [str(row) for row in range(len(texts))],
            "source": ["songs"] * len(texts),
            "n_bytes": [len(text.encode()) for text in texts],
            "n_tokens": counts,
            "tokens": tokens,
        }
    )
    metadata = ShardMetadata(
        tokenizer_sha256=made_by.sha256, vocab_size=made_by.vocab_size, end_of_text_id=made_by.end_of_text_id
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_shard(folder / "train-00000.parquet", docs, metadata=metadata, row_group_tokens=row_group_tokens)
    return ShardSet.from_folder(folder)


def counting_shards(folder: Path, lengths: list[int], *, row_group_tokens: int = 20, order: str = "") -> ShardSet:
    """Two shards of documents whose tokens are 1, 2, 3, ... on through all of them, so that each is recognised."""
    folder.mkdir(parents=True, exist_ok=True)
    half = len(lengths) // 2
    first = 1
    for shard, part in enumerate((lengths[:half], lengths[half:])):
        counts = np.array(part, dtype=np.int64)
        docs = pa.table(
            {
                "doc_id": [f"{shard}-{row}" for row in range(len(part))],
                "source": ["numbers"] * len(part),
                "n_bytes": counts,
                "n_tokens": counts,
                "tokens": binary_array(np.arange(first, first + counts.sum()).astype("<u2"), counts),
            }
        )
        first += int(counts.sum())
        metadata = ShardMetadata(
            tokenizer_sha256="c" * 64, vocab_size=50_000, end_of_text_id=0, shard=shard, shards=2, order=order,
            bucket=shard if order else 0,
        )  # fmt: skip
        write_shard(folder / f"{shard}.parquet", docs, metadata=metadata, row_group_tokens=row_group_tokens)
    return ShardSet.from_folder(folder)
