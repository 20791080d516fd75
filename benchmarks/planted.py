"""Generated documents with planted near duplicates of exactly known similarity, as many as one likes.

Of n documents the last fifth are members of clusters: document b + c (b = 4n/5) is document c with k words replaced,
k = 1 + c mod 8, at least five words apart, so that of S shingles of five words 5k change: Jaccard (S - 5k) / (S + 5k).
Words come from a vocabulary of 65,536 with Zipf's frequencies, drawn by a hash of (document, place): any range of
documents can be made alone, in any order.
"""

from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline.engine import Engine
from pipeline.parts import Output, Task
from pipeline.view import Layer, View
from stages.compiled import compiled
from stages.schema import DOCUMENT
from stages.shingles import mix64

WORDS: Final = 164
SHINGLES: Final = WORDS - 4
MOST_REPLACED: Final = 8
VOCABULARY: Final = 1 << 16
#: Documents in a split: 48 MB of text, as a split of a crawl has.
SPLIT_DOCUMENTS: Final = 50_000
_LETTERS: Final = 26


def similarity(replaced: int) -> float:
    """Jaccard of a document and its copy with this many words replaced."""
    return (SHINGLES - 5 * replaced) / (SHINGLES + 5 * replaced)


def vocabulary() -> pa.Array:
    """65,536 words of 2 to 9 letters, the common ones short, all different."""
    draw = np.random.default_rng(0)
    words: dict[str, None] = {}
    while len(words) < VOCABULARY:
        length = 2 + min(7, int(np.log2(len(words) + 2) / 2))
        words["".join(chr(97 + letter) for letter in draw.integers(0, _LETTERS, length))] = None
    return pa.array(list(words), pa.large_string())


def zipf_table() -> np.ndarray:
    """uint16[2^20]: rank of the word for each of 2^20 equally likely draws, frequencies as 1 / (rank + 3)."""
    weight = np.cumsum(1.0 / (np.arange(VOCABULARY) + 3))
    return np.searchsorted(weight / weight[-1], (np.arange(1 << 20) + 0.5) / (1 << 20)).astype(np.uint16)


@compiled
def _draw(first: int, count: int, base: int, table: np.ndarray, out: np.ndarray) -> None:
    for row in range(count):
        document = first + row
        cluster = document - base if document >= base else document
        for place in range(WORDS):
            state = mix64(mix64(np.uint64(cluster)) + np.uint64(place))
            out[row, place] = table[state >> np.uint64(44)]
        if document >= base:
            for number in range(1 + cluster % MOST_REPLACED):
                place = 10 + number * 18  # the gap keeps the shingles of two replaced words apart
                state = mix64(np.uint64(document) * np.uint64(31) + np.uint64(number))
                fresh = table[state >> np.uint64(44)]
                out[row, place] = fresh if fresh != out[row, place] else np.uint16(fresh ^ np.uint16(1))


def texts(first: int, count: int, documents: int) -> pa.Array:
    """large_string[count]: documents `first` and following of `documents`."""
    drawn = np.empty((count, WORDS), dtype=np.uint16)
    _draw(first, count, documents * 4 // 5, zipf_table(), drawn)
    words = vocabulary().take(pa.array(drawn.ravel()))
    offsets = pa.array(np.arange(count + 1) * WORDS)
    return pa.compute.binary_join(pa.LargeListArray.from_arrays(offsets, words), pa.scalar(" ", pa.large_string()))


def ids(first: int, count: int) -> pa.Array:
    """The document's number in hexadecimal: of equally long texts the smaller number survives."""
    return pa.array([f"{number:032x}" for number in range(first, first + count)], pa.string())


def write_split(output: Output, *, first: int, count: int, documents: int) -> dict[str, Any]:
    """Task: `docs` of a stretch of documents."""
    columns: dict[str, pa.Array] = {
        "id": ids(first, count),
        "source": pa.array(["planted"] * count, pa.string()),
        "offset": pa.array(np.arange(first, first + count)),
        "record": pa.array(np.zeros(count, dtype=np.int64)),
        "text": texts(first, count, documents),
    }
    table = pa.table([columns.get(field.name, pa.nulls(count, field.type)) for field in DOCUMENT], schema=DOCUMENT)
    output.table("docs", table)
    return {"documents": count, "text_bytes": int(pa.compute.sum(pa.compute.binary_length(columns["text"])).as_py())}


def view(engine: Engine, documents: int, *, split_documents: int = SPLIT_DOCUMENTS) -> View:
    """All documents as a view, written in splits."""
    base = Layer(phase=f"planted-{documents}", columns=tuple(DOCUMENT.names))
    starts = range(0, documents, split_documents)
    tasks = [
        Task(
            phase=base.phase,
            unit=f"u{number:06d}",
            function="benchmarks.planted:write_split",
            arguments={
                "first": start,
                "count": min(split_documents, documents - start),
                "documents": documents,
            },
        )
        for number, start in enumerate(starts)
    ]
    engine.run(tasks)
    return View(base=base, units=tuple(task.unit for task in tasks))
