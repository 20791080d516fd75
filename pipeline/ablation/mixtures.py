"""From many small models on drawn mixtures to the mixture that should be best: the regression, no training.

RegMix (Liu et al. 2024) trains small models on mixtures drawn from a Dirichlet distribution and predicts the loss of
any other mixture from its weights. Here a ridge regression of log bits per byte, for each held-out domain, on the
weights; on their logs besides; or on their products besides. The form and the ridge are those with the least error on
mixtures left out (each left out once, in closed form), and that error is reported beside the spread that there was to
explain.

The predicted best mixture is the mean of the best hundred of many drawn ones, so that no single lucky corner is chosen,
and it lies where mixtures were tried. Its uncertainty is that of the models: they are drawn again with replacement, all
is fitted anew and the best looked for again. What is believed in the end is the confirming comparison, not this.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Weights below this are no mixture of the source at all; keeps logs finite.
_LEAST_WEIGHT = 1e-3
_RIDGES = tuple(10.0**power for power in range(-6, 3))
#: Mixtures among which the best is looked for, and of which the best are averaged (RegMix: 100).
_CANDIDATES = 20_000
_AVERAGED = 100
_RESAMPLES = 200
_SEED = 0x3117
#: Draws for each mixture that is wanted, before it is said that limits leave too little room.
_TRIES = 1_000


def draw_mixtures(
    count: int, *, sources: int, concentration: float, limits: Sequence[float], seed: int = _SEED
) -> np.ndarray:
    """[count, sources] weights that sum to 1, from a symmetric Dirichlet, none above its source's limit.

    ValueError where the limits leave so little room that not one draw of a thousand fits.
    """
    draw = np.random.default_rng(seed)
    found: list[np.ndarray] = []
    for _ in range(_TRIES):
        batch = draw.dirichlet(np.full(sources, concentration), max(count, 16))
        # Rounded first: weights are written into recipes.
        batch = np.round(batch, 4)
        found += [row for row in batch if (row <= np.array(limits) + 1e-9).all()]
        if len(found) >= count:
            return np.array(found[:count])
    raise ValueError(
        f"no {count} mixtures of {_TRIES * max(count, 16)} drawn stay within the limits "
        f"{', '.join(f'{limit:.2f}' for limit in limits)}: raise max_epochs, or lower the budget"
    )


def _linear(weights: np.ndarray) -> np.ndarray:
    return weights


def _logarithmic(weights: np.ndarray) -> np.ndarray:
    return np.hstack([weights, np.log(np.maximum(weights, _LEAST_WEIGHT))])


def _quadratic(weights: np.ndarray) -> np.ndarray:
    rows, columns = np.triu_indices(weights.shape[1])
    return np.hstack([weights, weights[:, rows] * weights[:, columns]])


FORMS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": _linear, "logarithmic": _logarithmic, "quadratic": _quadratic,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Regression:
    """Log bits per byte of each domain from weights."""

    form: str
    ridge: float
    centre: np.ndarray
    scale: np.ndarray
    #: [features + 1, domains], the constant last.
    coefficients: np.ndarray
    #: Root mean square error of the macro mean on mixtures left out, bits per byte.
    left_out_error: float
    #: Standard deviation of the macro mean over the mixtures: what there was to explain.
    spread: float

    def predict(self, weights: np.ndarray) -> np.ndarray:
        """Bits per byte, [mixtures, domains]."""
        features = (FORMS[self.form](weights) - self.centre) / self.scale
        found: np.ndarray = np.exp(features @ self.coefficients[:-1] + self.coefficients[-1])
        return found


def fit_mixtures(
    weights: np.ndarray, losses: np.ndarray, *, form: str | None = None, ridge: float | None = None
) -> Regression:
    """Fit losses [mixtures, domains] on weights [mixtures, sources]; form and ridge by what is left out, or given."""
    tried = [
        _fit(weights, losses, name, strength)
        for name in ([form] if form else FORMS)
        for strength in ([ridge] if ridge else _RIDGES)
    ]
    return min(tried, key=lambda found: found.left_out_error)


def _fit(weights: np.ndarray, losses: np.ndarray, form: str, ridge: float) -> Regression:
    raw = FORMS[form](weights)
    centre = raw.mean(axis=0)
    scale = raw.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    features = (raw - centre) / scale
    wanted = np.log(losses)
    mean = wanted.mean(axis=0)
    inner = np.linalg.inv(features.T @ features + ridge * len(features) * np.eye(features.shape[1]))
    slopes = inner @ features.T @ (wanted - mean)
    # Of a ridge regression: the residual without a row is the residual over one minus its leverage.
    leverage = np.einsum("ij,jk,ik->i", features, inner, features) + 1 / len(features)
    left = (wanted - mean - features @ slopes) / np.maximum(1 - leverage, 1e-6)[:, None]
    predicted = np.exp(np.clip(wanted - left, -20, 20))
    error = predicted.mean(axis=1) - losses.mean(axis=1)
    return Regression(
        form=form, ridge=ridge, centre=centre, scale=scale, coefficients=np.vstack([slopes, mean]),
        left_out_error=float(np.sqrt((error**2).mean())), spread=float(losses.mean(axis=1).std(ddof=1)),
    )  # fmt: skip


def best_mixture(found: Regression, candidates: np.ndarray) -> np.ndarray:
    """The mean of the candidates with the least predicted macro mean."""
    predicted = found.predict(candidates).mean(axis=1)
    best: np.ndarray = candidates[np.argsort(predicted, kind="stable")[:_AVERAGED]].mean(axis=0)
    return best


def predict_best(
    names: Sequence[str],
    weights: np.ndarray,
    losses: np.ndarray,
    natural: np.ndarray,
    *,
    limits: Sequence[float],
    concentration: float,
    confidence: float,
) -> dict[str, Any]:
    """The regression, the best mixture with intervals of its weights, and what it should gain over natural weights."""
    found = fit_mixtures(weights, losses)
    candidates = draw_mixtures(
        _CANDIDATES, sources=len(names), concentration=concentration, limits=limits, seed=_SEED + 1
    )
    best = np.round(best_mixture(found, candidates), 4)
    draw = np.random.default_rng(_SEED + 2)
    others, gains = [], []
    for _ in range(_RESAMPLES):
        rows = draw.integers(0, len(weights), len(weights))
        again = fit_mixtures(weights[rows], losses[rows], form=found.form, ridge=found.ridge)
        others.append(best_mixture(again, candidates))
        gains.append(_gain(again, best, natural))
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(others, tails, axis=0)
    gain_low, gain_high = np.quantile(gains, tails)
    explained = 1 - (found.left_out_error / found.spread) ** 2 if found.spread > 0 else math.nan
    return {
        "form": found.form,
        "ridge": found.ridge,
        "left_out_error": round(found.left_out_error, 6),
        "spread": round(found.spread, 6),
        "explained_of_left_out": round(explained, 4) if math.isfinite(explained) else None,
        "weights": {name: round(float(weight), 4) for name, weight in zip(names, best, strict=True)},
        "intervals": {
            name: [round(float(low[n]), 4), round(float(high[n]), 4)] for n, name in enumerate(names)
        },
        "predicted_gain_over_natural": round(float(_gain(found, best, natural)), 6),
        "predicted_gain_interval": [round(float(gain_low), 6), round(float(gain_high), 6)],
    }  # fmt: skip


def _gain(found: Regression, best: np.ndarray, natural: np.ndarray) -> float:
    predicted = found.predict(np.stack([best, natural])).mean(axis=1)
    return float(predicted[1] - predicted[0])
