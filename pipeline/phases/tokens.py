"""From kept documents to token shards: a vocabulary, the documents encoded, and the global shuffle.

    vocabulary-<key>   one part: a tokenizer folder, learned from a sample drawn by a hash of the document id
    encode-<key>       a part a split: the tokens of its documents
    mix.…-<key>        where the recipe has a mix: how often each document is written, see phases/mix.py
    shuffle-<key>      a part a split: the same rows as a run of the exchange, by a keyed hash of the id
    shards-<key>       a part a shard: a range of that hash, in its order

The order of documents is a function of seed and ids, so it does not depend on how the input was cut.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from pipeline import exchange
from pipeline.engine import content_key, key_of, merged_counts
from pipeline.files import Written
from pipeline.flow import Flow
from pipeline.keys import library_versions, source_key
from pipeline.parts import Commit, Output, Task
from pipeline.phases.mix import make_mix
from pipeline.recipe import Recipe
from pipeline.recipe import Tokenizer as TokenizerSettings
from pipeline.view import View, read_documents
from tokenizer.bpe import Tokenizer, load
from tokenizer.bpe import encode as encode_texts
from tokenizer.folder import NAMES as FOLDER
from tokenizer.folder import folder_files
from tokenizer.learners import VocabularySettings, learn
from tokenizer.shards import SCHEMA, ShardMetadata, write_shard

#: Hash keys of the draws that a recipe makes; each draw has its own, so that one says nothing about another.
_SAMPLE_SEED, _VALIDATION_SEED, _TIE_SEED = 0x5A3D, 0x7A11, 0x71E5
_HASH_RANGE = 2.0**64
#: Between the keys of a document's copies: 2**64 over the golden ratio, so that no key meets a neighbouring seed's.
_COPY_STEP = 0x9E3779B97F4A7C15
_VOCABULARY = "tokenizer.json"
#: What orders documents in shards: the shuffle's hash, and a second one for the documents that agree in it.
_ORDER = ("shuffle", "tie")
_SPLITS = ("train", "validation")
_VOCABULARY_MODULES = ("pipeline.phases.tokens", "tokenizer.bpe", "tokenizer.folder", "tokenizer.learners")


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What the token phases leave: files by public name, and what they hold."""

    files: dict[str, Written]
    tokens: int | None
    summary: dict[str, Any] | None


def keyed_hashes(values: pa.ChunkedArray, seed: int) -> np.ndarray:
    """uint64[n]: xxh3-64 of each string under a seed."""
    return np.array([xxhash.xxh3_64_intdigest(value.encode(), seed) for value in values.to_pylist()], dtype=np.uint64)


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

    chosen = VocabularySettings(**settings)
    _write_folder(output, learn(texts(), chosen), chosen.special_tokens[0])
    return read


def take_vocabulary(output: Output, *, path: str) -> dict[str, Any]:
    """Task: a tokenizer.json that exists, proved lossless and brought among the parts."""
    data = Path(path).read_bytes()
    vocabulary = load(data)
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


def shuffle(output: Output, *, encoded: str, copies: str | None, seed: int, shards: dict[str, int]) -> dict[str, Any]:
    """Task: one split's documents as a run: a partition for each shard, first those of train. `copies` says how often
    each document is written; without it, once. Every copy has a place of its own."""
    table = output.files.read_table(encoded)
    copy = np.zeros(table.num_rows, np.int64)
    if copies is not None:
        times = output.files.read_table(copies)["copies"].to_numpy()
        table = table.take(pa.array(np.repeat(np.arange(len(times)), times)))
        copy = np.arange(len(table)) - np.repeat(np.cumsum(times) - times, times)
    order = _places(table["doc_id"], copy, seed)
    validation = table["validation"].to_numpy()
    partition = np.where(
        validation, shards["train"] + exchange.by_hash(order, max(1, shards["validation"])),
        exchange.by_hash(order, max(1, shards["train"])),
    )  # fmt: skip
    rows = table.drop_columns(["validation"])
    rows = rows.append_column("shuffle", pa.array(order)).append_column(
        "tie", pa.array(_places(table["doc_id"], copy, seed ^ _TIE_SEED))
    )
    exchange.write_run(output, "run", rows, partition=partition, keys=_ORDER, compression="zstd")
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
        for piece in exchange.merge_partition(output.files, runs, partition, keys=_ORDER):
            yield piece.select(SCHEMA.names)

    def fill(sink: Any) -> None:
        nonlocal totals
        totals = write_shard(sink, pieces(), metadata=ShardMetadata(**metadata))

    output.adopt("shard", fill, extension="parquet")
    assert totals is not None
    return {"documents": totals.documents, "tokens": totals.tokens, "bytes": totals.bytes}


def make_shards(flow: Flow) -> Learned:
    """Driver: vocabulary, encoding and, if the recipe asks for them, shards."""
    recipe = flow.recipe
    settings = recipe.tokenizer or TokenizerSettings()
    if not flow.stage_counts()[-1]["kept"]:
        return Learned(files={}, tokens=0, summary=None)
    contents = flow.contents(("id", "text"))
    learned = _vocabulary(flow, settings, contents)
    vocabulary = learned.files[_VOCABULARY]
    files = {f"tokenizer/{name}": learned.files[name] for name in FOLDER}
    if recipe.shards is None:
        return Learned(files=files, tokens=None, summary=None)
    fraction = recipe.shards.validation_fraction
    end_of_text = settings.special_tokens[0] if settings.path is None else None
    drawn_by = _validation_by(recipe)
    made_by = [source_key(["pipeline.phases.tokens", "tokenizer.bpe"]), library_versions(["tokenizers", "pyarrow"])]
    key = key_of(contents, vocabulary.sha256, fraction, end_of_text, drawn_by, made_by)
    shared = {"view": flow.view, "tokenizer": vocabulary.name, "end_of_text": end_of_text,
              "validation_fraction": fraction, "validation_by": drawn_by}  # fmt: skip
    encoded = flow.run(f"encode-{key}", "pipeline.phases.tokens:encode", shared)
    loaded = load(flow.engine.files.read(vocabulary.name), end_of_text=end_of_text)
    return _shards(flow, encoded, loaded, files)


def _validation_by(recipe: Recipe) -> str:
    """The column whose hash draws validation documents. After near deduplication a document that is kept stands for its
    cluster, and the ledger names its id as partner of the others: the hash of its id draws the cluster. Without it,
    copies of a text may be left, and the hash of the text draws them together."""
    return "id" if any(entry.type == "near_dedup" for entry in recipe.stages) else "text"


def _vocabulary(flow: Flow, settings: TokenizerSettings, contents: str) -> Commit:
    made_by = [source_key(list(_VOCABULARY_MODULES)), library_versions(["tokenizers"])]
    if settings.path is not None:
        data = Path(settings.path).read_bytes()
        key = key_of(made_by, xxhash.xxh3_128_hexdigest(data))
        task = Task(phase=f"vocabulary-{key}", unit="given", function="pipeline.phases.tokens:take_vocabulary",
                    arguments={"path": settings.path})  # fmt: skip
    else:
        total = sum(stage["text_bytes_kept"] for stage in flow.stage_counts()[-1:])
        fraction = min(1.0, settings.sample_bytes / max(1, total))
        asked = asdict(settings.vocabulary())
        key = key_of(made_by, contents, asked, fraction)
        task = Task(phase=f"vocabulary-{key}", unit="learned", function="pipeline.phases.tokens:learn_vocabulary",
                    arguments={"view": flow.view, "settings": asked, "fraction": fraction})  # fmt: skip
    (commit,) = flow.engine.run([task])
    return commit


def _shards(flow: Flow, encoded: list[Commit], loaded: Tokenizer, files: dict[str, Written]) -> Learned:
    recipe = flow.recipe.shards
    assert recipe is not None
    mix = flow.recipe.mix
    drawn, books = make_mix(flow, mix, encoded) if mix is not None else (None, None)
    tokens = {split: sum(commit.counts["tokens"][split] for commit in drawn or encoded) for split in _SPLITS}
    shards = {split: -(-tokens[split] // recipe.tokens_per_shard) for split in _SPLITS}
    made_by = source_key(["pipeline.phases.tokens", "tokenizer.shards", *exchange.MODULES])
    key = key_of(content_key(encoded), content_key(drawn) if drawn else None, recipe.seed, shards, made_by)
    copies = {commit.unit: commit.files["copies"].name for commit in drawn or []}
    shuffled = flow.engine.run(
        [
            Task(phase=f"shuffle-{key}", unit=commit.unit, function="pipeline.phases.tokens:shuffle",
                 arguments={"encoded": commit.files["tokens"].name, "copies": copies.get(commit.unit),
                            "seed": recipe.seed, "shards": shards})
            for commit in encoded
        ]
    )  # fmt: skip
    runs = exchange.level(
        flow.engine, exchange.run_names(shuffled, "run"), phase=f"shuffle-{key}", suffix="run", keys=_ORDER
    )
    tasks, names = [], []
    for split in _SPLITS:
        for number in range(shards[split]):
            metadata = ShardMetadata(
                tokenizer_sha256=loaded.sha256, vocab_size=loaded.vocab_size, end_of_text_id=loaded.end_of_text_id,
                phase_key=key, split=split, shard=number, shards=shards[split],
            )  # fmt: skip
            partition = number + (shards["train"] if split == "validation" else 0)
            tasks.append(
                Task(phase=f"shards-{key}", unit=f"{split}-{number:05d}", function="pipeline.phases.tokens:assemble",
                     arguments={"runs": runs, "partition": partition, "metadata": asdict(metadata)})
            )  # fmt: skip
            names.append(f"shards/{split}-{number:05d}.parquet")
    commits = flow.engine.run(tasks)
    made = {name: commit.files["shard"] for name, commit in zip(names, commits, strict=True)}
    summary: dict[str, Any] = {
        split: {
            "shards": shards[split],
            **merged_counts([commit for commit in commits if commit.unit.startswith(split)]),
        }
        for split in _SPLITS
    }
    if books is not None:
        summary["mix"] = books
    return Learned(files=files | made, tokens=sum(tokens.values()), summary=summary)
