"""`--log json`: every line an object that says when, what and how far; and the slowest records of a run."""

import io
import json
from pathlib import Path

import pytest
from corpus import prose
from typer.testing import CliRunner
from warcs import http, member, record

from pipeline.cli import app
from pipeline.log import JsonLines
from pipeline.parts import Commit

RECIPE = """\
name: logged
input: {{paths: ["{place}/docs.warc.gz"]}}
stages:
  - {{type: extract, engine: resiliparse}}
  - {{type: exact_dedup}}
"""


def commit(unit: str, seconds: float, **reasons: int) -> Commit:
    counts = {"stages": {"judge": {"reasons": reasons}}}
    return Commit(phase="judge-00ff", unit=unit, files={}, counts=counts, observed={"seconds": seconds})


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_phase_is_told_with_rate_drops_and_the_slowest_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.log._LINE_SECONDS", 0.0)
    stream = io.StringIO()
    log = JsonLines(stream)
    log.begin("judge-00ff", total=4, done=1)
    log.advance("judge-00ff", commit("a", 0.5, word_count=2))
    log.advance("judge-00ff", commit("b", 7.0, word_count=1, language=5))
    log.end("judge-00ff")
    begun, _, second, done = lines(stream)
    assert begun["event"] == "phase_begun"
    assert (begun["phase"], begun["key"], begun["units"], begun["cached"]) == ("judge", "00ff", 4, 1)
    assert second["event"] == "progress"
    assert (second["done"], second["units"]) == (3, 4)
    assert second["units_per_second"]
    assert second["seconds_left"] is not None
    assert second["rejected"] == {"language": 5, "word_count": 3}
    assert second["slowest"] == {"seconds": 7.0, "unit": "b"}
    assert done["event"] == "phase_done"
    assert "seconds" in done


def test_a_failure_is_a_line_too() -> None:
    stream = io.StringIO()
    with pytest.raises(RuntimeError), JsonLines(stream):
        raise RuntimeError("no space\nleft")
    assert [(line["event"], line["error"], line["message"]) for line in lines(stream)] == [
        ("run_failed", "RuntimeError", "no space\nleft")
    ]


def test_a_run_logs_json_and_status_names_the_slowest_records(tmp_path: Path) -> None:
    texts = [f"<html><body><p>{'</p><p>'.join(prose(seed))}</p></body></html>".encode() for seed in (1, 1, 2)]
    members = [member(record(http(text), url=f"http://site.test/{number}")) for number, text in enumerate(texts)]
    (tmp_path / "docs.warc.gz").write_bytes(b"".join(members))
    (tmp_path / "r.yaml").write_text(RECIPE.format(place=tmp_path))
    out = str(tmp_path / "out")
    answer = CliRunner().invoke(
        app, ["run", str(tmp_path / "r.yaml"), "--out", out, "--runner", "inline", "--log", "json"]
    )
    assert answer.exit_code == 0, answer.stderr
    told = [json.loads(line) for line in answer.stderr.splitlines()]
    assert all(line["time"].endswith("+00:00") for line in told)
    assert {"phase_begun", "phase_done", "run_done"} <= {line["event"] for line in told}
    assert told[-1]["event"] == "run_done"
    assert (told[-1]["documents"], told[-1]["kept"]) == (3, 2)
    assert {line["phase"] for line in told if "phase" in line} >= {"extract", "exact_dedup", "publish"}
    found = json.loads(CliRunner().invoke(app, ["status", out, "--json"]).stdout)
    assert [one["source"] for one in found["slowest_records"]] == ["docs.warc.gz"] * 3
    assert {one["url"] for one in found["slowest_records"]} == {f"http://site.test/{number}" for number in range(3)}
    assert found["slowest_records"][0]["seconds"] >= found["slowest_records"][-1]["seconds"]
    phases = json.loads((tmp_path / "out" / "manifest.json").read_text())["phases"]
    assert all(phase["cpu_seconds"] >= 0 and phase["bytes"] > 0 for phase in phases)
    assert sum(phase["cpu_seconds"] for phase in phases) > 0
    assert CliRunner().invoke(app, ["run", str(tmp_path / "r.yaml"), "--log", "xml"]).exit_code == 2
