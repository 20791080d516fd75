"""Run files: rows of many partitions, sorted by partition and key, with an index of where each partition lies.

A run file:

    record batches       Arrow IPC messages, each of rows of one partition, sorted by key; about BATCH_BYTES of them
    index                five little-endian uint64 for each batch: partition, offset, bytes in the file, bytes
                         decompressed, xxh64 of the bytes in the file
    head                 JSON: format, schema, compression, rows, batches, and for each BLOCK of the index its first
                         partition and its xxh64
    tail                 size of the head (8 bytes, little endian) and MAGIC

Every batch and every block of the index is read by its own range of bytes and checked against its checksum, so an open
run takes a block in memory, however many partitions it has.
"""

import base64
import bisect
import json
from array import array
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import xxhash

from pipeline.files import ZSTD_LEVEL, Files

MAGIC: Final = b"TAMISRUN2"
EXTENSION: Final = "run"
#: Bytes of rows in a batch before compression: a merge of 500 runs then holds 128 MB of them.
BATCH_BYTES: Final = 256 << 10
#: Entries in a block of a run's index: 20 kB.
BLOCK: Final = 512
_ENTRY: Final = 5


class RunWriter:
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
