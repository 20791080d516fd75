"""Drops documents that hold items of benchmarks: a model that has read the questions says nothing about itself.

A document is compared with every item by its word n-grams (of the normal form, stages/normalise.py): measured is the
share of the item's distinct n-grams that stand in the document, for the item of which the most does. Items are named.

An item's text is its question, passage or prompt with the right answer behind it, without the words that the
benchmark's form adds (`Question:`, `Choices:`); long wrong answers count as well. Forms: LLM Foundry's (query with
choices, context with continuation or answer, prompt with canonical_solution, context_options), a question with answer,
or plain `text`. Two kinds of n-grams are left out, so that what a benchmark is made of does not convict a page: those
of more than `max_items_per_ngram` items, and items shorter than n words, which no n-gram can find.

Source: Brown et al. 2020, "Language models are few-shot learners", appendix C: n-grams of 13 words, and none that is
common. They take one shared n-gram for contamination (`max_item_fraction: 0`). Half of the item is our default: a page
that quotes one sentence of a passage stays, and the question with its answer does not.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

import numpy as np
import pyarrow as pa

from stages.postings import Postings, build_postings
from stages.schema import SCORE_DECIMALS
from stages.shingles import contained, shingle_sets
from stages.stage import Resource, Rule, Settings, Stage, place, setting, threshold, verdicts

#: Items that are named for a document, those of which most stands in it first; all are counted.
_NAMED_ITEMS: Final = 20
#: Words of the form, at the beginning of a line, that the model is shown besides the item.
_FORM: Final = re.compile(r"(?im)^\s*(?:question|passage|context|choices|answer|[a-e])\s*[:.)]\s*")
_STEMS: Final = ("text", "query", "context", "prompt", "question", "passage")
_ANSWERS: Final = ("continuation", "answer", "canonical_solution", "completion")
_NO_NAME: Final = re.compile(r"[\s;]+")


class DecontaminateSettings(Settings):
    against: tuple[str, ...] = place(
        ..., "Files of benchmark items (JSONL, .gz or Parquet), folders or patterns of them.", min_length=1
    )
    ngram: int = setting(13, "Words in an n-gram (GPT-3, appendix C).", ge=2, le=64)
    max_items_per_ngram: int = setting(
        10, "Items of one benchmark that may share an n-gram; a commoner one is the benchmark's own phrase.", ge=1
    )
    max_item_fraction: float = threshold(
        0.5, "Share of an item's n-grams that may stand in a document; 0 lets no n-gram pass (GPT-3).", ge=0, le=1
    )


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """The n-grams of one benchmark's items."""

    items: Postings
    #: By item: `id` or `task_id` where it has one, else the number of its line.
    names: tuple[str, ...]


def item_texts(item: Mapping[str, Any]) -> list[str]:
    """The texts by which an item is known; empty if no known form holds one."""
    answer = next((str(item[name]) for name in _ANSWERS if item.get(name) is not None), "")
    choices = [str(choice) for choice in item.get("choices") or ()]
    gold = item.get("gold")
    if choices and isinstance(gold, int) and 0 <= gold < len(choices):
        answer = choices[gold]
    stems = [str(stem) for stem in item.get("context_options") or ()]
    stems += [str(item[name]) for name in _STEMS if isinstance(item.get(name), str)][:1]
    return [_FORM.sub("", f"{stem}\n{answer}") for stem in stems] + (choices if stems else [])


def build_benchmark(items: Iterable[Mapping[str, Any]], *, ngram: int, max_items_per_ngram: int) -> Benchmark:
    """The index of a benchmark's items, in their order. ValueError, naming the line, for an item of no known form."""
    names: list[str] = []
    found: list[np.ndarray] = []
    for number, item in enumerate(items, start=1):
        texts = item_texts(item)
        if not texts:
            known = ", ".join((*_STEMS, "context_options"))
            raise ValueError(f"item {number} has none of {known}: its keys are {', '.join(item) or '(none)'}")
        values, _ = shingle_sets(pa.array(texts, pa.large_string()), unit="word", size=ngram)
        found.append(np.unique(values))
        names.append(_NO_NAME.sub("_", str(item.get("task_id") or item.get("id") or number)))
    hashes = np.concatenate([np.zeros(0, dtype=np.uint64), *found])
    counts = np.array([len(values) for values in found], dtype=np.int64)
    return Benchmark(items=build_postings(hashes, counts, most_owners=max_items_per_ngram), names=tuple(names))


ADDS: Final = pa.schema(
    [
        # Share of the n-grams of the item of which most stands in the document; 0 if no item shares one.
        pa.field("contamination", pa.float64(), nullable=False),
        # Items that share an n-gram with the document.
        pa.field("contaminating_items", pa.int64(), nullable=False),
        # `BENCHMARK:ITEM SHARED/ALL; …`, n-grams, at most _NAMED_ITEMS of them, most first; null if there is none.
        pa.field("contaminated_by", pa.string()),
    ]
)


def measure(docs: pa.Table, settings: DecontaminateSettings, resources: Mapping[str, Any]) -> pa.Table:
    """ADDS for each document, in order."""
    values, offsets = shingle_sets(docs["text"], unit="word", size=settings.ngram)
    benchmarks = sorted(resources.items())
    every = np.unique(np.concatenate([np.zeros(0, dtype=np.uint64), *(one.items.hashes for _, one in benchmarks)]))
    hits = np.flatnonzero(contained(values, every))
    fractions = np.zeros(docs.num_rows)
    counts = np.zeros(docs.num_rows, dtype=np.int64)
    named: list[str | None] = [None] * docs.num_rows
    rows = np.searchsorted(offsets, hits, side="right") - 1
    for row in np.unique(rows).tolist():
        found = _shared(values[hits[rows == row]], benchmarks)
        fractions[row] = found[0][0]
        counts[row] = len(found)
        named[row] = "; ".join(f"{name} {shared}/{total}" for _, name, shared, total in found[:_NAMED_ITEMS])
    return pa.table([np.round(fractions, SCORE_DECIMALS), counts, pa.array(named, pa.string())], schema=ADDS)


def _shared(hashes: np.ndarray, benchmarks: list[tuple[str, Benchmark]]) -> list[tuple[float, str, int, int]]:
    """(fraction, BENCHMARK:ITEM, n-grams shared, n-grams of the item) of each item that has any of `hashes`."""
    found = []
    for benchmark, index in benchmarks:
        _, items, shared = index.items.shared(hashes, np.zeros(len(hashes), dtype=np.int64))
        for item, count in zip(items.tolist(), shared.tolist(), strict=True):
            total = int(index.items.totals[item])
            found.append((count / total, f"{benchmark}:{index.names[item]}", count, total))
    return sorted(found, key=lambda entry: (-entry[0], entry[1]))


def read_found(contaminated_by: str) -> list[tuple[str, str, int, int]]:
    """(benchmark, item, n-grams shared, n-grams of the item) of each item that a `contaminated_by` names."""
    found = []
    for entry in contaminated_by.split("; "):
        name, _, share = entry.rpartition(" ")
        benchmark, _, item = name.partition(":")
        shared, _, total = share.partition("/")
        found.append((benchmark, item, int(shared), int(total)))
    return found


def judge(docs: pa.Table, settings: DecontaminateSettings) -> pa.Table:
    """Rejects a document that holds more of an item than the limit; the detail is `contaminated_by`."""
    fractions = docs["contamination"].to_numpy()
    limit = settings.max_item_fraction
    rule = Rule(
        reason="contaminated",
        passes=fractions <= limit,
        measured=fractions,
        threshold=limit,
        detail=docs["contaminated_by"].to_pylist(),
    )
    return verdicts([rule], docs.num_rows)


def resources(settings: DecontaminateSettings) -> tuple[Resource, ...]:
    """One a file, named by the file's name up to its first full stop, which is the benchmark's name in every answer."""
    parameters = {"ngram": settings.ngram, "max_items_per_ngram": settings.max_items_per_ngram}
    names = [PurePath(path).name.partition(".")[0].replace(":", "_") for path in settings.against]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"decontaminate.against: two files are called {', '.join(sorted(twice))}: rename one")
    return tuple(
        Resource(name=name, kind="benchmark", reference=path, parameters=parameters)
        for name, path in zip(names, settings.against, strict=True)
    )


STAGE: Final = Stage(
    name="decontaminate",
    settings=DecontaminateSettings,
    adds=ADDS,
    measure=measure,
    judge=judge,
    judges=("contamination", "contaminated_by"),
    resources=resources,
    libraries=("numba",),
    modules=("stages.normalise", "stages.postings", "stages.shingles"),
)
