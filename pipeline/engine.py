"""The driver's side of the work: hand the tasks that are not yet committed to a runner, and keep the books.

Exchanges and phases are ordinary functions of the driver that build tasks, call `Engine.run` and look at the commits;
what they pass on to the next step are names of committed parts, never data.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pipeline.files import Files
from pipeline.parts import Commit, Task, committed_units, read_commit
from pipeline.runners.base import Runner


def key_of(*parts: Any) -> str:
    """16 hex digits (64 bits) that name these JSON values: the tail of a phase's folder name."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Progress(Protocol):
    """Told what happens; shows it to whoever watches."""

    def begin(self, phase: str, *, total: int, done: int) -> None: ...
    def advance(self, phase: str, commit: Commit) -> None: ...
    def end(self, phase: str) -> None: ...


class Silent:
    """Progress for tests and libraries: shows nothing."""

    def begin(self, phase: str, *, total: int, done: int) -> None:
        """Say nothing."""

    def advance(self, phase: str, commit: Commit) -> None:
        """Say nothing."""

    def end(self, phase: str) -> None:
        """Say nothing."""


class Engine:
    """Runs tasks against one work folder and remembers every commit that this run stands on."""

    def __init__(self, work: str, runner: Runner, *, progress: Progress | None = None) -> None:
        self.work = work
        self.files = Files(work)
        self.runner = runner
        self.progress = progress or Silent()
        #: Commits by phase in the order of the tasks: the run's books.
        self.commits: dict[str, list[Commit]] = {}
        #: Tasks that this run had to do, by phase; the others were found done.
        self.executed: dict[str, int] = {}

    def run(self, tasks: Sequence[Task]) -> list[Commit]:
        """Commits of the tasks, in their order; all tasks belong to one phase. Only what is missing is executed."""
        if not tasks:
            return []
        phase = tasks[0].phase
        assert all(task.phase == phase for task in tasks)
        done = committed_units(self.files, phase)
        commits: list[Commit | None] = [
            read_commit(self.files, phase, task.unit) if task.unit in done else None for task in tasks
        ]
        missing = [place for place, commit in enumerate(commits) if commit is None]
        self.executed[phase] = self.executed.get(phase, 0) + len(missing)
        self.progress.begin(phase, total=len(tasks), done=len(tasks) - len(missing))
        for place, commit in self.runner.run(self.work, [tasks[place] for place in missing]):
            commits[missing[place]] = commit
            self.progress.advance(phase, commit)
        self.progress.end(phase)
        finished = [commit for commit in commits if commit is not None]
        assert len(finished) == len(tasks)
        self.commits.setdefault(phase, []).extend(finished)
        return finished


def content_key(commits: Sequence[Commit]) -> str:
    """One key over the contents of parts: what an exchange hashes of its input."""
    return key_of([[commit.unit, commit.content_hashes] for commit in commits])


def merged_counts(commits: Sequence[Commit]) -> dict[str, Any]:
    """Sum the counts of parts: numbers add up, mappings merge key by key. Keys come out sorted."""
    total: dict[str, Any] = {}
    for commit in commits:
        _add(total, commit.counts)
    return total


def _add(total: dict[str, Any], counts: Mapping[str, Any]) -> None:
    for name in sorted(counts):
        value = counts[name]
        if isinstance(value, Mapping):
            _add(total.setdefault(name, {}), value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            total[name] = total.get(name, 0) + value
