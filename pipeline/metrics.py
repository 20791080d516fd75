"""How well a score separates two kinds of rows: ROC and precision-recall areas, thresholds, bootstrap intervals.

Rank statistics over numpy arrays; a weight for each row stands for how often a bootstrap draw holds it, so that a draw
costs a few sums instead of a new array of scores.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

#: Resamplings behind each interval: the ends of a 95 % interval then move by less than a tenth of its width.
BOOTSTRAPS: Final = 1000
#: Bins of the calibration: ten, as reliability diagrams have them.
_BINS: Final = 10
#: Thresholds at which precision and recall are listed: as many as a picture shows.
_CURVE_POINTS: Final = 100


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A measured value and the ends of its 95 % bootstrap interval; NaN where it is not defined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Rows whose scores lie near each other: what the scores say, and what is true."""

    rows: int
    mean_score: float
    positive_fraction: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How well scores find the positive rows, and what a threshold costs."""

    rows: int
    positives: int
    #: Probability that a positive row outscores a negative one, ties counting half.
    roc_auc: Interval
    #: Area under precision over recall (average precision); a random score gets positives / rows.
    pr_auc: Interval
    #: Rows with at least this score count as found. Chosen for the best F1 where none was given.
    threshold: float
    precision: Interval
    recall: Interval
    #: What the threshold costs: share of all rows it finds, positives it misses, negatives it takes for positive.
    found_fraction: float
    missed_positives: int
    false_positives: int
    #: Rows in order of their score, in ten bins of equal size; rows of equal score are not parted.
    calibration: tuple[Bin, ...]
    #: Mean over the rows of |mean score - share of positives| of their bin: 0 where scores are probabilities.
    calibration_error: float
    #: (threshold, precision, recall) at up to a hundred thresholds, falling.
    curve: tuple[tuple[float, float, float], ...]


def evaluate_scores(scores: np.ndarray, truth: np.ndarray, *, threshold: float | None = None) -> Evaluation:
    """Figures of `scores` (float64[n], higher is more positive) against `truth` (bool[n]), intervals by seeded
    bootstrap over rows. ValueError without rows."""
    if len(scores) == 0:
        raise ValueError("no labelled rows to evaluate on")
    if threshold is None:
        threshold = _best_f1_threshold(scores, truth)
    found = scores >= threshold
    random = np.random.default_rng(0)
    figures = np.empty((BOOTSTRAPS + 1, 4))
    figures[0] = _figures(scores, truth, found, np.ones(len(scores)))
    for draw in range(1, BOOTSTRAPS + 1):
        counts = np.bincount(random.integers(0, len(scores), len(scores)), minlength=len(scores))
        figures[draw] = _figures(scores, truth, found, counts.astype(np.float64))
    roc, pr, precision, recall = (_interval(figures[:, column]) for column in range(4))
    return Evaluation(
        rows=len(scores),
        positives=int(truth.sum()),
        roc_auc=roc,
        pr_auc=pr,
        threshold=float(threshold),
        precision=precision,
        recall=recall,
        found_fraction=round(float(found.mean()), 4),
        missed_positives=int((truth & ~found).sum()),
        false_positives=int((~truth & found).sum()),
        calibration=(bins := _calibration(scores, truth)),
        calibration_error=round(sum(b.rows * abs(b.mean_score - b.positive_fraction) for b in bins) / len(scores), 4),
        curve=_curve(scores, truth),
    )


def paired_difference(scores: np.ndarray, other: np.ndarray, truth: np.ndarray) -> tuple[Interval, float]:
    """ROC area of `scores` less that of `other` on the same rows, with an interval by bootstrap over rows, and the
    share of the draws in which it is not above 0 (the one-sided p-value of "no better")."""
    random = np.random.default_rng(0)
    values = np.empty(BOOTSTRAPS + 1)
    ones = np.ones(len(truth))
    values[0] = _areas(scores, truth, ones)[0] - _areas(other, truth, ones)[0]
    for draw in range(1, BOOTSTRAPS + 1):
        counts = np.bincount(random.integers(0, len(truth), len(truth)), minlength=len(truth)).astype(np.float64)
        values[draw] = _areas(scores, truth, counts)[0] - _areas(other, truth, counts)[0]
    return _interval(values), round(float((values[1:] <= 0).mean()), 4)


def plot(found: Evaluation, path: Path, *, title: str) -> None:
    """A picture of how far scores are probabilities, and of precision and recall by threshold. ValueError for an ending
    that is no picture's."""
    if path.suffix not in (".svg", ".png"):
        raise ValueError(f"--plot {path}: expected a name that ends in .svg or .png")
    with mpl.rc_context({"svg.hashsalt": "tamis", "svg.fonttype": "none"}):
        figure = Figure(figsize=(9, 4), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        left.plot([b.mean_score for b in found.calibration], [b.positive_fraction for b in found.calibration], "o-")
        left.set(xlabel="mean score", ylabel="share of positives", xlim=(0, 1), ylim=(0, 1))
        left.set_title(f"Calibration (error {found.calibration_error:.3f})", fontsize=10)
        thresholds, precision, recall = zip(*found.curve, strict=True)
        right.plot(thresholds, precision, label="precision")
        right.plot(thresholds, recall, label="recall")
        right.axvline(found.threshold, color="0.7", linewidth=1)
        right.set(xlabel="threshold", xlim=(0, 1), ylim=(0, 1))
        right.set_title(f"Chosen threshold {found.threshold:.4f}", fontsize=10)
        right.legend()
        figure.suptitle(title, fontsize=11)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def roc_auc(scores: np.ndarray, truth: np.ndarray) -> float:
    """The probability that a positive row outscores a negative one, ties counting half; NaN without both kinds."""
    return float(_areas(scores, truth, np.ones(len(scores)))[0])


def _figures(scores: np.ndarray, truth: np.ndarray, found: np.ndarray, weights: np.ndarray) -> tuple[float, ...]:
    """ROC area, PR area, precision, recall of rows that count `weights` times each."""
    hits = float(weights[truth & found].sum())
    taken, positives = float(weights[found].sum()), float(weights[truth].sum())
    precision = hits / taken if taken else float("nan")
    recall = hits / positives if positives else float("nan")
    return (*_areas(scores, truth, weights), precision, recall)


def _areas(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """ROC area and average precision; rows of equal score form one step."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    weight, positive = weights[order], (weights * truth)[order]
    hits = np.add.reduceat(positive, starts)
    misses = np.add.reduceat(weight - positive, starts)
    positives, negatives = float(hits.sum()), float(misses.sum())
    if positives == 0 or negatives == 0:
        return float("nan"), float("nan")
    below = negatives - np.cumsum(misses)
    area = float((hits * (below + misses / 2)).sum()) / (positives * negatives)
    seen = np.cumsum(hits + misses)
    precision = np.cumsum(hits) / np.where(seen > 0, seen, 1.0)
    return area, float((precision * hits).sum()) / positives


def _best_f1_threshold(scores: np.ndarray, truth: np.ndarray) -> float:
    """The score at which taking all rows from it upwards gives the best F1; the highest such score."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(truth[order])
    last = np.flatnonzero(np.concatenate([np.diff(scores[order]) != 0, [True]]))
    f1 = 2 * hits[last] / (last + 1 + max(1, int(truth.sum())))
    return float(scores[order][last[int(np.argmax(f1))]])


def _calibration(scores: np.ndarray, truth: np.ndarray) -> tuple[Bin, ...]:
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    bounds = np.linspace(0, len(scores), _BINS + 1).astype(np.int64)
    # A bin ends behind the last row of the score that it would end in.
    ends = np.unique(np.searchsorted(ordered, ordered[np.maximum(bounds[1:] - 1, 0)], side="right"))
    return tuple(
        Bin(
            rows=int(end - start),
            mean_score=round(float(ordered[start:end].mean()), 4),
            positive_fraction=round(float(truth[order][start:end].mean()), 4),
        )
        for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)
    )


def _curve(scores: np.ndarray, truth: np.ndarray) -> tuple[tuple[float, float, float], ...]:
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(truth[order])
    last = np.flatnonzero(np.concatenate([np.diff(scores[order]) != 0, [True]]))
    chosen = last[np.unique(np.linspace(0, len(last) - 1, _CURVE_POINTS).astype(np.int64))]
    positives = max(1, int(truth.sum()))
    return tuple(
        (float(scores[order][at]), round(float(hits[at] / (at + 1)), 4), round(float(hits[at] / positives), 4))
        for at in chosen.tolist()
    )


def _interval(values: np.ndarray) -> Interval:
    """The first value with the 2.5 % and 97.5 % quantiles of the others, 4 decimals."""
    draws = values[1:][~np.isnan(values[1:])]
    low, high = np.quantile(draws, [0.025, 0.975]) if len(draws) else (float("nan"), float("nan"))
    return Interval(value=round(float(values[0]), 4), low=round(float(low), 4), high=round(float(high), 4))
