"""What the benchmarks share: texts to work on, and a rate with its spread."""

import gzip
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPEATS = 5


@dataclass(frozen=True, kw_only=True)
class Figure:
    """MB of UTF-8 text in a CPU second: median, smallest and largest of the repeats."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:,.1f} ({self.low:,.1f} to {self.high:,.1f})"


def texts_below(folder: Path) -> Iterator[str]:
    """Texts of the JSONL files below a folder, in the order of their paths."""
    for path in sorted(folder.rglob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
            for line in lines:
                text = json.loads(line).get("text")
                if isinstance(text, str) and len(text) > 200:
                    yield text


def take(texts: Iterator[str], size_bytes: int) -> list[str]:
    taken, size = [], 0
    for text in texts:
        taken.append(text)
        size += len(text.encode())
        if size >= size_bytes:
            break
    return taken


def measured(work: Callable[[], Any], size_bytes: int) -> Figure:
    """The rate of `work` over `size_bytes` of text."""
    work()
    rates = []
    for _ in range(REPEATS):
        started = time.process_time()
        work()
        rates.append(size_bytes / 1e6 / (time.process_time() - started))
    return Figure(median=statistics.median(rates), low=min(rates), high=max(rates))


def size_of(texts: Sequence[str]) -> int:
    return sum(len(text.encode()) for text in texts)
