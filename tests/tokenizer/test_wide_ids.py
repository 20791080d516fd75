"""A vocabulary over 65,535 entries: ids take four bytes from the text to the batch, and none wraps."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenizer.bpe import BPESettings, decode, encode, learn, load
from tokenizer.shards import ShardMetadata, ShardSet, write_shard
from train.loader import Loader

TEXTS = ["the quick brown fox jumps over the lazy dog. ", "der schnelle braune Fuchs\n\n", "<|endoftext|>\x00 漢", ""]


def widened(size: int) -> bytes:
    """A learned tokenizer.json whose ids are moved up, so that those of text are at the end of `size` entries."""
    plain = json.loads(learn(TEXTS * 30, BPESettings(vocab_size=310)))
    shift = size - 310
    plain["model"]["vocab"] = {
        **{f"unused {n}": n for n in range(shift)},
        **{piece: number + shift for piece, number in plain["model"]["vocab"].items()},
    }
    for token in plain["added_tokens"]:
        token["id"] += shift
    return json.dumps(plain).encode()


def test_ids_come_back_from_shards_and_reach_the_loader_whole(tmp_path: Path) -> None:
    for size, dtype in ((65_536, "uint16"), (65_537, "uint32"), (100_000, "uint32")):
        tokenizer = load(widened(size))
        assert (tokenizer.vocab_size, tokenizer.dtype.name) == (size, dtype)
        tokens, counts = encode(pa.array(TEXTS, pa.large_string()), tokenizer)
        metadata = ShardMetadata(
            tokenizer_sha256=tokenizer.sha256, vocab_size=size, end_of_text_id=tokenizer.end_of_text_id
        )
        docs = {
            "doc_id": list("abcd"),
            "source": ["x"] * 4,
            "n_bytes": [len(text.encode()) for text in TEXTS],
            "n_tokens": counts,
            "tokens": tokens,
        }
        (tmp_path / str(size)).mkdir()
        write_shard(tmp_path / str(size) / "train-00000.parquet", pa.table(docs), metadata=metadata)
        shards = ShardSet.from_folder(tmp_path / str(size))
        shards.verify()
        assert decode(shards.read_documents(0)["tokens"].combine_chunks(), tokenizer).to_pylist() == TEXTS
        ids = shards.token_range(0, shards.tokens)
        assert ids.min() >= size - 310
        assert ids.max() < size
        if size > 65_536:
            assert ids.max() > 65_535
        inputs, _ = Loader(shards, sequence_length=shards.tokens + 4, batch_sequences=1, seed=0).next_batch()
        assert sorted(inputs[0].tolist()) == sorted([*ids.tolist(), *[tokenizer.end_of_text_id] * 4])
        assert np.issubdtype(inputs.dtype, np.int64)
