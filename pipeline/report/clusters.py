"""The largest clusters of duplicates: what was kept, how many were removed for it, and some of those."""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

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


class Partners:
    """How many documents were removed for each: exact, in eight bytes for each removed one."""

    def __init__(self) -> None:
        self._hashes: list[np.ndarray] = []

    def add(self, partners: pa.Array) -> None:
        hashes = (xxhash.xxh3_64_intdigest(name.encode()) for name in partners.to_pylist())
        self._hashes.append(np.fromiter(hashes, np.uint64, len(partners)))

    @cached_property
    def counted(self) -> tuple[np.ndarray, np.ndarray]:
        """(hashes, counts), once all were added."""
        return np.unique(np.concatenate([np.empty(0, np.uint64), *self._hashes]), return_counts=True)


def cluster_sizes(partners: Partners) -> list[tuple[str, int, int]]:
    """(removed for one document, how many such documents, how many removed in all), rows that hold none left out."""
    _, counts = partners.counted
    rows = []
    for least, most in _SIZES:
        sizes = counts[(counts >= least) & (counts <= (most or counts.max(initial=0)))]
        name = f"over {least - 1:,}" if most is None else str(least) if least == most else f"{least:,} to {most:,}"
        if len(sizes):
            rows.append((name, len(sizes), int(sizes.sum())))
    return rows


def largest_clusters(
    partners: Partners, batches: Iterator[pa.RecordBatch], draw: Callable[[str], bytes]
) -> list[Cluster]:
    """The largest clusters, each with members that are drawn by a hash of their ids. Reads the ledger once more."""
    hashes, counts = partners.counted
    largest = np.lexsort((hashes, -counts))[:CLUSTERS]
    removed = dict(zip(hashes[largest].tolist(), counts[largest].tolist(), strict=True))
    members: dict[str, list[tuple[bytes, dict[str, Any]]]] = {}
    sizes: dict[str, int] = {}
    for batch in batches if removed else ():
        for name in pc.unique(batch["partner"]).drop_null().to_pylist():
            if size := removed.get(xxhash.xxh3_64_intdigest(name.encode())):
                sizes[name] = size
        wanted = pa.array(sorted(sizes), pa.string())
        for row in batch.filter(pc.is_in(batch["partner"], value_set=wanted)).to_pylist():
            drawn = [*members.get(row["partner"], ()), (draw(row["id"]), row)]
            members[row["partner"]] = heapq.nsmallest(MEMBERS, drawn, key=lambda pair: pair[0])
    return [
        Cluster(partner=partner, removed=sizes[partner], members=[row for _, row in members[partner]])
        for partner in sorted(sizes, key=lambda name: (-sizes[name], name))
    ]
