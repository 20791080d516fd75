"""The driver's part of tokens: vocabulary, encoding, mix and shards, strung together from the tasks in phases/."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import xxhash

from pipeline import exchange
from pipeline.books import ConservationError
from pipeline.engine import content_key, key_of, merged_counts
from pipeline.files import Written
from pipeline.flow import Flow
from pipeline.keys import library_versions, source_key
from pipeline.parts import Commit, Task
from pipeline.phases.mix import effective_tokens, resolve
from pipeline.phases.order import ENCODED, description, ranges
from pipeline.phases.sample import grouping_columns, recipe_fractions
from pipeline.phases.tokens import ORDER, VOCABULARY
from pipeline.recipe import Mix, Recipe, SampleSource, Shards
from pipeline.recipe import Tokenizer as TokenizerSettings
from tokenizer.bpe import Tokenizer, load
from tokenizer.evaluate import longest, usage
from tokenizer.folder import NAMES as FOLDER
from tokenizer.shards import ShardMetadata

#: Parts that one task sums: 64 MB of counts at a vocabulary of 32,768.
_USAGE_PARTS = 256
_SPLITS = ("train", "validation")
_VOCABULARY_MODULES = ("pipeline.phases.tokens", "tokenizer.bpe", "tokenizer.folder", "tokenizer.learners")


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What the token phases leave: files by public name, and what they hold."""

    files: dict[str, Written]
    tokens: int | None
    summary: dict[str, Any] | None
    #: What the vocabulary was learned from, and what it makes of the documents; None where there is no vocabulary.
    vocabulary: dict[str, Any] | None = None


def make_shards(flow: Flow) -> Learned:
    """Driver: vocabulary, encoding and, if the recipe asks for them, shards."""
    recipe = flow.recipe
    settings = recipe.tokenizer or TokenizerSettings()
    if not flow.stage_counts()[-1]["kept"]:
        return Learned(files={}, tokens=0, summary=None)
    contents = flow.contents(("id", "text"))
    learned, about = _vocabulary(flow, settings, contents)
    vocabulary = learned.files[VOCABULARY]
    files = {f"tokenizer/{name}": learned.files[name] for name in FOLDER}
    if recipe.shards is None:
        return Learned(files=files, tokens=None, summary=None, vocabulary=about)
    fraction = recipe.shards.validation_fraction
    end_of_text = settings.special_tokens[0] if settings.path is None else settings.end_of_text
    drawn_by = _validation_by(recipe)
    made_by = [source_key(["pipeline.phases.tokens", "tokenizer.bpe"]), library_versions(["tokenizers", "pyarrow"])]
    key = key_of(contents, vocabulary.sha256, fraction, end_of_text, drawn_by, made_by)
    shared = {"view": flow.view, "tokenizer": vocabulary.name, "end_of_text": end_of_text,
              "validation_fraction": fraction, "validation_by": drawn_by}  # fmt: skip
    encoded = flow.run(f"encode-{key}", "pipeline.phases.tokens:encode", shared)
    loaded = load(flow.engine.files.read(vocabulary.name), end_of_text=end_of_text)
    about |= _compression(flow, encoded, loaded)
    return replace(_shards(flow, encoded, loaded, files), vocabulary=about)


def _compression(flow: Flow, encoded: list[Commit], loaded: Tokenizer) -> dict[str, Any]:
    """Driver: documents, bytes and tokens by source and by language, and how much of the vocabulary is used."""
    kinds = grouping_columns(flow.view)
    key = key_of(content_key(encoded), flow.contents(kinds), source_key(["pipeline.phases.tokens"]))
    shared = {"view": flow.view, "vocab_size": loaded.vocab_size}
    found = flow.run(f"compression-{key}", "pipeline.phases.tokens:compression", shared,
                     each={commit.unit: {"encoded": commit.files["tokens"].name} for commit in encoded})  # fmt: skip
    parts, level = [commit.files["usage"].name for commit in found], 0
    while len(parts) > 1:
        tasks = [
            Task(phase=f"usage.level{level}-{key}", unit=f"{number:06d}", function="pipeline.phases.tokens:add_usage",
                 arguments={"parts": parts[start : start + _USAGE_PARTS]})
            for number, start in enumerate(range(0, len(parts), _USAGE_PARTS))
        ]  # fmt: skip
        parts, level = [commit.files["usage"].name for commit in flow.engine.run(tasks)], level + 1
    used = usage(flow.engine.files.read_table(parts[0])["count"].to_numpy())
    pieces = (str(loaded.inner.decode([token], skip_special_tokens=False)) for token in range(loaded.vocab_size))
    return {"compression": merged_counts(found), "usage": {**asdict(used), "longest": longest(pieces)}}


def _validation_by(recipe: Recipe) -> str:
    """The column whose hash draws validation documents. After near deduplication a document that is kept stands for its
    cluster, and the ledger names its id as partner of the others: the hash of its id draws the cluster. Without it,
    copies of a text may be left, and the hash of the text draws them together."""
    return "id" if any(entry.type == "near_dedup" for entry in recipe.stages) else "text"


def _vocabulary(flow: Flow, settings: TokenizerSettings, contents: str) -> tuple[Commit, dict[str, Any]]:
    """Driver: the tokenizer's files, and for the manifest what it was learned from."""
    made_by = [source_key(list(_VOCABULARY_MODULES)), library_versions(["tokenizers"])]
    if settings.path is not None:
        data = Path(settings.path).read_bytes()
        key = key_of(made_by, xxhash.xxh3_128_hexdigest(data), settings.end_of_text)
        task = Task(phase=f"vocabulary-{key}", unit="given", function="pipeline.phases.tokens:take_vocabulary",
                    arguments={"path": settings.path, "end_of_text": settings.end_of_text})  # fmt: skip
        (commit,) = flow.engine.run([task])
        return commit, {"sample": None}
    sources, fractions = _sample(flow, settings)
    asked = asdict(settings.vocabulary())
    contents = flow.contents(("id", "text", *grouping_columns(flow.view))) if settings.sample else contents
    key = key_of(made_by, contents, asked, sources, fractions)
    drawn = {"view": flow.view, "settings": asked, "sources": sources, "fractions": fractions}
    task = Task(phase=f"vocabulary-{key}", unit="learned", function="pipeline.phases.tokens:learn_vocabulary",
                arguments=drawn)  # fmt: skip
    (commit,) = flow.engine.run([task])
    sample = [
        {"group": SampleSource(**source).label, "fraction": round(fraction, 6), **commit.counts["groups"][str(number)]}
        for number, (source, fraction) in enumerate(zip(sources, fractions, strict=True))
    ]
    return commit, {"sample": sample}


def _sample(flow: Flow, settings: TokenizerSettings) -> tuple[list[dict[str, Any]], list[float]]:
    """Driver: the groups that a vocabulary's sample is drawn from, and the fraction of each."""
    if not settings.sample:
        total = sum(stage["text_bytes_kept"] for stage in flow.stage_counts()[-1:])
        return [SampleSource().model_dump(mode="json")], [min(1.0, settings.sample_bytes / max(1, total))]
    sources = [group.model_dump(mode="json") for group in settings.sample]
    kinds = [[group.source, group.language] for group in settings.sample]
    read = flow.contents(("text", *grouping_columns(flow.view)))
    key = key_of(read, kinds, source_key(["pipeline.phases.sample"]), library_versions(["pyarrow"]))
    found = flow.run(f"sample.sizes-{key}", "pipeline.phases.sample:sizes", {"view": flow.view, "sources": sources})
    there = merged_counts(found)["groups"]
    sizes = [there[str(number)]["bytes"] for number in range(len(sources))]
    return sources, recipe_fractions(settings.sample, sizes, settings.sample_bytes)


def _shards(flow: Flow, encoded: list[Commit], loaded: Tokenizer, files: dict[str, Written]) -> Learned:
    recipe = flow.recipe.shards
    assert recipe is not None
    mix = flow.recipe.mix
    drawn, books = make_mix(flow, mix, encoded) if mix is not None else (None, None)
    tokens = {split: sum(commit.counts["tokens"][split] for commit in drawn or encoded) for split in _SPLITS}
    # The shards of each part of a split's order; without an order a split is one part.
    shards = {split: [-(-tokens[split] // recipe.tokens_per_shard)] for split in _SPLITS}
    copies = {commit.unit: commit.files["copies"].name for commit in drawn or []}
    placed, sequence = None, None
    if recipe.order is not None:
        placed, sequence = make_order(flow, recipe, encoded, drawn, tokens["train"])
        shards["train"] = [line["shards"] for line in sequence["buckets"]]
    made_by = source_key(["pipeline.phases.tokens", "tokenizer.shards", *exchange.MODULES])
    chosen = [content_key(parts) if parts else None for parts in (drawn, placed)]
    key = key_of(content_key(encoded), *chosen, recipe.seed, shards, made_by)
    # Stated in the shards, hence without the units' names: they tell how a store or a disk marks the input's content.
    held = [[commit.content_hashes for commit in parts or []] for parts in (encoded, drawn, placed)]
    stated = key_of(held, recipe.seed, shards, made_by)
    buckets = {commit.unit: commit.files["buckets"].name for commit in placed or []}
    shuffled = flow.engine.run(
        [
            Task(phase=f"shuffle-{key}", unit=commit.unit, function="pipeline.phases.tokens:shuffle",
                 arguments={"encoded": commit.files["tokens"].name, "copies": copies.get(commit.unit),
                            "buckets": buckets.get(commit.unit), "seed": recipe.seed, "shards": shards})
            for commit in encoded
        ]
    )  # fmt: skip
    runs = exchange.level(
        flow.engine, exchange.run_names(shuffled, "run"), phase=f"shuffle-{key}", suffix="run", keys=ORDER
    )
    tasks, names = [], []
    for split in _SPLITS:
        parts = [part for part, count in enumerate(shards[split]) for _ in range(count)]
        for number, part in enumerate(parts):
            metadata = ShardMetadata(
                tokenizer_sha256=loaded.sha256, vocab_size=loaded.vocab_size, end_of_text_id=loaded.end_of_text_id,
                phase_key=stated, split=split, shard=number, shards=len(parts), bucket=part,
                order=sequence["stated"] if sequence is not None and split == "train" else "",
            )  # fmt: skip
            partition = number + (sum(shards["train"]) if split == "validation" else 0)
            tasks.append(
                Task(phase=f"shards-{key}", unit=f"{split}-{number:05d}", function="pipeline.phases.tokens:assemble",
                     arguments={"runs": runs, "partition": partition, "metadata": asdict(metadata)})
            )  # fmt: skip
            names.append(f"shards/{split}-{number:05d}.parquet")
    commits = flow.engine.run(tasks)
    made = {name: commit.files["shard"] for name, commit in zip(names, commits, strict=True)}
    summary: dict[str, Any] = {
        split: {
            "shards": sum(shards[split]),
            **merged_counts([commit for commit in commits if commit.unit.startswith(split)]),
        }
        for split in _SPLITS
    }
    if books is not None:
        summary["mix"] = books
    if sequence is not None:
        summary["order"] = sequence
    return Learned(files=files | made, tokens=sum(tokens.values()), summary=summary)


def make_order(
    flow: Flow, recipe: Shards, encoded: list[Commit], drawn: list[Commit] | None, tokens: int
) -> tuple[list[Commit], dict[str, Any]]:
    """Driver: the bucket of every training document, in the order of `encoded`, and the order's books: a line a bucket
    in the order of reading, with the shards that it takes."""
    asked = recipe.order
    assert asked is not None
    settings: dict[str, Any] = {"by": asked.by, "limits": list(asked.limits), "descending": asked.descending}
    read = flow.contents(("id",) if asked.by in ENCODED else ("id", asked.by))
    parts = [content_key(encoded), content_key(drawn) if drawn else None]
    key = key_of(*parts, read, settings, source_key(["pipeline.phases.order"]))
    copies = {commit.unit: commit.files["copies"].name for commit in drawn or []}
    each = {
        commit.unit: {"encoded": commit.files["tokens"].name, "copies": copies.get(commit.unit)} for commit in encoded
    }
    placed = flow.run(
        f"order.buckets-{key}", "pipeline.phases.order:buckets", {"view": flow.view, **settings}, each=each
    )
    held = merged_counts(placed)["train"]
    spans = [*ranges(asked.limits, descending=asked.descending), (None, None)]
    lines = []
    for number, (low, high) in enumerate(spans):
        found = held[str(number)]
        # A bucket of documents without a token still needs a place.
        shards = max(-(-found["tokens"] // recipe.tokens_per_shard), min(1, found["documents"]))
        without = number == len(spans) - 1
        lines.append({"from": low, "below": high, "without": without, **found, "shards": shards})
    if sum(line["tokens"] for line in lines) != tokens:
        raise ConservationError(f"order by {asked.by}: {tokens} tokens to train on, but {lines}")
    return placed, {**settings, "stated": description(**settings), "buckets": lines}


def make_mix(flow: Flow, mix: Mix, encoded: list[Commit]) -> tuple[list[Commit], list[dict[str, Any]]]:
    """Driver: the copies of every split, in the order of `encoded`, and the mix's books: a line a source."""
    sources = [source.model_dump(mode="json") for source in mix.sources]
    named = {commit.unit: commit.files["tokens"].name for commit in encoded}
    made_by = source_key(["pipeline.phases.mix"])
    key = key_of(content_key(encoded), flow.contents(("url",)), [[s["source"], s["host"]] for s in sources], made_by)
    grouped = flow.run(f"mix.groups-{key}", "pipeline.phases.mix:groups", {"view": flow.view, "sources": sources},
                       each={unit: {"encoded": name} for unit, name in named.items()})  # fmt: skip
    available = merged_counts(grouped)["available"]
    epochs = resolve(mix, [available[str(number)][mix.by] for number in range(len(sources))])
    parts = {commit.unit: {"encoded": named[commit.unit], "grouped": commit.files["groups"].name} for commit in grouped}
    drawn = flow.run(f"mix.copies-{key_of(key, epochs)}", "pipeline.phases.mix:copies", {"epochs": epochs}, each=parts)
    return drawn, _books(mix, epochs, available, merged_counts(drawn))


def _books(mix: Mix, epochs: list[float], available: dict[str, Any], counts: dict[str, Any]) -> list[dict[str, Any]]:
    lines = []
    for number, (asked, times) in enumerate(zip(mix.sources, epochs, strict=True)):
        there = available[str(number)]
        done = {name: counts[name][str(number)] for name in ("written", "left_out", "repeated", "validation_left_out")}
        for unit in ("documents", "tokens"):
            if done["written"][unit] != there[unit] - done["left_out"][unit] + done["repeated"][unit]:
                raise ConservationError(f"mix of {asked.label}: {unit} available {there}, but {done}")
        lines.append({"source": asked.label, "epochs": times, "available": there, **done,
                      "effective_tokens": effective_tokens(there["tokens"], times)})  # fmt: skip
    return lines
