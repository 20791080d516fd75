"""A view: the documents of a run as the phases so far have left them.

Extraction writes one table a split: the base. Measuring phases add columns, row for row. Judging phases and exchanges
write ledger rows for those they reject. So a document is (split, row) for the whole run, nothing is copied when a
threshold changes, and the documents that are still alive are the base's rows without those that a ledger names.
"""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from pipeline.files import Files
from stages.editions import terms_of_addresses
from stages.schema import LEDGER

#: A ledger part: LEDGER plus the row of the split's base table that it speaks of (null: it never became a row).
LEDGER_PART = pa.schema([pa.field("row", pa.int64()), *LEDGER])


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One phase that added columns: its folder and the columns' names."""

    phase: str
    columns: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class View:
    """Where the documents of a run stand on disk. Plain data: it travels to workers."""

    #: Folder of the extraction phase, and its columns.
    base: Layer
    #: Later layers hide earlier columns of the same name: a rewritten text, a score measured again on it.
    layers: tuple[Layer, ...] = ()
    #: Folders of the phases that rejected rows, in order.
    ledgers: tuple[str, ...] = ()
    #: The splits' unit names, in the order of (source, offset). A split's number is its place here.
    units: tuple[str, ...]

    def with_layer(self, layer: Layer) -> "View":
        return replace(self, layers=(*self.layers, layer))

    def with_ledger(self, phase: str) -> "View":
        return replace(self, ledgers=(*self.ledgers, phase))

    def holder(self, column: str) -> str:
        """The folder whose part holds the column's newest form. KeyError if none does."""
        for layer in (*reversed(self.layers), self.base):
            if column in layer.columns:
                return layer.phase
        raise KeyError(column)

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, each once, in the order in which they first appeared."""
        return tuple(dict.fromkeys(name for layer in (self.base, *self.layers) for name in layer.columns))


def headed_texts(files: Files, view: View, unit: str, documents: pa.Table) -> pa.ChunkedArray:
    """The texts of these documents of a split (with their `row`) as extraction gave them, before any stage rewrote
    them, behind the term that their address names and their titles."""
    heads = [name for name in ("url", "title") if name in view.base.columns]
    base = files.read_table(f"{view.base.phase}/{unit}.docs.parquet", [*heads, "text"]).take(documents["row"])
    large = pa.large_string()
    lines = [pc.fill_null(base[name], "").cast(large) for name in heads]
    if "url" in heads:
        lines[0] = pa.chunked_array([pa.array(terms_of_addresses(lines[0]), large)])
    return pc.binary_join_element_wise(*lines, base["text"].cast(large), pa.scalar("\n", large))


def alive_rows(files: Files, view: View, unit: str) -> np.ndarray:
    """int64 row numbers of the split's documents that no phase has rejected yet, ascending."""
    alive = np.ones(files.count_rows(f"{view.base.phase}/{unit}.docs.parquet"), dtype=bool)
    for phase in view.ledgers:
        gone = files.read_table(f"{phase}/{unit}.ledger.parquet", ["row"])["row"].drop_null().to_numpy()
        alive[gone] = False
    return np.flatnonzero(alive)


def alive_key(rows: np.ndarray) -> str:
    """16 hex digits that name a set of living rows: what an exchange's key needs of all the ledgers before it."""
    return xxhash.xxh3_64_hexdigest(np.ascontiguousarray(rows, dtype="<i8").tobytes())


def read_documents(files: Files, view: View, unit: str, columns: list[str], *, alive_only: bool = True) -> pa.Table:
    """Columns of one split's documents in row order, with their `row` number (int64) in front."""
    by_phase: dict[str, list[str]] = {}
    for column in columns:
        by_phase.setdefault(view.holder(column), []).append(column)
    found: dict[str, pa.ChunkedArray] = {}
    for phase, names in by_phase.items():
        table = files.read_table(f"{phase}/{unit}.docs.parquet", names)
        found |= {name: table[name] for name in names}
    rows = files.count_rows(f"{view.base.phase}/{unit}.docs.parquet")
    table = pa.table({"row": pa.array(np.arange(rows)), **{name: found[name] for name in columns}})
    return table.take(pa.array(alive_rows(files, view, unit))) if alive_only else table
