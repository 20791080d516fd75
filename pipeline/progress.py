"""Progress on a terminal: phase, parts done, rate, time left, and what was rejected so far."""

import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipeline.parts import Commit

#: Without a terminal a line is printed this often, in seconds, so that logs stay readable.
_LINE_SECONDS = 10.0
#: Reasons shown beside the bar.
_SHOWN_REASONS = 3


def shown_name(phase: str) -> str:
    """A phase's name without its key."""
    return phase.rpartition("-")[0]


def rejected(commit: Commit) -> Counter[str]:
    """Counts by reason over a part's stages."""
    total: Counter[str] = Counter()
    for stage in commit.counts.get("stages", {}).values():
        total.update(stage.get("reasons", {}))
    total.update(commit.counts.get("rejected", {}))
    return total


class Terminal:
    """Bars on a terminal, lines elsewhere."""

    def __init__(self, *, stream: Console | None = None) -> None:
        self._console = stream or Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description:<34}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(),
            TimeRemainingColumn(), TextColumn("{task.fields[rate]}"), TextColumn("{task.fields[note]}"),
            console=self._console, transient=False,
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}
        self._reasons: dict[str, Counter[str]] = {}
        self._counts: dict[str, list[int]] = {}
        self._started: dict[str, float] = {}
        self._done_now: dict[str, Counter[str]] = {}
        self._spoke = 0.0
        self._live = self._console.is_terminal

    def __enter__(self) -> Self:
        if self._live:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._bars.stop()

    def begin(self, phase: str, *, total: int, done: int) -> None:
        self._reasons[phase] = Counter()
        self._counts[phase] = [total, done]
        self._started[phase] = time.monotonic()
        self._done_now[phase] = Counter()
        note = "cached" if total == done else ""
        if self._live:
            self._tasks[phase] = self._bars.add_task(shown_name(phase), total=total, completed=done, rate="", note=note)

    def advance(self, phase: str, commit: Commit) -> None:
        self._reasons[phase] += rejected(commit)
        self._counts[phase][1] += 1
        documents = commit.counts.get("documents", 0)
        self._done_now[phase].update(parts=1, documents=documents if isinstance(documents, int) else 0)
        rate = self._rate(phase)
        note = ", ".join(f"{reason} {count}" for reason, count in self._reasons[phase].most_common(_SHOWN_REASONS))
        if self._live:
            self._bars.update(self._tasks[phase], advance=1, rate=rate, note=note)
        elif time.monotonic() - self._spoke > _LINE_SECONDS:
            self._spoke = time.monotonic()
            total, done = self._counts[phase]
            spent = self._spoke - self._started[phase]
            # What was found done has taken no time now.
            left = spent / self._done_now[phase]["parts"] * (total - done)
            print(
                f"{shown_name(phase)}: {done}/{total}, {rate}, {spent:.0f} s, about {left:.0f} s left. {note}",
                file=sys.stderr,
            )

    def _rate(self, phase: str) -> str:
        """Documents a second of this call, or parts where a phase does not count documents."""
        now, seconds = self._done_now[phase], max(1e-3, time.monotonic() - self._started[phase])
        if now["documents"]:
            return f"{now['documents'] / seconds:,.0f} documents/s"
        return f"{now['parts'] / seconds:,.1f} parts/s"

    def end(self, phase: str) -> None:
        if self._live:
            self._bars.update(self._tasks[phase], refresh=True)

    def closing(self, manifest: Mapping[str, Any]) -> None:
        """What the finished run warns of."""
        for warning in manifest["warnings"]:
            self._console.print(f"tamis: warning: {warning['message']}", highlight=False, markup=False, soft_wrap=True)
