"""One writer per run folder."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LockedError(RuntimeError):
    """Another process writes this run."""


@contextmanager
def run_lock(folder: str | Path) -> Iterator[None]:
    """Hold the run folder for this process. The system releases it when the process ends, however it ends.

    Orphaned workers of a killed driver need no lock: their tasks are pure and commit the same bytes under the same
    names. LockedError names the process that holds the lock.
    """
    if "://" in str(folder):
        # Object stores have no locks; commit records keep two writers from harming each other there.
        yield
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    with (Path(folder) / ".lock").open("a+", encoding="utf-8") as handle:
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
