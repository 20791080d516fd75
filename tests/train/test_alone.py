"""A folder has one writer at a time; a second one waits and finds what the first one did."""

import errno
import fcntl
import subprocess
import sys
import threading
import time
from pathlib import Path

from tokenizer.shards import ShardSet
from train.alone import alone
from train.loop import train
from train.presets import preset
from train.settings import TrainSettings

HOLDER = """
import sys
from pathlib import Path
from train.alone import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_file_system_without_locks_is_told_and_trained_on(tmp_path: Path, monkeypatch, capsys) -> None:
    def none(*_) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with alone(tmp_path / "out"), alone(tmp_path / "out"):
        pass
    assert capsys.readouterr().err.count("no locks on this file system") == 1


def test_who_cannot_wait_is_refused_and_who_holds_a_folder_holds_it(tmp_path: Path) -> None:
    with alone(tmp_path / "out"), alone(tmp_path / "out", waits=False):
        code = HOLDER.replace("alone(Path(sys.argv[1]))", "alone(Path(sys.argv[1]), waits=False)")
        found = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "out")], capture_output=True, text=True, check=False,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
    assert found.returncode == 1
    assert "another process trains there: wait for it" in found.stderr
    with alone(tmp_path / "out", waits=False):
        pass


def test_a_second_training_waits_until_the_first_process_is_gone(shards: ShardSet, tmp_path: Path, capfd) -> None:
    tiny = preset("tiny")
    settings = TrainSettings.from_preset(tiny, tokens=1024)
    ended: list[dict] = []

    def second() -> None:
        ended.append(train(shards, settings, model=tiny.model(shards.metadata.vocab_size), out=tmp_path / "out"))

    command = [sys.executable, "-c", HOLDER, str(tmp_path / "out")]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        waiting = threading.Thread(target=second)
        waiting.start()
        told = ""
        deadline = time.monotonic() + 60
        while "another process trains there: waiting for it" not in told and time.monotonic() < deadline:
            told += capfd.readouterr().err
            time.sleep(0.01)
        still = not ended and not (tmp_path / "out" / "metrics.jsonl").exists()
        holder.kill()
    waiting.join(timeout=60)
    assert "another process trains there" in told
    assert still
    assert ended[0]["finished"]
