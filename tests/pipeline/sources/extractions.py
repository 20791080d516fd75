"""A whole run of extraction over a few files, and what holds for every such run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.recipe import load_recipe
from pipeline.run import Options, run
from pipeline.verify import verify

RECIPE = """\
name: faults
input: {{paths: ["{crawl}"], split_bytes: {split_bytes}, max_record_bytes: {max_record_bytes}}}
stages:
  - {{type: extract, {settings}}}
"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    manifest: dict[str, Any]
    kept: list[dict[str, Any]]
    ledger: list[dict[str, Any]]

    @property
    def urls(self) -> list[str]:
        return [row["url"] for row in self.kept]

    @property
    def reasons(self) -> list[tuple[str, int]]:
        return [(row["reason"], row["offset"]) for row in self.ledger]


def extracted(
    folder: Path,
    files: Mapping[str, bytes],
    *,
    split_bytes: int = 1 << 20,
    max_record_bytes: int = 1 << 20,
    settings: str = "engine: resiliparse",
) -> Outcome:
    """Runs extraction over files given as name -> bytes, checks what holds for every run, and returns the outcome."""
    crawl = folder / "crawl"
    crawl.mkdir(exist_ok=True)
    for name, data in files.items():
        (crawl / name).write_bytes(data)
    recipe = folder / "faults.yaml"
    recipe.write_text(
        RECIPE.format(crawl=crawl, split_bytes=split_bytes, max_record_bytes=max_record_bytes, settings=settings)
    )
    out = folder / "out"
    manifest = run(load_recipe(recipe), Options(out=str(out), work=str(folder / "work"), runner="inline"))
    counts = manifest["counts"]
    assert counts["documents"] == counts["kept"] + counts["dropped"] + counts["quarantined"]
    findings, looked = verify(str(out), inputs=[str(crawl)])
    assert findings == []
    assert looked["input documents"] == counts["documents"]
    kept, ledger = (
        [row for path in sorted((out / name).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
        for name in ("kept", "ledger")
    )
    return Outcome(manifest=manifest, kept=kept, ledger=ledger)
