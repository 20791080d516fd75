"""The end of the documents' way: what is kept and what is not, one Parquet file of each for every split."""

from typing import Any

import pyarrow as pa

from pipeline.books import ConservationError, outcomes
from pipeline.files import Files
from pipeline.parts import Output
from pipeline.view import View, read_documents
from stages.schema import LEDGER

_ORDER = [("offset", "ascending"), ("record", "ascending")]


def run(output: Output, *, view: View, unit: str) -> dict[str, Any]:
    """Task: `kept` holds the surviving documents with all their columns, `ledger` a row for each of the others."""
    kept = read_documents(output.files, view, unit, list(view.columns)).drop_columns(["row"])
    ledger = read_ledger(output.files, view, unit)
    output.table("kept", kept.sort_by(_ORDER))
    output.table("ledger", ledger)
    reasons: dict[str, int] = {}
    for reason in ledger["reason"].to_pylist():
        reasons[reason] = reasons.get(reason, 0) + 1
    identities = pa.chunked_array([*kept["id"].chunks, *ledger["id"].chunks], pa.string())
    if len(identities.unique()) != len(identities):
        raise ConservationError(f"split {unit}: a document is booked twice")
    return {"documents": len(identities), "kept": kept.num_rows, **outcomes(reasons)}


def read_ledger(files: Files, view: View, unit: str) -> pa.Table:
    """One split's ledger over all phases, sorted by place in the file."""
    parts = [files.read_table(f"{phase}/{unit}.ledger.parquet", LEDGER.names) for phase in view.ledgers]
    return pa.concat_tables([LEDGER.empty_table(), *parts]).cast(LEDGER).sort_by(_ORDER)
