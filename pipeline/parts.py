"""Parts and their commit records: how a unit of work leaves its result so that it counts exactly once.

A part is named by its phase and unit, never by worker, time or uuid. Its files are written first; then the commit
record, which names them with their hashes and counts. The commit record is the only truth: a Parquet file that opens
is not a part that is done.

    <work>/<phase>/<unit>.<suffix>        the files of a part
    <work>/<phase>/<unit>.commit.json     their record, written last
"""

import importlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.files import Files, Written
from pipeline.memory import cpu_seconds, give_back, peak_bytes

_COMMIT = ".commit.json"


@dataclass(frozen=True, kw_only=True)
class Task:
    """One unit of one phase: a pure function of its arguments and of committed parts.

    `function` is "module:name"; it is called as `name(output, **arguments)` in a worker and returns its counts
    (document counts by stage and reason, tokens, …), which must depend on the data alone. `arguments` are plain
    picklable values. What the arguments say must be covered by `phase`, which carries the phase key, and `unit`.
    """

    phase: str
    unit: str
    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    #: Whether it runs faster on a GPU. A runner gives it one to itself where there is one; it does without otherwise.
    gpu: bool = False
    #: Whether it cannot be done without one: it waits for a machine that has one.
    only_gpu: bool = False


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A finished part: its files by suffix, what it counted, and what was observed while it was made.

    `observed` (seconds, CPU seconds, peak memory, slowest records) belongs to the run that did the work: it never
    enters a key or a root hash.
    """

    phase: str
    unit: str
    files: Mapping[str, Written]
    counts: Mapping[str, Any]
    observed: Mapping[str, Any]

    @property
    def content_hashes(self) -> list[str]:
        """sha256 of each file, in the order of their suffixes: what an exchange's key hashes."""
        return [self.files[suffix].sha256 for suffix in sorted(self.files)]


class Output:
    """What a task writes to: files named after its phase and unit, each complete or absent."""

    def __init__(self, files: Files, phase: str, unit: str) -> None:
        self.files = files
        self._stem = f"{phase}/{unit}"
        self.written: dict[str, Written] = {}
        #: What else was seen while the part was made: for people, outside of every key and hash.
        self.observed: dict[str, Any] = {}

    def table(self, suffix: str, table: pa.Table, **options: Any) -> None:
        self.written[suffix] = self.files.write_table(f"{self._stem}.{suffix}.parquet", table, **options)

    def tables(self, suffix: str, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
        """A table as it comes, a row group at a time."""
        self.written[suffix] = self.files.write_tables(f"{self._stem}.{suffix}.parquet", schema, tables)

    def bytes(self, suffix: str, data: bytes) -> None:
        self.written[suffix] = self.files.write_bytes(f"{self._stem}.{suffix}", data)

    def adopt(self, suffix: str, fill: Any, *, extension: str) -> None:
        """A file in a format of its own: `fill(sink)` writes it."""
        self.written[suffix] = self.files.write(f"{self._stem}.{suffix}.{extension}", fill)


def commit_name(phase: str, unit: str) -> str:
    return f"{phase}/{unit}{_COMMIT}"


def committed_units(files: Files, phase: str) -> set[str]:
    """The units of a phase that are done: one listing, whatever their number."""
    return {name.removesuffix(_COMMIT) for name in files.names(phase) if name.endswith(_COMMIT)}


def read_commit(files: Files, phase: str, unit: str) -> Commit:
    """The commit record of a part. ValueError if it is not one of ours."""
    name = commit_name(phase, unit)
    try:
        record = json.loads(files.read(name))
        return Commit(
            phase=phase,
            unit=unit,
            files={suffix: Written(**entry) for suffix, entry in record["files"].items()},
            counts=record["counts"],
            observed=record["observed"],
        )
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{files.path(name)} is no commit record ({error!r}). Delete it and run again.") from error


class OvertakenError(RuntimeError):
    """Another attempt has committed this part meanwhile: what this one made is not wanted."""


class AttemptsDifferError(RuntimeError):
    """Two attempts at one part made different bytes, which tasks must not."""


def execute(work: str, task: Task) -> Commit:
    """Do one task in this process and commit it; a part that is committed already is returned as it stands.

    Any number of attempts may run at once, a worker that was stopped for an hour among them: the first commit record
    counts. An attempt that is overtaken gives none of its files a name and returns that record.
    """
    files, record_name = Files(work), commit_name(task.phase, task.unit)
    if files.exists(record_name):
        return read_commit(files, task.phase, task.unit)

    def fence() -> None:
        if files.exists(record_name):
            raise OvertakenError(record_name)

    files.fence = fence
    module, _, name = task.function.partition(":")
    output = Output(files, task.phase, task.unit)
    started, spent = time.perf_counter(), cpu_seconds()
    try:
        counts = getattr(importlib.import_module(module), name)(output, **task.arguments)
    except OvertakenError:
        return read_commit(files, task.phase, task.unit)
    observed = {
        **output.observed,
        "seconds": round(time.perf_counter() - started, 4),
        "cpu_seconds": round(max(0.0, cpu_seconds() - spent), 4),
        "peak_memory_bytes": float(peak_bytes()),
    }
    give_back()
    record = {
        "files": {suffix: written.as_json() for suffix, written in sorted(output.written.items())},
        "counts": counts,
        "observed": observed,
    }
    if files.write_once(record_name, json.dumps(record, sort_keys=True, indent=1).encode()):
        return Commit(phase=task.phase, unit=task.unit, files=output.written, counts=counts, observed=observed)
    first = read_commit(files, task.phase, task.unit)
    if first.files != output.written:
        raise AttemptsDifferError(
            f"{task.phase}, unit {task.unit}: two attempts made different bytes ({first.files} and {output.written}). "
            f"Delete {files.path(record_name)} and run again."
        )
    return first
