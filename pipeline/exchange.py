"""The exchange: rows written by many tasks, brought together by key in other tasks, through files.

A map task writes one *run*: its rows sorted by partition and key, with an index of where each partition lies. A reduce
task reads its partition from every run, merged in key order. (The pattern of Exoshuffle, Luan et al. 2023.) Runs
(pipeline/run_file.py) are committed parts like all others, so a killed worker costs a task and a killed driver nothing.

Memory: a map task holds its rows about twice (once unsorted), `merge_partition` holds one batch of each run,
`read_partition` the whole partition, and `sorted_pieces` the whole partition if it is as small as it was planned to be,
else as a merge.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline.engine import Engine
from pipeline.files import Files
from pipeline.parts import Commit, Output, Task
from pipeline.run_file import EXTENSION, Run, RunWriter
from stages.compiled import compiled

#: Modules whose meaning enters the key of whatever goes through an exchange.
MODULES: Final = ("pipeline.exchange", "pipeline.files", "pipeline.parts", "pipeline.run_file", "pipeline.view")
#: Runs that one task reads at once: more are merged in levels first. 500 open files are below any usual limit.
FAN_IN: Final = 500
#: Bytes that a reduce task may have to hold when it reads a partition whole, and about five times as much while it
#: sorts. At four times this a task of buckets took 1.25 GB, of which 1 GB was its partition; much less makes the
#: slices of a run that belong to one partition so small that reading them costs more than their rows.
PARTITION_BYTES: Final = 64 << 20
#: A partition beyond this is merged instead of read whole: chance makes one larger than planned by some per cent; what
#: is larger than that has a key that very many rows share.
AT_ONCE_BYTES: Final = PARTITION_BYTES * 5 // 4
#: Rows that a task gathers before it writes them as a run.
CHUNK_BYTES: Final = PARTITION_BYTES


def by_hash(keys: np.ndarray, partitions: int) -> np.ndarray:
    """Partition of each uniformly distributed uint64 key, in key order: the range of keys that it falls into."""
    return ((keys >> np.uint64(32)) * np.uint64(partitions) >> np.uint64(32)).astype(np.int64)


def partitions_for(size_bytes: int, partition_bytes: int = PARTITION_BYTES) -> int:
    """Partitions such that each is expected to hold at most `partition_bytes`; at least one."""
    return max(1, -(-size_bytes // partition_bytes))


@compiled
def _position(keys: np.ndarray, wanted: np.ndarray) -> int:
    """Rows of `keys` (uint64[n, k], sorted) that are not above `wanted` (uint64[k])."""
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) // 2
        above = False
        for column in range(len(wanted)):
            if keys[middle, column] != wanted[column]:
                above = keys[middle, column] > wanted[column]
                break
        if above:
            high = middle
        else:
            low = middle + 1
    return low


def equal_stretches(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(starts, ends), int64 each: the stretches of equal values in a sorted array; none if it is empty."""
    starts = (
        np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1]))) if len(values) else np.zeros(0, np.int64)
    )
    return starts, np.append(starts[1:], len(values))[: len(starts)]


def _order(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Row order by these columns, the first one counting most; equal rows keep their order."""
    return np.lexsort(tuple(reversed(columns))) if len(columns) > 1 else np.argsort(columns[0], kind="stable")


def _numpy(table: pa.Table, name: str) -> np.ndarray:
    return np.asarray(table[name].to_numpy())


def write_run(
    output: Output,
    suffix: str,
    table: pa.Table,
    *,
    partition: np.ndarray,
    keys: Sequence[str],
    compression: str | None = None,
) -> None:
    """Write rows as one run file of the part, sorted by `partition` (int[n]) and then by the uint64 columns `keys`.

    The keys of a row should be unique: rows that agree in all of them come in no defined order when runs are merged.
    `compression` ("zstd") is for payloads; hashes do not compress.
    """
    order = _order([partition, *(_numpy(table, key) for key in keys)])
    rows = table.take(pa.array(order)).combine_chunks()
    places = partition[order]
    starts, ends = equal_stretches(places)

    def fill(sink: Any) -> None:
        writer = RunWriter(sink, rows.schema, compression)
        for first, last in zip(starts.tolist(), ends.tolist(), strict=True):
            writer.add(int(places[first]), rows.slice(first, last - first))
        writer.finish()

    output.adopt(suffix, fill, extension=EXTENSION)


class ChunkedRun:
    """Rows that come piece by piece, written as `suffix-00000`, `suffix-00001`… of about CHUNK_BYTES each: a task that
    makes more rows than it reads holds no more of them than that. At least one run, so that the schema is there."""

    def __init__(self, output: Output, suffix: str, schema: pa.Schema, *, keys: Sequence[str]) -> None:
        self._output = output
        self._suffix = suffix
        self._schema = schema
        self._keys = keys
        self._tables: list[pa.Table] = []
        self._partitions: list[np.ndarray] = []
        self._bytes = 0
        self._written = 0
        self.rows = 0

    def add(self, table: pa.Table, partition: np.ndarray) -> None:
        """Rows with their partitions, in any order."""
        self._tables.append(table)
        self._partitions.append(partition)
        self._bytes += table.nbytes
        self.rows += table.num_rows
        if self._bytes >= CHUNK_BYTES:
            self._flush()

    def _flush(self) -> None:
        table = pa.concat_tables([self._schema.empty_table(), *self._tables])
        partition = np.concatenate([np.zeros(0, dtype=np.int64), *self._partitions])
        self._tables, self._partitions, self._bytes = [], [], 0
        write_run(self._output, f"{self._suffix}-{self._written:05d}", table, partition=partition, keys=self._keys)
        self._written += 1

    def finish(self) -> None:
        """Write what is left."""
        if self._tables or not self._written:
            self._flush()


def run_names(commits: Sequence[Commit], suffix: str) -> list[str]:
    """The files that these parts hold under `suffix`, or under `suffix-0`, `suffix-1`… where a part wrote several."""
    return [
        commit.files[found].name
        for commit in commits
        for found in sorted(commit.files)
        if found == suffix or found.rpartition("-")[0] == suffix
    ]


def each_batch(files: Files, runs: Sequence[str], partition: int) -> Iterator[pa.RecordBatch]:
    """The rows of one partition, run by run, a batch at a time: sorted by key within a run only."""
    for name in runs:
        with Run(files, name) as run:
            for batch in run.batches(partition):
                yield run.read(batch)


def read_partition(files: Files, runs: Sequence[str], partition: int, *, schema: pa.Schema) -> pa.Table:
    """All rows of one partition, run by run: sorted by key within a run only. Columns as `schema` says."""
    tables = list(each_batch(files, runs, partition))
    return pa.Table.from_batches(tables, schema) if tables else schema.empty_table()


def sorted_pieces(
    files: Files, runs: Sequence[str], partition: int, *, keys: Sequence[str], schema: pa.Schema
) -> Iterator[pa.Table]:
    """The rows of one partition over all runs, sorted by `keys`: at once if they take AT_ONCE_BYTES or less, which
    costs least, else merged piece by piece. No piece is empty."""
    size = 0
    for name in runs:
        with Run(files, name) as run:
            size += sum(batch.size_bytes for batch in run.batches(partition))
    if size > AT_ONCE_BYTES:
        yield from merge_partition(files, runs, partition, keys=keys)
        return
    table = read_partition(files, runs, partition, schema=schema)
    if table.num_rows:
        yield table.take(pa.array(_order([_numpy(table, key) for key in keys]))).combine_chunks()


class _Cursor:
    """What a merge has read and not yet handed on of one run."""

    def __init__(self, run: Run, partition: int, keys: Sequence[str]) -> None:
        self._run = run
        self._pending = run.batches(partition)[::-1]
        self._names = keys
        self.rows: pa.Table | None = None
        self.advance()

    def advance(self) -> None:
        """Replace the rows by those of the next batch; None after the last."""
        if not self._pending:
            self.rows = None
            return
        self.rows = pa.Table.from_batches([self._run.read(self._pending.pop())])
        self.keys = np.stack([_numpy(self.rows, name) for name in self._names], axis=1)

    @property
    def more(self) -> bool:
        return bool(self._pending)

    def take(self, frontier: np.ndarray | None) -> pa.Table:
        """The rows up to and with the frontier (all if None), which leave the cursor."""
        assert self.rows is not None
        count = len(self.keys) if frontier is None else _position(self.keys, frontier)
        taken = self.rows.slice(0, count)
        if count == len(self.keys):
            self.advance()
        elif count:
            self.rows, self.keys = self.rows.slice(count), self.keys[count:]
        return taken


def merge_partition(files: Files, runs: Sequence[str], partition: int, *, keys: Sequence[str]) -> Iterator[pa.Table]:
    """The rows of one partition over all runs, sorted by `keys` (those the runs were written with), in pieces.

    Holds one batch of each run, and yields about as much at a time.
    """
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(Run(files, name)) for name in runs]
        yield from _merged(opened, partition, keys=keys)


def _merged(opened: Sequence[Run], partition: int, *, keys: Sequence[str]) -> Iterator[pa.Table]:
    cursors = [_Cursor(run, partition, keys) for run in opened]
    while cursors := [cursor for cursor in cursors if cursor.rows is not None]:
        ends = np.array([cursor.keys[-1] for cursor in cursors if cursor.more], dtype=np.uint64)
        # No row that is still on disk comes before the last row of its run's batch in memory.
        frontier = ends[_order(list(ends.T))[0]] if len(ends) else None
        piece = pa.concat_tables([taken for cursor in cursors if (taken := cursor.take(frontier)).num_rows])
        yield piece.take(pa.array(_order([_numpy(piece, key) for key in keys])))


def merge_runs(output: Output, *, runs: Sequence[str], suffix: str, keys: Sequence[str]) -> dict[str, Any]:
    """Task: several runs as one, which a merge of all of them cannot tell from them. Holds one batch of each run."""
    rows = 0
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(Run(output.files, name)) for name in runs]
        partitions = sorted({partition for run in opened for partition in run.partitions()})

        def fill(sink: Any) -> None:
            nonlocal rows
            writer = RunWriter(sink, opened[0].schema, opened[0].compression)
            for partition in partitions:
                for piece in _merged(opened, partition, keys=keys):
                    writer.add(partition, piece)
            writer.finish()
            rows = writer.rows

        output.adopt(suffix, fill, extension=EXTENSION)
    return {"rows": rows}


def level(
    engine: Engine, runs: Sequence[str], *, phase: str, suffix: str, keys: Sequence[str], fan_in: int = FAN_IN
) -> list[str]:
    """At most `fan_in` runs with the same rows: merged in as many levels as that takes.

    `phase` is the phase that wrote the runs, "name-key"; the levels are "name.suffix.level1-key" and so on.
    """
    names = list(runs)
    name, _, key = phase.rpartition("-")
    number = 0
    while len(names) > fan_in:
        number += 1
        groups = [names[start : start + fan_in] for start in range(0, len(names), fan_in)]
        commits = engine.run(
            [
                Task(
                    phase=f"{name}.{suffix}.level{number}-{key}",
                    unit=f"g{place:05d}",
                    function="pipeline.exchange:merge_runs",
                    arguments={"runs": group, "suffix": suffix, "keys": list(keys)},
                )
                for place, group in enumerate(groups)
            ]
        )
        names = run_names(commits, suffix)
    return names
