"""The run's folder: finished parts brought under their public names, and the manifest that is written last."""

import contextlib
import json
import shutil
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
    if out.exists(name) and out.sha256(name) == (written.sha256, written.size_bytes):
        return
    if out.exists(name):
        out.delete(name)
    if work.local and out.local:
        target = Path(out.path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # other device, or a file system without links: copied below
            target.hardlink_to(work.path(written.name))
            return

    def copy(sink: Any) -> None:
        with work.open(written.name) as source:
            shutil.copyfileobj(source, sink, length=1 << 20)

    copied = out.write(name, copy)
    if copied.sha256 != written.sha256:
        raise OSError(f"{out.path(name)}: the copy differs from the part it was made of. Check the disk and run again.")


def read_manifest(out: str | Path) -> dict[str, Any]:
    """A finished run's manifest. FileNotFoundError names the folder and what it lacks."""
    files = Files(str(out))
    if not files.exists(MANIFEST):
        raise FileNotFoundError(f"{out}: no {MANIFEST} there, so no finished run. Give the folder named by --out.")
    manifest: dict[str, Any] = json.loads(files.read(MANIFEST))
    return manifest


def write_manifest(out: Files, manifest: Mapping[str, Any]) -> None:
    out.write_bytes(MANIFEST, json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False).encode())
