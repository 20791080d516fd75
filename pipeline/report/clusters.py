"""The largest clusters of duplicates: what was kept, how many were removed for it, and some of those."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

#: Clusters on the page, and members of each.
CLUSTERS: Final = 10
MEMBERS: Final = 5
#: Numbers of documents removed for one kept: the rows of the table of sizes.
_SIZES: Final = ((1, 1), (2, 2), (3, 5), (6, 10), (11, 100), (101, 1000), (1001, None))


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A kept document (or one of an earlier run) and those that were removed for being like it."""

    partner: str
    removed: int
    members: list[dict[str, Any]] = field(default_factory=list)


def cluster_sizes(partners: Counter[str]) -> list[tuple[str, int, int]]:
    """(removed for one document, how many such documents, how many removed in all), rows that hold none left out."""
    rows = []
    for least, most in _SIZES:
        sizes = [count for count in partners.values() if least <= count and (most is None or count <= most)]
        name = f"over {least - 1:,}" if most is None else str(least) if least == most else f"{least:,} to {most:,}"
        if sizes:
            rows.append((name, len(sizes), sum(sizes)))
    return rows


def largest_clusters(
    partners: Counter[str], batches: Iterator[pa.RecordBatch], draw: Callable[[str], bytes]
) -> list[Cluster]:
    """The largest clusters, each with members that are drawn by a hash of their ids. Reads the ledger once more."""
    largest = sorted(partners.items(), key=lambda item: (-item[1], item[0]))[:CLUSTERS]
    members: dict[str, list[tuple[bytes, dict[str, Any]]]] = {partner: [] for partner, _ in largest}
    wanted = pa.array(sorted(members), pa.string())
    for batch in batches if members else ():
        for row in batch.filter(pc.is_in(batch["partner"], value_set=wanted)).to_pylist():
            drawn = [*members[row["partner"]], (draw(row["id"]), row)]
            members[row["partner"]] = heapq.nsmallest(MEMBERS, drawn, key=lambda pair: pair[0])
    return [
        Cluster(partner=partner, removed=removed, members=[row for _, row in members[partner]])
        for partner, removed in largest
    ]
