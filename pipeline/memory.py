"""What a worker holds, and giving back what it no longer needs."""

import ctypes
import os
import resource
from pathlib import Path

import psutil
import pyarrow as pa


def give_back() -> None:
    """Hand the pages that no object uses any more to the system: Arrow's pool and the C library keep them otherwise,
    so that a worker's memory would be the sum of its largest tasks' leftovers and not the need of one task."""
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; other C libraries have none
    if trim is not None:
        trim(0)


def peak_bytes() -> int:
    """Bytes that this worker has held at most: its own peak, and on top of it that of its parser child, whichever of
    those that live and those that have ended took most. Linux counts what they share twice, so it is an upper bound."""
    # Not ru_maxrss where it can be had: that begins with what the process held which started this one.
    own = _peak_of(os.getpid()) or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    ended = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    living = sum(_peak_of(child.pid) for child in psutil.Process().children() if _is_parser(child))
    return int(own + max(ended, living))


def cpu_seconds() -> float:
    """CPU seconds that this process has used so far, and with it its parser child, living or ended. A difference of
    two is what a task cost, however busy the machine was."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    living = sum(_cpu_of(child) for child in psutil.Process().children() if _is_parser(child))
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime + living


def _cpu_of(child: psutil.Process) -> float:
    """CPU seconds of a child and of those of its own that have ended; 0 if it is gone: then it counts as ended."""
    try:
        return float(sum(child.cpu_times()[:4]))
    except psutil.Error:
        return 0.0


def _is_parser(child: psutil.Process) -> bool:
    """Whether a child process is a parser child, and not something else that this process has started."""
    try:
        return "pipeline.parser_child" in child.cmdline()
    except psutil.Error:  # gone, or not ours to look at
        return False


def _peak_of(pid: int) -> int:
    """VmHWM of a living process in bytes; 0 where there is no /proc, or the process is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.split("\n") if line.startswith("VmHWM:")), 0)
