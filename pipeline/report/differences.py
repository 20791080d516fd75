"""Documents that one run keeps and another drops: what a difference in bits per byte is made of."""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

EXAMPLES = 3
#: Documents of a run that are looked at, at most: those with the smallest ids, which are hashes: a fair draw.
_LOOKED_AT = 200_000
_EXCERPT_CHARACTERS = 500
_BATCH_ROWS = 65_536
_OF_THE_LEDGER = ["id", "stage", "reason", "measured", "threshold", "partner", "detail"]


@dataclass(frozen=True, kw_only=True)
class OnlyIn:
    """Documents that `keeper` has and the other run has not."""

    #: How many of the documents looked at.
    documents: int
    looked_at: int
    #: source, offset, url, excerpt of the text, and the ledger's row of the other run (None: it never met it).
    examples: list[dict[str, Any]]


def only_in(keeper: Path, other: Path) -> OnlyIn:
    """Compare the kept documents of two runs by id. Memory does not grow with the runs."""
    mine, theirs = _ids(keeper), _ids(other)
    # Where one of them was cut short, ids beyond its last one were not looked at.
    last = min(max(found) for found in (mine, theirs) if len(found) == _LOOKED_AT) if _cut(mine, theirs) else None
    looked = {name for name in mine if last is None or name <= last}
    missing = sorted(looked - theirs)
    chosen = set(missing[:EXAMPLES])
    rows = {row["id"]: row for row in _rows(keeper / "kept", ["id", "source", "offset", "url", "text"], chosen)}
    why = {row["id"]: row for row in _rows(other / "ledger", _OF_THE_LEDGER, chosen)}
    examples = [_example(rows[name], why.get(name)) for name in sorted(chosen)]
    return OnlyIn(documents=len(missing), looked_at=len(looked), examples=examples)


def _cut(*found: set[str]) -> bool:
    return any(len(ids) == _LOOKED_AT for ids in found)


def _ids(run: Path) -> set[str]:
    """The smallest ids of the kept documents, at most _LOOKED_AT."""
    batches = (batch["id"].to_pylist() for batch in _batches(run / "kept", ["id"]))
    return set(heapq.nsmallest(_LOOKED_AT, (name for batch in batches for name in batch)))


def _rows(folder: Path, columns: list[str], wanted: set[str]) -> Iterator[dict[str, Any]]:
    values = pa.array(sorted(wanted), pa.string())
    for batch in _batches(folder, columns):
        found = batch.filter(pc.is_in(batch["id"].cast(pa.string()), value_set=values))
        yield from found.to_pylist()


def _batches(folder: Path, columns: list[str]) -> Iterator[pa.Table]:
    for path in sorted(folder.glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
                yield pa.table(batch)


def _example(row: Mapping[str, Any], why: Mapping[str, Any] | None) -> dict[str, Any]:
    shown = {name: row[name] for name in ("id", "source", "offset", "url")}
    return {**shown, "excerpt": str(row["text"])[:_EXCERPT_CHARACTERS], "why": why}
