"""What Ray costs and what a second machine brings: one job inline, on Ray's one worker, on one node and on two.

    python -m benchmarks.nodes CRAWL --out FOLDER [--rounds 2] [--cases inline,ray,one,two]

Each run is a process of its own with new output and work folders: `tamis run` with `--runner inline`, with
`--runner ray --workers 1`, and with `--ray-address` on a Ray of one and of two nodes of one core each. These are
raylets on this machine, so two nodes share its memory and disk, and want two idle cores. Seconds by the clock, with
what starts and ends Ray in them; the nodes of a cluster are there before. The root of every run has to be the same.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.ray_nodes import ray_nodes

ROOT = Path(__file__).parents[1]
RECIPE = """\
name: nodes
input: {{paths: ["{crawl}"], split_bytes: 2000000}}
stages:
  - {{type: extract, engine: trafilatura}}
  - {{type: gopher_quality}}
  - {{type: gopher_repetition}}
  - {{type: fineweb_quality}}
  - {{type: exact_dedup}}
  - {{type: near_dedup}}
"""
CASES = ("inline", "ray", "one", "two")


def run_once(case: str, recipe: Path, folder: Path) -> tuple[float, str]:
    """(seconds, root of the run)."""
    command = [sys.executable, "-m", "pipeline.cli", "run", str(recipe), "--out", f"{folder}/out", "--work",
               f"{folder}/work"]  # fmt: skip
    with contextlib.ExitStack() as stack:
        if case in ("inline", "ray"):
            command += ["--runner", case, "--workers", "1"]
        else:
            nodes, _ = stack.enter_context(ray_nodes(CASES.index(case) - 1))
            command += ["--ray-address", nodes.address]
        began = time.monotonic()
        # The token that the nodes were started with is, for the run, one that somebody gave it.
        environment = {name: value for name, value in os.environ.items() if name != "TAMIS_NEW_RAY_TOKEN"}
        environment["PYTHONPATH"] = str(ROOT)
        subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - began
    return seconds, json.loads((folder / "out" / "manifest.json").read_text())["root"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("crawl", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="a folder that is not there yet")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cases", default=",".join(CASES))
    told = parser.parse_args()
    told.out.mkdir(parents=True)
    recipe = told.out / "recipe.yaml"
    recipe.write_text(RECIPE.format(crawl=told.crawl.absolute()))
    cases, seconds, roots = told.cases.split(","), {}, set()
    for turn in range(told.rounds):
        for case in cases:
            took, root = run_once(case, recipe, told.out / f"{case}-{turn}")
            seconds.setdefault(case, []).append(took)
            roots.add(root)
            print(f"  {case}: {took:.1f} s, root {root[:16]}", flush=True)
    if len(roots) != 1:
        sys.exit(f"the runs differ: {sorted(roots)}")
    print("| case | seconds | each |\n|---|---|---|")
    for case, each in seconds.items():
        print(f"| {case} | {statistics.median(each):.1f} | {', '.join(f'{one:.1f}' for one in each)} |")
    for over, under in (("ray", "inline"), ("one", "two")):
        if over in seconds and under in seconds:
            ratios = [a / b for a, b in zip(seconds[over], seconds[under], strict=True)]
            print(f"\n{over} takes {statistics.median(ratios):.2f} times as long as {under} "
                  f"({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip


if __name__ == "__main__":
    main()
