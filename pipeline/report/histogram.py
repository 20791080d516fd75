"""Counts of one column, as the charts draw them."""

from dataclasses import dataclass


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
