"""Corpora through a rewriting exchange, and what comes out of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dedup_views import Corpus, ledger_rows, make_engine

from pipeline.dedup.spans import span_dedup
from pipeline.engine import Engine, merged_counts
from pipeline.view import View, read_documents
from stages.span_dedup import SpanSettings


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a rewriting exchange made of a corpus."""

    #: id -> text, of the documents that are kept.
    texts: dict[str, str]
    ledger: list[dict[str, Any]]
    counts: dict[str, Any]
    #: The columns of kept documents, by id.
    columns: dict[str, dict[str, Any]]
    #: id -> [(piece of the text before, id of the partner)].
    removed: dict[str, list[tuple[str, str]]]
    #: id -> [(first byte, the one behind the last)] of the same pieces.
    places: dict[str, list[tuple[int, int]]]
    engine: Engine
    view: View
    phases: tuple[str, str]


def rewrite(
    corpus: Corpus, folder: Path, settings: SpanSettings, *, splits: int = 2, engine: Engine | None = None,
    **options: Any,
) -> Outcome:  # fmt: skip
    """Run it over the corpus, dealt out to this many splits."""
    engine = engine or make_engine(folder)
    view = corpus.view(engine, splits=splits)
    done = span_dedup(engine, view, settings, upstream="test", **options)
    after = view.with_layer(done.layer).with_ledger(done.ledger)
    kept = [
        row for unit in view.units for row in
        read_documents(engine.files, after, unit, ["id", *done.layer.columns]).drop_columns(["row"]).to_pylist()
    ]  # fmt: skip
    removed: dict[str, list[tuple[str, str]]] = {}
    places: dict[str, list[tuple[int, int]]] = {}
    for unit in view.units:
        table = read_documents(engine.files, view, unit, ["id", "text"], alive_only=False)
        before = [(row["id"], row["text"].encode()) for row in table.to_pylist()]
        for row in engine.files.read_table(f"{done.layer.phase}/{unit}.removed.parquet").to_pylist():
            identity, text = before[row["row"]]
            removed.setdefault(identity, []).append((text[row["start"] : row["end"]].decode(), row["partner"]))
            places.setdefault(identity, []).append((row["start"], row["end"]))
    return Outcome(
        texts={row["id"]: row.pop("text") for row in kept}, columns={row.pop("id"): row for row in kept},
        ledger=ledger_rows(engine, view, done.ledger), counts=merged_counts(engine.commits[done.ledger]),
        removed=removed, places=places, engine=engine, view=after, phases=(done.layer.phase, done.ledger),
    )  # fmt: skip


def again(outcome: Outcome, settings: SpanSettings) -> tuple[int, int]:
    """(bytes, documents) that the same stage takes from what it has left: D(D(x)) is D(x) if both are 0."""
    done = span_dedup(outcome.engine, outcome.view, settings, upstream="again")
    counts = merged_counts(outcome.engine.commits[done.ledger])
    (stage,) = counts["stages"].values()
    return stage["text_bytes_removed"], counts["documents"] - counts["kept"]
