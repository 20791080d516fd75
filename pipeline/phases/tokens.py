"""From kept documents to token shards: a vocabulary, the documents encoded, and the global shuffle.

    vocabulary-<key>   one part: tokenizer.json, learned from a sample drawn by a hash of the document id
    encode-<key>       a part a split: tokens of its documents, ready to be shuffled
    shards-<key>       a part a shard: a range of the shuffle's hash, in its order

The order of documents is a function of seed and ids, so it does not depend on how the input was cut.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from pipeline.engine import key_of
from pipeline.files import Files, Written
from pipeline.flow import Flow
from pipeline.keys import library_versions, source_key
from pipeline.parts import Output, Task
from pipeline.view import View, read_documents
from tokenizer.bpe import BPESettings, encode as encode_texts, learn, load

_VOCABULARY_MODULES = ["pipeline.phases.tokens", "tokenizer.bpe"]
#: Hash keys of the draws that a recipe makes; each draw has its own, so that one says nothing about another.
_SAMPLE_SEED, _VALIDATION_SEED = 0x5A3D, 0x7A11
_HASH_RANGE = 2.0**64


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What the token phases leave: files by public name, and what they hold."""

    files: dict[str, Written]
    tokens: int | None
    summary: dict[str, Any] | None


def keyed_hashes(values: pa.ChunkedArray, seed: int) -> np.ndarray:
    """uint64[n]: xxh3-64 of each string under a seed."""
    return np.array([xxhash.xxh3_64_intdigest(value, seed) for value in values.to_pylist()], dtype=np.uint64)


def learn_vocabulary(output: Output, *, view: View, settings: dict[str, Any], fraction: float) -> dict[str, Any]:
    """Task: `tokenizer.json` learned from the documents whose hashed id falls below `fraction`."""
    read = {"documents": 0, "bytes": 0}

    def texts() -> Any:
        for unit in view.units:
            documents = read_documents(output.files, view, unit, ["id", "text"])
            chosen = keyed_hashes(documents["id"], _SAMPLE_SEED) < fraction * _HASH_RANGE
            for text in documents["text"].filter(pa.array(chosen)).to_pylist():
                read["documents"] += 1
                read["bytes"] += len(text.encode())
                yield text

    data = learn(texts(), BPESettings(**settings))
    output.bytes("tokenizer.json", data)
    return read


def encode(output: Output, *, view: View, unit: str, tokenizer: str, shuffle_seed: int, validation_fraction: float) -> dict[str, Any]:
    """Task: `tokens`: a row a document with its shuffle hash and whether it belongs to validation."""
    vocabulary = load(output.files.read(tokenizer))
    documents = read_documents(output.files, view, unit, ["id", "source", "text"])
    tokens, counts = encode_texts(documents["text"].combine_chunks(), vocabulary)
    validation = keyed_hashes(documents["text"], _VALIDATION_SEED) < validation_fraction * _HASH_RANGE
    table = pa.table(
        {
            "shuffle": pa.array(keyed_hashes(documents["id"], shuffle_seed)),
            "validation": pa.array(validation),
            "doc_id": documents["id"],
            "source": documents["source"],
            "n_bytes": pc.binary_length(documents["text"]).cast(pa.int64()),
            "n_tokens": counts,
            "tokens": tokens,
        }
    )
    output.table("tokens", table.sort_by([("shuffle", "ascending"), ("doc_id", "ascending")]))
    drawn = counts.to_numpy()
    return {
        "documents": documents.num_rows,
        "tokens": {"train": int(drawn[~validation].sum()), "validation": int(drawn[validation].sum())},
    }
