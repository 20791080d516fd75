"""How far `tamis estimate corpus` is off: what parts of a real crawl foretell of the whole, against what that took.

    python -m benchmarks.estimate crawl.warc.gz more.warc.gz … [--engine resiliparse]

Every sixteenth and every fourth gzip member of the files are written to WARC files of their own; they and the whole go
through the same stages, each in a process of its own that compiles, loads and measures for itself. Then CPU seconds of
the whole are estimated from one sixteenth, from a quarter, and from both together.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from pipeline.estimate import Measured, estimate, measured

ROOT = Path(__file__).parents[1]
RECIPE = """\
name: estimate
input: {{paths: ["{folder}/*.warc.gz"]}}
stages:
  - {{type: extract, engine: {engine}}}
  - {{type: language, keep: [en, es, de, fr, ru, unknown], min_score: 0.0}}
  - {{type: gopher_quality}}
  - {{type: gopher_repetition}}
  - {{type: fineweb_quality}}
  - {{type: quality}}
  - {{type: exact_dedup}}
  - {{type: near_dedup}}
"""
#: One member of so many is in a part.
PARTS = (16, 4, 1)


def members(data: bytes) -> Iterator[bytes]:
    """The gzip members of a file, up to the first that is damaged."""
    while data:
        inflater = zlib.decompressobj(31)
        try:
            inflater.decompress(data)
        except zlib.error:
            return
        rest = inflater.unused_data
        yield data[: len(data) - len(rest)]
        data = rest


def take(folder: Path, files: list[Path], each: int) -> int:
    """Write every so manyth member of the files; gives the bytes."""
    folder.mkdir()
    total = 0
    for number, path in enumerate(files):
        part = b"".join(member for place, member in enumerate(members(path.read_bytes())) if place % each == 0)
        (folder / f"{number:03d}.warc.gz").write_bytes(part)
        total += len(part)
    return total


def run(folder: Path, engine: str) -> Measured:
    """One run in a process of its own; what its manifest says of its cost."""
    (folder / "r.yaml").write_text(RECIPE.format(folder=folder / "crawl", engine=engine))
    command = [sys.executable, "-m", "pipeline.cli", "run", str(folder / "r.yaml"), "--runner", "inline"]
    subprocess.run([*command, "--out", str(folder / "out")], cwd=ROOT, check=True, capture_output=True)
    return measured(json.loads((folder / "out" / "manifest.json").read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description="Estimates of a crawl from parts of it, against what it took.")
    parser.add_argument("files", type=Path, nargs="+", help="WARC files, gzip by member")
    parser.add_argument("--engine", default="resiliparse")
    arguments = parser.parse_args()
    found: dict[int, Measured] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for each in PARTS:
            folder = Path(temporary) / f"part-{each}"
            folder.mkdir()
            take(folder / "crawl", arguments.files, each)
            found[each] = run(folder, arguments.engine)
            one = found[each]
            print(
                f"1/{each}: {one.documents:,} documents, {one.input_bytes / 1e6:.2f} MB, {one.text_bytes / 1e6:.2f} MB "
                f"of text: {sum(one.seconds.values()):.1f} s of CPU, {sum(one.bytes.values()) / 1e6:.1f} MB written",
                flush=True,
            )
    whole = found[1]
    took, wrote = sum(whole.seconds.values()), sum(whole.bytes.values())
    for name, parts in (("1/16", (16,)), ("1/4", (4,)), ("1/16 and 1/4", (16, 4))):
        guess = estimate([found[each] for each in parts], whole.input_bytes, machines=1, cores=1)
        print(
            f"from {name}: {guess.core_seconds:.1f} s of CPU for {took:.1f} ({guess.core_seconds / took - 1:+.0%}), "
            f"{guess.disk_bytes / 1e6:.1f} MB for {wrote / 1e6:.1f} ({guess.disk_bytes / wrote - 1:+.0%}), "
            f"{guess.documents:,.0f} documents for {whole.documents:,} ({guess.documents / whole.documents - 1:+.0%})"
        )


if __name__ == "__main__":
    main()
