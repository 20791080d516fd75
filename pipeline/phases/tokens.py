"""From kept documents to token shards: a vocabulary, the documents encoded, and the global shuffle.

    sample.…-<key>     where the recipe weighs what is learned from, see phases/sample.py
    vocabulary-<key>   one part: a tokenizer folder, learned from a sample drawn by a hash of the document id
    encode-<key>       a part a split: the tokens of its documents
    compression-<key>  a part a split: bytes and tokens by source and language, how often each entry occurs
    usage.level<n>-<key>   the latter, summed up by groups of parts until one is left
    mix.…-<key>        where the recipe has a mix: how often each document is written, see phases/mix.py
    order.…-<key>      where the recipe orders its shards: which part of the order a document is in, see phases/order.py
    shuffle-<key>      a part a split: the same rows as a run of the exchange, by a keyed hash of the id
    shards-<key>       a part a shard: a range of that hash (of one part of the order), in its order

The order of documents is a function of seed and ids, so it does not depend on how the input was cut. The driver that
strings these tasks together is pipeline/shard_flow.py.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from pipeline import exchange
from pipeline.parts import Output
from pipeline.phases.sample import grouping_columns, groups
from pipeline.recipe import SampleSource
from pipeline.view import View, read_documents
from tokenizer.bpe import encode as encode_texts
from tokenizer.bpe import load, token_dtype
from tokenizer.folder import folder_files
from tokenizer.learners import VocabularySettings, learn
from tokenizer.shard_format import tokens_of
from tokenizer.shards import SCHEMA, ShardMetadata, write_shard

#: Hash keys of the draws that a recipe makes; each draw has its own, so that one says nothing about another.
_SAMPLE_SEED, _VALIDATION_SEED, _TIE_SEED = 0x5A3D, 0x7A11, 0x71E5
_HASH_RANGE = 2.0**64
#: Between the keys of a document's copies: 2**64 over the golden ratio, so that no key meets a neighbouring seed's.
_COPY_STEP = 0x9E3779B97F4A7C15
VOCABULARY = "tokenizer.json"
#: What orders documents in shards: the shuffle's hash, and a second one for the documents that agree in it.
ORDER = ("shuffle", "tie")


def keyed_hashes(values: pa.ChunkedArray, seed: int) -> np.ndarray:
    """uint64[n]: xxh3-64 of each string under a seed."""
    return np.array([xxhash.xxh3_64_intdigest(value.encode(), seed) for value in values.to_pylist()], dtype=np.uint64)


def learn_vocabulary(
    output: Output, *, view: View, settings: dict[str, Any], sources: list[dict[str, Any]], fractions: list[float]
) -> dict[str, Any]:
    """Task: `tokenizer.json` learned from the documents whose hashed id falls below the fraction of their group. Counts
    what was drawn of each group."""
    asked = [SampleSource(**source) for source in sources]
    read = {str(number): {"documents": 0, "bytes": 0} for number in range(len(asked))}

    def texts() -> Iterator[str]:
        for unit in view.units:
            documents = read_documents(output.files, view, unit, ["id", *grouping_columns(view), "text"])
            group = groups(documents, asked)
            chosen = keyed_hashes(documents["id"], _SAMPLE_SEED) < np.array(fractions)[group] * _HASH_RANGE
            drawn = documents["text"].filter(pa.array(chosen)).to_pylist()
            for text, number in zip(drawn, group[chosen].tolist(), strict=True):
                read[str(number)]["documents"] += 1
                read[str(number)]["bytes"] += len(text.encode())
                yield text

    chosen = VocabularySettings(**settings)
    _write_folder(output, learn(texts(), chosen), chosen.special_tokens[0])
    return {"groups": read}


def take_vocabulary(output: Output, *, path: str, end_of_text: str | None) -> dict[str, Any]:
    """Task: a tokenizer.json that exists, proved lossless and brought among the parts."""
    data = Path(path).read_bytes()
    vocabulary = load(data, end_of_text=end_of_text)
    _write_folder(output, data, vocabulary.end_of_text)
    return {"vocabulary_size": vocabulary.vocab_size}


def _write_folder(output: Output, data: bytes, end_of_text: str) -> None:
    for name, content in folder_files(data, end_of_text=end_of_text).items():
        output.bytes(name, content)


def encode(
    output: Output,
    *,
    view: View,
    unit: str,
    tokenizer: str,
    end_of_text: str | None,
    validation_fraction: float,
    validation_by: str,
) -> dict[str, Any]:
    """Task: `tokens`: the shards' columns and `validation`, a row a document in the split's order.

    `validation_by` is the column by whose hash validation documents are drawn.
    """
    vocabulary = load(output.files.read(tokenizer), end_of_text=end_of_text)
    documents = read_documents(output.files, view, unit, ["id", "source", "text"])
    tokens, counts = encode_texts(documents["text"].combine_chunks(), vocabulary)
    validation = keyed_hashes(documents[validation_by], _VALIDATION_SEED) < validation_fraction * _HASH_RANGE
    columns = {
        "doc_id": documents["id"],
        "source": documents["source"],
        "n_bytes": pc.binary_length(documents["text"]).cast(pa.int64()),
        "n_tokens": counts,
        "tokens": tokens,
        "validation": pa.array(validation),
    }
    output.table("tokens", pa.table(columns))
    drawn = counts.to_numpy()
    return {
        "documents": documents.num_rows,
        "tokens": {"train": int(drawn[~validation].sum()), "validation": int(drawn[validation].sum())},
    }


def compression(output: Output, *, view: View, unit: str, encoded: str, vocab_size: int) -> dict[str, Any]:
    """Task: counts documents, bytes and tokens of one split by source, and by language where the recipe knows it;
    `usage` holds how often each entry of the vocabulary occurs, each document once."""
    table = output.files.read_table(encoded, ["n_bytes", "n_tokens", "tokens"])
    ids, _ = tokens_of(table, token_dtype(vocab_size))
    output.table("usage", pa.table({"count": np.bincount(ids, minlength=vocab_size)}))
    kinds = read_documents(output.files, view, unit, grouping_columns(view))
    sizes = {"bytes": table["n_bytes"].to_numpy(), "tokens": table["n_tokens"].to_numpy()}
    return {
        f"by_{name}": {
            value: {"documents": int(mine.sum()), **{of: int(size[mine].sum()) for of, size in sizes.items()}}
            for value, mine in _members(kinds[name])
        }
        for name in grouping_columns(view)
    }


def add_usage(output: Output, *, parts: list[str]) -> dict[str, Any]:
    """Task: `usage`: the sum of those parts."""
    total = sum(output.files.read_table(name)["count"].to_numpy() for name in parts)
    output.table("usage", pa.table({"count": total}))
    return {}


def _members(column: pa.ChunkedArray) -> Iterator[tuple[str, np.ndarray]]:
    """(value, bool[n]) of each value of a string column, sorted; null counts as `unknown`."""
    values = np.array(column.fill_null("unknown").to_pylist(), dtype=object)
    for value in sorted(set(values)):
        yield value, values == value


def shuffle(
    output: Output, *, encoded: str, copies: str | None, buckets: str | None, seed: int, shards: dict[str, list[int]]
) -> dict[str, Any]:
    """Task: one split's documents as a run: a partition for each shard, first those of train. `copies` says how often
    each document is written; without it, once. Every copy has a place of its own. `shards` holds a number for each part
    of a split's order, and `buckets` says which part a training document is in; without it there is one."""
    table = output.files.read_table(encoded)
    part = output.files.read_table(buckets)["bucket"].to_numpy() if buckets else np.zeros(table.num_rows, np.int64)
    copy = np.zeros(table.num_rows, np.int64)
    if copies is not None:
        times = output.files.read_table(copies)["copies"].to_numpy()
        table = table.take(pa.array(np.repeat(np.arange(len(times)), times)))
        part = np.repeat(part, times)
        copy = np.arange(len(table)) - np.repeat(np.cumsum(times) - times, times)
    order = _places(table["doc_id"], copy, seed)
    validation = table["validation"].to_numpy()
    partition = sum(shards["train"]) + exchange.by_hash(order, max(1, *shards["validation"]))
    for number, count in enumerate(shards["train"]):
        mine = ~validation & (part == number)
        partition[mine] = sum(shards["train"][:number]) + exchange.by_hash(order[mine], max(1, count))
    rows = table.drop_columns(["validation"])
    rows = rows.append_column("shuffle", pa.array(order)).append_column(
        "tie", pa.array(_places(table["doc_id"], copy, seed ^ _TIE_SEED))
    )
    exchange.write_run(output, "run", rows, partition=partition, keys=ORDER, compression="zstd")
    return {"documents": rows.num_rows}


def _places(ids: pa.ChunkedArray, copy: np.ndarray, seed: int) -> np.ndarray:
    """uint64[n]: the keyed hash of each id; for a document's second copy and on, the hash has another key."""
    places = keyed_hashes(ids, seed)
    for number in range(1, int(copy.max(initial=0)) + 1):
        mine = np.flatnonzero(copy == number)
        places[mine] = keyed_hashes(ids.take(pa.array(mine)), (seed + number * _COPY_STEP) % 2**64)
    return places


def assemble(output: Output, *, runs: list[str], partition: int, metadata: dict[str, Any]) -> dict[str, Any]:
    """Task: one shard, merged from its partition of every run."""
    totals = None

    def pieces() -> Iterator[pa.Table]:
        for piece in exchange.merge_partition(output.files, runs, partition, keys=ORDER):
            yield piece.select(SCHEMA.names)

    def fill(sink: Any) -> None:
        nonlocal totals
        totals = write_shard(sink, pieces(), metadata=ShardMetadata(**metadata))

    output.adopt("shard", fill, extension="parquet")
    assert totals is not None
    return {"documents": totals.documents, "tokens": totals.tokens, "bytes": totals.bytes}
