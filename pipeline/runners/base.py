"""What a runner is."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from pipeline.parts import Commit, Task


class TaskFailedError(RuntimeError):
    """A task failed for good: the message names its phase and unit and holds the cause."""


class Runner(Protocol):
    """Executes tasks anywhere and any number of times; `execute` is pure, so a retry is harmless."""

    @property
    def workers(self) -> int:
        """Tasks that can run at the same moment."""
        ...

    def run(self, work: str, tasks: Sequence[Task]) -> Iterator[tuple[int, Commit]]:
        """Yield (place in `tasks`, commit) as tasks finish, in any order. Raises TaskFailedError for the first that
        fails for good."""
        ...

    def close(self) -> None: ...
