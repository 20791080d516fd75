"""Thresholds over stored columns: which documents a chain of stages rejects, and the ledger rows that say why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import stages
from pipeline.books import StageCount, excerpt
from pipeline.files import Files
from pipeline.parts import Output
from pipeline.phases.measure import errors_of
from pipeline.view import LEDGER_PART, View, alive_key, alive_rows, read_documents
from stages.reasons import outcome_of
from stages.stage import Stage

_IDENTITY = ("id", "source", "offset", "record", "url")


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One stage of a chain: its label in the ledger, its settings, and the view as it stood when the stage measured."""

    label: str
    stage: str
    settings: dict[str, Any]
    view: View


def run(output: Output, *, judgements: Sequence[Judgement], view: View, unit: str) -> dict[str, Any]:
    """Task: `ledger` holds a row for each document that the chain rejects, at the first stage that rejects it.

    `view` is the one before the chain: its ledgers say who is still alive. Stages judge in the recipe's order.
    """
    alive = alive_rows(output.files, view, unit)
    counts: dict[str, Any] = {}
    tables: list[pa.Table] = []
    text_bytes: dict[str, np.ndarray] = {}
    for judgement in judgements:
        verdict = _verdict(output.files, judgement, unit).take(pa.array(alive))
        accepted = verdict["reason"].is_null().to_numpy()
        holder = judgement.view.holder("text")
        if holder not in text_bytes:
            text_bytes[holder] = _text_bytes(output.files, judgement.view, unit)
        count = StageCount(documents=len(alive), kept=int(accepted.sum()))
        for entry in pc.value_counts(verdict["reason"].drop_null()).to_pylist():
            outcome_of(entry["values"])
            count.reasons[entry["values"]] = entry["counts"]
        rejected = alive[~accepted]
        tables.append(_ledger(output.files, judgement, verdict.filter(pa.array(~accepted)), rejected, unit))
        alive = alive[accepted]
        count.text_bytes_kept = int(text_bytes[holder][alive].sum())
        counts[judgement.label] = count.as_json()
    ledger = pa.concat_tables(tables).sort_by("row") if tables else LEDGER_PART.empty_table()
    output.table("ledger", ledger)
    return {"stages": counts, "alive": alive_key(alive)}


def _verdict(files: Files, judgement: Judgement, unit: str) -> pa.Table:
    definition = stages.CATALOGUE[judgement.stage]
    assert isinstance(definition, Stage)
    assert definition.judge is not None
    settings = definition.settings.model_validate(judgement.settings)
    columns = read_documents(files, judgement.view, unit, list(definition.judged(settings)), alive_only=False)
    verdict = definition.judge(columns.drop_columns(["row"]), settings)
    assert verdict.num_rows == columns.num_rows
    measured_by = sorted({judgement.view.holder(name) for name in definition.judged(settings)})
    failed = {row: told for phase in measured_by for row, told in errors_of(files, phase, unit).items()}
    return _with_errors(verdict, failed) if failed else verdict


def _with_errors(verdict: pa.Table, failed: dict[int, str]) -> pa.Table:
    """The verdict with documents that could not be measured rejected for that."""
    columns = verdict.to_pydict()
    for row, told in failed.items():
        columns["reason"][row], columns["detail"][row] = "model_error", told
        columns["measured"][row] = columns["threshold"][row] = None
    return pa.table(columns, schema=verdict.schema)


def _text_bytes(files: Files, view: View, unit: str) -> np.ndarray:
    """int64[rows]: UTF-8 bytes of each document's text as the stage saw it."""
    text = read_documents(files, view, unit, ["text"], alive_only=False)["text"]
    return np.asarray(pc.binary_length(text).to_numpy())


def _ledger(files: Files, judgement: Judgement, verdict: pa.Table, rows: np.ndarray, unit: str) -> pa.Table:
    if len(rows) == 0:
        return LEDGER_PART.empty_table()
    documents = read_documents(files, judgement.view, unit, [*_IDENTITY, "text"], alive_only=False).take(pa.array(rows))
    nulls = pa.nulls(len(rows))
    columns = {
        **{name: documents[name] for name in ("row", *_IDENTITY)},
        "end": nulls,
        "stage": pa.array([judgement.label] * len(rows)),
        "reason": verdict["reason"],
        "outcome": pa.array([outcome_of(reason) for reason in verdict["reason"].to_pylist()]),
        "measured": verdict["measured"],
        "threshold": verdict["threshold"],
        "partner": nulls,
        "detail": verdict["detail"],
        "excerpt": pa.array([excerpt(text) for text in documents["text"].to_pylist()], pa.string()),
    }
    return pa.table({field.name: columns[field.name] for field in LEDGER_PART}).cast(LEDGER_PART)
