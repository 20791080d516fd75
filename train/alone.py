"""One writer for each folder of a model: a second one waits, and then finds what the first one did."""

import errno
import fcntl
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

LOCK = ".lock"
#: What a file system says that carries no locks.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
#: Folders that this process holds: who trains within a held folder holds it already.
_held: set[Path] = set()


@contextmanager
def alone(out: Path, *, waits: bool = True) -> Iterator[None]:
    """Hold `out` until the end; while another process holds it, say so and wait, or raise ValueError (`waits`).

    The lock is the kernel's: it goes with its process, however that ends, and holds between machines where the file
    system carries flock (NFS 4 does). Where it carries none this is said, and nothing is held. The file stays.
    """
    out.mkdir(parents=True, exist_ok=True)
    place = out.resolve()
    if place in _held:
        yield
        return
    with (out / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not waits:
                raise ValueError(
                    f"{out}: another process trains there: wait for it, or choose another folder"
                ) from None
            print(f"{out}: another process trains there: waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            print(f"{out}: no locks on this file system ({error}): start no second training there", file=sys.stderr)
        _held.add(place)
        try:
            yield
        finally:
            _held.discard(place)


@contextmanager
def alone_in_all(outs: Iterable[Path]) -> Iterator[None]:
    """Hold several folders, taken in one order everywhere, so that no two processes wait for each other."""
    with ExitStack() as held:
        for out in sorted(set(outs)):
            held.enter_context(alone(out))
        yield
