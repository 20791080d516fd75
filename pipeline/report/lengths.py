"""How long kept documents are, in bytes of text and, where the run has shards, in tokens: counted in one pass."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.report.histogram import Histogram

#: Four bars for each doubling, from 1 to 2^40: edges that need not look at the data first.
_EDGES: Final = np.concatenate([[0.0], 2 ** (np.arange(0, 161) / 4)])


class Lengths:
    """Counts of lengths by bins of a logarithmic axis."""

    def __init__(self) -> None:
        self._counts = np.zeros(len(_EDGES) - 1, dtype=np.int64)
        self._total = 0

    def add(self, lengths: np.ndarray) -> None:
        self._counts += np.histogram(lengths, _EDGES)[0]
        self._total += int(lengths.sum())

    def add_texts(self, texts: pa.Array) -> None:
        self.add(np.asarray(pc.binary_length(texts).to_numpy(zero_copy_only=False)))

    def histogram(self, column: str) -> Histogram | None:
        """The bins that hold something; None if nothing was counted."""
        there = np.flatnonzero(self._counts)
        if not len(there):
            return None
        first, last = int(there[0]), int(there[-1]) + 1
        counts = [int(count) for count in self._counts[first:last]]
        return Histogram(column=column, edges=[float(edge) for edge in _EDGES[first : last + 1]], kept=counts,
                         dropped=[0] * len(counts), limits=[], log=True)  # fmt: skip

    @property
    def mean(self) -> float:
        return self._total / max(1, int(self._counts.sum()))

    def quantile(self, share: float) -> float:
        """The upper edge of the bin in which this share of the documents is reached: right to a fifth."""
        reached = np.cumsum(self._counts)
        return float(_EDGES[int(np.searchsorted(reached, share * reached[-1])) + 1]) if reached[-1] else 0.0


def token_lengths(folder: Path) -> Lengths:
    """Tokens of each document in a run's shards; a document that a mix repeats counts each time."""
    found = Lengths()
    for batch in _numbers(folder):
        found.add(batch)
    return found


def _numbers(folder: Path) -> Iterator[np.ndarray]:
    for path in sorted(folder.glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["n_tokens"]):
                yield np.asarray(batch["n_tokens"].to_numpy())
