"""What a test sends to a worker in place of a task: the task, and the moment at which its process is killed."""

import importlib
import os
import signal
import threading
from pathlib import Path
from typing import Any

from pipeline.parts import Output


def run(output: Output, *, function: str, arguments: dict[str, Any], mark: str, after_seconds: float) -> dict[str, Any]:
    """Task: the function with its arguments, in a process that gets SIGKILL after so long. Only once: whoever finds
    the mark is left alone. If the function is done sooner, its worker dies before it can commit."""
    fatal = not Path(mark).exists()
    if fatal:
        Path(mark).touch()
        threading.Timer(after_seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
    module, _, name = function.partition(":")
    counts: dict[str, Any] = getattr(importlib.import_module(module), name)(output, **arguments)
    if fatal:
        threading.Event().wait()
    return counts
