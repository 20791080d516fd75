"""What a large crawl takes, from small runs: the arithmetic on numbers that one can check by hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.estimate import Measured, estimate, measured, merge_levels

GIGABYTE = 10**9


def a_run(gigabytes: float, *, seconds: dict[str, float]) -> Measured:
    return Measured(
        input_bytes=int(gigabytes * GIGABYTE), documents=int(gigabytes * 100_000), text_bytes=int(gigabytes * 3e8),
        workers=1, seconds=seconds, bytes=dict.fromkeys(seconds, int(gigabytes * 1e8)),
    )  # fmt: skip


def test_one_run_gives_a_rate() -> None:
    found = estimate([a_run(1, seconds={"extract": 100.0})], 1e12, machines=2, cores=10, efficiency=0.5, price=3.0)
    assert found.core_seconds == pytest.approx(100_000)
    assert found.wall_seconds == pytest.approx(100_000 / 20 / 0.5)
    assert found.documents == pytest.approx(1e8)
    assert found.disk_bytes == pytest.approx(1e11)
    assert found.cost == pytest.approx(3.0 * 2 * 10_000 / 3600)
    assert found.times_measured == pytest.approx(1000)


def test_two_runs_tell_what_every_worker_pays_once() -> None:
    runs = [a_run(1, seconds={"extract": 30.0}), a_run(3, seconds={"extract": 70.0})]
    found = estimate(runs, 10e9, machines=1, cores=4, efficiency=1.0)
    assert found.core_seconds == pytest.approx(4 * 10 + 10 * 20)


def test_what_two_workers_paid_to_start_is_the_double_of_what_one_pays() -> None:
    runs = [replace(a_run(size, seconds={"extract": 10 + 20.0 * size}), workers=2) for size in (1, 3)]
    assert estimate(runs, 10e9, machines=1, cores=4, efficiency=1.0).core_seconds == pytest.approx(4 * 5 + 10 * 20)


def test_noise_makes_nothing_negative() -> None:
    falling = [a_run(1, seconds={"judge": 3.0}), a_run(2, seconds={"judge": 1.0})]
    assert estimate(falling, 100e9, machines=1, cores=8).core_seconds == pytest.approx(100.0), "through the origin"
    steep = [a_run(1, seconds={"judge": 1.0}), a_run(2, seconds={"judge": 4.0})]
    assert estimate(steep, 10e9, machines=1, cores=1).core_seconds == pytest.approx(18.0), "through the origin"


def test_an_exchange_pays_for_further_levels_of_merging() -> None:
    assert [merge_levels(size) for size in (1e9, 0.4e12, 1e12, 100e12, 1e15)] == [1, 1, 2, 2, 3]
    run = a_run(1, seconds={"near_dedup.runs": 1.0, "publish": 1.0})
    found = estimate([run], 1e12, machines=1, cores=1)
    assert found.phases["publish"] == pytest.approx(1000)
    assert found.phases["near_dedup.runs"] == pytest.approx(1000 + 3e-6 * found.documents)
    assert found.disk_bytes == pytest.approx(1e11 + 2 * 1e11)


def test_decisions_in_a_row_are_not_divided_by_the_cores() -> None:
    run = a_run(1, seconds={"near_dedup.round1.decide": 1.0})
    few, many = (estimate([run], 10e12, machines=1, cores=cores) for cores in (10, 10_000))
    assert few.serial_seconds == many.serial_seconds == pytest.approx(1e9 * 1e-7 + 0.04 * 751)
    assert many.wall_seconds > many.serial_seconds


def test_a_vocabulary_is_learned_once() -> None:
    run = a_run(1, seconds={"vocabulary": 50.0})
    found = estimate([run], 1e12, machines=10, cores=10)
    assert found.core_seconds == pytest.approx(50.0)
    assert found.disk_bytes == pytest.approx(1e8)


def manifest() -> dict[str, object]:
    return {
        "name": "small",
        "observed": {"workers": 1},
        "sources": [{"size_bytes": 600_000}, {"size_bytes": 400_000}],
        "counts": {"documents": 100, "text_bytes": 1000, "stages": [
            {"stage": "read", "text_bytes_kept": 0}, {"stage": "extract", "text_bytes_kept": 300_000}]},
        "phases": [
            {"name": "extract", "cpu_seconds": 2.0, "bytes": 50_000},
            {"name": "measure-text_statistics", "cpu_seconds": 1.0, "bytes": 100},
            {"name": "measure-text_statistics", "cpu_seconds": 3.0, "bytes": 200},
        ],
    }  # fmt: skip


def test_the_command_reads_manifests(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(manifest()))
    assert measured(manifest()).seconds == {"extract": 2.0, "measure-text_statistics": 4.0}
    command = ["estimate", "corpus", str(tmp_path), "--machines", "3", "--cores", "8", "--price", "2"]
    answer = CliRunner().invoke(app, command)
    assert answer.exit_code == 0, answer.output
    rows = [line.split() for line in answer.output.splitlines()[1:4]]
    assert [row[:2] for row in rows] == [["1.0", "TB"], ["10.0", "TB"], ["100", "TB"]]
    assert "3 machines of 8 cores" in answer.output
    assert "measure-text_statistics" in answer.output
    found = json.loads(CliRunner().invoke(app, [*command, "--terabytes", "2", "--json"]).output)
    assert [one["core_seconds"] for one in found] == [pytest.approx(6.0 * 2e6)]


def test_a_run_that_did_not_count_says_so(tmp_path: Path) -> None:
    old = manifest()
    old["phases"] = [{"name": "extract", "seconds": 2.0}]
    (tmp_path / "manifest.json").write_text(json.dumps(old))
    answer = CliRunner().invoke(app, ["estimate", "corpus", str(tmp_path)])
    assert answer.exit_code == 1
    assert "run it again" in answer.output
    assert CliRunner().invoke(app, ["estimate", "corpus", str(tmp_path / "none")]).exit_code == 2
