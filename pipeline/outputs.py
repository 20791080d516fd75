"""The run's folder: finished parts brought under their public names, and the manifest that is written last."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.files import ATTEMPT_PREFIX, Files, Written
from pipeline.root import COVERED

MANIFEST = "manifest.json"


def collect(work: Files, out: Files, wanted: Mapping[str, Written]) -> dict[str, str]:
    """Make `out` hold exactly these finished files under their public names. Returns name -> sha256.

    The manifest goes first, so that a reader never takes a half-changed folder for a finished run; files of an earlier
    run that this one does not make are removed. Local files are linked, not copied, where the disk allows it.
    """
    if out.exists(MANIFEST):
        out.delete(MANIFEST)
    for folder in COVERED:
        for name in out.names(folder.rstrip("/")):
            if f"{folder}{name}" not in wanted:
                out.delete(f"{folder}{name}")
        if out.local:
            for leftover in Path(out.path(folder.rstrip("/"))).glob(f"{ATTEMPT_PREFIX}*"):
                leftover.unlink()
    for name, written in wanted.items():
        _bring(work, out, written, name)
    return {name: written.sha256 for name, written in sorted(wanted.items())}


def _bring(work: Files, out: Files, written: Written, name: str) -> None:
    """Bring one file under its public name and hash it there: a part that rotted since its commit stops the run."""
    if out.exists(name):
        out.delete(name)
    if not _linked(work, out, written, name):
        out.copy_here(work, written.name, name)
    if out.sha256(name) != (written.sha256, written.size_bytes):
        out.delete(name)
        raise OSError(
            f"{work.path(written.name)} is not what was committed: the disk or somebody changed it. Delete it and its "
            ".commit.json and run again."
        )


def _linked(work: Files, out: Files, written: Written, name: str) -> bool:
    """Whether the disk allowed a link instead of a copy: same device, and a file system with links."""
    if not (work.local and out.local):
        return False
    target = Path(out.path(name))
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(work.path(written.name))
    except OSError:
        return False
    return True


def read_manifest(out: str | Path) -> dict[str, Any]:
    """A finished run's manifest. FileNotFoundError names the folder and what it lacks."""
    files = Files(str(out))
    if not files.exists(MANIFEST):
        raise FileNotFoundError(f"{out}: no {MANIFEST} there, so no finished run. Give the folder named by --out.")
    manifest: dict[str, Any] = json.loads(files.read(MANIFEST))
    return manifest


def write_manifest(out: Files, manifest: Mapping[str, Any]) -> None:
    out.write_bytes(MANIFEST, json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False).encode())
