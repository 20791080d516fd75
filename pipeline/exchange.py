"""The exchange: rows written by many tasks, brought together by key in other tasks, through files.

A map task writes one *run*: its rows sorted by partition and key, with an index of where each partition lies. A reduce
task reads its partition from every run, merged in key order. (The pattern of Exoshuffle, Luan et al. 2023.) Runs are
committed parts like all others, so a killed worker costs a task and a killed driver nothing.

A run file:

    record batches       Arrow IPC messages, each of rows of one partition, sorted by key; about BATCH_BYTES of them
    index                five little-endian uint64 for each batch: partition, offset, bytes in the file, bytes
                         decompressed, xxh64 of the bytes in the file
    head                 JSON: format, schema, compression, rows, batches, and for each BLOCK of the index its first
                         partition and its xxh64
    tail                 size of the head (8 bytes, little endian) and MAGIC

Every batch and every block of the index is read by its own range of bytes and checked against its checksum, so an open
run takes a block in memory, however many partitions it has. Memory: a map task holds its rows about twice (once
unsorted), `merge_partition` holds one batch of each run, `read_partition` the whole partition, and `sorted_pieces` the
whole partition if it is as small as it was planned to be, else as a merge.
"""

import base64
import bisect
import contextlib
import json
from array import array
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
MAGIC: Final = b"TAMISRUN2"
_EXTENSION: Final = "run"
#: Bytes of rows in a batch before compression: a merge of FAN_IN runs then holds 128 MB of them.
BATCH_BYTES: Final = 256 << 10
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
#: Entries in a block of a run's index: 20 kB.
BLOCK: Final = 512
_ENTRY: Final = 5


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


class _Writer:
    """Writes the batches of a run in order, then its index."""

    def __init__(self, sink: Any, schema: pa.Schema, compression: str | None) -> None:
        self._sink = sink
        self._schema = schema
        self._compression = compression
        self._codec = None if compression is None else pa.Codec(compression, ZSTD_LEVEL)
        self._index = array("Q")
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
            self._index.extend((partition, self._offset, stored.size, message.size, checksum))
            self._offset += stored.size
            self.rows += batch.num_rows

    def finish(self) -> None:
        index = np.array(self._index, dtype="<u8").reshape(-1, _ENTRY)
        blocks = [index[start : start + BLOCK] for start in range(0, len(index), BLOCK)]
        head = {
            "format": 2,
            "schema": base64.b64encode(self._schema.serialize().to_pybytes()).decode(),
            "compression": self._compression,
            "rows": self.rows,
            "batches": len(index),
            "blocks": [[int(block[0, 0]), xxhash.xxh64_intdigest(block.tobytes())] for block in blocks],
        }
        data = json.dumps(head).encode()
        self._sink.write(index.tobytes() + data + len(data).to_bytes(8, "little") + MAGIC)


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

    #: What is read from the end of a file at first: the tail, and all of a small head.
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
        head = json.loads(data)
        self.schema: Any = pa.ipc.read_schema(pa.BufferReader(base64.b64decode(head["schema"])))
        self.compression: str | None = head["compression"]
        self.rows: int = head["rows"]
        self._batches: int = head["batches"]
        self._blocks: list[list[int]] = head["blocks"]
        self._index_start = size - fixed - length - self._batches * _ENTRY * 8
        self._block = (-1, np.zeros((0, _ENTRY), dtype=np.uint64))

    def _damaged(self, why: str) -> OSError:
        return OSError(f"{self.name} is damaged: {why}. Delete it with its commit record and run again.")

    def _entries(self, number: int) -> np.ndarray:
        """uint64[entries, 5]: one block of the index; the last one read is remembered."""
        if self._block[0] != number:
            count = min(BLOCK, self._batches - number * BLOCK)
            start = self._index_start + number * BLOCK * _ENTRY * 8
            data = self._source.read_at(count * _ENTRY * 8, start)
            if xxhash.xxh64_intdigest(data) != self._blocks[number][1]:
                raise self._damaged("its index does not have its checksum")
            self._block = (number, np.frombuffer(data, dtype="<u8").reshape(-1, _ENTRY))
        return self._block[1]

    def partitions(self) -> list[int]:
        """Those that have a row, ascending."""
        found = [np.unique(self._entries(number)[:, 0]) for number in range(len(self._blocks))]
        return [int(partition) for partition in np.unique(np.concatenate(found))] if found else []

    def batches(self, partition: int) -> list[Batch]:
        """The batches of one partition, in order."""
        found: list[Batch] = []
        firsts = [block[0] for block in self._blocks]
        number = max(0, bisect.bisect_left(firsts, partition) - 1)
        while number < len(firsts) and firsts[number] <= partition:
            entries = self._entries(number)
            low, high = np.searchsorted(entries[:, 0], [partition, partition + 1])
            found += [
                Batch(partition=part, offset=offset, stored_bytes=stored, size_bytes=size, checksum=checksum)
                for part, offset, stored, size, checksum in entries[low:high].tolist()
            ]
            number += 1
        return found

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
            writer = _Writer(sink, opened[0].schema, opened[0].compression)
            for partition in partitions:
                for piece in _merged(opened, partition, keys=keys):
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
