"""A block list built once on a machine and mapped by all its workers, so that they share its memory."""

import fcntl
import os
import platform
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from pipeline.keys import source_key


def shared_list(
    build: Callable[[Iterable[str]], np.ndarray], lines: Callable[[], Iterator[str]], *, sha256: str
) -> np.ndarray:
    """`build(lines())`, read-only, from a file that the first worker to ask writes and the others map.

    `sha256` is that of the list. The file lies in a folder of the temporary directory that only this user can write,
    under a name that also tells what `build` means; it may be deleted whenever nothing runs.
    """
    folder = Path(tempfile.gettempdir(), f"tamis-lists-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o022:
        raise PermissionError(f"{folder} can be written by other users: remove it, or set TMPDIR to another folder")
    name = f"{sha256}-{source_key([build.__module__])}-{platform.python_version()}"
    path = folder / f"{name}.npy"
    with (folder / f"{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the system releases it when the process ends, however it ends
        if not path.is_file():
            attempt = folder / f"{name}.attempt"
            with attempt.open("wb") as target:
                np.save(target, build(lines()))
                target.flush()
                os.fsync(target.fileno())
            attempt.rename(path)
    mapped: np.ndarray = np.load(path, mmap_mode="r").view(np.ndarray)
    return mapped
