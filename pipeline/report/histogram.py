"""Counts of columns, as the charts draw them: what kept documents measure, and what those measured that were dropped.

All columns are counted in one pass over the parts: opening a part and finding a column in it costs as much as reading
its numbers. Where the bars begin and end is told by the parts' own statistics.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.report.batches import batches
from pipeline.report.scores import Judged

BINS: Final = 40
#: A count whose largest value passes this is drawn on a logarithmic axis.
_LOG_ABOVE: Final = 200
#: Rows of all columns at once: a hundred columns take 13 MB.
_ROWS: Final = 16_384
_NOTHING: Final = (math.inf, -math.inf)


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Counts of one column among kept documents, and of the measured values of those dropped by it."""

    column: str
    #: One more than there are bars: increasing values, in the column's unit.
    edges: list[float]
    kept: list[int]
    dropped: list[int]
    #: Limits from the recipe, and what each is called there.
    limits: list[tuple[str, float]]
    log: bool


def histograms(
    names: Sequence[str], kept: Sequence[Path], ledger: Sequence[Path], judged: Mapping[str, Judged]
) -> list[Histogram]:
    """One for each column, in the order of `names`. Values that are no finite numbers are not counted."""
    own = {name: judged[name] for name in names if name in judged}
    ranges = _kept_ranges(names, kept)
    for name, values in _measured(own, ledger):
        ranges[name] = _joined(ranges[name], _range(values))
    axes = {name: _axis(ranges[name], own[name].limits if name in own else []) for name in names}
    counted = {side: {name: np.zeros(BINS, dtype=np.int64) for name in names} for side in ("kept", "dropped")}
    for batch in batches(kept, names, rows=_ROWS):
        for name in batch.schema.names:
            counted["kept"][name] += _counts(_numbers(batch[name]), axes[name].edges)
    for name, values in _measured(own, ledger):
        counted["dropped"][name] += _counts(values, axes[name].edges)
    return [
        Histogram(
            column=name, edges=axes[name].edges.tolist(), log=axes[name].log, limits=axes[name].limits,
            kept=counted["kept"][name].tolist(), dropped=counted["dropped"][name].tolist(),
        )
        for name in names
    ]  # fmt: skip


def _measured(judged: Mapping[str, Judged], ledger: Sequence[Path]) -> Iterator[tuple[str, np.ndarray]]:
    """(column, the values that made ledger rows), batch by batch."""
    for batch in batches(ledger, ["stage", "reason", "detail", "measured"]) if judged else ():
        for name, rule in judged.items():
            yield name, _numbers(batch.filter(rule.matches(batch))["measured"])


def _kept_ranges(names: Sequence[str], kept: Sequence[Path]) -> dict[str, tuple[float, float]]:
    """Least and largest value of each column, by the parts' statistics; of a part that has none, by its numbers."""
    found = dict.fromkeys(names, _NOTHING)
    for path in kept:
        with pq.ParquetFile(path) as file:
            there = {file.metadata.schema.column(place).path: place for place in range(file.metadata.num_columns)}
            groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
            unknown = []
            for name in names:
                told = [_told(group.column(there[name])) for group in groups] if name in there else []
                if None in told:
                    unknown.append(name)
                for one in told:
                    found[name] = _joined(found[name], one or _NOTHING)
            for batch in file.iter_batches(batch_size=_ROWS, columns=unknown) if unknown else ():
                for name in unknown:
                    found[name] = _joined(found[name], _range(_numbers(batch[name])))
    return found


def _told(column: Any) -> tuple[float, float] | None:
    """Least and largest value of a row group's column; None if its statistics do not say, or not finite ones."""
    statistics = column.statistics
    if statistics is None or not statistics.has_min_max:
        nothing = statistics is not None and statistics.num_values == 0
        return _NOTHING if nothing else None
    low, high = float(statistics.min), float(statistics.max)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


@dataclass(frozen=True, kw_only=True)
class _Axis:
    edges: np.ndarray
    limits: list[tuple[str, float]]
    log: bool


def _axis(found: tuple[float, float], limits: list[tuple[str, float]]) -> _Axis:
    low, high = found
    # A limit that no document comes near (100,000 words) would squeeze all others into one bin.
    near = [limit for _, limit in limits if low - (high - low) <= limit <= high + (high - low)]
    low, high = min([low, *near]), max([high, *near])
    if not math.isfinite(low):
        low, high = 0.0, 1.0
    log = low >= 0 and high > _LOG_ABOVE
    shown = [limit for limit in limits if low <= limit[1] <= high]
    return _Axis(edges=_edges(low, high, log=log), limits=shown, log=log)


def _edges(low: float, high: float, *, log: bool) -> np.ndarray:
    if high <= low:
        high = low + 1
    if log:
        edges = np.expm1(np.linspace(math.log1p(low), math.log1p(high), BINS + 1))
    else:
        edges = np.linspace(low, high, BINS + 1)
    edges[0], edges[-1] = low, high  # exact: what lies on them counts
    return edges


def _numbers(values: pa.Array) -> np.ndarray:
    numbers = pc.cast(values.drop_null(), pa.float64()).to_numpy(zero_copy_only=False)
    finite = np.isfinite(numbers)
    return np.asarray(numbers if finite.all() else numbers[finite])


def _range(values: np.ndarray) -> tuple[float, float]:
    return (float(values.min()), float(values.max())) if len(values) else _NOTHING


def _joined(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return min(one[0], other[0]), max(one[1], other[1])


def _counts(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """What np.histogram counts, which sorts every batch first: ten times as slow for forty bars."""
    place = np.searchsorted(edges, values, side="right") - 1
    place[values == edges[-1]] = len(edges) - 2  # the last bar has both its ends
    return np.bincount(place, minlength=len(edges) - 1)[: len(edges) - 1]
