"""Everything in this process, one task after the other: for debugging and tests."""

from collections.abc import Iterator, Sequence

from pipeline.parts import Commit, Task, execute
from pipeline.runners.base import TaskFailedError


class InlineRunner:
    workers = 1

    def run(self, work: str, tasks: Sequence[Task]) -> Iterator[tuple[int, Commit]]:
        for place, task in enumerate(tasks):
            try:
                commit = execute(work, task)
            except Exception as error:
                raise TaskFailedError(f"{task.phase}, unit {task.unit}: {error}") from error
            yield place, commit

    def close(self) -> None:
        """Nothing to release."""
