"""Beyond one size: variants at several model sizes and lengths, and their difference as a multiple of compute.

    L(C) = E + A / (m C)^alpha        bits per byte of the macro mean; C floating-point operations of training

E, A and alpha are shared by all variants, m is each variant's own and 1 for the baseline: a variant with m = 1.25
gets from C what the baseline gets from 1.25 C, and reaches the baseline's loss with 1 / m = 0.8 of the compute. Three
numbers for each variant would need an asymptote for each from a handful of points; what is asked for is the shift.
Fitted on log loss with Huber's loss, the sum as log-sum-exp (Hoffmann et al. 2022, approach 3), from a grid of starts.

**The interval.** A trained trunk (variant, size, seed) is the unit: its branches share their weights. What all variants
have in common at a size and length (the curve is no exact power law, sizes have other ratios of tokens to parameters)
is not noise and stays. The rest of each trunk, scaled up for the numbers that were fitted, is dealt out again at random
with random signs, and all is fitted anew. The half width is Student's t times the standard deviation of log m over
these refits. Percentiles of plain resampling would be too narrow for a few trunks; a test counts how often the interval
holds the truth.

The fit is context. The verdict stays the ranking at one size: extrapolations decided no better than that in published
comparisons of 25 recipes (DataDecide, 2025).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, stats

#: Of residuals in log loss, as in Hoffmann et al. 2022: beyond it a point counts linearly.
HUBER = 1e-3
#: Refits behind an interval: the standard deviation of so many is known to 5 %.
REFITS = 200
_SEED = 0x1ADD
#: Starts of (share of the smallest loss that is the asymptote, alpha), after Hoffmann et al.'s grid of alpha to 0.5.
_STARTS = [(share, alpha) for share in (0.2, 0.5, 0.8, 0.95) for alpha in (0.1, 0.3, 0.6)]
#: Relative change of the cost at which a fit ends.
_TOLERANCE = 1e-6
_BOUNDS_ALPHA = (0.01, 2.0)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One model's end: what was spent on it and what it scored."""

    variant: str
    preset: str
    seed: int
    #: Which of the lengths; the branches of one trunk differ in nothing else.
    horizon: int
    flop: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class Multiplier:
    """Share of the baseline's compute that a variant needs for the baseline's loss; None where it cannot be told."""

    variant: str
    needs: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Ladder:
    asymptote: float
    scale: float
    alpha: float
    #: Root of the mean square of the residuals in log loss: what the curve does not say.
    misfit: float
    trunks: int
    degrees_of_freedom: int
    multipliers: tuple[Multiplier, ...]


def fit_ladder(points: Sequence[Point], *, baseline: str, confidence: float = 0.95, refits: int = REFITS) -> Ladder:
    """Fit all variants together. Every variant needs the same sizes, lengths and seeds.

    ValueError where points are missing, or are too few for a curve: two sizes, three different amounts of compute.
    """
    table = _Table.of(points, baseline=baseline)
    found = _fit(table, table.log_loss, starts=table.starts())
    fitted = table.predicted(found)
    residual = table.log_loss - fitted
    # [variants, sizes, seeds, lengths]: what is common to all variants and seeds is the curve's misfit, no noise.
    common = residual.mean(axis=(0, 2), keepdims=True)
    noise = residual - common
    variants, sizes, seeds, _ = noise.shape
    freedom = variants * sizes * seeds - sizes - (variants - 1)
    spread: np.ndarray | None = None
    if freedom > 0:
        draw = np.random.default_rng(_SEED)
        scaled = noise * math.sqrt(variants * sizes * seeds / freedom)
        trunks = scaled.reshape(-1, scaled.shape[-1])
        shifts = []
        for _ in range(refits):
            dealt = trunks[draw.integers(0, len(trunks), len(trunks))] * draw.choice([-1.0, 1.0], (len(trunks), 1))
            again = _fit(table, fitted + common + dealt.reshape(noise.shape), starts=[found])
            shifts.append(again[3:])
        spread = np.std(shifts, axis=0, ddof=1) * float(stats.t.ppf(0.5 + confidence / 2, freedom))
    shift = found[3:]
    return Ladder(
        asymptote=round(math.exp(found[0]), 6),
        scale=round(float(found[1] + found[2] * table.centre), 6),
        alpha=round(float(found[2]), 6),
        misfit=round(float(np.sqrt((residual**2).mean())), 6),
        trunks=variants * sizes * seeds,
        degrees_of_freedom=max(0, freedom),
        multipliers=tuple(
            Multiplier(
                variant=name,
                needs=_share(-shift[n]),
                low=None if spread is None else _share(-shift[n] - spread[n]),
                high=None if spread is None else _share(-shift[n] + spread[n]),
            )
            for n, name in enumerate(table.names[1:])
        ),
    )


def _share(log: float) -> float:
    # A variant that never reaches the baseline has no finite share; a billion times as much says the same.
    return round(math.exp(min(max(log, -20.0), 20.0)), 4)


@dataclass(frozen=True, kw_only=True)
class _Table:
    names: list[str]
    #: log C minus `centre`, [1, sizes, 1, lengths].
    log_flop: np.ndarray
    centre: float
    #: [variants, sizes, seeds, lengths]
    log_loss: np.ndarray

    @classmethod
    def of(cls, points: Sequence[Point], *, baseline: str) -> "_Table":
        names = [baseline, *dict.fromkeys(point.variant for point in points if point.variant != baseline)]
        sizes = list(dict.fromkeys(point.preset for point in points))
        seeds = sorted({point.seed for point in points})
        lengths = sorted({point.horizon for point in points})
        shape = (len(names), len(sizes), len(seeds), len(lengths))
        loss, flop = np.full(shape, np.nan), np.full(shape, np.nan)
        for point in points:
            place = (names.index(point.variant), sizes.index(point.preset), seeds.index(point.seed),
                     lengths.index(point.horizon))  # fmt: skip
            loss[place], flop[place] = point.loss, point.flop
        if not (np.isfinite(loss).all() and (loss > 0).all()):
            raise ValueError(
                "the ladder lacks points, or a model diverged: every variant needs every size, seed, length"
            )
        if len(sizes) < 2 or len(np.unique(flop)) < 3:
            raise ValueError("a ladder needs two sizes and three different amounts of compute at the least")
        # Variants with another vocabulary spend other amounts: the curve is of the compute of each.
        log_flop = np.log(flop)
        centre = float(log_flop.mean())
        return cls(names=names, log_flop=log_flop - centre, centre=centre, log_loss=np.log(loss))

    def starts(self) -> list[np.ndarray]:
        least, mean = float(self.log_loss.min()), float(np.exp(self.log_loss).mean())
        return [
            np.array([least + math.log(share), math.log(max(mean - share * math.exp(least), 1e-6)), alpha,
                      *np.zeros(len(self.names) - 1)])
            for share, alpha in _STARTS
        ]  # fmt: skip

    def predicted(self, parameters: np.ndarray) -> np.ndarray:
        total: np.ndarray = np.logaddexp(parameters[0], self._power(parameters))
        return total

    def _power(self, parameters: np.ndarray) -> np.ndarray:
        """Log of A / (m C)^alpha, everywhere."""
        shift = np.concatenate([[0.0], parameters[3:]]).reshape(-1, 1, 1, 1)
        power: np.ndarray = parameters[1] - parameters[2] * (self.log_flop + shift)
        return power

    def slopes(self, parameters: np.ndarray) -> np.ndarray:
        """Derivatives of the prediction, [points, parameters]."""
        power = self._power(parameters)
        total = np.logaddexp(parameters[0], power)
        asymptote, rest = np.exp(parameters[0] - total), np.exp(power - total)
        shift = np.concatenate([[0.0], parameters[3:]]).reshape(-1, 1, 1, 1)
        columns = [asymptote, rest, -rest * (self.log_flop + shift)]
        for n in range(1, len(self.names)):
            mine = np.zeros_like(rest)
            mine[n] = -parameters[2] * rest[n]
            columns.append(mine)
        return np.stack([column.ravel() for column in columns], axis=1)


def _fit(table: _Table, log_loss: np.ndarray, *, starts: Sequence[np.ndarray]) -> np.ndarray:
    """The best of the fits from these starts: log E, log A at the mean compute, alpha, and each log m."""
    count = len(table.names) - 1
    low = np.array([-20.0, -20.0, _BOUNDS_ALPHA[0], *np.full(count, -20.0)])
    high = np.array([20.0, 20.0, _BOUNDS_ALPHA[1], *np.full(count, 20.0)])
    # Asymptote and exponent trade against each other along a flat valley; what moves in it is no multiplier.
    options: dict[str, Any] = {"loss": "huber", "f_scale": HUBER, "x_scale": "jac", "max_nfev": 300,
                               "ftol": _TOLERANCE, "xtol": _TOLERANCE}  # fmt: skip
    fits = [
        optimize.least_squares(
            lambda p: (table.predicted(p) - log_loss).ravel(), np.clip(start, low + 1e-9, high - 1e-9),
            jac=table.slopes, bounds=(low, high), **options,
        )
        for start in starts
    ]  # fmt: skip
    best: np.ndarray = min(fits, key=lambda found: found.cost).x
    return best


def ladder_sentence(found: Mapping[str, Any], *, baseline: str, confidence: float) -> str:
    """The multipliers as a person reads them."""
    parts = []
    for one in found["multipliers"]:
        interval = "" if one["low"] is None else f" ({confidence:.0%} {one['low']:.2f} to {one['high']:.2f})"
        parts.append(f"{one['variant']} reaches {baseline}'s loss with {one['needs']:.2f} x the compute{interval}")
    return f"Over the ladder, {'; '.join(parts)}. This is context; the verdict is the comparison at one size."
