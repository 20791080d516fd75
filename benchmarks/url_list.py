"""Memory and time of a block list of 4.5 million domains in several workers of one machine; prints a table.

python -m benchmarks.url_list [WORKERS]

The share of a worker is its proportional set size (Linux): pages that several map count for each by its part.
"""

import multiprocessing
import re
import sys
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

from pipeline.resources import identify_all, load_resources
from stages.url_filter import UrlFilterSettings, resources

ENTRIES = 4_558_940


def memory() -> float:
    """MB of this process, shared pages by their part."""
    found = re.search(r"^Pss:\s+(\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1000


def worker(path: str, together: Barrier, results: "multiprocessing.Queue[tuple[float, float]]") -> None:
    together.wait()
    before = memory()
    together.wait()
    needed = resources(UrlFilterSettings(blocklist=path))
    started = time.process_time()
    listed = load_resources(needed, expected=identify_all(needed))["blocklist"]
    taken = time.process_time() - started
    assert int(listed[::512].sum()) >= 0, "touches every page"
    together.wait()
    results.put((taken, memory() - before))
    together.wait()


def main(workers: int) -> None:
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "domains.txt")
        names = (f"host{7919 * number % 99_999_989}.example{number % 977}.com\n" for number in range(ENTRIES))
        path.write_text("".join(names))
        together, results = context.Barrier(workers), context.Queue()
        running = [context.Process(target=worker, args=(str(path), together, results)) for _ in range(workers)]
        for one in running:
            one.start()
        found = [results.get() for _ in running]
        for one in running:
            one.join()
    print("| worker | CPU seconds to load | MB more than before |\n|---|---|---|")
    for number, (seconds, size) in enumerate(sorted(found, reverse=True), start=1):
        print(f"| {number} | {seconds:.1f} | {size:.0f} |")
    print(f"| together | {sum(seconds for seconds, _ in found):.1f} | {sum(size for _, size in found):.0f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4)
