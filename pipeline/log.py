"""`--log json`: what a run does as one JSON object a line on standard error, for whoever collects logs."""

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO, Any, Self

from pipeline.parts import Commit
from pipeline.progress import rejected, shown_name

#: A line for every finished unit would be millions: one a phase at most this often, in seconds, besides its ends.
_LINE_SECONDS = 5.0


class JsonLines:
    """Progress for machines. Every line has `time` (UTC), `event` and, but for those of the run, `phase` and `key`.

    Events: `phase_begun` (units, cached), `progress` (done, units, units_per_second, seconds_left, rejected, and the
    slowest unit so far), `phase_done` (the same, with seconds), and those that `say` writes.
    """

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stderr
        self._phases: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if error is not None:
            self.say("run_failed", error=type(error).__name__, message=str(error))

    def say(self, event: str, **told: Any) -> None:
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        print(json.dumps({"time": moment, "event": event, **told}, ensure_ascii=False), file=self._stream, flush=True)

    def closing(self, manifest: Mapping[str, Any]) -> None:
        """What the finished run warns of, and how it ends."""
        for warning in manifest["warnings"]:
            self.say("warning", **warning)
        counts = {name: manifest["counts"][name] for name in ("documents", "kept", "dropped", "quarantined", "tokens")}
        self.say("run_done", root=manifest["root"], seconds=manifest["observed"]["seconds"], **counts)

    def begin(self, phase: str, *, total: int, done: int) -> None:
        self._phases[phase] = {
            "total": total, "done": done, "cached": done, "begun": time.monotonic(), "spoke": time.monotonic(),
            "rejected": Counter[str](), "slowest": (0.0, ""),
        }  # fmt: skip
        self._tell("phase_begun", phase, units=total, cached=done)

    def advance(self, phase: str, commit: Commit) -> None:
        held = self._phases[phase]
        held["done"] += 1
        held["rejected"] += rejected(commit)
        held["slowest"] = max(held["slowest"], (commit.observed["seconds"], commit.unit))
        if time.monotonic() - held["spoke"] >= _LINE_SECONDS:
            held["spoke"] = time.monotonic()
            self._tell("progress", phase, **self._standing(held))

    def end(self, phase: str) -> None:
        held = self._phases[phase]
        seconds = round(time.monotonic() - held["begun"], 3)
        self._tell("phase_done", phase, **self._standing(held), seconds=seconds)

    def _tell(self, event: str, phase: str, **told: Any) -> None:
        self.say(event, phase=shown_name(phase), key=phase.rpartition("-")[2], **told)

    @staticmethod
    def _standing(held: dict[str, Any]) -> dict[str, Any]:
        """How far, how fast since it began, how long that leaves; null where nothing can be said."""
        fresh, left = held["done"] - held["cached"], held["total"] - held["done"]
        spent = time.monotonic() - held["begun"]
        rate = fresh / spent if fresh and spent > 0 else None
        return {
            "done": held["done"], "units": held["total"], "cached": held["cached"],
            "units_per_second": None if rate is None else round(rate, 3),
            "seconds_left": None if rate is None else round(left / rate, 1),
            "rejected": dict(held["rejected"].most_common()),
            "slowest": {"seconds": held["slowest"][0], "unit": held["slowest"][1]} if fresh else None,
        }  # fmt: skip
