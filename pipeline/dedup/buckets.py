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
from pipeline.dedup.sketches import BANDS, MARK, SPLIT_BITS, range_of, split_in
from pipeline.dedup.verify import EDGES, REQUESTS, SETS, Stored
from pipeline.exchange import ChunkedRun, by_hash, equal_stretches, read_partition, sorted_pieces, write_run
from pipeline.parts import Output
from stages.compiled import compiled
from stages.near_dedup import NearDedupSettings
from stages.schema import SCORE_DECIMALS
from stages.shingles import mix64

#: Documents that cannot be kept in a round.
UNCOVERED: Final = pa.schema([pa.field("number", pa.uint64())])
#: Pairs that a bucket task holds at once: 16 bytes each, and three times that while they are sorted.
_PAIRS_AT_ONCE: Final = 2 << 20
#: Rows of one bucket that are held until its end is seen, 4 MB: a larger one is paired as its rows come.
_HELD: Final = 1 << 18
#: Cells of the count sketch, 4 bytes each: with 50 million distinct shingles a cell is off by about 50, where the
#: shingles of a template that crowds a bucket count hundreds and more.
_CELLS: Final = 1 << 20
_CELL_SHIFT: Final = np.uint64(64 - 20)


def heads_of(members: np.ndarray, *, number_of_round: int, crowded: int) -> np.ndarray:
    """How many of its first members a bucket of so many pairs with all later ones: int64[n]."""
    few = np.minimum(members, 1 << (number_of_round - 1))
    return np.where(members <= crowded, members, few)


@compiled
def _propose(
    numbers: np.ndarray, starts: np.ndarray, fresh: np.ndarray, ends: np.ndarray, heads: np.ndarray, out: np.ndarray
) -> None:
    written = 0
    for bucket in range(len(starts)):
        for head in range(starts[bucket], starts[bucket] + heads[bucket]):
            for later in range(max(head + 1, fresh[bucket]), ends[bucket]):
                out[written, 0] = numbers[head]
                out[written, 1] = numbers[later]
                written += 1


def unique_rows(rows: np.ndarray) -> np.ndarray:
    """The distinct rows of uint64[n, 2], sorted."""
    one, two = rows[:, 0], rows[:, 1]
    order = np.lexsort((two, one))
    one, two = one[order], two[order]
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = (one[1:] != one[:-1]) | (two[1:] != two[:-1])
    return np.stack([one[fresh], two[fresh]], axis=1)


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
    earlier: int = 0,
) -> dict[str, Any]:
    """Task: what the buckets of one partition ask for.

    `requests`   REQUESTS by group of the owner's split: whose shingles have to be compared with whose
    `standing`   BANDS by group: members of crowded buckets that were no heads, which come again in the next round
    `uncovered`  numbers by range of the order: documents that cannot be kept in this round

    The first `earlier` documents of the order are those of earlier runs: they are not paired with each other.
    """
    asked = _Asked(output, grouping=grouping, documents=documents, ranges=ranges, earlier=earlier)
    left = BANDS.empty_table()
    stream: _Stream | None = None
    for piece in sorted_pieces(output.files, runs, partition, keys=["hash", "number"], schema=BANDS):
        rows = _by_bucket(pa.concat_tables([left, piece]))
        if stream is not None:
            rows = stream.take(rows, asked)
        stream = stream if not len(rows) else None
        # The last bucket may go on in the next piece.
        end = int(np.searchsorted(rows[:, 0] | MARK, rows[-1, 0] | MARK)) if len(rows) else 0
        asked.buckets(rows[:end], number_of_round=number_of_round, crowded=crowded)
        rows = rows[end:]
        if len(rows) > max(_HELD, crowded) and (rows[:, 0] & MARK).all():
            stream = _Stream(rows[0, 0], rows[: 1 << (number_of_round - 1), 1])
            rows = stream.take(rows, asked, begins=True)
        left = pa.table([rows[:, 0], rows[:, 1]], schema=BANDS)
    asked.buckets(_by_bucket(left), number_of_round=number_of_round, crowded=crowded)
    return asked.finish()


def _by_bucket(table: pa.Table) -> np.ndarray:
    """uint64[n, 2]: merged rows as (hash, number) by bucket, and in a bucket by number, whether marked or not."""
    rows = np.stack([table["hash"].to_numpy(), table["number"].to_numpy()], axis=1)
    if (rows[:, 0] & MARK).all():
        return rows  # as they came: a merge sorts by hash, mark and number
    return rows[np.lexsort((rows[:, 1], rows[:, 0] | MARK))]


def _stretches(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """int64: all places from each start up to its end, one stretch after the other."""
    lengths = ends - starts
    return np.repeat(starts - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths) + np.arange(lengths.sum())


class _Asked:
    """What the buckets of a task ask for, written as it grows."""

    def __init__(self, output: Output, *, grouping: Grouping, documents: int, ranges: int, earlier: int) -> None:
        self._grouping = grouping
        self._place = {"documents": documents, "ranges": ranges}
        self._first_new = np.uint64(earlier << SPLIT_BITS)
        self._requests = ChunkedRun(output, "requests", REQUESTS, keys=["owner", "first"])
        self._standing = ChunkedRun(output, "standing", BANDS, keys=["number", "hash"])
        self._uncovered = ChunkedRun(output, "uncovered", UNCOVERED, keys=["number"])
        self._counts = {"buckets": 0, "crowded_buckets": 0, "members": 0, "pairs": 0}

    def buckets(self, rows: np.ndarray, *, number_of_round: int, crowded: int) -> None:
        """Whole buckets, in order."""
        hashes, numbers = rows[:, 0], np.ascontiguousarray(rows[:, 1])
        starts, ends = equal_stretches(hashes | MARK)
        marks = np.concatenate(([0], np.cumsum(hashes & MARK, dtype=np.int64)))
        new = np.concatenate(([0], np.cumsum(numbers >= self._first_new, dtype=np.int64)))
        several = (ends - starts > 1) & (marks[ends] > marks[starts]) & (new[ends] > new[starts])
        starts, ends = starts[several], ends[several]
        members = ends - starts
        heads = heads_of(members, number_of_round=number_of_round, crowded=crowded)
        #: Where the new documents of each bucket begin.
        fresh = ends - (new[ends] - new[starts])
        old_heads = np.minimum(heads, fresh - starts)
        new_heads = heads - old_heads
        weight = old_heads * (ends - fresh) + new_heads * (members - 1) - (old_heads + heads - 1) * new_heads // 2
        slices = (np.cumsum(weight) - weight) // _PAIRS_AT_ONCE
        for which in np.unique(slices):
            inside = np.flatnonzero(slices == which)
            pairs = np.empty((int(weight[inside].sum()), 2), dtype=np.uint64)
            _propose(numbers, starts[inside], fresh[inside], ends[inside], heads[inside], pairs)
            self.pairs(pairs)
        # A bucket of n with h < n heads: members h…n-1 were no heads, members h+1…n-1 are uncovered.
        behind = _stretches(starts + heads, ends)
        self.standing(rows[behind])
        self.uncovered(numbers[_stretches(np.minimum(starts + heads + 1, ends), ends)])
        self.count(buckets=len(starts), crowded_buckets=int((heads < members).sum()), members=int(members.sum()))

    def count(self, **more: int) -> None:
        for name, number in more.items():
            self._counts[name] += number

    def pairs(self, pairs: np.ndarray) -> None:
        """(first, second) of each pair, whose second has to meet the first's set; none of two earlier documents."""
        pairs = unique_rows(pairs[pairs[:, 1] >= self._first_new])
        self.count(pairs=len(pairs))
        firsts = np.unique(pairs[:, 0])
        owner = np.concatenate([pairs[:, 1], firsts])
        table = pa.table([owner, np.concatenate([pairs[:, 0], firsts])], schema=REQUESTS)
        self._requests.add(table, split_in(owner) // self._grouping.size)

    def standing(self, rows: np.ndarray) -> None:
        table = pa.table([rows[:, 0], rows[:, 1]], schema=BANDS)
        self._standing.add(table, split_in(rows[:, 1]) // self._grouping.size)

    def uncovered(self, numbers: np.ndarray) -> None:
        blind = np.unique(numbers[numbers >= self._first_new])
        self._uncovered.add(pa.table([blind], schema=UNCOVERED), range_of(blind, **self._place))

    def finish(self) -> dict[str, Any]:
        """Write what is left; the counts of the task."""
        for written in (self._requests, self._standing, self._uncovered):
            written.finish()
        return {**self._counts, "standing": self._standing.rows}


class _Stream:
    """A bucket too large to hold, all of whose members are marked: its heads meet the members as they come."""

    def __init__(self, bucket: np.uint64, heads: np.ndarray) -> None:
        self._bucket = bucket
        self._heads = heads

    def take(self, rows: np.ndarray, asked: _Asked, *, begins: bool = False) -> np.ndarray:
        """Pair this bucket's members at the front of `rows`; the other rows."""
        end = int(np.searchsorted(rows[:, 0], self._bucket, side="right"))
        members, others = rows[:end], rows[end:]
        first = len(self._heads) if begins else 0
        if begins:
            asked.count(buckets=1, crowded_buckets=1)
            later = [np.stack([np.full(len(self._heads) - at - 1, head), self._heads[at + 1 :]], axis=1)
                     for at, head in enumerate(self._heads)]  # fmt: skip
            asked.pairs(np.concatenate(later).astype(np.uint64))
        asked.count(members=end)
        behind = members[first:]
        for head in self._heads:
            for start in range(0, len(behind), _PAIRS_AT_ONCE):
                numbers = behind[start : start + _PAIRS_AT_ONCE, 1]
                asked.pairs(np.stack([np.full(len(numbers), head, dtype=np.uint64), numbers], axis=1))
        asked.standing(behind)
        asked.uncovered(behind[1:, 1] if begins else behind[:, 1])
        return others


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
    sets: Stored,
    split: int,
    grouping: Grouping,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(rows, owner, values, offsets): (number, hash) of one split, the place of each row's set, and the sets."""
    rows = still_standing(output, standing=standing, removed=removed, group=split // grouping.size)
    rows = rows[split_in(rows[:, 0]) == split]
    stored = sets.read(output.files) if len(rows) else SETS.empty_table()
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
    sets: Stored,
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
    sets: Stored,
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
    banded = ChunkedRun(output, "bands", BANDS, keys=["hash", "number"])
    last, short, rarest = -1, 0, np.zeros(0, dtype=np.uint64)
    for (number, bucket), place in zip(rows, owner.tolist(), strict=True):
        if place != last:
            shingles = values[offsets[place] : offsets[place + 1]]
            order = np.lexsort((shingles, count[(shingles >> _CELL_SHIFT).astype(np.int64)]))
            prefix, short = prefix_lengths(len(shingles), chosen)
            rarest, last = shingles[order[:prefix]], place
        found = np.empty(len(rarest), dtype=np.uint64)
        _sub_buckets(bucket, rarest, short, found)
        table = pa.table([found, np.full(len(found), number, dtype=np.uint64)], schema=BANDS)
        banded.add(table, by_hash(found, partitions))
    banded.finish()
    return {"rows": banded.rows}
