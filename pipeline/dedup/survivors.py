"""The order of survivors as numbers that sort like it.

place  uint64   what the recipe's criteria make of the document (stages/survivors.py): smaller goes first
id0, id1        the document's 128-bit id, its two halves as uint64
doc    uint64   split number (24 bits) and row (40 bits): tells apart rows with the same id, which no reader makes
"""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.view import View
from stages.survivors import SurvivorSettings, places

ORDER: Final = ("place", "id0", "id1", "doc")
ROW_BITS: Final = 40
ROW_MASK: Final = (1 << ROW_BITS) - 1
MAX_SPLITS: Final = 1 << (64 - ROW_BITS)
_ID_DIGITS: Final = 32


def ordering_columns(view: View, policy: SurvivorSettings) -> list[str]:
    """The id, the text, and the columns that decide who survives, as far as this view has them."""
    return list(dict.fromkeys(["id", "text", *(name for name in policy.order_columns() if name in view.columns)]))


def ordering(documents: pa.Table, policy: SurvivorSettings) -> dict[str, np.ndarray]:
    """`place`, `id0` and `id1` (uint64[n]) of documents with the columns that `ordering_columns` names.

    ValueError for an id that is not 32 hex digits.
    """
    ids = id_halves(documents["id"])
    return {"place": places(documents, policy), "id0": ids[:, 0], "id1": ids[:, 1]}


def id_halves(column: pa.ChunkedArray) -> np.ndarray:
    """uint64[n, 2]: the ids as numbers. ValueError for an id that is not 32 hex digits."""
    values = column.combine_chunks().cast(pa.large_string())
    joined = "".join(values.to_pylist())
    if len(joined) != _ID_DIGITS * len(values) or not pc.all(pc.equal(pc.utf8_length(values), _ID_DIGITS)).as_py():
        if len(values):
            raise ValueError("a document's id is not 32 hex digits")
        return np.zeros((0, 2), dtype=np.uint64)
    return np.frombuffer(bytes.fromhex(joined), dtype=">u8").astype(np.uint64).reshape(-1, 2)


def id_text(id0: np.ndarray, id1: np.ndarray) -> pa.Array:
    """The ids as they stand in the document table: string[n]."""
    digits = np.stack([id0, id1], axis=1).astype(">u8").tobytes().hex()
    return pa.array([digits[at : at + _ID_DIGITS] for at in range(0, len(digits), _ID_DIGITS)], pa.string())


def doc_numbers(split: int, rows: np.ndarray) -> np.ndarray:
    """uint64[n]: the numbers of a split's documents."""
    assert split < MAX_SPLITS
    return np.uint64(split << ROW_BITS) | rows.astype(np.uint64)


def split_of(docs: np.ndarray) -> np.ndarray:
    """int64[n]: the split number in each document number."""
    return (docs >> np.uint64(ROW_BITS)).astype(np.int64)


def row_of(docs: np.ndarray) -> np.ndarray:
    """int64[n]: the row in each document number."""
    return (docs & np.uint64(ROW_MASK)).astype(np.int64)
