"""The walk in survivor order: who is kept, who is removed, and who has to wait for another round.

The order is cut into ranges, which are walked one after the other. What a range decides about later ranges travels
there as messages (time-forward processing: Chiang et al. 1995), and its own edges stream by in order. So a range holds
some 50 bytes for each of its documents, however many edges they have.

A document is removed if a kept one goes before it and is verified similar. Otherwise it waits if it is uncovered
(buckets.py), or if a similar one that goes before it waits. Otherwise it is kept: every document that goes before it
and shares a bucket with it was compared with it, and those that were similar are removed. That is the definition of the
result, whatever the rounds. Each round every crowded bucket compares at least one more member with all others, so the
rounds end.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline.dedup.groups import Grouping
from pipeline.dedup.sketches import SPLIT_BITS, range_of, range_size, split_in
from pipeline.dedup.verify import EDGES
from pipeline.exchange import ChunkedRun, each_batch, merge_partition, write_run
from pipeline.parts import Output
from stages.compiled import compiled

#: What a range tells a later one: an edge, and whether its first was kept (KEPT) or waits (WAITS).
MESSAGES: Final = EDGES.append(pa.field("first_is", pa.uint64()))
MESSAGE_KEYS: Final = ("second", "first")
KEPT: Final = 0
WAITS: Final = 1
#: What is known of an edge's first that was removed: its edges mean nothing.
_GONE: Final = 2
#: Above every document number: nobody removed this document.
_NOBODY: Final = np.uint64((1 << 64) - 1)
_FIRST, _SECOND, _ID = 0, 1, 3


@compiled
def _counts_more(edge: np.ndarray, other: np.ndarray, first_new: np.uint64) -> bool:
    """Whether of two edges to one document this one names its remover: that of the first in the order, and of two
    earlier runs' documents, whose order says nothing, that with the smaller id."""
    if edge[_FIRST] >= first_new or other[_FIRST] >= first_new:
        return bool(edge[_FIRST] < other[_FIRST])
    return bool(edge[_ID] < other[_ID] or (edge[_ID] == other[_ID] and edge[_ID + 1] < other[_ID + 1]))


@compiled
def _hear(
    rows: np.ndarray,
    first_is: np.ndarray,
    places: np.ndarray,
    first_new: np.uint64,
    waits: np.ndarray,
    remover: np.ndarray,
) -> None:
    """Take messages into a range's state."""
    for row in range(len(rows)):
        place = places[row]
        if first_is[row] == WAITS:
            waits[place] = True
        elif _counts_more(rows[row], remover[place], first_new):
            remover[place] = rows[row]


@compiled
def _walk(
    rows: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    first_new: np.uint64,
    waits: np.ndarray,
    remover: np.ndarray,
    said: np.ndarray,
) -> None:
    """Decide the documents of a range. `first` and `second` are the places in it of the edges `rows`, which come in
    order (second -1: in a later range); `said` becomes what each edge's first is."""
    for edge in range(len(first)):
        one, other = first[edge], second[edge]
        if remover[one, _FIRST] != _NOBODY:
            said[edge] = _GONE
            continue
        said[edge] = WAITS if waits[one] else KEPT
        if other < 0:
            continue
        if waits[one]:
            waits[other] = True
        elif _counts_more(rows[edge], remover[other], first_new):
            remover[other] = rows[edge]


def _matrix(table: Any) -> np.ndarray:
    """uint64[n, 5]: the EDGES columns."""
    return np.stack([np.asarray(table.column(name)) for name in EDGES.names], axis=1)


def _edges(rows: np.ndarray) -> pa.Table:
    return pa.table([rows[:, place] for place in range(len(EDGES))], schema=EDGES)


def decide_part(
    output: Output,
    *,
    edges: Sequence[str],
    messages: Sequence[str],
    uncovered: Sequence[str],
    partition: int,
    grouping: Grouping,
    documents: int,
    ranges: int,
    earlier: int = 0,
) -> dict[str, Any]:
    """Task: decide one range of the order.

    `removed`   EDGES by group of the second's split: second was removed because first was kept
    `waiting`   EDGES by range of the first: both still wait, the edge counts again in the next round
    `messages`  MESSAGES by range of the second, for the ranges after this one
    """
    first_new = np.uint64(earlier << SPLIT_BITS)
    start, size = range_size(partition, documents=documents, ranges=ranges)

    def places(numbers: np.ndarray) -> np.ndarray:
        return (numbers >> np.uint64(SPLIT_BITS)).astype(np.int64) - start

    waits = np.zeros(size, dtype=bool)
    remover = np.full((size, len(EDGES)), _NOBODY, dtype=np.uint64)
    for batch in each_batch(output.files, uncovered, partition):
        waits[places(batch.column("number").to_numpy())] = True
    for batch in each_batch(output.files, messages, partition):
        rows = _matrix(batch)
        _hear(rows, batch.column("first_is").to_numpy(), places(rows[:, _SECOND]), first_new, waits, remover)
    sent = ChunkedRun(output, "messages", MESSAGES, keys=MESSAGE_KEYS)
    for piece in merge_partition(output.files, edges, partition, keys=["first", "second"]):
        rows = _matrix(piece)
        here = range_of(rows[:, _SECOND], documents=documents, ranges=ranges) == partition
        said = np.empty(len(rows), dtype=np.int64)
        later = np.where(here, places(rows[:, _SECOND]), -1)
        _walk(rows, places(rows[:, _FIRST]), later, first_new, waits, remover, said)
        forward = ~here & (said != _GONE)
        told = _edges(rows[forward]).append_column(
            MESSAGES.field("first_is"), pa.array(said[forward].astype(np.uint64))
        )
        sent.add(told, range_of(rows[forward, _SECOND], documents=documents, ranges=ranges))
    sent.finish()
    gone = remover[:, _FIRST] != _NOBODY
    removed = remover[gone]
    write_run(
        output, "removed", _edges(removed), partition=split_in(removed[:, _SECOND]) // grouping.size, keys=["second"]
    )
    waits &= ~gone
    waiting = ChunkedRun(output, "waiting", EDGES, keys=["first", "second"])
    if waits.any():
        # Both ends of an edge wait: known only now, so what was read is read again.
        for batch in each_batch(output.files, messages, partition):
            rows = _matrix(batch)
            again = rows[(batch.column("first_is").to_numpy() == WAITS) & waits[places(rows[:, _SECOND])]]
            waiting.add(_edges(again), range_of(again[:, _FIRST], documents=documents, ranges=ranges))
        for batch in each_batch(output.files, edges, partition):
            rows = _matrix(batch)
            rows = rows[range_of(rows[:, _SECOND], documents=documents, ranges=ranges) == partition]
            again = rows[waits[places(rows[:, _FIRST])] & waits[places(rows[:, _SECOND])]]
            waiting.add(_edges(again), np.full(len(again), partition, dtype=np.int64))
    waiting.finish()
    return {"rounds": int(partition == 0), "removed": len(removed), "waiting": int(waits.sum())}
