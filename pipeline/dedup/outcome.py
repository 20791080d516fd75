"""The end of near deduplication: what the decisions mean for each document of a split, and its ledger."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline.dedup.exact import followers_of
from pipeline.dedup.groups import FOLLOWERS, Grouping
from pipeline.dedup.rejections import Rejections, write_ledger
from pipeline.dedup.sketches import NUMBERED, split_in
from pipeline.dedup.survivors import id_text, row_of, split_of
from pipeline.dedup.verify import EDGES, STEPS
from pipeline.exchange import read_partition, write_run
from pipeline.parts import Output
from pipeline.view import View

#: A follower, and what its leader was removed for: similarity in steps, and id of the document that was kept.
_TOLD: Final = pa.schema([pa.field(name, pa.uint64()) for name in ("doc", "similarity", "id0", "id1")])


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
    table = pa.table([docs, *(chosen[name] for name in ("similarity", "id0", "id1"))], schema=_TOLD)
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
) -> dict[str, Any]:
    """Task: `ledger` of one split: leaders that were removed, and all followers."""
    group = split // grouping.size
    gone = read_partition(output.files, removed, group, schema=EDGES)
    gone = gone.filter(pa.array(split_in(gone["second"].to_numpy()) == split))
    known = read_partition(output.files, members, split, schema=NUMBERED).sort_by("number")
    places = np.searchsorted(known["number"].to_numpy(), gone["second"].to_numpy())
    ids = ("id0", "id1")
    leaders = pa.table([known["doc"].to_numpy()[places], *(gone[name] for name in ("similarity", *ids))], schema=_TOLD)
    own = followers_of(output, followers, split, grouping)
    same = np.full(own.num_rows, STEPS, dtype=np.uint64)
    kept_leader = pa.table([own["doc"], pa.array(same), *(own[name] for name in ids)], schema=_TOLD)
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
        ),
    )
