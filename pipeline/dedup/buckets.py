"""Buckets: documents that agree in a band, the pairs that a bucket proposes, and what becomes of crowded ones.

A bucket is all members with one hash, in survivor order. Its first `heads` members are paired with every later member;
who stands behind more than the heads is *uncovered*: nobody knows yet whether an earlier member is similar to it, so it
cannot be kept in this round. A bucket of up to `crowded` members is all heads. A larger one has a single head in the
first round, which is all it takes when its members are much alike.

Those who stand after that are told apart by their shingles (`refine_part`): the bucket falls into smaller ones, one for
each of its members' rarest shingles, and no pair of similar members is lost. (Prefix filtering: Chaudhuri et al. 2006,
Bayardo et al. 2007, Xiao et al. 2008.) Take two sets of x >= y shingles, Jaccard at least t, and any order of shingles
that is the same for both. They share at least t x and at least 2t/(1+t) y of them; so the first shared one is among
the first x - ceil(t x) + 1 of the larger set, its *prefix*, and among the first y - ceil(2t/(1+t) y) + 1 of the smaller
one, its *short prefix*. A document therefore joins the buckets of its prefix, marked where the shingle is in its short
prefix, and a bucket in which nobody is marked says nothing. The order is by rarity: how many of these documents hold
the shingle, by a count sketch; a wrong count costs time, never a pair.

Pages of one template whose likeness to each other stays below t hold their own shingles in their short prefixes, and
nothing else: a bucket of 100,000 of them costs 100,000 comparisons in the first round and none in the second. What is
still crowded after that doubles its heads each round.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline.dedup.groups import Grouping
from pipeline.dedup.sketches import BANDS, MARK, range_of, split_in
from pipeline.dedup.verify import EDGES, REQUESTS, SETS
from pipeline.exchange import by_hash, equal_stretches, read_partition, write_run
from pipeline.parts import Output
from stages.compiled import compiled
from stages.near_dedup import NearDedupSettings
from stages.schema import SCORE_DECIMALS
from stages.shingles import mix64

#: Pairs that a bucket task holds at once: 16 bytes each, and three times that while they are sorted.
_PAIRS_AT_ONCE: Final = 4 << 20
#: Cells of the count sketch, 4 bytes each: with 50 million distinct shingles a cell is off by about 50, where the
#: shingles of a template that crowds a bucket count hundreds and more.
_CELLS: Final = 1 << 20
_CELL_SHIFT: Final = np.uint64(64 - 20)


def heads_of(members: np.ndarray, *, number_of_round: int, crowded: int) -> np.ndarray:
    """How many of its first members a bucket of so many pairs with all later ones: int64[n]."""
    few = np.minimum(members, 1 << (number_of_round - 1))
    return np.where(members <= crowded, members, few)


@compiled
def _propose(numbers: np.ndarray, starts: np.ndarray, ends: np.ndarray, heads: np.ndarray, out: np.ndarray) -> None:
    written = 0
    for bucket in range(len(starts)):
        for head in range(starts[bucket], starts[bucket] + heads[bucket]):
            for later in range(head + 1, ends[bucket]):
                out[written, 0] = numbers[head]
                out[written, 1] = numbers[later]
                written += 1


def unique_rows(rows: np.ndarray) -> np.ndarray:
    """The distinct rows of uint64[n, 2], sorted."""
    ordered = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    fresh = np.ones(len(ordered), dtype=bool)
    fresh[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return ordered[fresh]


def bucket_part(
    output: Output,
    *,
    runs: Sequence[str],
    partition: int,
    number_of_round: int,
    crowded: int,
    grouping: Grouping,
    documents: int,
    ranges: int,
) -> dict[str, Any]:
    """Task: what the buckets of one partition ask for.

    `requests`   REQUESTS by group of the owner's split: whose shingles have to be compared with whose
    `standing`   BANDS by group: members of crowded buckets that were no heads, which come again in the next round
    `uncovered`  numbers by range of the order: documents that cannot be kept in this round
    """
    table = read_partition(output.files, runs, partition, schema=BANDS)
    hashes, numbers = table["hash"].to_numpy(), table["number"].to_numpy()
    order = np.lexsort((numbers, hashes | MARK))
    hashes, numbers = hashes[order], numbers[order]
    starts, ends = equal_stretches(hashes | MARK)
    marks = np.concatenate(([0], np.cumsum(hashes & MARK, dtype=np.int64)))
    several = (ends - starts > 1) & (marks[ends] > marks[starts])
    starts, ends = starts[several], ends[several]
    members = ends - starts
    heads = heads_of(members, number_of_round=number_of_round, crowded=crowded)
    pairs = _request_slices(output, numbers, starts, ends, heads, grouping)
    # A bucket of n with h < n heads: members h…n-1 were no heads, members h+1…n-1 are uncovered.
    behind = _stretches(starts + heads, ends)
    standing = pa.table([hashes[behind], numbers[behind]], schema=BANDS)
    write_run(
        output, "standing", standing, partition=split_in(numbers[behind]) // grouping.size, keys=["number", "hash"]
    )
    blind = np.unique(numbers[_stretches(np.minimum(starts + heads + 1, ends), ends)])
    write_run(output, "uncovered", pa.table({"number": blind}),
              partition=range_of(blind, documents=documents, ranges=ranges), keys=["number"])  # fmt: skip
    return {
        "buckets": len(starts),
        "crowded_buckets": int((heads < members).sum()),
        "members": int(members.sum()),
        "pairs": pairs,
        "standing": len(behind),
    }


def _stretches(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """int64: all places from each start up to its end, one stretch after the other."""
    lengths = ends - starts
    return np.repeat(starts - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths) + np.arange(lengths.sum())


def _request_slices(
    output: Output, numbers: np.ndarray, starts: np.ndarray, ends: np.ndarray, heads: np.ndarray, grouping: Grouping
) -> int:
    """Write `requests-0`, `requests-1`… of a bounded number of pairs each; returns how many are distinct."""
    members = ends - starts
    weight = heads * members - heads * (heads + 1) // 2
    slices = (np.cumsum(weight) - weight) // _PAIRS_AT_ONCE if len(weight) else np.zeros(1, dtype=np.int64)
    total = 0
    for number, which in enumerate(np.unique(slices)):
        inside = np.flatnonzero(slices == which) if len(weight) else np.zeros(0, dtype=np.int64)
        pairs = np.empty((int(weight[inside].sum()), 2), dtype=np.uint64)
        _propose(numbers, starts[inside], ends[inside], heads[inside], pairs)
        pairs = unique_rows(pairs)
        total += len(pairs)
        firsts = np.unique(pairs[:, 0])
        owner = np.concatenate([pairs[:, 1], firsts])
        table = pa.table([owner, np.concatenate([pairs[:, 0], firsts])], schema=REQUESTS)
        write_run(
            output, f"requests-{number:05d}", table, partition=split_in(owner) // grouping.size, keys=["owner", "first"]
        )
    return total


def still_standing(output: Output, *, standing: Sequence[str], removed: Sequence[str], group: int) -> np.ndarray:
    """uint64[n, 2]: (number, hash) of the members of crowded buckets in one group of splits that were not removed."""
    table = read_partition(output.files, standing, group, schema=BANDS)
    gone = read_partition(output.files, removed, group, schema=EDGES)["second"].to_numpy()
    numbers = table["number"].to_numpy()
    stays = ~np.isin(numbers, gone)
    return unique_rows(np.stack([numbers[stays], table["hash"].to_numpy()[stays]], axis=1))


def again_part(
    output: Output, *, standing: Sequence[str], removed: Sequence[str], group: int, partitions: int
) -> dict[str, Any]:
    """Task: `bands` of the next round for one group of splits: the same buckets, without heads and removed members."""
    rows = still_standing(output, standing=standing, removed=removed, group=group)
    table = pa.table([rows[:, 1], rows[:, 0]], schema=BANDS)
    write_run(output, "bands", table, partition=by_hash(rows[:, 1], partitions), keys=["hash", "number"])
    return {"rows": len(rows)}


def _standing_sets(
    output: Output,
    *,
    standing: Sequence[str],
    removed: Sequence[str],
    sets: Sequence[str],
    split: int,
    grouping: Grouping,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(rows, owner, values, offsets): (number, hash) of one split, the place of each row's set, and the sets."""
    rows = still_standing(output, standing=standing, removed=removed, group=split // grouping.size)
    rows = rows[split_in(rows[:, 0]) == split]
    stored = read_partition(output.files, sets, 0, schema=SETS) if len(rows) else SETS.empty_table()
    owners = np.unique(rows[:, 0])
    chosen = stored.take(pa.array(np.searchsorted(stored["number"].to_numpy(), owners)))
    lists = chosen["shingles"].combine_chunks()
    values = lists.flatten().to_numpy()
    lengths = np.diff(lists.offsets.to_numpy()) if len(lists) else np.zeros(0, dtype=np.int64)
    return rows, np.searchsorted(owners, rows[:, 0]), values, np.concatenate(([0], np.cumsum(lengths)))


def count_part(
    output: Output,
    *,
    standing: Sequence[str],
    removed: Sequence[str],
    sets: Sequence[str],
    split: int,
    grouping: Grouping,
) -> dict[str, Any]:
    """Task: `counts`: uint32[_CELLS], in how many still standing documents of a split each cell's shingles are."""
    rows, _, values, _ = _standing_sets(
        output, standing=standing, removed=removed, sets=sets, split=split, grouping=grouping
    )
    counts = np.bincount((values >> _CELL_SHIFT).astype(np.int64), minlength=_CELLS).astype("<u4")
    output.table("counts", pa.table({"count": counts}))
    return {"rows": len(rows)}


def sum_part(output: Output, *, counts: Sequence[str]) -> dict[str, Any]:
    """Task: `counts`: the sum of count sketches; a cell stops at 2^32 - 1."""
    total = np.zeros(_CELLS, dtype=np.uint64)
    for name in counts:
        total += output.files.read_table(name)["count"].to_numpy()
    output.table("counts", pa.table({"count": np.minimum(total, (1 << 32) - 1).astype("<u4")}))
    return {"sketches": len(counts)}


def prefix_lengths(shingles: int, settings: NearDedupSettings) -> tuple[int, int]:
    """(prefix, short prefix) of a set of so many shingles.

    Similarity is judged rounded, so half a step below the threshold counts as similar. Containment in a larger set says
    nothing about the larger one's share: there the whole set is shown.
    """
    if settings.similarity == "containment":
        return shingles, shingles
    lowest = max(0.0, settings.threshold - 10.0**-SCORE_DECIMALS)
    return tuple(  # type: ignore[return-value]
        shingles - max(1, math.ceil(share * shingles - 1e-9)) + 1 for share in (lowest, 2 * lowest / (1 + lowest))
    )


@compiled
def _sub_buckets(bucket: np.uint64, shingles: np.ndarray, marked: int, out: np.ndarray) -> None:
    for place in range(len(shingles)):
        mixed = mix64((bucket | MARK) ^ mix64(shingles[place])) | MARK
        out[place] = mixed if place < marked else mixed ^ MARK


def refine_part(
    output: Output,
    *,
    standing: Sequence[str],
    removed: Sequence[str],
    sets: Sequence[str],
    split: int,
    grouping: Grouping,
    counts: str,
    settings: dict[str, Any],
    partitions: int,
) -> dict[str, Any]:
    """Task: `bands` of the second round for one split: each crowded bucket parted by its members' rarest shingles."""
    chosen = NearDedupSettings(**settings)
    rows, owner, values, offsets = _standing_sets(
        output, standing=standing, removed=removed, sets=sets, split=split, grouping=grouping
    )
    count = output.files.read_table(counts)["count"].to_numpy()
    written = 0
    total = 0
    hashes: list[np.ndarray] = []
    numbers: list[np.ndarray] = []

    def write() -> None:
        nonlocal written
        table = pa.table([np.concatenate(hashes), np.concatenate(numbers)], schema=BANDS)
        parts = by_hash(table["hash"].to_numpy(), partitions)
        write_run(output, f"bands-{written:05d}", table, partition=parts, keys=["hash", "number"])
        written += 1
        hashes.clear()
        numbers.clear()

    held = 0
    last, short, rarest = -1, 0, np.zeros(0, dtype=np.uint64)
    for (number, bucket), place in zip(rows, owner.tolist(), strict=True):
        if place != last:
            shingles = values[offsets[place] : offsets[place + 1]]
            order = np.lexsort((shingles, count[(shingles >> _CELL_SHIFT).astype(np.int64)]))
            prefix, short = prefix_lengths(len(shingles), chosen)
            rarest, last = shingles[order[:prefix]], place
        found = np.empty(len(rarest), dtype=np.uint64)
        _sub_buckets(bucket, rarest, short, found)
        hashes.append(found)
        numbers.append(np.full(len(found), number, dtype=np.uint64))
        total += len(found)
        held += len(found)
        if held >= _PAIRS_AT_ONCE:
            write()
            held = 0
    if hashes or not written:
        hashes.append(np.zeros(0, dtype=np.uint64))
        numbers.append(np.zeros(0, dtype=np.uint64))
        write()
    return {"rows": total}
