"""Deduplication below the document, measured: what docs/benchmarks.md and docs/scale.md quote.

    python -m benchmarks.spans FOLDER [--megabytes N] [--repeats N] [--datatrove PYTHON] [--peer-megabytes N]
                               [--work DIR]

FOLDER holds *.jsonl.gz with a `text` column. Documents are pieces of 3,000 characters of these texts, taken again and
again with a mark of their own in every sentence, and every fifth one holds a passage of 600 characters of another one.
CPU seconds of this process for the whole exchange, texts read and written: median and range of the repeats, in which
the stages take turns; beside it a set of line hashes in plain Python, which holds all of them in one process and
compares the same lines, and datatrove's sentence deduplication (its three steps, once), ours on the same documents.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

from benchmarks.texts import texts_below
from pipeline.dedup.spans import span_dedup
from pipeline.engine import Engine, merged_counts
from pipeline.parts import Output, Task
from pipeline.runners.inline import InlineRunner
from pipeline.view import Layer, View
from stages.schema import DOCUMENT
from stages.span_dedup import (
    LineDedupSettings,
    ParagraphDedupSettings,
    SentenceDedupSettings,
    SpanSettings,
    SubstringDedupSettings,
)

_DOCUMENT_CHARACTERS = 3_000
_PASSAGE_CHARACTERS = 600
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
SETTINGS: tuple[SpanSettings, ...] = (
    LineDedupSettings(),
    ParagraphDedupSettings(),
    SentenceDedupSettings(),
    SubstringDedupSettings(),
)


def documents(folder: Path, size_bytes: int) -> list[str]:
    """Documents of sentences, one line for every four of them, of so many bytes in all."""
    pieces: list[str] = []
    for text in texts_below(folder):
        pieces += [text[at : at + _DOCUMENT_CHARACTERS] for at in range(0, len(text), _DOCUMENT_CHARACTERS)]
    found: list[str] = []
    size = 0
    while size < size_bytes:
        number = len(found)
        piece = pieces[number % len(pieces)]
        sentences = [f"{sentence} ({number})" for sentence in _SENTENCE_END.split(piece)]
        text = "\n".join(". ".join(sentences[at : at + 4]) + "." for at in range(0, len(sentences), 4))
        if number % 5 == 4:
            text += "\n" + found[number * 7919 % number][:_PASSAGE_CHARACTERS]
        found.append(text)
        size += len(text.encode())
    return found


def write_given(output: Output, *, table: pa.Table) -> dict[str, Any]:
    """Task: a part with this table."""
    output.table("docs", table)
    return {"documents": table.num_rows}


def _view(engine: Engine, texts: Sequence[str], *, splits: int) -> View:
    base = Layer(phase="base-0", columns=tuple(DOCUMENT.names))
    tasks = []
    for split in range(splits):
        mine = texts[split::splits]
        columns = {
            "id": [xxhash.xxh3_128_hexdigest(f"{split}/{row}".encode()) for row in range(len(mine))],
            "source": [f"{split}.jsonl"] * len(mine), "offset": list(range(len(mine))), "record": [0] * len(mine),
            "text": list(mine),
        }  # fmt: skip
        table = pa.table(
            {field.name: pa.array(columns.get(field.name, [None] * len(mine)), field.type) for field in DOCUMENT}
        )
        tasks.append(Task(phase=base.phase, unit=f"u{split:05d}", function="benchmarks.spans:write_given",
                          arguments={"table": table}))  # fmt: skip
    engine.run(tasks)
    return View(base=base, units=tuple(task.unit for task in tasks))


def ours(texts: Sequence[str], settings: SpanSettings, work: Path) -> dict[str, Any]:
    """CPU seconds, spans, and bytes of the exchange's files for one stage over these texts."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        engine = Engine(folder, InlineRunner())
        view = _view(engine, texts, splits=max(1, sum(map(len, texts)) >> 25))
        started = time.process_time()
        done = span_dedup(engine, view, settings, upstream="benchmark")
        seconds = time.process_time() - started
        counts = {
            phase.partition("-")[0].partition(".")[2]: merged_counts(commits)
            for phase, commits in engine.commits.items()
        }
        runs = sum(written.size_bytes for phase, commits in engine.commits.items() if ".spans-" in phase
                   for commit in commits for name, written in commit.files.items() if name == "spans")  # fmt: skip
        return {"seconds": seconds, "spans": counts["spans"]["spans"], "run_bytes": runs,
                "removed": merged_counts(engine.commits[done.layer.phase])["removed_bytes"],
                "peak": max(commit.observed["peak_memory_bytes"] for group in engine.commits.values()
                            for commit in group)}  # fmt: skip


def plain(texts: Sequence[str]) -> dict[str, Any]:
    """CPU seconds of a set of line hashes: lines in small letters, of those that line_dedup compares the first kept."""
    least = LineDedupSettings().min_unit_bytes
    started = time.process_time()
    seen: set[int] = set()
    left = []
    for text in texts:
        lines = []
        for line in text.split("\n"):
            if len(line.strip().encode()) >= least:
                form = " ".join(re.findall(r"\w+", line.lower()))
                key = xxhash.xxh3_64_intdigest(form.encode())
                if key in seen:
                    continue
                seen.add(key)
            lines.append(line)
        left.append("\n".join(lines))
    seconds = time.process_time() - started
    return {"seconds": seconds, "removed": sum(map(len, texts)) - sum(map(len, left))}


def peer(python: str, texts: Iterator[str] | Sequence[str], work: Path) -> dict[str, float]:
    """CPU seconds of datatrove's three steps."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        (Path(folder) / "in").mkdir()
        lines = [json.dumps({"text": text, "id": str(number)}) for number, text in enumerate(texts)]
        (Path(folder) / "in" / "docs.jsonl").write_text("\n".join(lines), encoding="utf-8")
        command = [python, str(Path(__file__).with_name("datatrove_sentences.py")), f"{folder}/in", f"{folder}/work"]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=dict(os.environ))
        found: dict[str, float] = json.loads(done.stdout.strip().split("\n")[-1])
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--datatrove")
    parser.add_argument("--peer-megabytes", type=int, default=10)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    given = parser.parse_args()
    texts = documents(given.folder, given.megabytes << 20)
    size = sum(len(text.encode()) for text in texts)
    few = documents(given.folder, 1 << 20)
    for settings in SETTINGS:
        ours(few, settings, given.work)  # kernels are compiled
    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(given.repeats):
        for settings in SETTINGS:
            found.setdefault(type(settings).__name__, []).append(ours(texts, settings, given.work))
        found.setdefault("a Python set of line hashes", []).append(plain(texts))
    print("| what | text MB | CPU seconds | MB/s | spans | bytes a span | bytes a byte of text | removed | peak MB |")
    print("|---" * 9 + "|")
    for name, runs in found.items():
        _row(name, size, runs)
    if given.datatrove:
        texts = documents(given.folder, given.peer_megabytes << 20)
        size = sum(len(text.encode()) for text in texts)
        _row("SentenceDedupSettings", size, [ours(texts, SentenceDedupSettings(), given.work)])
        taken = peer(given.datatrove, texts, given.work)
        told = ", ".join(f"{name} {value:.1f}" for name, value in taken.items())
        _row(f"datatrove ({told})", size, [{"seconds": sum(taken.values())}])


def _row(name: str, size: int, runs: Sequence[dict[str, Any]]) -> None:
    seconds = sorted(run["seconds"] for run in runs)
    middle, one = statistics.median(seconds), runs[0]
    cells = [
        name,
        f"{size / 1e6:.0f}",
        f"{middle:.1f} ({seconds[0]:.1f} to {seconds[-1]:.1f})",
        f"{size / 1e6 / middle:.2f}",
    ]
    if "spans" in one:
        cells += [
            f"{one['spans']:,}",
            f"{one['run_bytes'] / max(1, one['spans']):.1f}",
            f"{one['run_bytes'] / size:.2f}",
        ]
    else:
        cells += [""] * 3
    cells.append(f"{one['removed'] / size:.3f}" if "removed" in one else "")
    cells.append(f"{one['peak'] / 1e6:.0f}" if "peak" in one else "")
    print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
