"""The Ray runner: crashes are bounded, errors name their task, strangers stay out, and nothing of it is left behind."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from pipeline.parts import Task
from pipeline.runners.base import TaskFailedError
from pipeline.runners.ray_runner import ROOT, RayRunner, StrangerError, check_root

HERE = Path(__file__).parent


def work(output, *, value):
    output.table("docs", pa.table({"x": [value]}))
    return {"value": value}


def dies_until(output, *, marker, deaths):
    """Take the worker down so many times, then do the work."""
    count = len(list(Path(marker).iterdir()))
    if count < deaths:
        (Path(marker) / str(count)).touch()
        os._exit(13)
    return {"deaths": count}


def raises(output, *, word):
    raise ValueError(f"no good: {word}")


@pytest.fixture(scope="module")
def runner():
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), before]))
    made = RayRunner(workers=2)
    yield made
    made.close()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


def task(unit, function, **arguments):
    return Task(phase="p-1", unit=unit, function=f"test_ray_runner:{function}", arguments=arguments)


def test_tasks_come_back_with_their_places(runner, tmp_path):
    tasks = [task(f"u{n}", "work", value=n) for n in range(12)]
    found = dict(runner.run(str(tmp_path), tasks))
    assert {place: commit.counts["value"] for place, commit in found.items()} == {n: n for n in range(12)}


def test_a_worker_that_dies_twice_is_forgiven(runner, tmp_path):
    (tmp_path / "marks").mkdir()
    found = dict(runner.run(str(tmp_path), [task("u", "dies_until", marker=str(tmp_path / "marks"), deaths=2)]))
    assert found[0].counts == {"deaths": 2}


def test_a_task_that_always_kills_its_worker_stops_the_run_and_is_named(runner, tmp_path):
    (tmp_path / "marks").mkdir()
    with pytest.raises(TaskFailedError, match="p-1, unit poison: its worker died 3 times"):
        list(runner.run(str(tmp_path), [task("poison", "dies_until", marker=str(tmp_path / "marks"), deaths=99)]))
    assert len(list((tmp_path / "marks").iterdir())) == 3


def test_an_exception_names_its_task_and_is_not_tried_again(runner, tmp_path):
    with pytest.raises(TaskFailedError, match=r"p-1, unit u: .*no good: banana"):
        list(runner.run(str(tmp_path), [task("u", "raises", word="banana")]))


def test_a_client_without_the_token_is_refused_and_no_dashboard_runs(runner):
    import ray

    address = ray.get_runtime_context().gcs_address
    code = f"import ray; ray.init(address={address!r}, log_to_driver=False); print('IN')"
    stranger = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    result = subprocess.run([sys.executable, "-c", code], env=stranger, capture_output=True, text=True, timeout=120)
    assert result.returncode != 0
    assert "IN" not in result.stdout
    for child in psutil.Process().children(recursive=True):
        if any(part.endswith("dashboard/dashboard.py") for part in child.cmdline()):
            # Ray keeps this process for its usage statistics, which we switch off as well; nobody can reach it.
            assert "--disable-frontend" in child.cmdline()
            assert not [each for each in child.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_another_projects_package_of_our_name_is_told(tmp_path):
    with pytest.raises(StrangerError, match="expected all packages below"):
        check_root(str(tmp_path))
    assert check_root(str(ROOT)) == str(ROOT)


def test_closing_leaves_no_process():
    """In a process of its own: one process has one Ray."""
    code = (
        "import psutil, time\nfrom pipeline.runners.ray_runner import RayRunner\nrunner = RayRunner(workers=1)\n"
        "pids = [child.pid for child in psutil.Process().children(recursive=True)]\nrunner.close()\n"
        "print(' '.join(map(str, pids)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    pids = [int(pid) for pid in result.stdout.split()]
    assert len(pids) >= 3
    deadline = time.monotonic() + 20
    while any(psutil.pid_exists(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
