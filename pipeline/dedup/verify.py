"""Verification: shingle sets travel to the documents that they are to be compared with, and are compared in full.

attach_part   a split: the sets that were asked for, addressed to the first document of each pair
verify_part   a partition of firsts: their sets against those of their later neighbours, streamed
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline.dedup.groups import Grouping
from pipeline.dedup.sketches import NUMBERED, SPLIT_BITS, range_of, split_in
from pipeline.dedup.survivors import id_halves, row_of
from pipeline.exchange import ChunkedRun, by_hash, each_batch, merge_partition, read_partition, write_run
from pipeline.files import Files
from pipeline.parts import Output
from pipeline.view import View, headed_texts, read_documents
from stages.compiled import compiled
from stages.editions import edition_keys
from stages.near_dedup import NearDedupSettings
from stages.schema import SCORE_DECIMALS
from stages.shingles import common, mix64, shingle_sets

_U64: Final = pa.uint64()
#: "Send the shingles of `owner` to `first`": the pair (first, owner), or the first's own set where both are the same.
REQUESTS: Final = pa.schema([pa.field("owner", _U64), pa.field("first", _U64)])
#: A document's number, its id, its edition (stages/editions.py) and its shingles, sorted.
SETS: Final = pa.schema(
    [pa.field(name, _U64) for name in ("number", "id0", "id1", "edition")] + [pa.field("shingles", pa.large_list(_U64))]
)
ATTACHED: Final = pa.schema(
    [pa.field(name, _U64) for name in ("first", "second", "id0", "id1", "edition")]
    + [pa.field("shingles", pa.large_list(_U64))]
)
#: A verified pair: `first` goes before `second`; similarity in steps of 10^-SCORE_DECIMALS; id of the first.
EDGES: Final = pa.schema([pa.field(name, _U64) for name in ("first", "second", "similarity", "id0", "id1")])
STEPS: Final = 10**SCORE_DECIMALS
#: Shingles that an attach task copies at once: 8 bytes each, three times over.
_SHINGLES_AT_ONCE: Final = 4 << 20


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Where the SETS of a split lie. Those of an earlier run lie in its slice, and count their documents from 0: they
    get their place in this run's order when they are read."""

    runs: tuple[str, ...]
    folder: str | None = None
    first: int = 0
    split: int = 0

    def read(self, files: Files) -> pa.Table:
        if self.folder is None:
            return read_partition(files, self.runs, 0, schema=SETS)
        table = read_partition(Files(self.folder), self.runs, 0, schema=SETS)
        places = table["number"].to_numpy() + np.uint64(self.first)
        numbers = places << np.uint64(SPLIT_BITS) | np.uint64(self.split)
        return table.set_column(0, SETS.field("number"), pa.array(numbers))


@compiled
def _mixed(numbers: np.ndarray) -> np.ndarray:
    out = np.empty_like(numbers)
    for place in range(len(numbers)):
        out[place] = mix64(numbers[place])
    return out


def _requests(output: Output, runs: Sequence[str], split: int, grouping: Grouping) -> tuple[np.ndarray, np.ndarray]:
    """(owner, first) of the distinct requests to one split, sorted by owner."""
    asked = [np.zeros((0, 2), dtype=np.uint64)]
    for batch in each_batch(output.files, runs, split // grouping.size):
        rows = np.stack([batch.column("owner").to_numpy(), batch.column("first").to_numpy()], axis=1)
        asked.append(rows[split_in(rows[:, 0]) == split])
    owner, first = np.concatenate(asked).T
    order = np.lexsort((first, owner))
    owner, first = owner[order], first[order]
    fresh = np.ones(len(owner), dtype=bool)
    fresh[1:] = (owner[1:] != owner[:-1]) | (first[1:] != first[:-1])
    return owner[fresh], first[fresh]


def _make_sets(
    output: Output,
    owners: np.ndarray,
    *,
    view: View,
    unit: str,
    members: Sequence[str],
    split: int,
    settings: NearDedupSettings,
) -> pa.Table:
    """SETS of these documents of a split, from their texts."""
    known = read_partition(output.files, members, split, schema=NUMBERED).sort_by("number")
    rows = row_of(known["doc"].to_numpy()[np.searchsorted(known["number"].to_numpy(), owners)])
    documents = read_documents(output.files, view, unit, ["id", "text"])
    documents = documents.take(pa.array(np.searchsorted(documents["row"].to_numpy(), rows)))
    values, offsets = shingle_sets(documents["text"], unit=settings.shingle.unit, size=settings.shingle.size)
    ids = id_halves(documents["id"])
    # A heading that names the term is no sentence: a stage that drops such lines would take the edition with it. And
    # the title often names it first.
    merged = settings.editions == "merge"
    texts = documents["text"] if merged else headed_texts(output.files, view, unit, documents)
    return pa.table(
        [
            owners,
            ids[:, 0],
            ids[:, 1],
            edition_keys(texts, everywhere=settings.editions == "strict"),
            pa.LargeListArray.from_arrays(offsets, pa.array(values)),
        ],
        schema=SETS,
    )


def attach_part(
    output: Output,
    *,
    requests: Sequence[str],
    sets: Stored | None,
    members: Sequence[str],
    view: View,
    unit: str,
    split: int,
    grouping: Grouping,
    settings: dict[str, Any],
    partitions: int,
) -> dict[str, Any]:
    """Task: `attached-0`, `attached-1`… (ATTACHED by hash of the first) for one split.

    In the first round (`sets` is None, but for documents of earlier runs) the sets are made from the texts and kept as
    `sets`; whoever is asked for in a later round was asked for in the first.
    """
    owner, first = _requests(output, requests, split, grouping)
    owners, place = np.unique(owner, return_inverse=True)
    if sets is None:
        stored = _make_sets(output, owners, view=view, unit=unit, members=members, split=split,
                            settings=NearDedupSettings(**settings))  # fmt: skip
        write_run(output, "sets", stored, partition=np.zeros(len(owners), dtype=np.int64), keys=["number"])
    else:
        stored = sets.read(output.files) if len(owners) else SETS.empty_table()
        place = np.searchsorted(stored["number"].to_numpy(), owner)
    lengths = (
        np.diff(stored["shingles"].combine_chunks().offsets.to_numpy()) if stored.num_rows else np.zeros(0, np.int64)
    )
    weight = np.cumsum(lengths[place]) // _SHINGLES_AT_ONCE if len(place) else np.zeros(1, dtype=np.int64)
    for number, which in enumerate(np.unique(weight)):
        inside = np.flatnonzero(weight == which) if len(place) else np.zeros(0, dtype=np.int64)
        rows = stored.take(pa.array(place[inside]))
        table = pa.table(
            [first[inside], owner[inside], *(rows[name] for name in ("id0", "id1", "edition", "shingles"))],
            schema=ATTACHED,
        )
        parts = by_hash(_mixed(first[inside]), partitions)
        write_run(output, f"attached-{number:05d}", table, partition=parts, keys=["first", "second"])
    return {"requests": len(owner), "sets": len(owners), "shingles": int(lengths[place].sum())}


@compiled
def _compare(
    first: np.ndarray,
    second: np.ndarray,
    values: np.ndarray,
    offsets: np.ndarray,
    own: np.ndarray,
    jaccard: bool,
    out: np.ndarray,
) -> tuple[int, int]:
    """Similarity of each row's set to the own set of its first, in steps, rounded half up; own rows get -1.

    Returns where in `values` the last own set lies; (0, -1) if it is still `own`.
    """
    start, end = 0, -1
    current = own
    for row in range(len(first)):
        shingles = values[offsets[row] : offsets[row + 1]]
        if first[row] == second[row]:
            start, end = offsets[row], offsets[row + 1]
            current = shingles
            out[row] = -1
            continue
        shared = common(current, shingles)
        whole = len(current) + len(shingles) - shared if jaccard else len(shingles)
        out[row] = (2 * STEPS * shared + whole) // (2 * whole)
    return start, end


def verify_part(
    output: Output, *, runs: Sequence[str], partition: int, settings: dict[str, Any], documents: int, ranges: int
) -> dict[str, Any]:
    """Task: `edges` (EDGES by range of the first): the pairs that are similar enough. Holds one first's set and what
    the merge holds."""
    chosen = NearDedupSettings(**settings)
    enough = math.ceil(chosen.threshold * STEPS - 1e-9)
    found = ChunkedRun(output, "edges", EDGES, keys=["first", "second"])
    own, own_id = np.zeros(0, dtype=np.uint64), np.zeros(3, dtype=np.uint64)
    compared = 0
    for piece in merge_partition(output.files, runs, partition, keys=["first", "second"]):
        rows = piece.combine_chunks()
        columns = {name: rows[name].to_numpy() for name in ("first", "second", "id0", "id1", "edition")}
        lists = rows["shingles"].combine_chunks()
        offsets = lists.offsets.to_numpy()
        values = lists.values.to_numpy()
        steps = np.empty(rows.num_rows, dtype=np.int64)
        start, end = _compare(
            columns["first"], columns["second"], values, offsets, own, chosen.similarity == "jaccard", steps
        )
        is_own = steps < 0
        compared += int((~is_own).sum())
        # The id of each row's first stands in the own row before it, or came with an earlier piece.
        source = np.cumsum(is_own)
        ids = np.stack([columns["id0"], columns["id1"], columns["edition"]], axis=1)
        first_ids = np.concatenate([own_id[np.newaxis], ids[is_own]])[source]
        similar = steps >= enough
        if chosen.editions == "keep":
            one, two = first_ids[:, 2], columns["edition"]
            similar &= (one == two) | (one == 0) | (two == 0)
        elif chosen.editions == "strict":
            similar &= first_ids[:, 2] == columns["edition"]
        firsts = columns["first"][similar]
        edges = [firsts, columns["second"][similar], steps[similar].astype(np.uint64), *first_ids[similar, :2].T]
        found.add(pa.table(edges, schema=EDGES), range_of(firsts, documents=documents, ranges=ranges))
        if end >= 0:
            own = values[start:end].copy()
        own_id = np.concatenate([own_id[np.newaxis], ids[is_own]])[-1]
    found.finish()
    return {"pairs": compared, "similar": found.rows}
