"""The report of a run wherever it lies: on a disk, or in an object store."""

import tempfile
from pathlib import Path

from pipeline.files import Files
from pipeline.outputs import read_manifest
from pipeline.report.page import REPORT, write_report


def report_of(out: str) -> str:
    """Write a finished run's `report.html` into its folder; gives its address.

    What the page needs of a run in a store (manifest, kept/ and ledger/) is brought to the local disk (TMPDIR) first
    and removed again: the page reads the parts several times.
    """
    files = Files(out)
    if files.local:
        return str(write_report(Path(files.base)))
    with tempfile.TemporaryDirectory(prefix="tamis-report-") as folder:
        here = Files(folder)
        wanted = [name for name in read_manifest(out)["outputs"] if name.startswith(("kept/", "ledger/"))]
        for name in ("manifest.json", *(["results.json"] if files.exists("results.json") else []), *wanted):
            here.copy_here(files, name, name)
        files.write_bytes(REPORT, write_report(Path(folder)).read_bytes())
    return f"{out.rstrip('/')}/{REPORT}"
