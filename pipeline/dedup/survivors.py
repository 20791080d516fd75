"""The order of survivors: highest quality score, then longest text, then smallest id; as numbers that sort like it.

place  uint64   quality score (32 bits, inverted) and length in characters (32 bits, inverted): smaller goes first
id0, id1        the document's 128-bit id, its two halves as uint64
doc    uint64   split number (24 bits) and row (40 bits): tells apart rows with the same id, which no reader makes
"""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.view import View
from stages.schema import SCORE_DECIMALS

ORDER: Final = ("place", "id0", "id1", "doc")
SCORE_COLUMN: Final = "quality_score"
ROW_BITS: Final = 40
ROW_MASK: Final = (1 << ROW_BITS) - 1
MAX_SPLITS: Final = 1 << (64 - ROW_BITS)
_HALF: Final = (1 << 32) - 1
_ID_DIGITS: Final = 32
_SCORE_STEPS: Final = 10**SCORE_DECIMALS
#: Scores beyond these (32 bits of steps) count as equal to them.
_SCORE_RANGE: Final = (-(1 << 31) / _SCORE_STEPS, ((1 << 31) - 1) / _SCORE_STEPS)


def ordering_columns(view: View) -> list[str]:
    """The columns that decide who survives, as far as this view has them."""
    return ["id", "text", *([SCORE_COLUMN] if SCORE_COLUMN in view.columns else [])]


def ordering(documents: pa.Table) -> dict[str, np.ndarray]:
    """`place`, `id0` and `id1` (uint64[n]) of documents with the columns that `ordering_columns` names.

    A score that is null or not a number counts as the lowest. ValueError for an id that is not 32 hex digits.
    """
    length = np.minimum(pc.utf8_length(documents["text"]).to_numpy().astype(np.uint64), np.uint64(_HALF))
    score = np.zeros(documents.num_rows, dtype=np.uint64)
    if SCORE_COLUMN in documents.column_names:
        value = pc.fill_null(documents[SCORE_COLUMN].cast(pa.float64()), np.nan).to_numpy()
        scaled = np.clip(np.where(np.isnan(value), -np.inf, value), *_SCORE_RANGE) * _SCORE_STEPS
        score = (np.rint(scaled).astype(np.int64) + (1 << 31)).astype(np.uint64)
    half = np.uint64(_HALF)
    ids = _ids(documents["id"])
    return {"place": (half - score) << np.uint64(32) | (half - length), "id0": ids[:, 0], "id1": ids[:, 1]}


def _ids(column: pa.ChunkedArray) -> np.ndarray:
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
