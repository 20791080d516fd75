"""The report of a run wherever it lies: on a disk, or in an object store."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline.files import Files
from pipeline.outputs import read_manifest
from pipeline.report.page import REPORT, write_report


def report_of(out: str, *, against: str | None = None) -> str:
    """Write a finished run's `report.html` into its folder, compared with the run in `against`; gives its address.

    What the page needs of a run in a store (manifest, kept/ and ledger/) is brought to the local disk (TMPDIR) first
    and removed again: the page reads the parts several times.
    """
    with ExitStack() as held:
        other = held.enter_context(run_here(against)) if against else None
        files = Files(out)
        if files.local:
            return str(write_report(Path(files.base), against=other))
        files.write_bytes(REPORT, write_report(held.enter_context(run_here(out)), against=other).read_bytes())
    return f"{out.rstrip('/')}/{REPORT}"


@contextmanager
def run_here(out: str) -> Iterator[Path]:
    """A finished run on the local disk: where it lies, or its manifest and documents in a folder for the moment."""
    files = Files(out)
    if files.local:
        yield Path(files.base)
        return
    with tempfile.TemporaryDirectory(prefix="tamis-report-") as folder:
        here = Files(folder)
        wanted = [name for name in read_manifest(out)["outputs"] if name.startswith(("kept/", "ledger/"))]
        for name in ("manifest.json", *(["results.json"] if files.exists("results.json") else []), *wanted):
            here.copy_here(files, name, name)
        yield Path(folder)
