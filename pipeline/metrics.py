"""How well a score separates two kinds of rows: ROC and precision-recall areas, thresholds, bootstrap intervals.

Rank statistics over numpy arrays; a weight for each row stands for how often a bootstrap draw holds it, so that a draw
costs a few sums instead of a new array of scores.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

#: Resamplings behind each interval: the ends of a 95 % interval then move by less than a tenth of its width.
BOOTSTRAPS: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A measured value and the ends of its 95 % bootstrap interval; NaN where it is not defined."""

    value: float
    low: float
    high: float


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
    )


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


def _interval(values: np.ndarray) -> Interval:
    """The first value with the 2.5 % and 97.5 % quantiles of the others, 4 decimals."""
    draws = values[1:][~np.isnan(values[1:])]
    low, high = np.quantile(draws, [0.025, 0.975]) if len(draws) else (float("nan"), float("nan"))
    return Interval(value=round(float(values[0]), 4), low=round(float(low), 4), high=round(float(high), 4))
