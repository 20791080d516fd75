"""The ledger part that an exchange leaves for a split, and its counts."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.books import StageCount, excerpt
from pipeline.parts import Output
from pipeline.view import LEDGER_PART, View, alive_key, read_documents
from stages.reasons import outcome_of

_IDENTITY = ("id", "source", "offset", "record", "url")


@dataclass(frozen=True, kw_only=True)
class Rejections:
    """Rows of one split that a stage rejects, for one reason, ascending by row."""

    label: str
    reason: str
    #: int64[n]
    rows: np.ndarray
    #: float64[n] and the number it was held against; None where the reason has none.
    measured: np.ndarray | None = None
    threshold: float | None = None
    #: string[n]: ids of the documents that were kept instead.
    partner: pa.Array | None = None
    #: string[n]
    detail: pa.Array | None = None


def write_ledger(output: Output, view: View, unit: str, rejections: Rejections) -> dict[str, Any]:
    """Write `ledger` and return the part's counts: for the report by stage, and in sum."""
    columns = [name for name in _IDENTITY if name in view.columns]
    alive = read_documents(output.files, view, unit, [*columns, "text"])
    gone = np.isin(alive["row"].to_numpy(), rejections.rows)
    documents = alive.filter(pa.array(gone))
    count = len(rejections.rows)
    assert documents.num_rows == count, "a stage may reject living documents only, each once"
    nulls = pa.nulls(count)
    values = {
        **{name: documents[name] for name in ("row", *columns)},
        "stage": pa.array([rejections.label] * count, pa.string()),
        "reason": pa.array([rejections.reason] * count, pa.string()),
        "outcome": pa.array([outcome_of(rejections.reason)] * count, pa.string()),
        "measured": nulls if rejections.measured is None else pa.array(rejections.measured),
        "threshold": nulls if rejections.threshold is None else pa.array([rejections.threshold] * count, pa.float64()),
        "partner": nulls if rejections.partner is None else rejections.partner,
        "detail": nulls if rejections.detail is None else rejections.detail,
        "excerpt": pa.array([excerpt(text) for text in documents["text"].to_pylist()], pa.string()),
    }
    table = pa.table({field.name: values.get(field.name, nulls) for field in LEDGER_PART})
    output.table("ledger", table.cast(LEDGER_PART))
    booked = StageCount(
        documents=alive.num_rows,
        kept=alive.num_rows - count,
        text_bytes_kept=int(pc.sum(pc.binary_length(alive["text"]).filter(pa.array(~gone))).as_py() or 0),
        reasons={rejections.reason: count} if count else {},
    )
    return {
        "stages": {rejections.label: booked.as_json()},
        "documents": booked.documents,
        "kept": booked.kept,
        "rejected": booked.reasons,
        "alive": alive_key(alive["row"].to_numpy()[~gone]),
    }
