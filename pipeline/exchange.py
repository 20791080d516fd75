"""The exchange: rows written by many tasks, brought together by key in other tasks, through files.

A map task writes one *run*: its rows sorted by partition and key, with an index of where each partition lies. A reduce
task reads its partition from every run, merged in key order. (The pattern of Exoshuffle, Luan et al. 2023.) Runs are
committed parts like all others, so a killed worker costs a task and a killed driver nothing.

A run file:

    record batches       Arrow IPC messages, each of rows of one partition, sorted by key; about BATCH_BYTES of them
    index                JSON: format, schema, compression, rows, and for each batch
                         [partition, offset, bytes in the file, bytes decompressed, xxh64 of the bytes in the file]
    tail                 size of the index (8 bytes, little endian) and MAGIC

Every batch is read by its own range of bytes and checked against its checksum. Memory: a map task holds its rows about
twice (once unsorted), `merge_partition` holds one batch of each run, `read_partition` the whole partition.
"""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import xxhash

from pipeline.engine import Engine
from pipeline.files import ZSTD_LEVEL, Files
from pipeline.parts import Commit, Output, Task
from stages.compiled import compiled

#: Modules whose meaning enters the key of whatever goes through an exchange.
MODULES: Final = ("pipeline.exchange", "pipeline.files", "pipeline.parts", "pipeline.view")
MAGIC: Final = b"TAMISRUN1"
_EXTENSION: Final = "run"
#: Bytes of rows in a batch before compression: a merge of FAN_IN runs then holds 128 MB of them.
BATCH_BYTES: Final = 256 << 10
#: Runs that one task reads at once: more are merged in levels first. 500 open files are below any usual limit.
FAN_IN: Final = 500
#: Bytes that a reduce task may have to hold when it reads a partition whole. Three times as much while it sorts,
#: which stays well below the 1.5 GB that a worker may take.
PARTITION_BYTES: Final = 256 << 20


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
        writer = _Writer(sink, rows.schema, compression)
        for first, last in zip(starts.tolist(), ends.tolist(), strict=True):
            writer.add(int(places[first]), rows.slice(first, last - first))
        writer.finish()

    output.adopt(suffix, fill, extension=_EXTENSION)


class _Writer:
    """Writes the batches of a run in order, then its index."""

    def __init__(self, sink: Any, schema: pa.Schema, compression: str | None) -> None:
        self._sink = sink
        self._schema = schema
        self._compression = compression
        self._codec = None if compression is None else pa.Codec(compression, ZSTD_LEVEL)
        self._batches: list[list[int]] = []
        self._offset = 0
        self.rows = 0

    def add(self, partition: int, rows: pa.Table) -> None:
        """Sorted rows of one partition, which come behind all that were added before."""
        whole = rows.combine_chunks()
        step = max(1, BATCH_BYTES * whole.num_rows // max(1, whole.nbytes))
        for start in range(0, whole.num_rows, step):
            (batch,) = whole.slice(start, step).to_batches()
            message = batch.serialize()
            stored = message if self._codec is None else self._codec.compress(message)
            self._sink.write(stored)
            checksum = xxhash.xxh64_intdigest(memoryview(stored))
            self._batches.append([partition, self._offset, stored.size, message.size, checksum])
            self._offset += stored.size
            self.rows += batch.num_rows

    def finish(self) -> None:
        index = {
            "format": 1,
            "schema": base64.b64encode(self._schema.serialize().to_pybytes()).decode(),
            "compression": self._compression,
            "rows": self.rows,
            "batches": self._batches,
        }
        data = json.dumps(index).encode()
        self._sink.write(data + len(data).to_bytes(8, "little") + MAGIC)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Where one batch of a run lies."""

    partition: int
    offset: int
    #: Bytes in the file, and of the message once it is decompressed.
    stored_bytes: int
    size_bytes: int
    checksum: int


class Run:
    """One run file, opened for reading. OSError naming the file if it is damaged. Close it, or use it in a `with`."""

    #: What is read from the end of a file at first: the tail, and all of a small index.
    _TAIL_BYTES = 64 << 10

    def __init__(self, files: Files, name: str) -> None:
        self.name = files.path(name)
        self._source = files.open(name)
        size = self._source.size()
        tail = self._source.read_at(min(size, self._TAIL_BYTES), max(0, size - self._TAIL_BYTES))
        fixed = 8 + len(MAGIC)
        if len(tail) < fixed or not tail.endswith(MAGIC):
            raise self._damaged("it does not end as a run does")
        length = int.from_bytes(tail[-fixed : -len(MAGIC)], "little")
        if length + fixed > size:
            raise self._damaged("its index is cut off")
        data = tail[-fixed - length : -fixed]
        if len(data) < length:
            data = self._source.read_at(length, size - fixed - length)
        index = json.loads(data)
        self.schema: Any = pa.ipc.read_schema(pa.BufferReader(base64.b64decode(index["schema"])))
        self.compression: str | None = index["compression"]
        self.rows: int = index["rows"]
        self.batches = [
            Batch(partition=partition, offset=offset, stored_bytes=stored, size_bytes=size, checksum=checksum)
            for partition, offset, stored, size, checksum in index["batches"]
        ]

    def _damaged(self, why: str) -> OSError:
        return OSError(f"{self.name} is damaged: {why}. Delete it with its commit record and run again.")

    def read(self, batch: Batch) -> pa.RecordBatch:
        """The rows of one batch, its checksum verified."""
        data = self._source.read_at(batch.stored_bytes, batch.offset)
        if len(data) != batch.stored_bytes or xxhash.xxh64_intdigest(data) != batch.checksum:
            raise self._damaged(f"the batch at byte {batch.offset} does not have its checksum")
        message = pa.py_buffer(data)
        if self.compression is not None:
            message = pa.Codec(self.compression).decompress(message, batch.size_bytes)
        return pa.ipc.read_record_batch(message, self.schema)

    def close(self) -> None:
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def run_names(commits: Sequence[Commit], suffix: str) -> list[str]:
    """The files that these parts hold under `suffix`, or under `suffix-0`, `suffix-1`… where a part wrote several."""
    return [
        commit.files[found].name
        for commit in commits
        for found in sorted(commit.files)
        if found == suffix or found.rpartition("-")[0] == suffix
    ]


def read_partition(files: Files, runs: Sequence[str], partition: int, *, schema: pa.Schema) -> pa.Table:
    """All rows of one partition, run by run: sorted by key within a run only. Columns as `schema` says."""
    tables = []
    for name in runs:
        with Run(files, name) as run:
            tables += [run.read(batch) for batch in run.batches if batch.partition == partition]
    return pa.Table.from_batches(tables, schema) if tables else schema.empty_table()


class _Cursor:
    """What a merge has read and not yet handed on of one run."""

    def __init__(self, run: Run, partition: int, keys: Sequence[str]) -> None:
        self._run = run
        self._pending = [batch for batch in reversed(run.batches) if batch.partition == partition]
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
        else:
            self.rows, self.keys = self.rows.slice(count), self.keys[count:]
        return taken


def merge_partition(files: Files, runs: Sequence[str], partition: int, *, keys: Sequence[str]) -> Iterator[pa.Table]:
    """The rows of one partition over all runs, sorted by `keys` (those the runs were written with), in pieces.

    Holds one batch of each run, and yields about as much at a time.
    """
    opened = [Run(files, name) for name in runs]
    try:
        cursors = [_Cursor(run, partition, keys) for run in opened]
        while cursors := [cursor for cursor in cursors if cursor.rows is not None]:
            ends = np.array([cursor.keys[-1] for cursor in cursors if cursor.more], dtype=np.uint64)
            # No row that is still on disk comes before the last row of its run's batch in memory.
            frontier = ends[_order(list(ends.T))[0]] if len(ends) else None
            piece = pa.concat_tables([cursor.take(frontier) for cursor in cursors])
            if piece.num_rows:
                yield piece.take(pa.array(_order([_numpy(piece, key) for key in keys])))
    finally:
        for run in opened:
            run.close()


def merge_runs(output: Output, *, runs: Sequence[str], suffix: str, keys: Sequence[str]) -> dict[str, Any]:
    """Task: several runs as one, which a merge of all of them cannot tell from them. Holds one batch of each run."""
    partitions: set[int] = set()
    for name in runs:
        with Run(output.files, name) as run:
            schema, compression = run.schema, run.compression
            partitions |= {batch.partition for batch in run.batches}
    rows = 0

    def fill(sink: Any) -> None:
        nonlocal rows
        writer = _Writer(sink, schema, compression)
        for partition in sorted(partitions):
            for piece in merge_partition(output.files, runs, partition, keys=keys):
                writer.add(partition, piece)
        writer.finish()
        rows = writer.rows

    output.adopt(suffix, fill, extension=_EXTENSION)
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
