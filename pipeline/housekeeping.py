"""`tamis gc`: cached work that no named run reaches, found and, when asked to, freed.

A run reaches the phases that its manifest lists, and the pins of filters are kept while any of their phases is: a phase
is a folder <name>-<16 hex digits>. Models of ablations are reached by the results.json beside a named run, or below it.
Only what we know to be cached work is ever looked at: other folders in the work folder are left alone.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.exits import told
from pipeline.files import Files
from pipeline.lock import work_lock
from pipeline.outputs import MANIFEST, read_manifest

_PHASE = re.compile(r"[a-z][a-z0-9_.-]*-[0-9a-f]{16}")
_MODEL = re.compile(r"(ladder-)?[0-9a-f]{16}")
_RESULTS = "results.json"
#: Uploads and attempts that nobody has finished for this long belong to no living worker: no part takes a day to write.
ABANDONED = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Garbage:
    """One thing that may go: a phase, a model, pins, or what killed workers left."""

    kind: str
    name: str
    files: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Found:
    """What lies in a work folder: kept by the named runs, and not."""

    garbage: tuple[Garbage, ...]
    kept_bytes: int
    #: Uploads to a store that nobody completed: what they hold is not told by the store.
    uploads: tuple[Any, ...] = ()

    @property
    def size_bytes(self) -> int:
        return sum(item.size_bytes for item in self.garbage)


def find_garbage(work: str, runs: Sequence[str], *, abandoned: timedelta = ABANDONED) -> Found:
    """What no named run reaches. ValueError if no run is named, or a run says that its work lies elsewhere;
    FileNotFoundError for a run that is not finished: what it has done so far cannot be known to be garbage."""
    if not runs:
        raise ValueError("name the runs whose cached work is to stay (--runs FOLDER); without one, all of it would go")
    files = Files(work)
    manifests = [(out, read_manifest(out)) for named in runs for out in _runs_in(named)]
    for out, manifest in manifests:
        if Files(manifest["observed"]["work"]).base != files.base:
            raise ValueError(f"{out}: its cached work lies in {manifest['observed']['work']}, not in {work}")
    phases = {phase["phase"] for _, manifest in manifests for phase in manifest["phases"]}
    models = {name for out, _ in manifests for name in _models_of(out)}
    groups: dict[tuple[str, str], dict[str, int]] = {}
    kept = 0
    pinned = {pin for _, manifest in manifests for pin in manifest["observed"].get("pins", [])}
    for name, size in files.sizes("").items():
        kind, owner = _owner(name)
        reached = kind == "" or owner in phases or owner in models or owner in pinned
        if reached:
            kept += size
        else:
            groups.setdefault((kind, owner), {})[name] = size
    uploads = files.store.uploads(files.base, older_than=abandoned) if files.store is not None else []
    garbage = tuple(
        Garbage(kind=kind, name=owner, files=tuple(sorted(found)), size_bytes=sum(found.values()))
        for (kind, owner), found in sorted(groups.items())
    )
    return Found(garbage=garbage, kept_bytes=kept, uploads=tuple(uploads))


def _runs_in(named: str) -> list[str]:
    """The folder itself, or the runs below that of an ablation."""
    files = Files(named)
    if files.exists(MANIFEST) or not files.local:
        return [named]
    return [str(path.parent) for path in sorted(Path(files.base).glob(f"*/**/{MANIFEST}"))] or [named]


def _owner(name: str) -> tuple[str, str]:
    """(kind, name) of the cached thing that a file belongs to; kind "" for what is none of ours to judge."""
    first, _, rest = name.partition("/")
    if _PHASE.fullmatch(first) and rest:
        return "phase", first
    if first == "models" and _MODEL.fullmatch(rest.partition("/")[0]):
        return "model", f"models/{rest.partition('/')[0]}"
    if first == "pins" and rest.endswith(".json"):
        return "pins", name
    return "", ""


def _models_of(out: str) -> Iterable[str]:
    """Models that an ablation over this run stands on: named in the results.json beside it or above it."""
    files = Files(out)
    if not files.local:
        return
    here = Path(files.base)
    for place in (here / _RESULTS, here.parent / _RESULTS, here.parent.parent / _RESULTS):
        if place.is_file():
            yield from (f"models/{name}" for name in _identities(json.loads(place.read_text(encoding="utf-8"))))


def _identities(value: Any) -> Iterable[str]:
    """Every name of a model in a tree of JSON values."""
    if isinstance(value, dict):
        if isinstance(value.get("model"), str):
            yield value["model"]
        for inner in value.values():
            yield from _identities(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _identities(inner)


def free(work: str, found: Found) -> None:
    """Delete what was found. Commit records go first: a part that is half deleted is a part that is not done."""
    files = Files(work)
    for item in found.garbage:
        for name in sorted(item.files, key=lambda name: (not name.endswith(".commit.json"), name)):
            files.delete(name)
    if files.store is not None:
        files.store.abort(files.base, found.uploads)
    else:
        _remove_empty(Path(files.base), {name for item in found.garbage for name in item.files})


def _remove_empty(base: Path, names: Iterable[str]) -> None:
    for folder in sorted({(base / name).parent for name in names}, key=lambda path: -len(path.parts)):
        while folder != base and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent


def gc_command(
    work: Annotated[str, typer.Argument(help="folder of cached phases, as given by --work; local or s3://")],
    runs: Annotated[list[str], typer.Option("--runs", help="run (or ablation) whose work stays; repeatable")],
    yes: Annotated[bool, typer.Option("--yes", help="delete; without it, only say what would be deleted")] = False,
    abandoned_hours: Annotated[
        float, typer.Option(min=0, help="abort uploads to a store that nobody completed for so long")
    ] = ABANDONED / timedelta(hours=1),
) -> None:
    """Free cached work that no named run reaches: phases, models, pins. Says what and how much; deletes with --yes."""
    with told(), work_lock(work, alone=yes):
        found = find_garbage(work, runs, abandoned=timedelta(hours=abandoned_hours))
        for item in found.garbage:
            print(f"{item.kind:<6} {item.size_bytes:>15,} bytes {len(item.files):>7,} files  {item.name}")
        for upload in found.uploads:
            print(f"upload begun {upload.begun:%Y-%m-%d %H:%M}, never completed: {upload.key}")
        if yes:
            free(work, found)
        print(f"{found.size_bytes:,} bytes {'freed' if yes else 'would be freed (--yes does it)'}, "
              f"{found.kept_bytes:,} bytes stay")  # fmt: skip
