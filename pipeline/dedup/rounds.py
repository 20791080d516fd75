"""The rounds of near deduplication, and what the driver's steps share (near.py has the order of all steps).

buckets -> attach -> verify -> decide          and again, with the crowded buckets, while a document waits
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pipeline import exchange
from pipeline.dedup.against import EarlierPart
from pipeline.dedup.buckets import again_part
from pipeline.dedup.decide import MESSAGE_KEYS
from pipeline.dedup.groups import Grouped, Grouping
from pipeline.dedup.verify import Stored
from pipeline.engine import Engine
from pipeline.exchange import level, partitions_for, run_names
from pipeline.parts import Commit, Task
from pipeline.view import View
from stages.near_dedup import NearDedupSettings

#: the walk (decide.py), a band, and a pair's similarity.
ORDER_BYTES: Final = 32
DECIDE_BYTES: Final = 48
BAND_BYTES: Final = 16
_PAIR_BYTES: Final = 40


#: Messages of so many ranges become one run.
_MERGED: Final = 64


@dataclass(frozen=True, kw_only=True)
class Near:
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
        return [*self.view.units, *names_of("earlier", len(self.earlier))]

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
class Numbered:
    """Documents after their numbers are known."""

    grouped: Grouped
    documents: int
    ranges: int
    members: list[str]
    bands: list[str]


def names_of(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number:05d}" for number in range(count)]


@dataclass(frozen=True, kw_only=True)
class Round:
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

    def __init__(self, near: Near, name: str) -> None:
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


def walk_round(
    near: Near, numbered: Numbered, number: int, bands: list[str], partitions: int, before: Round | None
) -> Round:
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
            for partition, unit in enumerate(names_of("p", partitions))
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
            for partition, unit in enumerate(names_of("p", compared))
        ],
    )
    edges = [*near.runs(verified, name + "verify", "edges", ["first", "second"]), *(before.waiting if before else [])]
    uncovered = near.runs(bucketed, name + "buckets", "uncovered", ["number"])
    decided: list[Commit] = []
    messages = _Messages(near, name)
    for partition, unit in enumerate(names_of("p", numbered.ranges)):
        own = {"edges": edges, "messages": messages.names(), "uncovered": uncovered, "partition": partition}
        (commit,) = near.run(name + "decide", "decide:decide_part", [(unit, {**own, **shared})])
        decided.append(commit)
        messages.add(run_names([commit], "messages"))
    return Round(
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


def next_bands(near: Near, number: int, last: Round) -> tuple[list[str], int]:
    """The bands of round `number`, and their partitions: crowded buckets again, in round 2 parted by rare shingles."""
    name = f"round{number}."
    standing = {"standing": last.standing, "removed": last.removed}
    if number > 2:
        partitions = near.partitions(last.standing_rows * BAND_BYTES)
        emitted = near.run(
            name + "bands",
            f"buckets:{again_part.__name__}",
            [
                (unit, {**standing, "group": place, "partitions": partitions})
                for place, unit in enumerate(names_of("g", near.grouping.all_groups))
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
            [(unit, {"counts": names}) for unit, names in zip(names_of("g", len(groups)), groups, strict=True)],
        )
        counts = [commit.files["counts"].name for commit in summed]
    # A quarter of a document's shingles, some hundreds, stand for each of its rows.
    partitions = near.partitions(last.standing_rows * _SHOWN * BAND_BYTES)
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
