"""Who survives among duplicates: criteria that a recipe puts in order, told as one number that sorts like them.

Each criterion takes some bits of 64, the first one the highest: whatever is in the number travels with every document
through every exchange, and nothing else of the document does. The smallest id decides what they leave open, so that
the survivor never depends on order, splits or workers.
"""

import fnmatch
from typing import Final, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import model_validator

from stages.schema import SCORE_DECIMALS
from stages.stage import Settings, setting

Criterion = Literal["quality", "longest", "earliest", "source_priority", "smallest_id"]
SCORE_COLUMN: Final = "quality_score"
#: What each criterion reads, and how many bits it takes. Beyond their range values count as equal: scores beyond ±838
#: in steps of 10^-4, 16.7 million characters, dates before 1970 and after 2106, 255 source patterns.
_READS: Final = {"quality": SCORE_COLUMN, "longest": "text", "earliest": "date", "source_priority": "source"}
_BITS: Final = {"quality": 24, "longest": 24, "earliest": 32, "source_priority": 8, "smallest_id": 0}
_ALL_BITS: Final = 64
_SCORE_STEPS: Final = 10**SCORE_DECIMALS
#: Date forms by their length in characters: ISO 8601 to the second, and to the day. What stands behind does not count.
_DATES: Final = ((19, "%Y-%m-%dT%H:%M:%S"), (10, "%Y-%m-%d"))


class SurvivorSettings(Settings):
    """Which document of several that are the same is kept."""

    survivor: tuple[Criterion, ...] = setting(
        ("quality", "longest", "smallest_id"),
        "Criteria in order: `quality` (highest `quality_score`, if the table has it), `longest` (characters of text), "
        "`earliest` (date), `source_priority` (see `sources`), `smallest_id`, which always comes last. `longest`, "
        "`earliest` and `quality` together do not fit into 64 bits: name two of them.",
    )
    sources: tuple[str, ...] = setting(
        (),
        "For `source_priority`: patterns (* and ?) of source names, best first; sources that match none come last.",
        max_length=(1 << _BITS["source_priority"]) - 1,
    )

    @model_validator(mode="after")
    def _criteria_fit(self) -> Self:
        if len(set(self.survivor)) != len(self.survivor):
            raise ValueError("`survivor` names a criterion twice")
        if "smallest_id" in self.survivor[:-1]:
            raise ValueError("`survivor`: no two ids are equal, so `smallest_id` can only come last")
        bits = sum(_BITS[name] for name in self.survivor)
        if bits > _ALL_BITS:
            raise ValueError(f"`survivor`: these criteria take {bits} bits of {_ALL_BITS}; leave one out")
        if ("source_priority" in self.survivor) != bool(self.sources):
            raise ValueError("`source_priority` in `survivor` and `sources` need each other")
        return self

    def order_columns(self) -> tuple[str, ...]:
        """The columns that decide, as far as a table has them."""
        return tuple(_READS[name] for name in self.survivor if name in _READS)

    def policy(self) -> dict[str, object]:
        """What decides, as JSON values: what enters keys."""
        return {"survivor": list(self.survivor), "sources": list(self.sources)}


def places(documents: pa.Table, policy: SurvivorSettings) -> np.ndarray:
    """uint64[n]: the smaller goes first. Values that are null or not understood come last within their criterion."""
    found = np.zeros(documents.num_rows, dtype=np.uint64)
    left = _ALL_BITS
    for name in policy.survivor:
        left -= _BITS[name]
        if name == "quality" and SCORE_COLUMN in documents.column_names:
            found |= _inverted(_scores(documents[SCORE_COLUMN]), name) << np.uint64(left)
        elif name == "longest":
            found |= _inverted(pc.utf8_length(documents["text"]).to_numpy(), name) << np.uint64(left)
        elif name == "earliest":
            found |= _seconds(documents["date"]) << np.uint64(left)
        elif name == "source_priority":
            found |= _priorities(documents["source"], policy.sources) << np.uint64(left)
    return found


def _inverted(values: np.ndarray, name: Criterion) -> np.ndarray:
    """uint64[n] of the criterion's bits: the largest value becomes 0."""
    most = (1 << _BITS[name]) - 1
    return (most - np.clip(values.astype(np.int64), 0, most)).astype(np.uint64)


def _scores(column: pa.ChunkedArray) -> np.ndarray:
    """int64[n]: 0 for null and NaN, then scores in steps from the lowest that fits."""
    half = 1 << (_BITS["quality"] - 1)
    values = pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy()
    steps = np.clip(np.where(np.isnan(values), -np.inf, values) * _SCORE_STEPS, -half, half - 1)
    found: np.ndarray = np.rint(steps).astype(np.int64) + half
    return found


def _seconds(column: pa.ChunkedArray) -> np.ndarray:
    """uint64[n]: seconds since 1970, the largest number for a date that is null or not understood."""
    most = (1 << _BITS["earliest"]) - 1
    forms = [
        pc.strptime(pc.utf8_slice_codeunits(column, 0, length), form, unit="s", error_is_null=True)
        for length, form in _DATES
    ]
    seconds = pc.coalesce(*forms).cast(pa.int64())
    found: np.ndarray = np.clip(pc.fill_null(seconds, most).to_numpy(), 0, most).astype(np.uint64)
    return found


def _priorities(column: pa.ChunkedArray, patterns: tuple[str, ...]) -> np.ndarray:
    """uint64[n]: number of the first pattern that matches, or their number."""
    coded = column.combine_chunks().dictionary_encode()
    ranks = [
        next((place for place, pattern in enumerate(patterns) if fnmatch.fnmatchcase(name, pattern)), len(patterns))
        for name in coded.dictionary.to_pylist()
    ]
    found: np.ndarray = np.array(ranks, dtype=np.uint64)[coded.indices.to_numpy()]
    return found
