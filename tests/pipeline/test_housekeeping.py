"""Cached work is freed, documents are taken down, and a run is watched from outside, all by what lies on the disk."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus import make_crawl

from pipeline.engine import Silent
from pipeline.housekeeping import find_garbage, free
from pipeline.lock import LockedError, run_lock, work_lock
from pipeline.outputs import read_manifest
from pipeline.recipe import load_recipe
from pipeline.run import Options, run
from pipeline.runners.base import TaskFailedError
from pipeline.status import status, status_text
from pipeline.takedown import RemovedError, remove, with_duplicates
from pipeline.verify import verify

RECIPE = """\
name: test
input: {{paths: ["{place}/crawl"]}}
stages:
  - {{type: extract, engine: resiliparse}}
  - {{type: gopher_quality, min_stop_words: 1}}
  - {{type: exact_dedup}}
  - {{type: bloom, seen: "{place}/seen"}}
tokenizer: {{vocab_size: 300}}
shards: {{tokens_per_shard: 9000, seed: 1}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("house")
    make_crawl(folder / "crawl", files=1, pages_per_file=12)
    (folder / "r.yaml").write_text(RECIPE.format(place=folder))
    return folder


def run_at(place, name, *overrides, progress=None):
    recipe = load_recipe(place / "r.yaml", overrides=list(overrides))
    return run(recipe, Options(out=str(place / name), work=str(place / "work"), runner="inline"), progress=progress)


@pytest.fixture(scope="module")
def finished(place):
    return run_at(place, "out")


def kept_ids(out: Path) -> list[str]:
    return sorted(name for path in out.glob("kept/*.parquet") for name in pq.read_table(path)["id"].to_pylist())


def test_status_tells_a_finished_a_running_and_a_dead_run_apart(place, finished):
    told = status(str(place / "out"))
    assert told["state"] == "finished"
    assert all(phase["done"] == phase["total"] for phase in told["phases"])
    assert any(phase["phase"].startswith("extract-") for phase in told["phases"])
    assert told["rejected"]["exact_dup"] == 2
    assert told["peak_worker_memory_bytes"] > 50 << 20

    seen: dict = {}

    class Watching(Silent):
        def begin(self, phase: str, *, total: int, done: int) -> None:
            if phase.startswith("judge-"):
                # From another process, which the lock speaks to.
                command = [sys.executable, "-m", "pipeline.cli", "status", str(place / "dying"), "--json"]
                root = Path(__file__).parents[2]
                made = subprocess.run(command, capture_output=True, check=True, cwd=root)
                seen.update(json.loads(made.stdout))
                raise TaskFailedError("enough")

    with pytest.raises(TaskFailedError, match="enough"):
        run_at(place, "dying", "stages.gopher_quality.min_words=51", progress=Watching())
    assert seen["state"] == "running"
    assert seen["pid"]
    dead = status(str(place / "dying"))
    assert dead["state"] == "stopped"
    judging = dead["phases"][-1]
    assert (judging["done"], judging["total"]) == (0, 4)
    assert "the same command goes on from here" in status_text(dead)
    with pytest.raises(FileNotFoundError, match="no run was begun"):
        status(str(place / "crawl"))


def test_gc_frees_what_no_named_run_reaches_and_nothing_else(place, finished):
    other = run_at(place, "other", "stages.extract.max_pages=77", "stages.bloom.seen=" + str(place / "seen2"))
    (place / "work" / "notes.txt").write_text("the user's own")
    (place / "work" / "models" / "0123456789abcdef").mkdir(parents=True)
    (place / "work" / "models" / "0123456789abcdef" / "scores.json").write_text("{}")
    (place / "work" / "models" / "ladder-0123456789abcdef").mkdir(parents=True)
    (place / "work" / "models" / "ladder-0123456789abcdef" / "points.json").write_text("{}")
    mine = {phase["phase"] for phase in finished["phases"]}
    theirs = {phase["phase"] for phase in other["phases"]}
    found = find_garbage(str(place / "work"), [str(place / "out")])
    names = {item.name for item in found.garbage}
    assert theirs - mine <= names
    assert not mine & names
    assert {"models/0123456789abcdef", "models/ladder-0123456789abcdef"} <= names
    assert found.size_bytes > 0
    with (
        pytest.raises(LockedError, match="a run works in it"),
        work_lock(place / "work"),
        work_lock(place / "work", alone=True),
    ):
        pass
    free(str(place / "work"), found)
    assert (place / "work" / "notes.txt").exists()
    again = find_garbage(str(place / "work"), [str(place / "out")])
    assert (again.garbage, again.size_bytes) == ((), 0)
    manifest = run_at(place, "out")
    assert manifest["root"] == finished["root"]
    assert all(phase["executed"] == 0 for phase in manifest["phases"])
    assert run_at(place, "other2", "stages.extract.max_pages=77", "stages.bloom.seen=" + str(place / "seen3"))[
        "root"
    ] == other["root"]  # fmt: skip
    with pytest.raises(ValueError, match="name the runs"):
        find_garbage(str(place / "work"), [])


def test_removed_documents_are_gone_and_booked(place, finished):
    out = place / "gone"
    run_at(place, "gone")
    before = kept_ids(out)
    dropped = next(
        row for path in out.glob("ledger/*.parquet") for row in pq.read_table(path).to_pylist() if row["partner"]
    )
    wanted = [before[0], dropped["partner"], dropped["id"], "f" * 32]
    found = remove(str(out), wanted)
    assert set(found["removed"]) == {before[0], dropped["partner"]}
    assert (found["not_kept"], found["unknown"]) == ([dropped["id"]], ["f" * 32])
    assert found["from_root"] == finished["root"] != found["root"]
    assert kept_ids(out) == sorted(set(before) - set(found["removed"]))
    assert verify(str(out), inputs=[str(place / "crawl")])[0] == []
    manifest = read_manifest(str(out))
    assert manifest["counts"]["stages"][-1]["reasons"] == {"removed": 2}
    assert manifest["counts"]["tokens"] < finished["counts"]["tokens"]
    (removal,) = manifest["removals"]
    (held,) = removal["filters_that_hold_them"]
    assert (Path(held["folder"]) / held["slice"]).is_file()
    rows = {row["id"]: row for path in out.glob("ledger/*.parquet") for row in pq.read_table(path).to_pylist()}
    assert rows[before[0]]["stage"] == "remove"
    assert rows[before[0]]["excerpt"] is None
    assert rows[dropped["id"]]["excerpt"] is None
    shards = [name for path in out.glob("shards/*.parquet") for name in pq.read_table(path)["doc_id"].to_pylist()]
    assert not set(found["removed"]) & set(shards)
    again = remove(str(out), wanted)
    assert (again["removed"], again["root"]) == ([], found["root"])
    third = remove(str(out), [before[-1]])
    assert read_manifest(str(out))["counts"]["stages"][-1]["reasons"] == {"removed": 3}
    assert third["root"] != found["root"]
    assert verify(str(out))[0] == []
    with pytest.raises(RemovedError, match="bring them back"):
        run_at(place, "gone")


def test_duplicates_of_duplicates_of_what_is_taken_down_are_found():
    tables = [pa.table({"id": ["b", "x"], "partner": ["a", None]}), pa.table({"id": ["d", "c"], "partner": ["y", "b"]})]
    assert with_duplicates(lambda: iter(tables), {"a"}) == {"a", "b", "c"}


@pytest.mark.parametrize("call", [2, 5, 7])
def test_a_removal_that_is_stopped_is_finished_by_the_next_one(place, finished, monkeypatch, call):
    """The n-th file that it writes fails: until the new manifest stands aside nothing has changed, then all will."""
    from pipeline.files import Files

    out = place / f"stopped{call}"
    run_at(place, out.name)
    victim, real, count = kept_ids(out)[:1], Files.write, 0

    def failing(self, *arguments, **options):
        nonlocal count
        count += 1
        if count == call:
            raise OSError("injected")
        return real(self, *arguments, **options)

    monkeypatch.setattr(Files, "write", failing)
    with pytest.raises(OSError, match="injected"):
        remove(str(out), victim)
    monkeypatch.setattr(Files, "write", real)
    remove(str(out), victim)
    assert victim[0] not in kept_ids(out)
    assert verify(str(out))[0] == []
    assert not (out / "removal").exists()


def test_the_commands_say_what_they_do(place, finished, tmp_path):
    from typer.testing import CliRunner

    from pipeline.cli import app

    cli = CliRunner()
    dry = cli.invoke(app, ["gc", str(place / "work"), "--runs", str(place / "out")])
    assert (dry.exit_code, "would be freed" in dry.stdout) == (0, True)
    (tmp_path / "ids").write_text("f" * 32 + "\n")
    gone = cli.invoke(app, ["remove", str(place / "out"), "--ids", str(tmp_path / "ids")])
    assert (gone.exit_code, "1 unknown to this run" in gone.stdout) == (0, True)
    assert cli.invoke(app, ["status", str(place / "out")]).stdout.startswith("finished")
    with run_lock(place / "out"):
        pass
