"""An ablation that is killed: nothing of it goes on, and the same command ends with the same results."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from small_ablation import call, make

#: Long enough for several checkpoints of a model to be seen.
BUDGET = "budget.tokens=20480"


def test_killed_while_a_model_trains_it_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    for name in ("killed", "undisturbed"):
        (tmp_path / name).mkdir()
    path = make(tmp_path / "killed")
    arguments = ["ablate", str(path), "--out", str(path.parent / "out"), "--work", str(path.parent / "work")]
    command = [
        sys.executable,
        "-m",
        "pipeline.cli",
        *arguments,
        "--runner",
        "inline",
        "--workers",
        "1",
        "--set",
        BUDGET,
    ]
    models = path.parent / "work" / "models"
    driver = subprocess.Popen(
        [*command, "--set", BUDGET, "--set", "seeds=2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    trainers: list[psutil.Process] = []
    try:
        # One model is done, another is under way.
        deadline = time.monotonic() + 120
        while not _half_done(models):
            assert driver.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        trainers = psutil.Process(driver.pid).children(recursive=True)
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    assert trainers
    _, alive = psutil.wait_procs(trainers, timeout=20)
    assert not alive, "a killed driver's trainings would go on beside those of the next call"

    finished = {place: place.stat().st_mtime_ns for place in models.glob("*/scores.json")}
    begun = [place for place in models.glob("*/checkpoints/*") if not (place.parents[1] / "scores.json").exists()]
    assert finished
    assert begun
    again = call(path, BUDGET, "seeds=2")
    assert {place: place.stat().st_mtime_ns for place in finished} == finished, "a finished model is trained again"
    steps = [json.loads(line)["step"] for line in (begun[0].parents[1] / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, len(steps) + 1))

    whole = call(make(tmp_path / "undisturbed"), BUDGET, "seeds=2")
    placed = json.dumps({**again, "environment": None}).replace(str(tmp_path / "killed"), str(tmp_path / "undisturbed"))
    assert json.loads(placed) == {**whole, "environment": None}


def _half_done(models: Path) -> bool:
    unfinished = [
        place for place in models.glob("*/checkpoints/step-*") if not (place.parents[1] / "scores.json").exists()
    ]
    return bool(unfinished) and any(models.glob("*/scores.json"))
