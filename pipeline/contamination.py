"""`tamis contamination`: which benchmark items were found in which documents, kept and dropped."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow.compute as pc

from pipeline.files import Files
from pipeline.outputs import read_manifest
from stages.decontaminate import read_found


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One item in one document."""

    benchmark: str
    item: str
    #: n-grams that the document and the item share, and the item's.
    shared: int
    of: int
    #: `kept` or `dropped`.
    outcome: str
    document: str
    url: str | None


class NotLookedForError(LookupError):
    """The run has no stage that looks for benchmarks."""


def contamination(out: str) -> list[Finding]:
    """Every item that a run's `decontaminate` stage found, by benchmark, item and document."""
    manifest, files = read_manifest(out), Files(out)
    stages = {stage["stage"] for stage in manifest["counts"]["stages"] if stage["stage"].startswith("decontaminate")}
    if not stages:
        raise NotLookedForError(f"{out}: the recipe has no stage 'decontaminate'")
    found: list[Finding] = []
    for split in manifest["splits"]:
        for outcome, folder, column in (("kept", "kept", "contaminated_by"), ("dropped", "ledger", "detail")):
            table = files.read_table(f"{folder}/{split['part']}.parquet")
            if folder == "ledger":
                table = table.filter(pc.equal(table["reason"], "contaminated"))
            for row in table.select(["id", "url", column]).to_pylist():
                for benchmark, item, shared, total in read_found(row[column]) if row[column] else ():
                    found.append(
                        Finding(
                            benchmark=benchmark, item=item, shared=shared, of=total, outcome=outcome,
                            document=row["id"], url=row["url"],
                        )
                    )  # fmt: skip
    return sorted(found, key=lambda one: (one.benchmark, one.item, -one.shared, one.document))


def as_json(found: Sequence[Finding]) -> list[dict[str, Any]]:
    return [asdict(finding) for finding in found]


def as_text(found: Sequence[Finding]) -> str:
    """A table by benchmark, and below it every item with its documents."""
    lines = [f"{'benchmark':<24} {'items found':>12} {'documents dropped':>18} {'documents kept':>15}"]
    for benchmark in dict.fromkeys(finding.benchmark for finding in found):
        own = [finding for finding in found if finding.benchmark == benchmark]
        items = len({finding.item for finding in own})
        dropped, kept = (
            len({finding.document for finding in own if finding.outcome == outcome}) for outcome in ("dropped", "kept")
        )
        lines.append(f"{benchmark:<24} {items:>12,} {dropped:>18,} {kept:>15,}")
    lines.append("")
    lines += [_line(finding) for finding in found]
    return "\n".join(lines).rstrip() if found else "no item of any benchmark was found"


def _line(found: Finding) -> str:
    place = f"{found.document}  {found.url}" if found.url else found.document
    return f"{found.benchmark}:{found.item}  {found.shared} of {found.of} n-grams  {found.outcome}  {place}"
