"""`tamis status`: what a run is doing, or was doing when it died, told from another terminal.

The driver leaves a note in the run's folder whenever it begins a phase; everything else is read from the commit records
in the work folder, so it is true whatever became of the driver, and costs the run nothing.
"""

import json
import time
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from pipeline.engine import Progress
from pipeline.exits import told
from pipeline.files import Files
from pipeline.lock import holder
from pipeline.object_store import is_remote
from pipeline.parts import Commit, committed_units, read_commit
from pipeline.progress import rejected, shown_name

NOTE = "status.json"
#: Units shown as the slowest.
_SLOWEST = 5
#: Below these numbers of seconds, minutes and hours a duration is told in that unit.
_UNITS = ((120, 1, "s"), (7200, 60, "min"), (float("inf"), 3600, "h"))


class Noted:
    """A run's progress, passed on to whoever watches here, and noted for those who watch from elsewhere."""

    def __init__(self, inner: Progress, *, out: str, work: str) -> None:
        self._inner, self._files = inner, Files(out)
        self._note: dict[str, Any] = {"work": work, "started": time.time(), "finished": None, "phases": []}

    def _write(self) -> None:
        self._files.write_bytes(NOTE, json.dumps(self._note, indent=1).encode())

    def begin(self, phase: str, *, total: int, done: int) -> None:
        # A phase may come in several rounds (extraction repairs splits): one entry, the latest round.
        others = [entry for entry in self._note["phases"] if entry["phase"] != phase]
        self._note["phases"] = [*others, {"phase": phase, "total": total, "cached": done, "begun": time.time()}]
        self._write()
        self._inner.begin(phase, total=total, done=done)

    def advance(self, phase: str, commit: Commit) -> None:
        self._inner.advance(phase, commit)

    def end(self, phase: str) -> None:
        self._inner.end(phase)

    def finish(self) -> None:
        self._note["finished"] = time.time()
        self._write()


def status(out: str) -> dict[str, Any]:
    """What the note and the commit records say. FileNotFoundError if no run was ever begun there."""
    files = Files(out)
    if not files.exists(NOTE):
        raise FileNotFoundError(f"{out}: no {NOTE} there, so no run was begun. Give the folder named by --out.")
    note, pid, now = json.loads(files.read(NOTE)), holder(out), time.time()
    work, slowest, reasons, peak = Files(note["work"]), [], Counter[str](), 0.0
    records: list[dict[str, Any]] = []
    phases = []
    for entry in note["phases"]:
        phase = entry["phase"]
        commits = [read_commit(work, phase, unit) for unit in sorted(committed_units(work, phase))]
        peak = max([peak, *(commit.observed["peak_memory_bytes"] for commit in commits)])
        dropped = sum((rejected(commit) for commit in commits), Counter[str]())
        reasons += dropped
        slowest += [(commit.observed["seconds"], phase, commit.unit) for commit in commits]
        for commit in commits:
            records += commit.observed.get("slowest_records", [])
        records = sorted(records, key=lambda one: (-one["seconds"], one["source"], one["offset"]))[:_SLOWEST]
        phases.append(_progress(entry, done=min(len(commits), entry["total"]), rejected=dropped, now=now))
    if note["finished"] is not None:
        state = "finished"
    elif is_remote(out):
        state = "unknown"  # a store has no lock that would tell
    else:
        state = "running" if pid is not None else "stopped"
    slow = [
        {"seconds": seconds, "phase": phase, "unit": unit} for seconds, phase, unit in sorted(slowest)[::-1][:_SLOWEST]
    ]
    return {
        "state": state, "pid": pid, "seconds": round((note["finished"] or now) - note["started"], 1),
        "work": note["work"], "phases": phases, "rejected": dict(reasons.most_common()), "slowest": slow,
        "slowest_records": records,
        "peak_worker_memory_bytes": int(peak),
    }  # fmt: skip


def _progress(entry: Mapping[str, Any], *, done: int, rejected: Counter[str], now: float) -> dict[str, Any]:
    """One phase: how far, how fast since it began, and how long that leaves; null where nothing can be said yet."""
    fresh, left, spent = done - entry["cached"], entry["total"] - done, now - entry["begun"]
    rate = fresh / spent if left and fresh > 0 and spent > 0 else None
    return {
        "phase": entry["phase"], "done": done, "total": entry["total"], "cached": entry["cached"],
        "units_per_second": None if rate is None else round(rate, 3),
        "seconds_left": None if rate is None else round(left / rate, 1), "rejected": dict(rejected.most_common()),
    }  # fmt: skip


def _duration(seconds: float) -> str:
    below, size, unit = next(entry for entry in _UNITS if seconds < entry[0])
    del below
    return f"{seconds / size:.0f} {unit}"


def status_text(found: Mapping[str, Any]) -> str:
    """The same for a terminal."""
    process = f" (process {found['pid']})" if found["pid"] else ""
    lines = [f"{found['state']}{process}, {_duration(found['seconds'])} since it began"]
    if found["state"] == "stopped":
        lines[0] += ": the same command goes on from here"
    for phase in found["phases"]:
        line = f"{shown_name(phase['phase']):<34} {phase['done']:>7,} of {phase['total']:,}"
        if phase["units_per_second"] is not None and found["state"] != "stopped":
            line += f", {phase['units_per_second']:g} a second, about {_duration(phase['seconds_left'])} left"
        elif phase["total"] and phase["cached"] == phase["total"]:
            line += ", cached"
        lines.append(line)
    if found["rejected"]:
        lines.append("rejected  " + ", ".join(f"{name} {count:,}" for name, count in found["rejected"].items()))
    lines += [f"slow      {one['seconds']:.1f} s  {one['phase']}, unit {one['unit']}" for one in found["slowest"]]
    lines += [
        f"record    {one['seconds']:.1f} s  {one['source']} at {one['offset']}  {one['url']}"
        for one in found["slowest_records"]
    ]
    lines.append(f"memory    {found['peak_worker_memory_bytes'] / 1e6:,.0f} MB at most in one worker")
    return "\n".join(lines)


def status_command(
    run_folder: Annotated[str, typer.Argument(help="the --out of a run that is running, finished or dead")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of text")] = False,
) -> None:
    """What a run is doing: phases with rate and time left, drops by reason, slowest units, memory."""
    with told():
        found = status(run_folder)
        print(json.dumps(found, indent=1) if as_json else status_text(found))
