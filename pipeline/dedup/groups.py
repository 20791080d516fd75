"""The exchange that brings documents with equal keys together: the best of each group, and those that follow it.

    keys of each split (a part a split)  ->  runs by key  ->  groups: the first in survivor order leads, others follow

Per document 48 bytes travel: a 128-bit key and what decides who survives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline import exchange
from pipeline.dedup.survivors import ORDER, doc_numbers, split_of
from pipeline.engine import Engine
from pipeline.exchange import ChunkedRun, by_hash, partitions_for, run_names, sorted_pieces, write_run
from pipeline.parts import Commit, Output, Task

KEYED: Final = pa.schema([pa.field(name, pa.uint64()) for name in ("key0", "key1", *ORDER)])
ORDERED: Final = pa.schema([pa.field(name, pa.uint64()) for name in ORDER])
_ROW_BYTES: Final = 48
#: A document that is not the best of its group, and the one that is.
FOLLOWERS: Final = pa.schema([pa.field(name, pa.uint64()) for name in ("doc", "leader", "id0", "id1")])
#: Splits that one map task takes: 64 MB of compressed input each, so a task reads a few GB at most.
_MAX_SPLITS_PER_TASK: Final = 16
#: Below this many tasks each takes one split, so that a small run uses all workers.
_TASKS_WANTED: Final = 64


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """How the splits of a run are shared out, a function of their number: group g holds g*size … g*size + size - 1."""

    splits: int
    #: Splits behind those of the run, which hold documents of earlier runs (against.py).
    earlier: int = 0

    @property
    def size(self) -> int:
        return min(_MAX_SPLITS_PER_TASK, max(1, -(-self.splits // _TASKS_WANTED)))

    @property
    def groups(self) -> int:
        return -(-self.splits // self.size)

    @property
    def all_groups(self) -> int:
        """Those of earlier documents too."""
        return -(-(self.splits + self.earlier) // self.size)

    def members(self, group: int) -> range:
        return range(group * self.size, min(self.splits, (group + 1) * self.size))

    def of(self, docs: np.ndarray) -> np.ndarray:
        """int64[n]: the group of each document number."""
        return self.of_splits(split_of(docs))

    def of_splits(self, splits: np.ndarray) -> np.ndarray:
        """int64[n]: the group of each split number."""
        return splits // self.size


def keyed_runs(
    output: Output, *, parts: Sequence[tuple[int, str]], partitions: int, suffix: str = "keys"
) -> dict[str, Any]:
    """Task: the `keys` tables of some splits, given as (split number, file), as one run by key."""
    tables = []
    for split, name in parts:
        table = output.files.read_table(name, ["row", *(column for column in KEYED.names if column != "doc")])
        numbers = pa.array(doc_numbers(split, table["row"].to_numpy()))
        tables.append(table.append_column("doc", numbers).select(KEYED.names))
    rows = pa.concat_tables([KEYED.empty_table(), *tables]).cast(KEYED)
    write_run(output, suffix, rows, partition=by_hash(rows["key0"].to_numpy(), partitions), keys=KEYED.names)
    return {"rows": rows.num_rows}


class _Groups:
    """Walks KEYED rows in order, whole groups or not: the first row of each key leads."""

    def __init__(self) -> None:
        #: Key and ORDER columns of the leader of the last group so far.
        self._last: dict[str, np.ndarray] | None = None

    def take(self, rows: pa.Table) -> tuple[pa.Table, pa.Table]:
        """(leaders with their ORDER columns, FOLLOWERS) of the next rows."""
        columns = {name: rows[name].to_numpy() for name in KEYED.names}
        fresh = np.ones(rows.num_rows, dtype=bool)
        fresh[1:] = _differ(columns, slice(1, None), columns, slice(None, -1))
        before = self._last
        if before is not None:
            fresh[0] = _differ(columns, slice(0, 1), before, slice(None))[0]
        leaders = {name: values[fresh] for name, values in columns.items()}
        # A group that began before these rows is led by the last leader, which then stands in front.
        known = (
            leaders if before is None else {name: np.concatenate([before[name], leaders[name]]) for name in KEYED.names}
        )
        leader = np.cumsum(fresh) - (before is None)
        followers = pa.table(
            [columns["doc"][~fresh], *(known[name][leader[~fresh]] for name in ("doc", "id0", "id1"))], schema=FOLLOWERS
        )
        self._last = {name: values[-1:] for name, values in known.items()}
        return pa.table({name: leaders[name] for name in ORDER}, schema=ORDERED), followers


def _differ(one: dict[str, np.ndarray], rows: slice, two: dict[str, np.ndarray], others: slice) -> np.ndarray:
    """bool: whose keys are not equal."""
    different: np.ndarray = (one["key0"][rows] != two["key0"][others]) | (one["key1"][rows] != two["key1"][others])
    return different


def group_reduce(
    output: Output,
    *,
    runs: Sequence[str],
    partition: int,
    grouping: Grouping,
    splitters: str | None,
    order_partitions: int,
) -> dict[str, Any]:
    """Task: `followers` by the group of the follower's split, `links` (the same rows) by the leader's, and `order`:
    the leaders by their place, cut at the splitters. The counts say how many leaders each range of places holds."""
    groups = _Groups()
    following = ChunkedRun(output, "followers", FOLLOWERS, keys=["doc"])
    links = ChunkedRun(output, "links", FOLLOWERS, keys=["leader", "doc"])
    order = ChunkedRun(output, "order", ORDERED, keys=ORDER)
    held = np.zeros(order_partitions, dtype=np.int64)
    for piece in sorted_pieces(output.files, runs, partition, keys=KEYED.names, schema=KEYED):
        leaders, followers = groups.take(piece)
        following.add(followers, grouping.of(followers["doc"].to_numpy()))
        links.add(followers, grouping.of(followers["leader"].to_numpy()))
        ranges = _ranges(output, leaders, splitters)
        order.add(leaders, ranges)
        held += np.bincount(ranges, minlength=order_partitions)
    for written in (following, links, order):
        written.finish()
    return {
        "leaders": order.rows,
        "followers": following.rows,
        "places": {f"{place:05d}": number for place, number in enumerate(held.tolist())},
    }


def _ranges(output: Output, leaders: pa.Table, splitters: str | None) -> np.ndarray:
    """int64[n]: how many splitters, given as (place, id0) pairs, are not above each leader."""
    if splitters is None:
        return np.zeros(leaders.num_rows, dtype=np.int64)
    cuts = output.files.read_table(splitters)
    both = np.concatenate(
        [
            _pairs(cuts["place"].to_numpy(), cuts["id0"].to_numpy()),
            _pairs(leaders["place"].to_numpy(), leaders["id0"].to_numpy()),
        ]
    )
    # Sorted together, cuts before leaders that are equal to them: the cuts in front of a leader are those not above it.
    order = np.lexsort((np.arange(len(both)), both[:, 1], both[:, 0]))
    is_cut = order < cuts.num_rows
    found = np.empty(len(both), dtype=np.int64)
    found[order] = np.cumsum(is_cut)
    return found[cuts.num_rows :]


def _pairs(place: np.ndarray, id0: np.ndarray) -> np.ndarray:
    return np.stack([place, id0], axis=1)


@dataclass(frozen=True, kw_only=True)
class Grouped:
    """What the exchange left: runs by name, and the number of leaders in each range of places."""

    followers: list[str]
    links: list[str]
    order: list[str]
    places: list[int]


def group(
    engine: Engine,
    keyed: Sequence[Commit],
    *,
    name: str,
    key: str,
    grouping: Grouping,
    splitters: str | None = None,
    order_partitions: int = 1,
    partition_bytes: int = exchange.PARTITION_BYTES,
) -> Grouped:
    """Bring the documents of all splits together by key. `keyed` has for each split a table `keys`: KEYED, with `row`
    in place of `doc`."""
    documents = sum(commit.files["keys"].rows or 0 for commit in keyed)
    partitions = partitions_for(documents * _ROW_BYTES, partition_bytes)
    phase = f"{name}.runs-{key}"
    mapped = engine.run(
        [
            Task(
                phase=phase,
                unit=f"g{number:05d}",
                function="pipeline.dedup.groups:keyed_runs",
                arguments={
                    "parts": [(split, keyed[split].files["keys"].name) for split in grouping.members(number)],
                    "partitions": partitions,
                },
            )
            for number in range(grouping.groups)
        ]
    )
    runs = exchange.level(engine, run_names(mapped, "keys"), phase=phase, suffix="keys", keys=KEYED.names)
    reduced = engine.run(
        [
            Task(
                phase=f"{name}.groups-{key}",
                unit=f"p{partition:05d}",
                function="pipeline.dedup.groups:group_reduce",
                arguments={
                    "runs": runs,
                    "partition": partition,
                    "grouping": grouping,
                    "splitters": splitters,
                    "order_partitions": order_partitions,
                },
            )
            for partition in range(partitions)
        ]
    )
    leveled = {
        suffix: exchange.level(
            engine, run_names(reduced, suffix), phase=f"{name}.groups-{key}", suffix=suffix, keys=keys
        )
        for suffix, keys in (("followers", ["doc"]), ("links", ["leader", "doc"]), ("order", list(ORDER)))
    }
    return Grouped(
        **leveled,
        places=[
            sum(commit.counts["places"][f"{place:05d}"] for commit in reduced) for place in range(order_partitions)
        ],
    )
