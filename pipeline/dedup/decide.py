"""The walk in survivor order: who is kept, who is removed, and who has to wait for another round.

The order is cut into ranges, which are walked one after the other. What a range decides about later ranges travels
there as messages, so each range holds its own edges only (time-forward processing: Chiang et al. 1995).

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
from pipeline.dedup.sketches import range_of, split_in
from pipeline.dedup.verify import EDGES
from pipeline.exchange import read_partition, write_run
from pipeline.parts import Output
from stages.compiled import compiled

_NUMBERS: Final = pa.schema([pa.field("number", pa.uint64())])
#: What a range tells a later one: an edge, and whether its first was kept (KEPT) or waits (WAITS).
MESSAGES: Final = EDGES.append(pa.field("first_is", pa.uint64()))
KEPT: Final = 0
WAITS: Final = 1
_NOBODY: Final = -1


@compiled
def _walk(first: np.ndarray, second: np.ndarray, waits: np.ndarray, remover: np.ndarray, said: np.ndarray) -> None:
    """Decide the documents of a range. `first` and `second` are their places in it (second -1: in a later range), edges
    sorted; `waits` and `remover` (an edge, or _NOBODY) hold what earlier ranges said, and in the end the decision.
    `said` becomes what each edge's first is: KEPT, WAITS, or _NOBODY for a removed one."""
    for edge in range(len(first)):
        one, other = first[edge], second[edge]
        if remover[one] != _NOBODY:
            said[edge] = _NOBODY
            continue
        said[edge] = WAITS if waits[one] else KEPT
        if other < 0:
            continue
        if waits[one]:
            waits[other] = True
        elif remover[other] == _NOBODY:
            remover[other] = edge


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
) -> dict[str, Any]:
    """Task: decide one range of the order.

    `removed`   EDGES by group of the second's split: second was removed because first was kept
    `waiting`   EDGES by range of the first: both still wait, the edge counts again in the next round
    `messages`  MESSAGES by range of the second, for the ranges after this one
    """
    table = read_partition(output.files, edges, partition, schema=EDGES)
    table = _distinct(table)
    told = read_partition(output.files, messages, partition, schema=MESSAGES)
    told = told.sort_by([("second", "ascending"), ("first", "ascending")])
    blind = read_partition(output.files, uncovered, partition, schema=_NUMBERS)["number"].to_numpy()
    first, second = table["first"].to_numpy(), table["second"].to_numpy()
    here = range_of(second, documents=documents, ranges=ranges) == partition
    told_second, told_is = told["second"].to_numpy(), told["first_is"].to_numpy()
    known = np.unique(np.concatenate([first, second[here], told_second, blind]))
    waits = np.isin(known, blind) | np.isin(known, told_second[told_is == WAITS])
    # Removers are counted over the told edges, which come first as their firsts do, and then over those of this range.
    remover = np.full(len(known), _NOBODY, dtype=np.int64)
    kills = np.flatnonzero(told_is == KEPT)[::-1]
    remover[np.searchsorted(known, told_second[kills])] = kills
    said = np.empty(len(first), dtype=np.int64)
    later = np.where(here, np.searchsorted(known, second), -1)
    own = np.full(len(known), _NOBODY, dtype=np.int64)
    own[remover != _NOBODY] = np.iinfo(np.int64).max  # removed already, by a told edge
    _walk(np.searchsorted(known, first), later, waits, own, said)
    by_own = (remover == _NOBODY) & (own != _NOBODY)
    everything = pa.concat_tables([told.select(EDGES.names), table])
    remover[by_own] = own[by_own] + told.num_rows
    gone = remover != _NOBODY
    removed = everything.take(pa.array(remover[gone]))
    write_run(
        output, "removed", removed, partition=split_in(removed["second"].to_numpy()) // grouping.size, keys=["second"]
    )
    alive = ~gone[np.searchsorted(known, np.concatenate([told_second, second[here]]))]
    held = np.concatenate([told_is == WAITS, said[here] == WAITS])
    waiting = pa.concat_tables([told.select(EDGES.names), table.filter(pa.array(here))]).filter(pa.array(alive & held))
    parts = range_of(waiting["first"].to_numpy(), documents=documents, ranges=ranges)
    write_run(output, "waiting", waiting, partition=parts, keys=["first", "second"])
    forward = ~here & (said != _NOBODY)
    sent = table.filter(pa.array(forward)).append_column(
        MESSAGES.field("first_is"), pa.array(said[forward].astype(np.uint64))
    )
    parts = range_of(sent["second"].to_numpy(), documents=documents, ranges=ranges)
    write_run(output, "messages", sent, partition=parts, keys=["second", "first"])
    return {"rounds": int(partition == 0), "removed": int(gone.sum()), "waiting": int((waits & ~gone).sum())}


def _distinct(edges: pa.Table) -> pa.Table:
    """Sorted by (first, second), each pair once: a pair may have been proposed in several rounds."""
    first, second = edges["first"].to_numpy(), edges["second"].to_numpy()
    order = np.lexsort((second, first))
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = (first[order][1:] != first[order][:-1]) | (second[order][1:] != second[order][:-1])
    return edges.take(pa.array(order[fresh]))
