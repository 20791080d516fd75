"""One writer for each folder of a model: a second one waits, and then finds what the first one did."""

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = ".lock"


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Hold `out` until the end; while another process holds it, say so and wait.

    The lock is the kernel's: it goes with its process, however that ends, and holds between machines where the file
    system carries flock (NFS 4 does). The file stays.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{out}: another process trains there: waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
