"""What deduplication below the document has to know across splits: where the copies of what goes stand.

ask_part      a split: which documents keep the copies of what goes here; for substrings, which bytes of them
told_part     a group of splits: their ids, and these bytes
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline.dedup.groups import Grouping
from pipeline.dedup.ranks import numbers_of
from pipeline.dedup.sketches import split_in
from pipeline.dedup.spans import (
    PLACE_BITS,
    PLACE_MASK,
    REMOVED,
    settings_of,
    write_in_runs,
)
from pipeline.dedup.survivors import id_halves
from pipeline.exchange import merge_partition, read_partition, write_run
from pipeline.files import Files
from pipeline.parts import Output
from pipeline.view import View, read_documents
from stages import words
from stages.span_dedup import (
    SubstringDedupSettings,
    UnitSettings,
)

#: Who asks (number, and the first byte of its stretch) whom (leader) for which bytes; none if only the id is wanted.
_ASKS: Final = pa.schema([pa.field(name, pa.uint64()) for name in ("leader", "number", "start", "there", "size")])
#: The answer: the leader's id, and its bytes around those asked for, of which `lead` come before.
TOLD: Final = pa.schema(
    [
        *(pa.field(name, pa.uint64()) for name in ("number", "start", "leader", "id0", "id1", "lead")),
        pa.field("bytes", pa.large_binary()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Going:
    """Spans of one split that go, ascending by document and start; int64 but for `leaders`, which are numbers."""

    #: Place of the document among the split's living ones.
    docs: np.ndarray
    #: First byte in its text; and the leader's, or where the span stood before in the same text.
    starts: np.ndarray
    there: np.ndarray
    leaders: np.ndarray

    def take(self, chosen: np.ndarray) -> "Going":
        return Going(docs=self.docs[chosen], starts=self.starts[chosen], there=self.there[chosen],
                      leaders=self.leaders[chosen])  # fmt: skip


def going_of(files: Files, removed: Sequence[str], split: int, grouping: Grouping, numbered: np.ndarray) -> Going:
    table = read_partition(files, removed, split // grouping.size, schema=REMOVED)
    numbers = table["number"].to_numpy()
    mine = np.flatnonzero(split_in(numbers) == split)
    order = np.argsort(numbered)
    docs = order[np.searchsorted(numbered[order], numbers[mine])]
    places = table["places"].to_numpy()[mine]
    starts = (places >> np.uint64(PLACE_BITS)).astype(np.int64)
    there = (places & np.uint64(PLACE_MASK)).astype(np.int64)
    found = Going(docs=docs, starts=starts, there=there, leaders=table["leader"].to_numpy()[mine])
    return found.take(np.lexsort((starts, docs)))


def joined(going: Going, length: int) -> tuple[Going, np.ndarray]:
    """Stretches of `length` bytes joined where they overlap and are copies of one stretch; and where each ends."""
    shift = going.starts - going.there
    opens = np.ones(len(going.docs), dtype=bool)
    opens[1:] = (
        (going.docs[1:] != going.docs[:-1]) | (going.leaders[1:] != going.leaders[:-1])
        | (shift[1:] != shift[:-1]) | (going.starts[1:] > going.starts[:-1] + length)
    )  # fmt: skip
    first = np.flatnonzero(opens)
    last = np.append(first[1:], len(opens))[: len(first)] - 1
    return going.take(first), going.starts[last] + length


def ask_part(
    output: Output,
    *,
    view: View,
    unit: str,
    split: int,
    name: str,
    settings: dict[str, Any],
    numbers: Sequence[str],
    removed: Sequence[str],
    local: str,
    grouping: Grouping,
) -> dict[str, Any]:
    """Task: `asks` (by group of the leader's split): one for each pair of documents, or for each stretch."""
    del view, unit, local
    chosen = settings_of(name, settings)
    _, numbered = numbers_of(output.files, numbers, split, grouping)
    going = going_of(output.files, removed, split, grouping, numbered)
    ends = going.starts
    if isinstance(chosen, SubstringDedupSettings):
        going, ends = joined(going, chosen.length_bytes)
    own = numbered[going.docs]
    columns = [going.leaders, own, going.starts, going.there, ends - going.starts]
    table = pa.table([column.astype(np.uint64) for column in columns], schema=_ASKS)
    table = table.filter(pa.array(going.leaders != own))
    if isinstance(chosen, UnitSettings):
        pairs = table.select(["leader", "number"]).group_by(["leader", "number"], use_threads=False).aggregate([])
        nothing = pa.array(np.zeros(pairs.num_rows, np.uint64))
        table = pa.table([pairs["leader"], pairs["number"], nothing, nothing, nothing], schema=_ASKS)
    partition = grouping.of_splits(split_in(table["leader"].to_numpy()))
    write_run(output, "asks", table, partition=partition, keys=["leader", "number", "start"])
    return {"asks": table.num_rows}


def told_part(
    output: Output,
    *,
    view: View,
    asks: Sequence[str],
    group: int,
    numbers: Sequence[str],
    grouping: Grouping,
    reach: int,
) -> dict[str, Any]:
    """Task: `told` (TOLD by group of the asking split, in one run or several): the answers of some splits. `reach`:
    how many bytes are told to either side of those asked for."""

    def answers() -> Iterator[pa.Table]:
        for split in grouping.members(group):
            _, numbered = numbers_of(output.files, numbers, split, grouping)
            documents = None
            for piece in merge_partition(output.files, asks, group, keys=["leader", "number", "start"]):
                mine = piece.filter(pa.array(split_in(piece["leader"].to_numpy()) == split))
                if mine.num_rows == 0:
                    continue
                if documents is None:
                    documents = read_documents(output.files, view, view.units[split], ["id", "text"])
                    order = np.argsort(numbered)
                docs = order[np.searchsorted(numbered[order], mine["leader"].to_numpy())]
                yield _answers(mine, documents, docs, reach)

    # A batch of asks can name large parts of texts, but no more than what goes there.
    told = write_in_runs(output, "told", answers(), grouping, keys=["number", "start", "leader"], compression="zstd")
    return {"told": told}


def _answers(asks: pa.Table, documents: pa.Table, docs: np.ndarray, reach: int) -> pa.Table:
    ids = id_halves(documents["id"].take(pa.array(docs)))
    data, offsets = words.utf8(documents["text"])
    there, size = asks["there"].to_numpy().astype(np.int64), asks["size"].to_numpy().astype(np.int64)
    wanted = size > 0
    begins, ends = offsets[:-1][docs], offsets[1:][docs]
    first = np.where(wanted, np.maximum(begins, begins + there - reach), begins)
    last = np.where(wanted, np.minimum(ends, begins + there + size + reach), begins)
    pieces = [data[start:end].tobytes() for start, end in zip(first.tolist(), last.tolist(), strict=True)]
    lead = np.where(wanted, begins + there - first, 0).astype(np.uint64)
    return pa.table(
        [
            asks["number"],
            asks["start"],
            asks["leader"],
            ids[:, 0],
            ids[:, 1],
            lead,
            pa.array(pieces, pa.large_binary()),
        ],
        schema=TOLD,
    )
