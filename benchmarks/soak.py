"""Does anything grow? A run over gigabytes of generated WARC, the memory of all its processes watched throughout.

    python -m benchmarks.soak --out FOLDER [--gigabytes 20] [--workers 2] [--engine tamis]

Written first: gzipped WARC files of about 256 MB of pages of 30 to 80 kB of markup around texts of 1 to 12 kB
of random words, no two alike but for one in fifty, which is an edited copy of one before. Then `tamis run` on Ray, in a
process of its own; every two seconds the resident memory of each process below it is noted (`samples.jsonl`). Told by
the quarter of the run: the largest process of ours, and all processes together.
"""

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import psutil

from pipeline.demo.warc import Exchange, exchange_members

ROOT = Path(__file__).parents[1]
RECIPE = """\
name: soak
input: {{paths: ["{crawl}"]}}
stages:
  - {{type: extract, engine: {engine}}}
  - {{type: gopher_repetition}}
  - {{type: fineweb_quality}}
  - {{type: exact_dedup}}
  - {{type: near_dedup}}
"""
FILE_BYTES = 256_000_000
#: One page in so many is a copy of an earlier one of its file with a sentence more.
COPY_EVERY = 50
SECONDS = 2.0
_STOP = ("the", "be", "to", "of", "and", "that", "have", "with", "a", "in", "is", "it", "for", "as", "was", "on", "are")


def _words() -> list[str]:
    rng = np.random.default_rng(5)
    made = ["".join(rng.choice(list("etaoinshrdlucmfwyp"), size)) for size in rng.integers(3, 11, 20_000)]
    return [*_STOP * 400, *made]


def write_file(path: Path, seed: int) -> tuple[int, int]:
    """(pages, bytes of records)."""
    rng, words = np.random.default_rng(seed), np.array(_words())
    menu = "".join(f'<li class="item"><a href="/p{n}">Part {n}</a></li>' for n in range(400))
    pages, size, copied = 0, 0, ""
    with path.open("wb") as out:
        while size < FILE_BYTES:
            if pages % COPY_EVERY == COPY_EVERY - 1:
                text = copied + "<p>This page was edited later, by one short sentence.</p>"
            else:
                sentences = [
                    " ".join(words[rng.integers(0, len(words), count)]).capitalize() + "."
                    for count in rng.integers(6, 24, rng.integers(12, 150))
                ]
                text = "".join(f"<p>{' '.join(sentences[at : at + 4])}</p>" for at in range(0, len(sentences), 4))
                copied = text if pages % COPY_EVERY == 0 else copied
            script = f"<script>var a = {'x' * int(rng.integers(8_000, 40_000))!r};</script>"
            body = f"<title>Page {pages}</title>{script}<ul>{menu}</ul><div>{text}</div>".encode()
            address = f"/{seed}/{pages}"
            exchange = Exchange(
                url=f"https://soak.example{address}",
                request=f"GET {address} HTTP/1.1\r\nHost: soak.example\r\n\r\n".encode(),
                status=200,
                header=b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n",
                body=body,
            )
            size += len(body)
            for member in exchange_members(exchange):
                out.write(member)
            pages += 1
    return pages, size


def family(process: psutil.Process) -> dict[int, tuple[str, int]]:
    """pid: (what it is, resident bytes) of each process below this one, itself included."""
    found = {}
    for each in [process, *process.children(recursive=True)]:
        try:
            name = " ".join(each.cmdline())
            ours = "ray::" in name or "pipeline" in name
            found[each.pid] = ("ours" if ours else "ray", each.memory_info().rss)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def watched(command: list[str], samples: Path) -> float:
    """Seconds that the command took."""
    began = time.monotonic()
    with samples.open("w") as out:
        process = psutil.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
        while process.poll() is None:
            found = family(process).values()
            row = {
                "seconds": round(time.monotonic() - began, 1),
                "largest": max((size for kind, size in found if kind == "ours"), default=0),
                "all": sum(size for _, size in found),
            }
            out.write(json.dumps(row) + "\n")
            out.flush()
            time.sleep(SECONDS)
    if process.returncode:
        sys.exit(f"the run ended with {process.returncode}")
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--gigabytes", type=float, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--engine", default="tamis")
    told = parser.parse_args()
    crawl = told.out / "crawl"
    crawl.mkdir(parents=True, exist_ok=True)
    files = [crawl / f"{n:04}.warc.gz" for n in range(max(1, round(told.gigabytes * 1e9 / FILE_BYTES)))]
    missing = [path for path in files if not path.exists()]
    with ProcessPoolExecutor(told.workers) as pool:
        made = list(pool.map(_write_whole, missing))
    stored, pages, size = sum(path.stat().st_size for path in files), sum(one for one, _ in made), sum(
        one for _, one in made)  # fmt: skip
    print(f"{len(files)} files, {stored / 1e9:.1f} GB; written now: {pages:,} pages, {size / 1e9:.1f} GB", flush=True)
    recipe = told.out / "recipe.yaml"
    recipe.write_text(RECIPE.format(crawl=crawl.absolute(), engine=told.engine))
    samples = told.out / "samples.jsonl"
    seconds = watched(
        [sys.executable, "-m", "pipeline.cli", "run", str(recipe), "--out", str(told.out / "out"), "--work",
         str(told.out / "work"), "--runner", "ray", "--workers", str(told.workers)],
        samples,
    )  # fmt: skip
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    print(f"{seconds:,.0f} s\n\n| quarter | largest process of ours, MB | all processes, MB |\n|---|---|---|")
    for quarter in range(4):
        part = rows[quarter * len(rows) // 4 : (quarter + 1) * len(rows) // 4]
        print(f"| {quarter + 1} | {max(row['largest'] for row in part) / 1e6:,.0f} | "
              f"{max(row['all'] for row in part) / 1e6:,.0f} |")  # fmt: skip


def _write_whole(path: Path) -> tuple[int, int]:
    partial = path.with_suffix(".partial")
    made = write_file(partial, int(path.name.split(".")[0]))
    partial.replace(path)
    return made


if __name__ == "__main__":
    main()
