"""What a stage is: a settings model, a pure measuring function, a pure judging function, and one record about them.

    measure(docs, settings, resources) -> the columns it adds, one row for each document, in order
    judge(docs, settings)              -> VERDICT, one row for each document, in order

A stage never removes a row: the runner does, and books it. Measured columns are stored, so that a changed threshold
costs a comparison and not a second measurement; `measure` therefore never sees the thresholds (they reach it at their
defaults), and only settings that are not thresholds enter a measure phase's key.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from stages.schema import VERDICT


class Settings(BaseModel):
    """Base of all settings: frozen, keyword only, unknown keys and NaN refused. Fields say why."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def names_of(cls, role: str) -> set[str]:
        """The fields of a role: `threshold` (only `judge` may read them) or `place` (says where, not what)."""
        return {
            name
            for name, info in cls.model_fields.items()
            if isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("role") == role
        }

    def measuring(self) -> dict[str, Any]:
        """The settings that `measure` depends on, as JSON values: what enters a measure phase's key."""
        return self.model_dump(mode="json", exclude=self.names_of("threshold") | self.names_of("place"))

    def lasting(self) -> dict[str, Any]:
        """All settings but places, as JSON values: what enters a root hash. Files at places count by their sha256."""
        return self.model_dump(mode="json", exclude=self.names_of("place"))

    def without_thresholds(self) -> "Settings":
        """The same settings with every threshold at its default: what `measure` is given."""
        return type(self)(**self.model_dump(exclude=self.names_of("threshold")))


def setting(default: Any, why: str, **limits: Any) -> Any:
    """A field that changes what is measured. `why` says unit, meaning and reason; `limits` are pydantic's (ge, le…)."""
    return Field(default, description=why, **limits)


def threshold(default: Any, why: str, **limits: Any) -> Any:
    """A field that only judges stored columns. Its name says which side it is on: min_…, max_…, keep."""
    return Field(default, description=why, json_schema_extra={"role": "threshold"}, **limits)


def place(default: Any, why: str, **limits: Any) -> Any:
    """A field that says where a file or folder lies. What lies there is identified by its sha256, never by its path."""
    return Field(default, description=why, json_schema_extra={"role": "place"}, **limits)


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A model or list that a stage needs, loaded once per worker by the pipeline and identified by its sha256."""

    #: Key under which the stage finds it in `resources`.
    name: str
    #: How it is loaded: `fasttext`.
    kind: str
    #: `builtin/NAME` or a path.
    reference: str
    #: The expected sha256 of a file of the user's own; None accepts what is there and records it.
    sha256: str | None = None
    #: What the loader needs besides the file, as JSON values.
    parameters: Mapping[str, Any] = field(default_factory=dict)


Measure = Callable[[pa.Table, Any, Mapping[str, Any]], pa.Table]
Judge = Callable[[pa.Table, Any], pa.Table]


def _no_resources(_: Any) -> tuple[Resource, ...]:
    return ()


def _no_libraries(_: Any) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One row-local stage, as the catalogue in `stages/__init__.py` lists it."""

    #: The `type` in a recipe.
    name: str
    settings: type[Settings]
    #: Columns that `measure` reads. It is given these and no others.
    reads: tuple[str, ...] = ("text",)
    #: Columns that `measure` adds, with their types. If `text` is among them the stage rewrites the text.
    adds: pa.Schema = field(default_factory=lambda: pa.schema([]))
    #: None for a stage that judges columns which another stage measured.
    measure: Measure | None = None
    #: None for a stage that rejects nothing. It is given the columns of `judged(settings)` and no others.
    judge: Judge | None = None
    judges: tuple[str, ...] = ()
    resources: Callable[[Any], tuple[Resource, ...]] = _no_resources
    #: Distributions whose versions enter the key, besides pyarrow and numpy, which always do.
    libraries: tuple[str, ...] = ()
    #: Our own modules, besides the one that holds `measure`, whose source enters the key of the measure phase.
    modules: tuple[str, ...] = ()
    #: Distributions that these settings ask for besides `libraries`.
    chosen_libraries: Callable[[Any], tuple[str, ...]] = _no_libraries

    def judged(self, settings: Settings) -> tuple[str, ...]:
        """The columns that `judge` is given: `judges`, and the language if these settings' thresholds depend on it."""
        return (*self.judges, "language") if getattr(settings, "per_language", None) else self.judges

    @property
    def rewrites(self) -> bool:
        return "text" in self.adds.names


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One comparison of a judge: which documents pass, and what to write down for those that do not."""

    reason: str
    #: bool[n]
    passes: np.ndarray
    #: float64[n], or None for a rule without a number.
    measured: np.ndarray | None = None
    #: The number it was held against, one for all documents or float64[n].
    threshold: float | np.ndarray | None = None
    #: A sentence for all failing documents, or one string per document.
    detail: str | Sequence[str | None] | None = None


def verdicts(rules: Sequence[Rule], rows: int) -> pa.Table:
    """VERDICT for `rows` documents: each gets the first rule in the given order that it fails, or null."""
    reason: list[str | None] = [None] * rows
    measured: list[float | None] = [None] * rows
    limit: list[float | None] = [None] * rows
    detail: list[str | None] = [None] * rows
    open_rows = np.ones(rows, dtype=bool)
    for rule in rules:
        failing = np.flatnonzero(open_rows & ~rule.passes)
        for row in failing.tolist():
            reason[row] = rule.reason
            if rule.measured is not None:
                measured[row] = float(rule.measured[row])
            if isinstance(rule.threshold, np.ndarray):
                limit[row] = float(rule.threshold[row])
            elif rule.threshold is not None:
                limit[row] = float(rule.threshold)
            if rule.detail is not None:
                detail[row] = rule.detail if isinstance(rule.detail, str) else rule.detail[row]
        open_rows[failing] = False
    return pa.table([reason, measured, limit, detail], schema=VERDICT)


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A stage that compares documents with each other: the pipeline runs it as an exchange; its settings are here."""

    #: The `type` in a recipe.
    name: str
    settings: type[Settings]


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """The first stage of every recipe: raw records in, DOCUMENT out."""

    #: The `type` in a recipe.
    name: str
    settings: type[Settings]
