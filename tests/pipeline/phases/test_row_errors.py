"""A text that makes a stage fail costs one ledger row; a stage that fails on all texts stops the run."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus import prose

import stages
from pipeline.phases.measure import by_row
from pipeline.recipe import load_recipe
from pipeline.run import Options, run
from pipeline.runners.base import TaskFailedError

RECIPE = """\
name: unlucky
input: {{paths: ["{folder}/in*.jsonl"]}}
stages: [{{type: extract}}, {{type: gopher_quality}}, {{type: exact_dedup}}]
"""


def texts(count: int, *, unlucky: tuple[int, ...]) -> list[str]:
    return ["\n".join(prose(seed)) + (" UNLUCKY" if seed in unlucky else "") for seed in range(count)]


def run_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, unlucky: tuple[int, ...], fails: bool, apart: bool = False
) -> dict[str, Any]:
    """`apart`: every document in a file, and so in a split, of its own."""
    folder.mkdir()
    lines = [json.dumps({"text": text}) + "\n" for text in texts(12, unlucky=unlucky)]
    for number, block in enumerate(lines if apart else ["".join(lines)]):
        (folder / f"in{number:02}.jsonl").write_text(block)
    (folder / "recipe.yaml").write_text(RECIPE.format(folder=folder))
    definition = stages.CATALOGUE["gopher_quality"]

    def measure(documents: pa.Table, settings: Any, resources: Any) -> pa.Table:
        if fails and any("UNLUCKY" in text for text in documents["text"].to_pylist()):
            raise ValueError("cannot be measured")
        return definition.measure(documents, settings, resources)

    # A phase's key is made of the source of the module that the function is from.
    measure.__module__ = definition.measure.__module__
    monkeypatch.setitem(stages.CATALOGUE, "gopher_quality", replace(definition, measure=measure))
    options = Options(out=str(folder / "out"), work=str(folder / "work"), runner="inline")
    found = run(load_recipe(folder / "recipe.yaml"), options)
    monkeypatch.setitem(stages.CATALOGUE, "gopher_quality", definition)
    return found


def rows(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [
        row for file in sorted((folder / "out" / kind).glob("*.parquet")) for row in pq.read_table(file).to_pylist()
    ]


def test_one_text_that_fails_is_a_row_and_its_neighbours_come_through(tmp_path, monkeypatch) -> None:
    run_in(tmp_path / "fine", monkeypatch, unlucky=(7,), fails=False)
    found = run_in(tmp_path / "fails", monkeypatch, unlucky=(7,), fails=True)
    (row,) = [row for row in rows(tmp_path / "fails", "ledger") if row["reason"] == "model_error"]
    assert (row["stage"], row["outcome"]) == ("gopher_quality", "quarantined")
    assert row["detail"] == "ValueError: cannot be measured"
    assert row["excerpt"]
    kept = {name: {row["id"]: row["text"] for row in rows(tmp_path / name, "kept")} for name in ("fine", "fails")}
    assert kept["fails"] == {key: text for key, text in kept["fine"].items() if "UNLUCKY" not in text}
    assert len(kept["fails"]) == 11
    assert found["counts"]["quarantined"] == 1
    assert found["counts"]["documents"] == found["counts"]["kept"] + 1


def test_a_stage_that_fails_on_more_than_one_in_a_hundred_stops_the_run(tmp_path, monkeypatch) -> None:
    with pytest.raises(TaskFailedError, match="cannot be measured"):
        run_in(tmp_path / "fails", monkeypatch, unlucky=(2, 7), fails=True)


def test_nor_does_it_quarantine_a_folder_of_single_documents(tmp_path, monkeypatch) -> None:
    with pytest.raises(TaskFailedError, match="gopher_quality failed on 12 of 12 documents: it is broken"):
        run_in(tmp_path / "fails", monkeypatch, unlucky=tuple(range(12)), fails=True, apart=True)


def test_what_is_measured_in_halves_is_what_is_measured_at_once() -> None:
    documents = pa.table({"n": list(range(1000))})
    calls = []

    def measured(some: pa.Table) -> pa.Table:
        calls.append(some.num_rows)
        if any(n in (0, 500, 999) for n in some["n"].to_pylist()):
            raise KeyError("unknown")
        return pa.table({"double": pa.array([2 * n for n in some["n"].to_pylist()], pa.int64())})

    schema = pa.schema([("double", pa.int64())])
    table, errors = by_row(documents, measured, schema=schema)
    assert [row for row, _ in errors] == [0, 500, 999]
    assert errors[0][1] == "KeyError: 'unknown'"
    wanted = [0 if n in (0, 500, 999) else 2 * n for n in range(1000)]
    assert table["double"].to_pylist() == wanted
    assert sum(calls) < 12 * 1000
    with pytest.raises(MemoryError):
        by_row(documents, lambda _: (_ for _ in ()).throw(MemoryError), schema=schema)
