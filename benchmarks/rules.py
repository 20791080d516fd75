"""All rule stages together beside datatrove's four filters on the same text, one core; and each of ours alone.

    python -m benchmarks.rules FOLDER --datatrove PYTHON [--megabytes 4] [--repeats 5]

FOLDER holds *.jsonl.gz with a `text` column; --datatrove names the Python of an environment that has
datatrove[processing]==0.10.1, spacy and nltk. CPU seconds, the two programs in turns, medians and ranges; ours measures
every column and judges, the peer decides.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

import stages
from benchmarks.texts import size_of, take, texts_below
from stages.stage import Stage

#: What datatrove's four filters judge, and then the rest of the rules.
FOUR = ("gopher_repetition", "gopher_quality", "c4_quality", "fineweb_quality")
ALL = (*FOUR, "dclm_repetition", "dclm_quality", "refinedweb_lines")
PEER = Path(__file__).parent / "datatrove_rules.py"


def apply(names: Sequence[str], table: pa.Table) -> None:
    """Every stage measures, those that share a measure once, and judges."""
    done: dict[object, pa.Table] = {}
    for name in names:
        stage = stages.CATALOGUE[name]
        assert isinstance(stage, Stage)
        assert stage.measure is not None
        assert stage.judge is not None
        settings = stage.settings()
        if stage.measure not in done:
            done[stage.measure] = stage.measure(table, settings, {})
        stage.judge(done[stage.measure], settings)


def seconds_of(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def row(name: str, rates: Sequence[float]) -> str:
    return f"| {name} | {statistics.median(rates):.3g} ({min(rates):.3g} to {max(rates):.3g}) |"


def beside_datatrove(texts: Sequence[str], python: str, repeats: int) -> None:
    """The four rule sets, ours and theirs in turns on the same texts."""
    table, size = pa.table({"text": pa.array(texts, pa.large_string())}), size_of(texts) / 1e6
    apply(FOUR, table)
    ours: list[float] = []
    theirs: dict[str, list[float]] = {"all": [], "chain": []}
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
        file.flush()
        command = [python, str(PEER), file.name]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
            assert peer.stdin is not None
            assert peer.stdout is not None
            assert peer.stdout.readline().strip() == "ready", "the peer did not start"
            for _ in range(repeats):
                for how, found in theirs.items():
                    ours.append(size / seconds_of(lambda: apply(FOUR, table)))
                    peer.stdin.write(f"{how}\n")
                    peer.stdin.flush()
                    found.append(size / float(peer.stdout.readline()))
            peer.stdin.close()
    print(f"{len(texts)} texts, {size:.1f} MB, {repeats} rounds\n")
    print("| Gopher repetition and quality, C4, FineWeb together | MB of text a CPU second |\n|---|---|")
    print(row("ours, measuring and judging", ours))
    print(row("datatrove, every filter on every text", theirs["all"]))
    print(row("datatrove, no further than the first filter that drops", theirs["chain"]))
    for how, found in theirs.items():
        each = [one / other for one, other in zip(ours[how == "chain" :: 2], found, strict=True)]
        print(row(f"ratio to `{how}`, round by round", each))


def alone(texts: Sequence[str], repeats: int) -> None:
    """Each stage of ours by itself, and all together."""
    table, size = pa.table({"text": pa.array(texts, pa.large_string())}), size_of(texts) / 1e6
    print(f"\n{len(texts)} texts, {size:.1f} MB\n\n| ours | MB of text a CPU second |\n|---|---|")
    groups = {name: (name,) for name in ALL} | {"all of them": ALL}
    rates: dict[str, list[float]] = {name: [] for name in groups}
    for names in groups.values():
        apply(names, table)
    for _ in range(repeats):
        for name, names in groups.items():
            rates[name].append(size / seconds_of(lambda names=names: apply(names, table)))
    for name, found in rates.items():
        print(row(name, found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--datatrove", help="the Python of an environment with datatrove 0.10.1")
    parser.add_argument("--megabytes", type=float, default=4, help="text for the comparison; the peer takes minutes")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    if given.datatrove:
        every = take(texts_below(given.folder), 64 << 20)
        step = max(1, int(size_of(every) / (given.megabytes * 1e6)))
        beside_datatrove(every[::step], given.datatrove, given.repeats)
    alone(take(texts_below(given.folder), 16 << 20), given.repeats)


if __name__ == "__main__":
    main()
