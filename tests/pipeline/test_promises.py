"""The promises, on a whole run: nothing lost, same bytes whatever happens, and a changed knob pays for itself only."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from corpus import make_crawl, prose, write_recipe

from pipeline.engine import Silent
from pipeline.explain import explain
from pipeline.outputs import read_manifest
from pipeline.plan import plan
from pipeline.recipe import load_recipe
from pipeline.resources import ResourceError
from pipeline.run import Options, pin_slices, plan_splits, run
from pipeline.runners.base import TaskFailedError
from pipeline.verify import verify

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def crawl(tmp_path_factory) -> Path:
    return make_crawl(tmp_path_factory.mktemp("input") / "crawl")


@pytest.fixture(scope="module")
def finished(crawl, tmp_path_factory):
    """One undisturbed inline run: (folder, recipe path, manifest)."""
    folder = tmp_path_factory.mktemp("run")
    recipe = write_recipe(folder, crawl)
    options = Options(out=str(folder / "out"), work=str(folder / "work"), runner="inline")
    return folder, recipe, run(load_recipe(recipe), options)


def again(crawl, folder, *, inputs=(), split_bytes=1 << 20, **options):
    """The same recipe somewhere else, from nothing."""
    recipe = write_recipe(folder, crawl, split_bytes=split_bytes)
    chosen = {"runner": "inline", **options}
    return run(
        load_recipe(recipe, inputs=inputs), Options(out=str(folder / "out"), work=str(folder / "work"), **chosen)
    )


def reasons(manifest) -> dict[str, int]:
    found: dict[str, int] = {}
    for stage in manifest["counts"]["stages"]:
        for reason, count in stage["reasons"].items():
            found[reason] = found.get(reason, 0) + count
    return found


def test_every_fault_is_booked_with_its_reason(finished):
    _, _, manifest = finished
    assert reasons(manifest) == {
        "bad_compression": 1, "bad_length": 1, "http_status": 1, "empty": 1, "not_pdf": 1, "bad_encoding": 1,
        "language": 2, "symbol_ratio": 1, "exact_dup": 1, "near_dup": 1,
    }  # fmt: skip
    counts = manifest["counts"]
    assert counts["documents"] == counts["kept"] + counts["dropped"] + counts["quarantined"]
    assert counts["kept"] >= 60


def test_verify_finds_nothing_wrong_and_reads_every_input_byte(finished, crawl):
    folder, _, manifest = finished
    findings, looked = verify(str(folder / "out"), inputs=[str(crawl)])
    assert findings == []
    assert looked["input documents"] == manifest["counts"]["documents"]
    assert looked["input bytes"] == sum(path.stat().st_size for path in crawl.iterdir())


@pytest.mark.parametrize("victim", ["kept/part-00001.parquet", "ledger/part-00000.parquet", "manifest.json"])
def test_verify_finds_one_changed_byte(finished, tmp_path, victim):
    folder, _, _ = finished
    copy = tmp_path / "out"
    subprocess.run(["cp", "-r", str(folder / "out"), str(copy)], check=True)
    target = copy / victim
    data = bytearray(target.read_bytes())
    if victim.endswith(".json"):
        at = data.index(b'"kept": ') + 8
        data[at] = ord("9") if data[at] != ord("9") else ord("8")
    else:
        data[len(data) // 2] ^= 1
    target.unlink()
    target.write_bytes(data)
    findings, _ = verify(str(copy))
    assert findings


def test_explain_tells_of_a_near_duplicate_a_rejected_page_and_a_damaged_record(finished):
    folder, _, _ = finished
    story = explain(str(folder / "out"), "http://trouble.test/near")
    assert "near_dup" in story or "kept" in story
    stories = [explain(str(folder / "out"), url) for url in ("http://trouble.test/near", "http://site0.test/3")]
    assert sum("near_dup" in story for story in stories) == 1
    assert sum("kept instead" in story for story in stories) == 1
    assert "found de" in explain(str(folder / "out"), "http://trouble.test/german")
    assert "bad_length" in explain(str(folder / "out"), "http://trouble.test/lying")


def test_explain_shows_what_passed_stages_measured_while_the_work_folder_is_there(finished, tmp_path):
    folder, _, _ = finished
    dropped = next(story for url in ("near", "copy") if "dropped" in (story := _story_of(folder, url)))
    assert "mean_word_length" in dropped
    assert "language_score" in dropped
    assert "passed" in explain(str(folder / "out"), "http://site1.test/4", work=str(tmp_path))


def _story_of(folder: Path, name: str) -> str:
    return explain(str(folder / "out"), f"http://trouble.test/{name}")


def test_a_second_run_in_the_same_place_does_nothing_and_ends_the_same(finished):
    folder, recipe, manifest = finished
    repeated = run(load_recipe(recipe), Options(out=str(folder / "out"), work=str(folder / "work"), runner="inline"))
    assert repeated["root"] == manifest["root"]
    assert all(phase["executed"] == 0 for phase in repeated["phases"])


@pytest.mark.parametrize("workers", [1, 2])
def test_ray_gives_the_same_bytes(finished, crawl, tmp_path, workers):
    _, _, manifest = finished
    assert again(crawl, tmp_path, runner="ray", workers=workers)["root"] == manifest["root"]


def test_reversed_input_gives_the_same_bytes(finished, crawl, tmp_path):
    _, _, manifest = finished
    names = sorted((str(path) for path in crawl.iterdir()), reverse=True)
    assert again(crawl, tmp_path, inputs=names)["root"] == manifest["root"]


def test_the_split_size_changes_which_file_a_document_is_in_but_not_which_are_kept(finished, crawl, tmp_path):
    _, _, manifest = finished
    other = again(crawl, tmp_path, split_bytes=2048)
    assert len(other["splits"]) > len(manifest["splits"])
    assert other["counts"]["stages"] == manifest["counts"]["stages"]
    shards = {name: digest for name, digest in manifest["outputs"].items() if name.startswith("tokenizer/")}
    assert {name: other["outputs"][name] for name in shards} == shards
    findings, _ = verify(str(tmp_path / "out"), inputs=[str(crawl)])
    assert findings == []


def _commits(work: Path) -> int:
    return sum(not path.name.startswith(".") for path in work.glob("*/*.commit.json"))


def _start(recipe: Path, folder: Path, *options: str) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "pipeline.cli",
        "run",
        str(recipe),
        "--out",
        str(folder / "out"),
        "--work",
        str(folder / "work"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*command, *options], env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@pytest.mark.parametrize("commits", [2, 9, 25])
def test_a_killed_driver_goes_on_to_the_same_bytes(finished, crawl, tmp_path, commits):
    _, _, manifest = finished
    recipe = write_recipe(tmp_path, crawl)
    driver = _start(recipe, tmp_path, "--runner", "inline")
    deadline = time.monotonic() + 120
    while _commits(tmp_path / "work") < commits:
        assert driver.poll() is None, "the driver ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert not (tmp_path / "out" / "manifest.json").exists()
    options = Options(out=str(tmp_path / "out"), work=str(tmp_path / "work"), runner="inline")
    resumed = run(load_recipe(recipe), options)
    assert resumed["root"] == manifest["root"]
    done = sum(phase["units"] - phase["executed"] for phase in resumed["phases"])
    assert done >= commits
    leftovers = [path for path in (tmp_path / "out").rglob("*") if ".attempt-" in path.name]
    assert leftovers == []


def test_a_killed_ray_worker_changes_nothing(finished, crawl, tmp_path):
    _, _, manifest = finished
    recipe = write_recipe(tmp_path, crawl)
    driver = _start(recipe, tmp_path, "--runner", "ray", "--workers", "2")
    killed = 0
    deadline = time.monotonic() + 200
    while driver.poll() is None and time.monotonic() < deadline:
        done = _commits(tmp_path / "work")
        workers = _ray_workers_of(driver.pid)
        if workers and done > 4 * (killed + 1) and killed < 2:
            os.kill(workers[0], signal.SIGKILL)
            killed += 1
        time.sleep(0.02)
    assert driver.wait(timeout=10) == 0
    assert killed >= 1
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["root"] == manifest["root"]


def test_a_killed_ray_driver_goes_on_by_the_same_command(finished, crawl, tmp_path):
    """At once, while workers of the killed driver may still live."""
    _, _, manifest = finished
    recipe = write_recipe(tmp_path, crawl)
    driver = _start(recipe, tmp_path, "--runner", "ray", "--workers", "2")
    deadline = time.monotonic() + 200
    while _commits(tmp_path / "work") < 12:
        assert driver.poll() is None, "the driver ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    again = _start(recipe, tmp_path, "--runner", "ray", "--workers", "2")
    assert again.wait(timeout=250) == 0
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["root"] == manifest["root"]


def test_input_that_changes_under_the_run_stops_it(crawl, tmp_path):
    copy = tmp_path / "crawl"
    subprocess.run(["cp", "-r", str(crawl), str(copy)], check=True)
    recipe = load_recipe(write_recipe(tmp_path, copy))
    options = Options(out=str(tmp_path / "out"), work=str(tmp_path / "work"), runner="inline")
    page = copy / "page.html"

    class Meddler(Silent):
        def begin(self, phase: str, *, total: int, done: int) -> None:
            if phase.startswith("extract-"):
                page.write_bytes(page.read_bytes().replace(b"the", b"thy"))

    with pytest.raises(TaskFailedError, match=r"page\.html was changed since the run was planned"):
        run(recipe, options, progress=Meddler())


def _ray_workers_of(driver: int) -> list[int]:
    """Ray worker processes that are busy with one of our tasks, below this driver and no other."""
    import psutil

    found = []
    try:
        children = psutil.Process(driver).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    for child in children:
        try:
            if child.name().startswith("ray::_execute"):
                found.append(child.pid)
        except psutil.NoSuchProcess:
            continue
    return found


def test_a_changed_threshold_extracts_nothing_again(finished):
    folder, recipe, _ = finished
    changed = load_recipe(recipe, overrides=["stages.quality.min_score=0.01"])
    planned = plan(changed, str(folder / "work"))
    by_name = {phase["phase"].rpartition("-")[0]: phase for phase in planned["phases"]}
    cached = [name for name, phase in by_name.items() if phase["cached"] == phase["units"]]
    assert "extract" in cached
    assert all(name in cached for name in by_name if name.startswith("measure-"))
    assert by_name["judge"]["cached"] == 0
    manifest = run(changed, Options(out=str(folder / "out2"), work=str(folder / "work"), runner="inline"))
    executed = {phase["name"]: phase["executed"] for phase in manifest["phases"]}
    assert executed["extract"] == 0
    assert all(count == 0 for name, count in executed.items() if name.startswith("measure-"))


def test_two_drivers_on_one_run_are_refused(finished, tmp_path):
    from pipeline.lock import LockedError, run_lock

    code = """
import sys
from pipeline.lock import run_lock
with run_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert other.stdout.readline().strip() == b"held"
    with pytest.raises(LockedError, match=str(other.pid)), run_lock(tmp_path):
        pass
    other.communicate()
    with run_lock(tmp_path):
        pass


def test_a_part_that_rotted_after_its_commit_stops_the_run_and_is_named(crawl, tmp_path):
    options = {"overrides": ["stages.bloom.seen=" + str(tmp_path / "seen")]}
    recipe = load_recipe(write_recipe(tmp_path, crawl), **options)
    places = Options(out=str(tmp_path / "out"), work=str(tmp_path / "work"), runner="inline")
    root = run(recipe, places)["root"]
    part = next((tmp_path / "work").glob("publish-*/*.kept.parquet"))
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    with pytest.raises(OSError, match=part.name):
        run(recipe, places)
    assert not (tmp_path / "out" / "manifest.json").exists()
    unit = part.name.removesuffix(".kept.parquet")
    part.unlink()
    (part.parent / f"{unit}.commit.json").unlink()
    assert run(recipe, places)["root"] == root


def test_peak_memory_is_in_the_manifest_and_under_its_bound(crawl, tmp_path):
    """Of a process that does nothing else; its parser child is counted."""
    recipe = write_recipe(tmp_path, crawl)
    assert _start(recipe, tmp_path, "--runner", "inline").wait(timeout=200) == 0
    observed = json.loads((tmp_path / "out" / "manifest.json").read_text())["observed"]
    assert 200 << 20 < observed["peak_worker_memory_bytes"] < 1_500_000_000


def test_relative_places_mean_the_folder_of_the_command_for_every_worker(finished, crawl, tmp_path, monkeypatch):
    """Workers of a cluster stand in other folders than the driver."""
    _, _, manifest = finished
    text = write_recipe(tmp_path, crawl).read_text()
    (tmp_path / "input").symlink_to(crawl)
    (tmp_path / "r.yaml").write_text(text.replace(str(crawl), "input").replace(str(tmp_path / "seen"), "seen"))
    monkeypatch.chdir(tmp_path)
    options = Options(out="out", work="work", runner="ray", workers=2)
    assert run(load_recipe("r.yaml"), options)["root"] == manifest["root"]
    assert list((tmp_path / "seen").glob("*.bloom"))


def test_a_wrong_model_is_told_before_any_work(crawl, tmp_path):
    recipe = write_recipe(tmp_path, crawl)
    (tmp_path / "half.ftz").write_bytes((ROOT / "pipeline/builtin/quality-en.ftz").read_bytes()[:5000])
    for name in ("nowhere.ftz", "half.ftz"):
        chosen = load_recipe(recipe, overrides=[f"stages.quality.model={tmp_path / name}"])
        with pytest.raises(ResourceError, match=name):
            run(chosen, Options(out=str(tmp_path / "out"), work=str(tmp_path / "work"), runner="inline"))
    assert not (tmp_path / "work").exists()


def test_a_run_whose_vocabulary_fails_still_leaves_its_books(crawl, tmp_path):
    recipe = load_recipe(write_recipe(tmp_path, crawl), overrides=["tokenizer.vocab_size=60000"])
    options = Options(out=str(tmp_path / "out"), work=str(tmp_path / "work"), runner="inline")
    with pytest.raises(TaskFailedError, match="vocabulary"):
        run(recipe, options)
    manifest = read_manifest(options.out)
    assert "vocab_size" in manifest["unfinished"]
    assert verify(options.out, inputs=[str(crawl)])[0] == []


def test_a_run_that_keeps_nothing_ends_well_and_says_so(crawl, tmp_path):
    recipe = load_recipe(write_recipe(tmp_path, crawl), overrides=["stages.gopher_quality.min_words=90000"])
    options = Options(out=str(tmp_path / "out"), work=str(tmp_path / "work"), runner="inline")
    manifest = run(recipe, options)
    assert manifest["counts"]["kept"] == manifest["counts"]["tokens"] == 0
    assert verify(options.out, inputs=[str(crawl)])[0] == []


def test_a_threshold_that_changes_no_verdict_deduplicates_nothing_again(finished):
    folder, recipe, _ = finished
    changed = load_recipe(recipe, overrides=["stages.gopher_quality.min_words=49"])
    manifest = run(changed, Options(out=str(folder / "out3"), work=str(folder / "work"), runner="inline"))
    executed = {phase["name"]: phase["executed"] for phase in manifest["phases"]}
    assert executed["judge"] > 0
    assert all(count == 0 for name, count in executed.items() if "dedup" in name)


def test_a_measure_that_another_hid_is_judged_by_its_own_columns(crawl, tmp_path):
    """Twice the same stage with another one of its kind between: the third judges what the first measured."""
    held = tmp_path / "held.jsonl"
    texts = [" ".join(prose(seed)) for seed in (4, 5)]
    held.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    other = tmp_path / "other.jsonl"
    other.write_text(
        json.dumps({"text": "nothing that any page of the crawl would say, not even in passing " * 3}) + "\n"
    )
    stages = [(held, 1.0), (other, 1.0), (held, 0.2)]
    entries = "".join(
        f"  - {{type: held_out, against: {path}, max_held_out_containment: {limit}, max_held_out_copied: 1.0}}\n"
        for path, limit in stages
    )
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"name: t\ninput: {{paths: ['{crawl}']}}\nstages:\n  - {{type: extract}}\n{entries}")
    manifest = run(
        load_recipe(recipe), Options(out=str(tmp_path / "out"), work=str(tmp_path / "work"), runner="inline")
    )
    assert [sum(stage["reasons"].values()) for stage in manifest["counts"]["stages"][2:]] == [0, 0, 2]


def test_verify_finds_a_missing_source_and_a_document_kept_twice(finished, crawl, tmp_path):
    folder, _, _ = finished
    findings, _ = verify(str(folder / "out"), inputs=[str(crawl / "page.html")])
    assert any("not in the input" in finding.problem for finding in findings)
    copy = tmp_path / "out"
    subprocess.run(["cp", "-r", str(folder / "out"), str(copy)], check=True)
    first, second = sorted(copy.glob("kept/*.parquet"))[1:3]
    second.unlink()
    second.write_bytes(first.read_bytes())
    assert any("holds documents of" in finding.problem for finding in verify(str(copy))[0])


def test_filters_that_others_publish_meanwhile_do_not_change_a_run_that_was_stopped(crawl, tmp_path):
    """Stopped, then a run over another crawl with some of the same pages publishes, then the same command again."""
    other = make_crawl(tmp_path / "other", files=1)
    mine = load_recipe(write_recipe(tmp_path, crawl))
    theirs = load_recipe(write_recipe(tmp_path, other, name="other.yaml"))
    # A blank at the end of one file makes it another dump with the same pages.
    warc = tmp_path / "other" / "crawl-00000.warc.gz"
    warc.write_bytes(warc.read_bytes() + bytes(64))
    undisturbed = run(mine, Options(out=str(tmp_path / "o1"), work=str(tmp_path / "w1"), runner="inline"))
    for path in (tmp_path / "seen").iterdir():
        path.unlink()
    options = Options(out=str(tmp_path / "o2"), work=str(tmp_path / "w2"), runner="inline")
    stopped = load_recipe(write_recipe(tmp_path, crawl), overrides=[])
    splits = plan_splits(stopped, options.work)
    assert pin_slices(stopped, splits, options.work, keep=True) == {"bloom": []}
    run(theirs, Options(out=str(tmp_path / "o3"), work=str(tmp_path / "w3"), runner="inline"))
    assert list((tmp_path / "seen").iterdir())
    assert run(mine, options)["root"] == undisturbed["root"]
