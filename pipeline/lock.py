"""One writer per run folder."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from pipeline.object_store import is_remote


class LockedError(RuntimeError):
    """Another process writes this run."""


class NotWritableError(RuntimeError):
    """A folder that a run has to write into cannot be made or written."""


def _handle(folder: str | Path, name: str, option: str) -> TextIO:
    """The open lock file of a folder, which is made if it is not there. NotWritableError names the option to change."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        return (Path(folder) / name).open("a+", encoding="utf-8")
    except OSError as error:
        raise NotWritableError(f"{folder}: cannot be written ({error.strerror}). Give another {option}.") from error


@contextmanager
def run_lock(folder: str | Path) -> Iterator[None]:
    """Hold the run folder for this process. The system releases it when the process ends, however it ends.

    Orphaned workers of a killed driver need no lock: their tasks are pure and commit the same bytes under the same
    names. LockedError names the process that holds the lock.
    """
    if is_remote(str(folder)):
        # Object stores have no locks; commit records keep two writers from harming each other there.
        yield
        return
    with _handle(folder, ".lock", "--out") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise LockedError(
                f"{folder}: another process writes this run ({handle.read().strip() or 'unknown'}). "
                "Wait for it, or give another --out."
            ) from None
        handle.truncate(0)
        handle.write(json.dumps({"pid": os.getpid()}))
        handle.flush()
        yield


def holder(folder: str | Path) -> int | None:
    """The process that holds the run folder now; None if nobody does, and for an object store, which has no locks."""
    path = Path(str(folder).removeprefix("file://")) / ".lock"
    if is_remote(str(folder)) or not path.is_file():
        return None
    with path.open("r", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(json.loads(handle.read() or "{}").get("pid", 0))
    return None


@contextmanager
def work_lock(folder: str | Path, *, alone: bool = False) -> Iterator[None]:
    """Hold a work folder: any number of runs at once, or alone for what deletes in it. LockedError if the other kind
    holds it. Object stores have no locks: there whoever deletes must know that no run works in it."""
    if is_remote(str(folder)):
        yield
        return
    with _handle(folder, ".in-use", "--work") as handle:
        try:
            fcntl.flock(handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            what = "a run works in it" if alone else "cached work is being freed in it"
            raise LockedError(f"{folder}: {what}. Wait for it.") from None
        yield
