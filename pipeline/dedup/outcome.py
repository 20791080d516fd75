"""The end of near deduplication: what the decisions mean for each document of a split, and its ledger."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline.dedup.exact import followers_of
from pipeline.dedup.groups import FOLLOWERS, Grouping
from pipeline.dedup.rejections import Rejections, write_ledger
from pipeline.dedup.sketches import NUMBERED, SPLIT_BITS, split_in
from pipeline.dedup.survivors import id_text, row_of, split_of
from pipeline.dedup.verify import EDGES, STEPS
from pipeline.exchange import read_partition, write_run
from pipeline.parts import Output
from pipeline.view import View

#: A follower, and what its leader was removed for: the document that was kept, similarity in steps, and its id.
_TOLD: Final = pa.schema([pa.field(name, pa.uint64()) for name in ("doc", "first", "similarity", "id0", "id1")])
#: Above every document number: the leader of a document with the same elements, whose number nobody asks for.
_UNNUMBERED: Final = (1 << 64) - 1


def told_part(
    output: Output,
    *,
    links: Sequence[str],
    removed: Sequence[str],
    members: Sequence[str],
    group: int,
    grouping: Grouping,
) -> dict[str, Any]:
    """Task: `told` (by group of the follower's split): what became of the leader of each follower whose leader was
    removed: its followers are similar to the same document, as much."""
    rows = read_partition(output.files, links, group, schema=FOLLOWERS)
    gone = read_partition(output.files, removed, group, schema=EDGES)
    known = pa.concat_tables(
        [read_partition(output.files, members, split, schema=NUMBERED) for split in grouping.members(group)]
    ).sort_by("number")
    places = np.searchsorted(known["number"].to_numpy(), gone["second"].to_numpy())
    leaders = known["doc"].to_numpy()[places]
    order = np.argsort(leaders)
    leaders, gone = leaders[order], gone.take(pa.array(order))
    leader = rows["leader"].to_numpy()
    found = np.searchsorted(leaders, leader)
    hit = found < len(leaders)
    hit[hit] = leaders[found[hit]] == leader[hit]
    chosen = gone.take(pa.array(found[hit]))
    docs = rows["doc"].to_numpy()[hit]
    table = pa.table([docs, *(chosen[name] for name in _TOLD.names[1:])], schema=_TOLD)
    write_run(output, "told", table, partition=grouping.of(docs), keys=["doc"])
    return {"followers": table.num_rows}


def near_ledger(
    output: Output,
    *,
    view: View,
    unit: str,
    label: str,
    threshold: float,
    followers: Sequence[str],
    told: Sequence[str],
    removed: Sequence[str],
    members: Sequence[str],
    split: int,
    grouping: Grouping,
    earlier: Sequence[tuple[int, str]] = (),
    earlier_documents: int = 0,
) -> dict[str, Any]:
    """Task: `ledger` of one split: leaders that were removed, and all followers.

    `earlier` are the places from which on documents are those of a slice. Who was removed for one of them is told the
    slice, since the partner is not among this run's documents.
    """
    group = split // grouping.size
    gone = read_partition(output.files, removed, group, schema=EDGES)
    gone = gone.filter(pa.array(split_in(gone["second"].to_numpy()) == split))
    known = read_partition(output.files, members, split, schema=NUMBERED).sort_by("number")
    places = np.searchsorted(known["number"].to_numpy(), gone["second"].to_numpy())
    ids = ("id0", "id1")
    leaders = pa.table([known["doc"].to_numpy()[places], *(gone[name] for name in _TOLD.names[1:])], schema=_TOLD)
    own = followers_of(output, followers, split, grouping)
    same = np.full(own.num_rows, STEPS, dtype=np.uint64)
    unnumbered = np.full(own.num_rows, _UNNUMBERED, dtype=np.uint64)
    kept_leader = pa.table([own["doc"], unnumbered, same, *(own[name] for name in ids)], schema=_TOLD)
    heard = read_partition(output.files, told, group, schema=_TOLD)
    heard = heard.filter(pa.array(split_of(heard["doc"].to_numpy()) == split))
    overruled = np.isin(own["doc"].to_numpy(), heard["doc"].to_numpy())
    rows = pa.concat_tables([leaders, kept_leader.filter(pa.array(~overruled)), heard]).sort_by("doc")
    return write_ledger(
        output,
        view,
        unit,
        Rejections(
            label=label,
            reason="near_dup",
            rows=row_of(rows["doc"].to_numpy()),
            measured=rows["similarity"].to_numpy() / STEPS,
            threshold=threshold,
            partner=id_text(rows["id0"].to_numpy(), rows["id1"].to_numpy()),
            detail=_slices_of(rows["first"].to_numpy(), earlier, earlier_documents),
        ),
    )


def _slices_of(numbers: np.ndarray, earlier: Sequence[tuple[int, str]], documents: int) -> pa.Array:
    """string[n]: for a number among the first `documents`, the slice that it lies in."""
    places = (numbers >> np.uint64(SPLIT_BITS)).astype(np.int64)
    which = np.searchsorted([first for first, _ in earlier], places, side="right") - 1
    told = [
        f"kept by an earlier run, slice {earlier[number][1]}" if place < documents else None
        for place, number in zip(places.tolist(), which.tolist(), strict=True)
    ]
    return pa.array(told, pa.string())
