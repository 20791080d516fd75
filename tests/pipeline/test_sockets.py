"""None of our processes listens beyond this machine."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
from corpus import make_crawl

ROOT = Path(__file__).parents[2]
_LISTEN = "0A"
_LOOPBACK = ("0100007F", "00000000000000000000000001000000")
RECIPE = 'name: t\ninput: {{paths: ["{crawl}"]}}\nstages:\n  - {{type: extract}}\n  - {{type: gopher_quality}}\n'


def listening(pid: int) -> set[str]:
    """Addresses (as in /proc/net/tcp) on which a process listens."""
    inodes = set()
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            # A file may be closed between the listing and the look at it.
            with contextlib.suppress(FileNotFoundError):
                target = str(entry.readlink())
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
        rows = [line.split() for name in ("tcp", "tcp6") for line in
                Path(f"/proc/{pid}/net/{name}").read_text().split("\n")[1:] if line]  # fmt: skip
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # it ended meanwhile
        return set()
    return {row[1].partition(":")[0] for row in rows if row[3] == _LISTEN and row[9] in inodes}


def test_a_run_with_its_parser_child_listens_nowhere_but_on_loopback(tmp_path):
    """An inline run: all its processes are ours. (Ray's own bind every interface; a token keeps strangers out.)"""
    crawl = make_crawl(tmp_path / "crawl", files=1, pages_per_file=30)
    (tmp_path / "r.yaml").write_text(RECIPE.format(crawl=crawl))
    driver = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out"),
         "--work", str(tmp_path / "work"), "--runner", "inline"], cwd=ROOT, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    open_to_all, looks, most = set(), 0, 0
    while driver.poll() is None:
        try:
            family = [driver.pid, *(child.pid for child in psutil.Process(driver.pid).children(recursive=True))]
        except psutil.NoSuchProcess:
            break
        looks, most = looks + 1, max(most, len(family))
        open_to_all |= {address for pid in family for address in listening(pid)} - set(_LOOPBACK)
        time.sleep(0.02)
    assert driver.wait(timeout=60) == 0
    assert looks > 10
    assert most >= 2, "the parser child was never seen"
    assert open_to_all == set()


def test_the_look_sees_a_socket_that_is_open_to_all():
    import socket

    with socket.create_server(("0.0.0.0", 0)):
        assert listening(os.getpid()) - set(_LOOPBACK) == {"00000000"}
