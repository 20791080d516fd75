"""Near deduplication: walk the documents in survivor order; one is removed if and only if it is verified similar to one
already kept. Bands propose the pairs, shingle sets decide.

    sketch -> runs -> groups -> numbers -> bands          every document, once
           -> [ buckets -> attach -> verify -> decide ]   rounds: one, unless a bucket is crowded
           -> told -> ledger

Every arrow is an exchange through files; the driver sees names and counts. After `bands`, only documents that share a
bucket with another are looked at. A round's pairs are those that buckets.py proposes; decide.py says why the result is
that of the definition. Memory of a task: a partition (`partition_bytes`), one split's texts or sets, or a merge.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pipeline import exchange
from pipeline.dedup import exact
from pipeline.dedup.against import EarlierPart, earlier_parts
from pipeline.dedup.buckets import again_part
from pipeline.dedup.decide import MESSAGE_KEYS
from pipeline.dedup.groups import Grouped, Grouping, group
from pipeline.dedup.verify import Stored
from pipeline.engine import Engine, content_key, key_of
from pipeline.exchange import level, partitions_for, run_names
from pipeline.keys import library_versions, source_key
from pipeline.parts import Commit, Task
from pipeline.view import View
from stages.near_dedup import NearDedupSettings

_OWN: Final = ("stages.editions", "stages.minhash", "stages.near_dedup", "stages.shingles", "stages.normalise",
               "stages.schema", "stages.survivors")  # fmt: skip
_MODULES: Final = (
    *exact.MODULES, *_OWN, "pipeline.dedup.against", "pipeline.dedup.buckets", "pipeline.dedup.decide",
    "pipeline.dedup.near", "pipeline.dedup.outcome", "pipeline.dedup.sketches", "pipeline.dedup.verify",
)  # fmt: skip
_SKETCH_MODULES: Final = (*exchange.MODULES, *_OWN, "pipeline.dedup.sketches", "pipeline.dedup.survivors")
#: What a document costs where it meets others, in bytes, for choosing the number of partitions: its order, its state in
#: the walk (decide.py), a band, and a pair's similarity.
_ORDER_BYTES: Final = 32
_DECIDE_BYTES: Final = 48
_BAND_BYTES: Final = 16
_PAIR_BYTES: Final = 40


#: Messages of so many ranges become one run.
_MERGED: Final = 64


@dataclass(frozen=True, kw_only=True)
class _Near:
    """What the driver's steps share."""

    engine: Engine
    view: View
    settings: NearDedupSettings
    grouping: Grouping
    key: str
    partition_bytes: int
    #: What earlier runs have kept, as splits behind those of the view.
    earlier: tuple[EarlierPart, ...] = ()

    @property
    def earlier_documents(self) -> int:
        return sum(part.documents for part in self.earlier)

    @property
    def units(self) -> list[str]:
        """A name for every split, those of earlier runs too."""
        return [*self.view.units, *_names("earlier", len(self.earlier))]

    def run(self, name: str, function: str, arguments: Sequence[tuple[str, dict[str, Any]]]) -> list[Commit]:
        """One phase of (unit, arguments) tasks; its folder is near_dedup.NAME-key."""
        tasks = [
            Task(phase=self.phase(name), unit=unit, function=f"pipeline.dedup.{function}", arguments=given)
            for unit, given in arguments
        ]
        return self.engine.run(tasks)

    def phase(self, name: str) -> str:
        return f"near_dedup.{name}-{self.key}"

    def runs(self, commits: Sequence[Commit], name: str, suffix: str, keys: Sequence[str]) -> list[str]:
        return level(self.engine, run_names(commits, suffix), phase=self.phase(name), suffix=suffix, keys=keys)

    def partitions(self, size_bytes: int) -> int:
        return partitions_for(size_bytes, self.partition_bytes)

    @property
    def dumped(self) -> dict[str, Any]:
        return self.settings.model_dump(mode="json")


@dataclass(frozen=True, kw_only=True)
class _Numbered:
    """Documents after their numbers are known."""

    grouped: Grouped
    documents: int
    ranges: int
    members: list[str]
    bands: list[str]


def _names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number:05d}" for number in range(count)]


def _number(near: _Near, sketched: Sequence[Commit]) -> _Numbered:
    """Group equal texts, give leaders their numbers, and write their bands."""
    grouping = near.grouping
    signed = sum(commit.counts["signed"] for commit in sketched)
    cuts = near.partitions(signed * _ORDER_BYTES)
    splitters = None
    if cuts > 1:
        samples = [commit.files["sample"].name for commit in sketched]
        (made,) = near.run("cuts", "sketches:splitters", [("all", {"samples": samples, "ranges": cuts})])
        splitters = made.files["cuts"].name
    grouped = group(
        near.engine, sketched, name="near_dedup", key=near.key, grouping=grouping, splitters=splitters,
        order_partitions=cuts, partition_bytes=near.partition_bytes,
    )  # fmt: skip
    firsts = (near.earlier_documents + np.concatenate(([0], np.cumsum(grouped.places)))).tolist()
    numbered = near.run(
        "numbers",
        "sketches:number_part",
        [
            (unit, {"runs": grouped.order, "partition": number, "first": firsts[number], "grouping": grouping})
            for number, unit in enumerate(_names("p", cuts))
        ],
    )
    documents = firsts[-1]
    bands, _ = near.settings.banding()
    numbers = near.runs(numbered, "numbers", "numbers", ["doc"])
    partitions = near.partitions(documents * bands * _BAND_BYTES)
    admitted = near.run(
        "earlier",
        "against:admit_part",
        [
            (unit, {"part": part, "partitions": partitions})
            for unit, part in zip(_names("earlier", len(near.earlier)), near.earlier, strict=True)
        ],
    )
    banded = near.run(
        "bands",
        "sketches:band_part",
        [
            (
                unit,
                {
                    "runs": numbers,
                    "group": number,
                    "signatures": [
                        (split, sketched[split].files["signatures"].name) for split in grouping.members(number)
                    ],
                    "settings": near.dumped,
                    "partitions": partitions,
                },
            )
            for number, unit in enumerate(_names("g", grouping.groups))
        ],
    )
    return _Numbered(
        grouped=grouped,
        documents=documents,
        ranges=near.partitions(documents * _DECIDE_BYTES),
        members=near.runs(banded, "bands", "members", ["number"]),
        bands=near.runs([*banded, *admitted], "bands", "bands", ["hash", "number"]),
    )


@dataclass(frozen=True, kw_only=True)
class _Round:
    """What a round leaves for the next one."""

    sets: list[Stored]
    standing: list[str]
    removed: list[str]
    waiting: list[str]
    #: Rows of crowded buckets that may come again.
    standing_rows: int
    #: Documents that are neither kept nor removed: none ends the rounds.
    waiting_documents: int


class _Messages:
    """The messages of the ranges decided so far. Each range reads those of all before it: merged by MERGED into one
    now and then, so that a thousand ranges do not open a million files."""

    def __init__(self, near: _Near, name: str) -> None:
        self._near = near
        self._name = name
        #: By how often they were merged.
        self._levels: list[list[str]] = [[]]
        self._merges = 0

    def names(self) -> list[str]:
        return [name for level_names in reversed(self._levels) for name in level_names]

    def add(self, names: list[str]) -> None:
        self._levels[0] += names
        for number in range(len(self._levels)):
            if len(self._levels[number]) < _MERGED:
                break
            if number + 1 == len(self._levels):
                self._levels.append([])
            given = {"runs": self._levels[number], "suffix": "messages", "keys": list(MESSAGE_KEYS)}
            task = Task(
                phase=self._near.phase(self._name + "heard"),
                unit=f"m{self._merges:05d}",
                function="pipeline.exchange:merge_runs",
                arguments=given,
            )
            self._merges += 1
            self._levels[number + 1] += run_names(self._near.engine.run([task]), "messages")
            self._levels[number] = []


def _round(
    near: _Near, numbered: _Numbered, number: int, bands: list[str], partitions: int, before: _Round | None
) -> _Round:
    """buckets -> attach -> verify -> decide."""
    place = {"documents": numbered.documents, "ranges": numbered.ranges}
    shared = {"grouping": near.grouping, "earlier": near.earlier_documents, **place}
    name = f"round{number}."
    bucketed = near.run(
        name + "buckets",
        "buckets:bucket_part",
        [
            (
                unit,
                {
                    "runs": bands,
                    "partition": partition,
                    "number_of_round": number,
                    "crowded": near.settings.crowded,
                    **shared,
                },
            )
            for partition, unit in enumerate(_names("p", partitions))
        ],
    )
    pairs = sum(commit.counts["pairs"] for commit in bucketed)
    requests = near.runs(bucketed, name + "buckets", "requests", ["owner", "first"])
    compared = near.partitions(pairs * _PAIR_BYTES)
    given = {part.split: part.stored for part in near.earlier}
    attached = near.run(
        name + "attach",
        "verify:attach_part",
        [
            (
                unit,
                {
                    "requests": requests,
                    "sets": before.sets[split] if before else given.get(split),
                    "members": numbered.members,
                    "view": near.view,
                    "unit": unit,
                    "split": split,
                    "grouping": near.grouping,
                    "settings": near.dumped,
                    "partitions": compared,
                },
            )
            for split, unit in enumerate(near.units)
        ],
    )
    verified = near.run(
        name + "verify",
        "verify:verify_part",
        [
            (unit, {"runs": runs, "partition": partition, "settings": near.dumped, **place})
            for runs in [near.runs(attached, name + "attach", "attached", ["first", "second"])]
            for partition, unit in enumerate(_names("p", compared))
        ],
    )
    edges = [*near.runs(verified, name + "verify", "edges", ["first", "second"]), *(before.waiting if before else [])]
    uncovered = near.runs(bucketed, name + "buckets", "uncovered", ["number"])
    decided: list[Commit] = []
    messages = _Messages(near, name)
    for partition, unit in enumerate(_names("p", numbered.ranges)):
        own = {"edges": edges, "messages": messages.names(), "uncovered": uncovered, "partition": partition}
        (commit,) = near.run(name + "decide", "decide:decide_part", [(unit, {**own, **shared})])
        decided.append(commit)
        messages.add(run_names([commit], "messages"))
    return _Round(
        sets=before.sets
        if before
        else [
            given.get(split, Stored(runs=tuple(run_names([commit], "sets")))) for split, commit in enumerate(attached)
        ],
        standing=near.runs(bucketed, name + "buckets", "standing", ["number", "hash"]),
        removed=near.runs(decided, name + "decide", "removed", ["second"]),
        waiting=near.runs(decided, name + "decide", "waiting", ["first", "second"]),
        standing_rows=sum(commit.counts["standing"] for commit in bucketed),
        waiting_documents=sum(commit.counts["waiting"] for commit in decided),
    )


def _next_bands(near: _Near, number: int, last: _Round) -> tuple[list[str], int]:
    """The bands of round `number`, and their partitions: crowded buckets again, in round 2 parted by rare shingles."""
    name = f"round{number}."
    standing = {"standing": last.standing, "removed": last.removed}
    if number > 2:
        partitions = near.partitions(last.standing_rows * _BAND_BYTES)
        emitted = near.run(
            name + "bands",
            f"buckets:{again_part.__name__}",
            [
                (unit, {**standing, "group": place, "partitions": partitions})
                for place, unit in enumerate(_names("g", near.grouping.all_groups))
            ],
        )
        return near.runs(emitted, name + "bands", "bands", ["hash", "number"]), partitions
    sets = [
        {**standing, "sets": runs, "split": split, "grouping": near.grouping} for split, runs in enumerate(last.sets)
    ]
    counted = near.run(name + "counts", "buckets:count_part", list(zip(near.units, sets, strict=True)))
    counts = [commit.files["counts"].name for commit in counted]
    deep = 0
    while len(counts) > 1:
        deep += 1
        groups = [counts[start : start + exchange.FAN_IN] for start in range(0, len(counts), exchange.FAN_IN)]
        summed = near.run(
            f"{name}sum{deep}",
            "buckets:sum_part",
            [(unit, {"counts": names}) for unit, names in zip(_names("g", len(groups)), groups, strict=True)],
        )
        counts = [commit.files["counts"].name for commit in summed]
    # A quarter of a document's shingles, some hundreds, stand for each of its rows.
    partitions = near.partitions(last.standing_rows * _SHOWN * _BAND_BYTES)
    emitted = near.run(
        name + "bands",
        "buckets:refine_part",
        [
            (unit, {**given, "counts": counts[0], "settings": near.dumped, "partitions": partitions})
            for unit, given in zip(near.units, sets, strict=True)
        ],
    )
    return near.runs(emitted, name + "bands", "bands", ["hash", "number"]), partitions


#: Shingles that a document of 1,000 words shows of itself at a threshold of 0.75.
_SHOWN: Final = 250


def near_dedup(
    engine: Engine,
    view: View,
    settings: NearDedupSettings,
    *,
    upstream: str,
    slices: Sequence[Mapping[str, Any]] = (),
    label: str = "near_dedup",
    partition_bytes: int = exchange.PARTITION_BYTES,
) -> str:
    """The phase whose parts are the ledger of near deduplication, one for each split of the view.

    `upstream` is the content key of what the view holds; `label` the stage's name in the ledger. `slices` are
    those of `settings.against`, from `against.resolve_near`: what earlier runs have kept goes before all documents of
    this one. `partition_bytes` bounds what a reduce task reads at once; it changes the parts on the way, never the
    result.
    """
    libraries = library_versions(exact.LIBRARIES)
    signing = {"shingle": settings.shingle.model_dump(mode="json"), "permutations": settings.permutations,
               **settings.policy()}  # fmt: skip
    key = key_of(signing, source_key(_SKETCH_MODULES), libraries, upstream)
    sketched = engine.run(
        [
            Task(
                phase=f"near_dedup.sketch-{key}",
                unit=unit,
                function="pipeline.dedup.sketches:sketch_part",
                arguments={"view": view, "unit": unit, "settings": signing},
            )
            for unit in view.units
        ]
    )
    code = source_key(_MODULES)
    pins = [dict(entry) for entry in slices]
    key = key_of(settings.lasting(), pins, code, libraries, upstream, content_key(sketched), partition_bytes)
    earlier = tuple(earlier_parts(settings, pins, splits=len(view.units)))
    grouping = Grouping(splits=len(view.units), earlier=len(earlier))
    near = _Near(
        engine=engine,
        view=view,
        settings=settings,
        grouping=grouping,
        key=key,
        partition_bytes=partition_bytes,
        earlier=earlier,
    )
    numbered = _number(near, sketched)
    bands, _ = settings.banding()
    partitions = near.partitions(numbered.documents * bands * _BAND_BYTES)
    number = 1
    last = _round(near, numbered, number, numbered.bands, partitions, None)
    removed = list(last.removed)
    while last.waiting_documents:
        number += 1
        again, partitions = _next_bands(near, number, last)
        last = _round(near, numbered, number, again, partitions, last)
        removed += last.removed
    removed = level(engine, removed, phase=near.phase("removed"), suffix="removed", keys=["second"])
    return _finish(near, numbered, removed, label)


def _finish(near: _Near, numbered: _Numbered, removed: list[str], label: str) -> str:
    told = near.run(
        "told",
        "outcome:told_part",
        [
            (
                unit,
                {
                    "links": numbered.grouped.links,
                    "removed": removed,
                    "members": numbered.members,
                    "group": number,
                    "grouping": near.grouping,
                },
            )
            for number, unit in enumerate(_names("g", near.grouping.groups))
        ],
    )
    phase = f"near_dedup-{key_of(near.key, label)}"
    ledger = {
        "view": near.view,
        "label": label,
        "threshold": near.settings.threshold,
        "followers": numbered.grouped.followers,
        "told": near.runs(told, "told", "told", ["doc"]),
        "removed": removed,
        "members": numbered.members,
        "grouping": near.grouping,
        "earlier": [(part.first, part.slice) for part in near.earlier],
        "earlier_documents": near.earlier_documents,
    }
    near.engine.run(
        [
            Task(phase=phase, unit=unit, function="pipeline.dedup.outcome:near_ledger",
                 arguments={**ledger, "unit": unit, "split": split})
            for split, unit in enumerate(near.view.units)
        ]
    )  # fmt: skip
    return phase
