"""A process that ends when its parent does, so that nothing goes on unseen after a kill."""

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def end_with(parent: int) -> None:
    """From here on this process is killed when `parent` ends, or when the thread of it that started this process does;
    at once if that has happened already. Where the system is not Linux only the latter."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent died")
