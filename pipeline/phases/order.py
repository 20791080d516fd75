"""A curriculum: which part of the shards' order each document belongs to, by a measure that a stage has stored.

    order.buckets-<key>   a part a split: the bucket of each encoded document, and what the buckets hold

A bucket is a range of the measure. Buckets follow each other in the shards; within one the documents are shuffled by
their keyed hash, as all of them are where a recipe asks for no order. Which bucket a document is in depends on its own
measure alone, so neither splits nor workers nor other documents change it. Only training shards are ordered.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.parts import Output
from pipeline.view import View, read_documents

#: Measures that encoding takes itself; every other one is a column of a stage.
ENCODED = ("n_tokens", "n_bytes")


def bucket_of(values: np.ndarray, limits: Sequence[float], *, descending: bool) -> np.ndarray:
    """int64[n]: the bucket of each value, 0 the first that is read. A limit belongs to the range above it. NaN, which
    stands for a document without the measure, is in a bucket of its own behind all others."""
    found = np.searchsorted(np.array(limits, dtype=np.float64), values, side="right").astype(np.int64)
    if descending:
        found = len(limits) - found
    return np.where(np.isnan(values), len(limits) + 1, found)


def ranges(limits: Sequence[float], *, descending: bool) -> list[tuple[float | None, float | None]]:
    """(from, below) of each bucket but the last, which has no measure; None where a range is open."""
    edges = [None, *limits, None]
    found = list(pairwise(edges))
    return found[::-1] if descending else found


def description(by: str, limits: Sequence[float], *, descending: bool) -> str:
    """What shards state of their order."""
    return f"{by} {'descending' if descending else 'ascending'}, limits {', '.join(f'{limit:g}' for limit in limits)}"


def buckets(
    output: Output,
    *,
    view: View,
    unit: str,
    encoded: str,
    copies: str | None,
    by: str,
    limits: list[float],
    descending: bool,
) -> dict[str, Any]:
    """Task: `buckets`: the bucket of each encoded document. Counts documents and tokens of the training split by
    bucket, each document as often as the mix writes it."""
    if by in ENCODED:
        values = output.files.read_table(encoded, [by])[by]
    else:
        values = read_documents(output.files, view, unit, [by])[by]
    values = pc.fill_null(values.cast(pa.float64()), float("nan")).to_numpy()
    found = bucket_of(values, limits, descending=descending)
    output.table("buckets", pa.table({"bucket": found}))
    table = output.files.read_table(encoded, ["n_tokens", "validation"])
    times = (~table["validation"].to_numpy()).astype(np.int64)
    if copies is not None:
        times *= output.files.read_table(copies)["copies"].to_numpy()
    tokens = table["n_tokens"].to_numpy()
    return {
        "train": {
            str(number): {
                "documents": int(times[found == number].sum()),
                "tokens": int((times * tokens)[found == number].sum()),
            }
            for number in range(len(limits) + 2)
        }
    }


def order_text(books: dict[str, Any]) -> str:
    """The books as a person reads them."""
    return "\n".join(
        f"order     {books['by']} {_range(line)}: {line['documents']:,} documents, {line['tokens']:,} tokens, "
        f"{line['shards']} shards"
        for line in books["buckets"]
    )


def _range(line: dict[str, Any]) -> str:
    if line["without"]:
        return "not measured"
    low, high = line["from"], line["below"]
    return " and ".join(
        [*([f"from {low:g}"] if low is not None else []), *([f"below {high:g}"] if high is not None else [])]
    )
