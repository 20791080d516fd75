"""Deduplication measured: what docs/benchmarks.md and docs/scale.md quote.

    python -m benchmarks.dedup signatures FOLDER [--datatrove PYTHON]   our signatures beside three libraries
    python -m benchmarks.dedup near [--megabytes N] [--datatrove PYTHON]
                                                                        the whole near dedup, one worker
    python -m benchmarks.dedup growth N [N…]                            time and memory by number of documents, and a
                                                                        model fitted without the last size; recall by
                                                                        planted similarity beside the S-curve
    python -m benchmarks.dedup bloom N [N…]                             a full slice's false positive rate, and its
                                                                        speed beside rbloom's

FOLDER holds *.jsonl.gz with a `text` column; other documents are generated (benchmarks/planted.py). --datatrove names
the Python of an environment that has datatrove[processing], spacy and orjson. --work DIR says where files go.
"""

import argparse
import json
import multiprocessing
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import datasketch
import numpy as np
import pyarrow as pa
import rbloom
import rensa
import scipy.stats
import xxhash

from benchmarks import planted
from benchmarks.texts import measured, size_of, take, texts_below
from pipeline.dedup.near import near_dedup
from pipeline.engine import Engine, merged_counts
from pipeline.parts import Commit, Task, execute
from pipeline.runners.inline import InlineRunner
from stages.bloom import empty, expected_rate, insert, probe, shape_for
from stages.minhash import proposal_probability, sketch
from stages.near_dedup import NearDedupSettings
from stages.shingles import mix64

#: Enough for a stable figure of ours; the libraries get as much as they do in some seconds.
TEXT_BYTES = 16 << 20
PEER_DOCUMENTS = 400
PERMUTATIONS = 112
#: For planted documents: half of their clusters are above it.
PLANTED = NearDedupSettings(threshold=0.75)
PEER = Path(__file__).parent / "datatrove_minhash.py"
#: Keys made at once: 160 MB.
BLOOM_CHUNK = 10_000_000


def _peer(python: str, *arguments: str) -> dict[str, float]:
    done = subprocess.run([python, str(PEER), *arguments], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def signatures(folder: Path, datatrove: str | None, work: Path) -> None:
    """MB of text in a CPU second: word 5-grams, 112 permutations (14 x 8), tokenising included everywhere."""
    texts = take(texts_below(folder), TEXT_BYTES)
    column = pa.array(texts, pa.large_string())
    few = texts[:: max(1, len(texts) // PEER_DOCUMENTS)]

    def shingles(text: str) -> list[str]:
        words = text.lower().split()
        return [" ".join(words[at : at + 5]) for at in range(max(1, len(words) - 4))]

    def by_datasketch() -> None:
        for text in few:
            made = datasketch.MinHash(num_perm=PERMUTATIONS, scheme="affine32", hashfunc=xxhash.xxh32_intdigest)
            made.update_batch([shingle.encode() for shingle in shingles(text)])

    def by_rensa() -> None:
        for text in few:
            rensa.RMinHash(num_perm=PERMUTATIONS, seed=1).update(shingles(text))

    ours = measured(lambda: sketch(column, unit="word", size=5, permutation_count=PERMUTATIONS), size_of(texts))
    rows: list[tuple[str, str, float]] = [("ours", str(ours), ours.median)]
    peers: list[tuple[str, Callable[[], None]]] = [
        (f"datasketch {datasketch.__version__} update_batch", by_datasketch),
        ("rensa RMinHash", by_rensa),
    ]
    for name, call in peers:
        figure = measured(call, size_of(few))
        rows.append((name, str(figure), figure.median))
    if datatrove:
        path = work / "peer.jsonl"
        path.write_text("\n".join(json.dumps({"text": text}) for text in few), encoding="utf-8")
        rates = sorted(
            found["bytes"] / 1e6 / found["seconds"]
            for found in (_peer(datatrove, "signatures", str(path)) for _ in range(3))
        )
        rows.append(("datatrove signature step", f"{rates[1]:.2f} ({rates[0]:.2f} to {rates[2]:.2f})", rates[1]))
    print(
        f"{len(texts)} texts, {size_of(texts) / 1e6:.1f} MB; the libraries on {len(few)}, {size_of(few) / 1e6:.1f} MB\n"
    )
    print("| signatures | MB per CPU second: median (range) | ours is |\n|---|---|---|")
    for name, shown, rate in rows:
        print(f"| {name} | {shown} | {ours.median / rate:,.0f} x |")


class Peaking(InlineRunner):
    """Tasks in this process, and the most memory that it held during any task of each step: what earlier tasks left
    with the allocator included, as in a worker."""

    def __init__(self) -> None:
        self.peaks: dict[str, int] = {}

    def run(self, work: str, tasks: Sequence[Task]) -> Iterator[tuple[int, Commit]]:
        for place, task in enumerate(tasks):
            Path("/proc/self/clear_refs").write_text("5")  # Linux forgets the peak so far
            yield place, execute(work, task)
            status = Path("/proc/self/status").read_text()
            peak = next(int(line.split()[1]) for line in status.split("\n") if line.startswith("VmHWM:")) * 1024
            self.peaks[_step(task)] = max(self.peaks.get(_step(task), 0), peak)


def _step(task: Task) -> str:
    return task.phase.rpartition("-")[0].removeprefix("near_dedup").strip(".") or "ledger"


class Timed(Engine):
    """An engine that adds up the CPU seconds of each phase."""

    def __init__(self, work: str, runner: InlineRunner) -> None:
        super().__init__(work, runner)
        self.seconds: dict[str, float] = {}

    def run(self, tasks: Sequence[Task]) -> list[Commit]:
        started = time.process_time()
        commits = super().run(tasks)
        if tasks:
            step = _step(tasks[0])
            self.seconds[step] = self.seconds.get(step, 0) + time.process_time() - started
        return commits


def _generate(documents: int, folder: str) -> None:
    """Child process: the planted documents."""
    planted.view(Engine(folder, InlineRunner()), documents)


def _near(documents: int, folder: str, answer: Any) -> None:
    """Child process: near dedup of so many planted documents that are there; its peak memory is then its own."""
    runner = Peaking()
    engine = Timed(folder, runner)
    view = planted.view(engine, documents)
    assert not any(engine.executed.values())
    text_bytes = merged_counts(engine.commits[view.base.phase])["text_bytes"]
    engine.seconds.clear()
    wall = time.perf_counter()
    phase = near_dedup(engine, view, PLANTED, upstream="planted")
    wall = time.perf_counter() - wall
    done = [commit for name, group in engine.commits.items() if name.startswith("near_dedup") for commit in group]
    answer.put({
        "documents": documents,
        "text_bytes": text_bytes,
        "wall": wall,
        "cpu": sum(engine.seconds.values()),
        "steps": engine.seconds,
        "peak": max(runner.peaks.values()),
        "peaks": runner.peaks,
        "written": sum(file.size_bytes for commit in done for file in commit.files.values()),
        "removed": _removed_by_similarity(engine, view, phase, documents),
    })  # fmt: skip


def _removed_by_similarity(engine: Engine, view: Any, phase: str, documents: int) -> dict[int, int]:
    """Words replaced -> documents removed."""
    base = documents * 4 // 5
    found: dict[int, int] = {}
    for unit in view.units:
        ids = engine.files.read_table(f"{phase}/{unit}.ledger.parquet", ["id", "partner"]).to_pylist()
        for row in ids:
            one, two = sorted((int(row["id"], 16), int(row["partner"], 16)))
            assert two == one + base, "only planted pairs are alike"
            found[1 + one % planted.MOST_REPLACED] = found.get(1 + one % planted.MOST_REPLACED, 0) + 1
    return found


def run_near(documents: int, work: Path) -> dict[str, Any]:
    """One run in a fresh process and folder, after its kernels are compiled."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=work) as folder:
        maker = context.Process(target=_generate, args=(documents, folder))
        maker.start()
        maker.join()
        answer = context.Queue()
        child = context.Process(target=_near, args=(documents, folder, answer))
        child.start()
        found: dict[str, Any] = answer.get()
        child.join()
    return found


def near(megabytes: int, datatrove: str | None, peer_megabytes: int, work: Path) -> None:
    """The whole near dedup of generated text, one worker, beside datatrove's four steps on less of the same."""
    run_near(1_000, work)
    probe_bytes = len("".join(planted.texts(0, 1_000, 10_000).to_pylist())) / 1_000
    found = run_near(int(megabytes * 1e6 / probe_bytes), work)
    size = found["text_bytes"] / 1e6
    rate = size / found["cpu"]
    print("| near dedup, one worker | text | CPU seconds | MB per CPU second | |\n|---|---|---|---|---|")
    print(f"| ours | {size:.0f} MB | {found['cpu']:.1f} | {rate:.1f} | peak {found['peak'] / 1e6:.0f} MB |")
    if datatrove:
        documents = int(peer_megabytes * 1e6 / probe_bytes)
        with tempfile.TemporaryDirectory(dir=work) as folder:
            (Path(folder) / "in").mkdir()
            texts = planted.texts(0, documents, documents).to_pylist()
            lines = [json.dumps({"text": text, "id": str(number)}) for number, text in enumerate(texts)]
            (Path(folder) / "in" / "docs.jsonl").write_text("\n".join(lines), encoding="utf-8")
            taken = _peer(datatrove, "steps", f"{folder}/in", f"{folder}/work")
        size, seconds = sum(len(text) for text in texts) / 1e6, sum(taken.values())
        told = ", ".join(f"{name} {value:.1f}" for name, value in taken.items())
        print(f"| datatrove | {size:.0f} MB | {seconds:.1f} | {size / seconds:.2f} | {told} |")
        print(f"\nRatio of the rates: {rate / (size / seconds):.0f}")


def growth(sizes: Sequence[int], work: Path) -> None:
    """Time and memory by size; T = a + b n + c n log2 n is told by how well a line through the smaller sizes meets the
    larger ones."""
    run_near(1_000, work)
    print("| documents | text MB | CPU seconds | microseconds a document | written, bytes a document | peak MB |")
    print("|---|---|---|---|---|---|")
    found = []
    for size in sorted(sizes):
        run = run_near(size, work)
        found.append(run)
        count = run["documents"]
        print(
            f"| {count:,} | {run['text_bytes'] / 1e6:,.0f} | {run['cpu']:.1f} | {run['cpu'] / count * 1e6:.1f} "
            f"| {run['written'] / count:.0f} | {run['peak'] / 1e6:.0f} |",
            flush=True,
        )
    print("\n| peak MB of the step's tasks | " + " | ".join(f"{run['documents']:,}" for run in found) + " |")
    print("|---" * (len(found) + 1) + "|")
    for name in dict.fromkeys(name for run in found for name in run["peaks"]):
        cells = (f"{run['peaks'].get(name, 0) / 1e6:.0f}" for run in found)
        print(f"| {name} | " + " | ".join(cells) + " |")
    names = list(dict.fromkeys(name for run in found for name in run["steps"]))
    print("\n| step, microseconds a document | " + " | ".join(f"{run['documents']:,}" for run in found) + " |")
    print("|---" * (len(found) + 1) + "|")
    for name in names:
        cells = (f"{run['steps'].get(name, 0) / run['documents'] * 1e6:.2f}" for run in found)
        print(f"| {name} | " + " | ".join(cells) + " |")
    for last in range(2, len(found)):
        (n0, t0), (n1, t1) = ((run["documents"], run["cpu"]) for run in found[last - 2 : last])
        slope = (t1 - t0) / (n1 - n0)
        expected = t1 + slope * (found[last]["documents"] - n1)
        print(
            f"\nA line through {n0:,} and {n1:,} ({slope * 1e6:.1f} microseconds a document) expects {expected:.1f} s "
            f"at {found[last]['documents']:,}; it took {found[last]['cpu']:.1f} s: "
            f"{(found[last]['cpu'] / expected - 1) * 100:+.1f} %"
        )
    curve_of(found[-1])


def curve_of(run: dict[str, Any]) -> None:
    """Recall by planted similarity against the S-curve, with the binomial 99.9 % band."""
    settings = PLANTED
    bands, rows = settings.banding()
    pairs = run["documents"] - run["documents"] * 4 // 5
    print(f"\nthreshold {settings.threshold}, {bands} bands of {rows} rows, {run['documents']:,} documents\n")
    print("| words replaced | Jaccard | pairs | removed | recall | S-curve | 99.9 % band |\n" + "|---" * 7 + "|")
    for replaced in range(1, planted.MOST_REPLACED + 1):
        jaccard = planted.similarity(replaced)
        count = len(range(replaced - 1, pairs, planted.MOST_REPLACED))
        removed = run["removed"].get(replaced, 0)
        expected = proposal_probability(jaccard, bands=bands, rows=rows) if jaccard >= settings.threshold else 0.0
        low, high = scipy.stats.binom.interval(0.999, count, expected)
        print(
            f"| {replaced} | {jaccard:.3f} | {count:,} | {removed:,} | {removed / count:.4f} | {expected:.4f} "
            f"| {low / count:.4f} to {high / count:.4f} |"
        )


def bloom(sizes: Sequence[int]) -> None:
    """A slice filled to its capacity, probed with as many keys that it does not hold."""
    print("| texts | bits | expected rate | strangers found | observed rate | 99.9 % band | insert M/s | probe M/s |")
    print("|---|---|---|---|---|---|---|---|")
    for size in sizes:
        shape = shape_for(size, false_positive_rate=0.001)
        bits = empty(shape)
        seconds = {"insert": 0.0, "probe": 0.0}
        hits = 0
        for kind in seconds:
            for start in range(0, size, BLOOM_CHUNK):
                keys = _keys(start, min(BLOOM_CHUNK, size - start), offset=0 if kind == "insert" else size)
                started = time.perf_counter()
                if kind == "insert":
                    insert(bits, keys, shape)
                else:
                    hits += int(probe(bits, keys, shape).sum())
                seconds[kind] += time.perf_counter() - started
        expected = expected_rate(bits, shape)
        low, high = scipy.stats.binom.interval(0.999, size, expected)
        print(
            f"| {size:,} | {shape.bits:,} | {expected:.6f} | {hits:,} | {hits / size:.6f} | {low / size:.6f} to "
            f"{high / size:.6f} | {size / 1e6 / seconds['insert']:.1f} | {size / 1e6 / seconds['probe']:.1f} |"
        )


def bloom_beside_rbloom(size: int, *, rounds: int = 5) -> None:
    """Millions of keys a second of both, in turns, each filter as large as its library makes it for one in a thousand.

    rbloom is given what it is made for, Python integers with their own hash, from a list that is there before.
    """
    keys, foreign = (_keys(0, size, offset=offset) for offset in (0, size))
    numbers, others = (list(range(offset, offset + size)) for offset in (0, size))
    rates: dict[str, list[float]] = {}
    for _ in range(rounds):
        shape = shape_for(size, false_positive_rate=0.001)
        bits, theirs = empty(shape), rbloom.Bloom(size, 0.001)
        calls: dict[str, Callable[[], Any]] = {
            "insert, ours": partial(insert, bits, keys, shape),
            "insert, rbloom": partial(theirs.update, numbers),
            "probe, ours": partial(probe, bits, foreign, shape),
            "probe, rbloom": lambda theirs=theirs: sum(map(theirs.__contains__, others)),
        }
        for name, call in calls.items():
            started = time.process_time()
            call()
            rates.setdefault(name, []).append(size / 1e6 / (time.process_time() - started))
    print(f"\n{size:,} keys, {rounds} rounds in turns, M keys a CPU second: median (smallest to largest)")
    for name, found in rates.items():
        print(f"| {name} | {np.median(found):.1f} ({min(found):.1f} to {max(found):.1f}) |")


def _keys(start: int, count: int, *, offset: int) -> np.ndarray:
    """uint64[count, 2]: 128-bit keys of the numbers from start + offset on; different for different numbers."""
    numbers = np.arange(start + offset, start + offset + count, dtype=np.uint64)
    return _mixed(numbers)


@planted.compiled
def _mixed(numbers: np.ndarray) -> np.ndarray:
    out = np.empty((len(numbers), 2), dtype=np.uint64)
    for place in range(len(numbers)):
        out[place, 0] = mix64(numbers[place])
        out[place, 1] = mix64(numbers[place] + np.uint64(0x9E3779B97F4A7C15))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["signatures", "near", "growth", "bloom"])
    parser.add_argument("values", nargs="*")
    parser.add_argument("--datatrove")
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--peer-megabytes", type=int, default=20)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    given = parser.parse_args()
    if given.what == "signatures":
        signatures(Path(given.values[0]), given.datatrove, given.work)
    elif given.what == "near":
        near(given.megabytes, given.datatrove, given.peer_megabytes, given.work)
    elif given.what == "growth":
        growth([int(float(value)) for value in given.values], given.work)
    else:
        sizes = [int(float(value)) for value in given.values]
        bloom(sizes)
        bloom_beside_rbloom(min(sizes))


if __name__ == "__main__":
    main()
