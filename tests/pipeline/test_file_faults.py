"""The disk fails under a whole run, a worker sleeps through its replacement: the next call gives the same root."""

import errno
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
from corpus import prose

from pipeline.files import Files
from pipeline.parts import Task, execute
from pipeline.recipe import load_recipe
from pipeline.run import Options, run
from pipeline.runners.base import TaskFailedError
from pipeline.verify import verify

ROOT = Path(__file__).parents[2]
CALLS = ("open", "create", "sync", "rename", "link")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    texts = ["\n".join(prose(seed % 9)) for seed in range(12)]
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "r.yaml").write_text(
        f'name: t\ninput: {{paths: ["{folder}/a.jsonl"]}}\nstages:\n  - {{type: extract}}\n  - {{type: exact_dedup}}\n'
    )
    return folder


def run_in(place, folder):
    options = Options(out=str(folder / "out"), work=str(folder / "work"), runner="inline")
    return run(load_recipe(place / "r.yaml"), options)


@pytest.fixture(scope="module")
def root(place):
    return run_in(place, place)["root"]


def stopped_until_whole(place, folder, numbers, inject):
    """Runs with the fault at each n, each going on where the last one stopped, until one is whole: its manifest, and
    how many were stopped."""
    for failed, n in enumerate(numbers):
        inject(n)
        try:
            return run_in(place, folder), failed
        except (OSError, TaskFailedError) as error:
            if "injected" not in str(error):
                raise
            assert not list(folder.rglob(".attempt-*")), "an attempt is left behind"
    raise AssertionError("no run was whole")


@pytest.mark.parametrize("call", CALLS)
def test_F24_a_run_whose_nth_call_fails_goes_on_to_the_same_bytes(place, root, tmp_path, monkeypatch, call):
    """n = 1, 2, … with one error after the other."""
    errors = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EMFILE)
    real = getattr(Files, call)

    def inject(n) -> None:
        count = 0

        def failing(self, *arguments):
            nonlocal count
            count += 1
            if count == n:
                raise OSError(errors[n % len(errors)], "injected")
            return real(self, *arguments)

        monkeypatch.setattr(Files, call, failing)

    manifest, failed = stopped_until_whole(place, tmp_path, range(1, 200), inject)
    monkeypatch.undo()
    assert failed >= 3, "the n-th call was never reached"
    assert manifest["root"] == root
    assert verify(str(tmp_path / "out"))[0] == []


class FullDisk(io.RawIOBase):
    """A file whose disk is full at the n-th write: half of it is written, as a disk does."""

    def __init__(self, path: str, *, full) -> None:
        self._file, self._full = Path(path).open("wb"), full  # noqa: SIM115 (until `close`)

    def write(self, data) -> int:
        if self._full():
            self._file.write(bytes(data)[: len(data) // 2])
            raise OSError(errno.ENOSPC, "injected")
        return self._file.write(data)

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()


def test_F24_a_disk_that_is_full_in_the_middle_of_a_file_leaves_no_part_behind(place, root, tmp_path, monkeypatch):
    """The n-th write of a run fails, for every third n."""

    def inject(n) -> None:
        writes = itertools.count(1)

        def create(self, name):
            return pa.PythonFile(FullDisk(self.path(name), full=lambda: next(writes) == n), mode="w")

        monkeypatch.setattr(Files, "create", create)

    manifest, failed = stopped_until_whole(place, tmp_path, range(1, 600, 3), inject)
    monkeypatch.undo()
    assert failed >= 10
    assert manifest["root"] == root
    assert verify(str(tmp_path / "out"))[0] == []


def sleeper(output, *, woken):
    """Writes its part, and is stopped by a signal just before the last moment."""
    import pyarrow as pa

    if not Path(woken).exists():
        Path(woken).touch()
        os.kill(os.getpid(), signal.SIGSTOP)
    output.table("docs", pa.table({"x": [7]}))
    return {"rows": 1}


def test_F23_a_worker_that_slept_through_its_replacement_discards_its_work(tmp_path):
    code = (
        "import sys; from pipeline.parts import Task, execute\n"
        "task = Task(phase='p-1', unit='u', function='test_file_faults:sleeper', arguments={'woken': sys.argv[2]})\n"
        "print(execute(sys.argv[1], task).observed['seconds'])\n"
    )
    tests = os.pathsep.join(map(str, (ROOT, ROOT / "tests/pipeline", ROOT / "tests/pipeline/sources")))
    mark = tmp_path / "woken"
    zombie = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(mark)], stdout=subprocess.PIPE,
                              env={**os.environ, "PYTHONPATH": tests})  # fmt: skip
    deadline = time.monotonic() + 60
    while "T" not in Path(f"/proc/{zombie.pid}/stat").read_text().rpartition(")")[2].split()[0]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    task = Task(phase="p-1", unit="u", function="test_file_faults:sleeper", arguments={"woken": str(mark)})
    replacement = execute(str(tmp_path), task)
    part = tmp_path / "p-1" / "u.docs.parquet"
    before = part.stat().st_mtime_ns, part.stat().st_ino
    zombie.send_signal(signal.SIGCONT)
    told, _ = zombie.communicate(timeout=60)
    assert float(told) == replacement.observed["seconds"]
    assert (part.stat().st_mtime_ns, part.stat().st_ino) == before
    assert not list(tmp_path.rglob(".attempt-*"))
