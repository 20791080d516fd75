"""Extraction: pages a CPU second from WARC to verdict beside datatrove, and what a cascade's gate loses.

    python -m benchmarks.extraction speed FILE.warc.gz --datatrove PYTHON [--common] [--repeats 3] [--engines …]
    python -m benchmarks.extraction loss FILE.warc.gz…
    python -m benchmarks.extraction child FILE.warc.gz

`--datatrove` (or TAMIS_DATATROVE) names the Python of an environment made like this:

    python3.11 -m venv dt-venv
    dt-venv/bin/pip install 'datatrove[io,processing]==0.10.1' spacy lxml_html_clean

Both sides read the same file and go through the rules of configs/bench/extract.yaml; theirs are their own filters with
their defaults (benchmarks/datatrove_extract.py). A figure is CPU time of a process with all that it started, less what
it took before the first record; the sides take turns. Pages are what each side hands to its extractor. datatrove's
reader asks libmagic for the type of a page and leaves out what that takes for something else: with `--common` both
sides get a WARC of just the records that it hands on.
"""

import argparse
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from scipy.stats import beta

from pipeline.engine import Engine
from pipeline.files import Files
from pipeline.flow import Flow
from pipeline.parser_child import ParserChild
from pipeline.phases.extract import parser_child
from pipeline.recipe import Recipe, load_recipe
from pipeline.run import Options, plan_splits, run
from pipeline.runners.inline import InlineRunner
from pipeline.sources.archive import Chain, Limits, read_gzip
from pipeline.sources.framing import WARC
from pipeline.sources.listing import cut, list_sources
from pipeline.sources.places import open_source
from pipeline.sources.reader import read_split
from pipeline.sources.records import Document, Fields
from stages.extract import ExtractSettings, RawRecord

RECIPE: Final = Path(__file__).parents[1] / "configs" / "bench" / "extract.yaml"
MODEL: Final = Path(__file__).parents[1] / "pipeline" / "builtin" / "lid.176.ftz"
#: What the recipe's extract stage is set to; `gated` also removes duplicates first, and needs the stages behind it.
ENGINES: Final[dict[str, tuple[str, ...]]] = {
    "trafilatura": ("stages.extract.engine=trafilatura",),
    "cascade": ("stages.extract.engine=cascade",),
    "cascade+dups": (
        "stages.extract.engine=cascade",
        "stages.extract.drop_identical=true",
        "stages.extract.gate_duplicates=true",
    ),
    "resiliparse": ("stages.extract.engine=resiliparse",),
}
_DEDUP: Final = "  - {type: exact_dedup}\n  - {type: near_dedup}\n"
#: A sentence that the rules keep.
_WARM: Final = (
    "The people of the town built a bridge over the river in the summer, and they were proud of what they had."
)
_PEER: Final = str(Path(__file__).with_name("datatrove_extract.py"))
_RECORD_ID: Final = re.compile(rb"(?im)^WARC-Record-ID:[ \t]*([^\r\n]*?)[ \t]*\r?$")
#: What never reaches an HTML parser.
_NOT_PAGES: Final = ("media_type", "empty", "not_pdf")


def curate(engine: str, inputs: Sequence[str], folder: Path, *, dedup: bool) -> dict[str, Any]:
    """The manifest of one inline run of the benchmark's recipe with this engine. Its work lies beside `folder`, where
    other runs find what they share with it."""
    chosen = _recipe(engine, inputs, folder, dedup=dedup)
    return run(chosen, Options(out=str(folder / "out"), work=str(folder.parent / "work"), runner="inline"))


def _recipe(engine: str, inputs: Sequence[str], folder: Path, *, dedup: bool) -> Recipe:
    path = folder / "extract.yaml"
    path.write_text(RECIPE.read_text(encoding="utf-8") + (_DEDUP if dedup else ""), encoding="utf-8")
    return load_recipe(path, inputs=inputs, overrides=ENGINES[engine])


def _flow(engine: str, inputs: Sequence[str], folder: Path) -> Flow:
    """A recipe's phases, none of them run yet."""
    recipe, work = _recipe(engine, inputs, folder, dedup=True), str(folder.parent / "work")
    return Flow(engine=Engine(work, InlineRunner()), recipe=recipe, splits=plan_splits(recipe, work))


def rows_of(folder: Path, kind: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of `kept` or `ledger` of a run."""
    files = Files(str(folder / "out"))
    return [row for name in files.names(kind) for row in files.read_table(f"{kind}/{name}", list(columns)).to_pylist()]


# ---- speed -----------------------------------------------------------------------------------------------------------


@dataclass
class _Side:
    seconds: list[float] = field(default_factory=list)
    pages: int = 0
    kept: set[str] = field(default_factory=set)

    @property
    def rates(self) -> list[float]:
        return [self.pages / seconds for seconds in self.seconds]

    def __str__(self) -> str:
        rates = self.rates
        return f"{statistics.median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})"


def ours(engine: str, source: str) -> None:
    """One run in a process of its own: prints what `_measured` reads."""
    with tempfile.TemporaryDirectory() as scratch:
        tiny = Path(scratch) / "tiny.html"
        # Of a length and in words that every rule looks at, so that all kernels are compiled before the clock starts.
        page = "".join(f"<p>{_WARM} This is paragraph {number} – and it ends here.</p>" for number in range(20))
        tiny.write_text(f"<html><body>{page}</body></html>", encoding="utf-8")
        warm = Path(scratch) / "warm"
        warm.mkdir()
        # Compiled kernels, models and the parser child are there before the clock starts, as in datatrove's process.
        curate(engine, [str(tiny)], warm, dedup=engine == "cascade+dups")
        before = _cpu_so_far()
        folder = Path(scratch) / "run"
        folder.mkdir()
        manifest = curate(engine, [source], folder, dedup=engine == "cascade+dups")
        seconds = _cpu_so_far() - before
        extract = manifest["counts"]["stages"][1]
        pages = extract["documents"] - sum(extract["reasons"].get(reason, 0) for reason in _NOT_PAGES)
        kept = [row["url"] for row in rows_of(folder, "kept", ["url"])]
    print(json.dumps({"seconds": seconds, "read": pages, "kept": kept}))


def _cpu_so_far() -> float:
    """CPU seconds of this process, of its children that ended, and of its parser child, which lives on."""
    child_pid = parser_child().pid
    return sum(os.times()[:4]) + (_cpu_of(child_pid) if child_pid is not None else 0.0)


def _measured(command: Sequence[str], side: _Side, environment: Mapping[str, str] | None = None) -> None:
    """Run a command that prints its counts as JSON, and the CPU seconds from the first record to the last verdict, with
    those of all its children: neither side's start nor its end is in them."""
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    told = json.loads(done.stdout.splitlines()[-1])
    side.seconds.append(told["seconds"])
    side.pages, side.kept = told["read"], set(told["kept"])
    print(
        f"{Path(command[0]).name} … {Path(command[-1]).name}: {side.pages} pages, {side.seconds[-1]:.2f} CPU seconds",
        file=sys.stderr,
        flush=True,
    )


def write_common(source: str, target: Path, *, datatrove: str) -> None:
    """A WARC of the records of `source` that datatrove's reader hands on, each the gzip member that it was."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / Path(source).name).symlink_to(Path(source).resolve())
        told = subprocess.run([datatrove, _PEER, "pages", folder], check=True, stdout=subprocess.PIPE).stdout
    wanted, found = {identity.encode() for identity in json.loads(told)}, set()
    size = Path(source).stat().st_size
    with open_source(source) as archive, target.open("wb") as out:
        for placed in read_gzip(archive, WARC, Chain(), start=0, stop=size, size=size, known=True, limits=Limits()):
            if (named := _RECORD_ID.search(placed.frame.header)) and named[1] in wanted:
                found.add(named[1])
                out.write(archive.read_at(placed.end - placed.offset, placed.offset))
    assert found == wanted, "datatrove hands on records that our reader has not seen"


def speed(source: str, *, datatrove: str, engines: Sequence[str], repeats: int, until: str) -> None:
    """One table: ours by engine, and datatrove, in turns."""
    sides = {name: _Side() for name in ("datatrove", *engines)}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / Path(source).name).symlink_to(Path(source).resolve())
        for _ in range(repeats):
            for name, side in sides.items():
                if name == "datatrove":
                    _measured([datatrove, _PEER, until, folder, str(MODEL)], side)
                else:
                    _measured([sys.executable, "-m", "benchmarks.extraction", "ours", source, "--engines", name], side)
    theirs = sides["datatrove"]
    print(f"{Path(source).name}, {repeats} repeats in turns; datatrove: {until}\n")
    print("| engine | pages | pages per CPU second | ratio | kept | only ours | only theirs |")
    print("|---|---|---|---|---|---|---|")
    for name, side in sides.items():
        ratios = [mine / their for mine, their in zip(side.rates, theirs.rates, strict=True)]
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        share = f"{len(side.kept)} ({len(side.kept) / side.pages:.1%})"
        others = f"{len(side.kept - theirs.kept)} | {len(theirs.kept - side.kept)}"
        print(f"| {name} | {side.pages} | {side} | {ratio} | {share} | {others} |", flush=True)


# ---- what the gate loses ---------------------------------------------------------------------------------------------


def upper_bound(lost: int, of: int, confidence: float = 0.95) -> float:
    """The exact binomial upper bound of a share (Clopper and Pearson 1934, one-sided)."""
    return 1.0 if lost >= of else float(beta.ppf(confidence, lost + 1, of - lost))


def ruled_out(sources: Sequence[str], folder: Path) -> dict[str, dict[str, Any]]:
    """What the gate with duplicates takes out before extraction, by id: its ledger rows. Nothing is extracted."""
    flow = _flow("cascade+dups", sources, folder)
    # The glance and its two exchanges; the fourth step would extract what is left.
    for _, step in itertools.islice(flow.steps(), 3):
        step()
    files = flow.engine.files
    return {
        row["id"]: row
        for phase in flow.view.ledgers
        for unit in flow.view.units
        for row in files.read_table(f"{phase}/{unit}.ledger.parquet").to_pylist()
    }


def loss(sources: Sequence[str], *, scratch: Path) -> None:
    """Of the pages that trafilatura and the recipe keep: how many the gate takes out.

    What passes the gate gets the text that engine: trafilatura gives it (tests/stages/test_gate.py), so the reference's
    runs say what becomes of it. Alone, the gate loses what it rules out of them. With duplicates, exact and near dedup
    stand behind both sides, and a page that was removed for another is lost if the recipe drops that other one; if it
    keeps it, the other, or what that is a duplicate of, is what deduplication leaves.
    """
    kept = []
    for dedup in (False, True):
        folder = scratch / f"trafilatura-{dedup:d}"
        folder.mkdir(parents=True, exist_ok=True)
        curate("trafilatura", sources, folder, dedup=dedup)
        kept.append({row["id"]: row["url"] for row in rows_of(folder, "kept", ["id", "url"])})
    passing, reference = kept
    gone = ruled_out(sources, scratch / "trafilatura-1")
    reasons = Counter(row["reason"] for row in gone.values())
    print(f"ruled out before extraction: {dict(sorted(reasons.items()))}\n")
    print("| gate | kept by the reference | ruled out of these | lost | 95 % upper bound |\n|---|---|---|---|---|")
    gated = [each for each in sorted(passing) if each in gone and not gone[each]["partner"]]
    _loss_row("language and words", passing, gated, gated, gone)
    removed = [each for each in sorted(reference) if each in gone]
    lost = [each for each in removed if stands_for(gone, each) not in passing]
    _loss_row("with duplicates, exact and near dedup behind both", reference, removed, lost, gone)


def stands_for(gone: Mapping[str, dict[str, Any]], identity: str) -> str | None:
    """The page that is extracted in place of one that was taken out; None for what the gate ruled out."""
    found: str | None = identity
    while found in gone:
        found = gone[found]["partner"]
    return found


def _loss_row(
    name: str, reference: Mapping[str, str], out: Sequence[str], lost: Sequence[str], gone: Mapping[str, dict[str, Any]]
) -> None:
    bound = upper_bound(len(lost), len(reference))
    print(f"| {name} | {len(reference)} | {len(out)} | {len(lost)} | {bound:.2%} |", flush=True)
    for each in lost:
        row = gone[each]
        print(f"    lost: {row['url']} {row['reason']} {row['measured']} {row['detail']}", file=sys.stderr)


# ---- what the parser child costs -------------------------------------------------------------------------------------


def child(source: str, *, repeats: int) -> None:
    """CPU time that the child adds to a document: the same records asked of a child that looks at nothing but size, and
    the same function called here. Both processes count."""
    settings = ExtractSettings(max_html_bytes=1)
    records = []
    for split in cut(list_sources([source], cache={}), split_bytes=1 << 40):
        found = read_split(split, Chain(), Limits(max_record_bytes=64 << 20), Fields())
        records += [
            RawRecord(content=each.content, media_type="text/html", charset=each.charset, url=each.url)
            for each in found
            if isinstance(each, Document) and each.content.strip()
        ]
    size = sum(len(record.content) for record in records)
    taken = []
    with ParserChild() as parser:
        parser.call(records[0], settings)
        assert parser.pid is not None
        for _ in range(repeats):
            before = time.process_time() + _cpu_of(parser.pid)
            for record in records:
                assert parser.call(record, settings).reason == "too_large"
            taken.append((time.process_time() + _cpu_of(parser.pid) - before) / len(records) * 1e3)
    print(
        f"parser child, CPU ms a document of both processes: {statistics.median(taken):.3f} ({min(taken):.3f} to "
        f"{max(taken):.3f}), {len(records)} records of {size / len(records) / 1e3:.0f} kB"
    )


def _cpu_of(pid: int) -> float:
    """User and system seconds of a living process, in ticks of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "loss", "child", "ours"))
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--datatrove", default=os.environ.get("TAMIS_DATATROVE"))
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--until", choices=("text", "verdict"), default="verdict", help="how far datatrove goes")
    parser.add_argument("--common", action="store_true", help="on the records that datatrove's reader hands on only")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scratch", type=Path, help="folder for the runs of `loss`; a temporary one if not given")
    given = parser.parse_args()
    if given.what == "ours":
        ours(given.engines, given.sources[0])
    elif given.what == "child":
        child(given.sources[0], repeats=given.repeats)
    elif given.what == "loss":
        with tempfile.TemporaryDirectory() as folder:
            loss(given.sources, scratch=given.scratch or Path(folder))
    elif given.datatrove is None:
        sys.exit("name datatrove's Python with --datatrove or TAMIS_DATATROVE; --help says how to make one")
    else:
        for source in given.sources:
            with tempfile.TemporaryDirectory() as folder:
                chosen = source
                if given.common:
                    chosen = str(Path(folder) / f"common-{Path(source).name}")
                    write_common(source, Path(chosen), datatrove=given.datatrove)
                speed(chosen, datatrove=given.datatrove, engines=given.engines.split(","), repeats=given.repeats,
                      until=given.until)  # fmt: skip


if __name__ == "__main__":
    main()
