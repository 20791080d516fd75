"""What a curation choice was worth: differences in bits per byte between variants, with intervals and verdicts.

The unit of evidence is a trained model. Each variant is trained with the same few seeds, and each model is scored on
the same held-out domains. For every domain, and for the mean over domains (macro: each domain counts the same), each
variant is compared to the baseline:

    difference   mean over the variant's seeds minus mean over the baseline's; negative is better
    interval     difference +- t(df) * sigma * sqrt(1/n + 1/n_baseline); with two or more variants against the baseline
                 Dunnett's simultaneous interval, so that it excludes zero where the p value gives a verdict
    sigma        standard deviation between seeds, pooled over all variants (the residual of a one-way analysis of
                 variance), with df = models - variants
    p value      two-sided; with two or more variants against the baseline it is Dunnett's, so that the chance of any
                 false verdict in a domain stays at 1 - confidence however many variants are tried
    verdict      `better` or `worse` if p < 1 - confidence, else `not resolved`

**Why pooled and not paired.** Seed s means the same initial weights and the same order key in every variant, so one
could compare seed by seed. With two variants and three seeds that leaves 2 degrees of freedom (t = 4.30) where
pooling leaves 4 (t = 2.78): pairing pays only if the models of one seed correlate by more than 0.58 across variants,
and variants read different documents, so that a shared seed moves them together but little. A correlation that is
there makes the pooled interval too wide, never too narrow. To look and then choose would spoil the error rate, so it
is decided here. `seed_share` reports how much of the variance is shared, so that one sees if it was the wrong choice.

**Why no bootstrap over seeds.** With three seeds, bootstrap intervals at 95 % are wrong 20 to 26 % of the time under
the null (simulated); these are wrong 5 % of the time (tests/pipeline/test_statistics.py).

Domains are not corrected for each other: the macro mean is the verdict, the domains say where it comes from.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy import optimize, stats

Verdict = Literal["better", "worse", "not resolved"]
#: measured[variant][seed][domain] = bits per byte
Measured = Mapping[str, Mapping[str, Mapping[str, float]]]

MACRO = "macro mean"
#: More seeds than this are not worth planning for: at 3 the smallest difference seen is then 3 % of what it is now.
MAX_SEEDS = 1000
#: Dunnett's p value is an integral by quasi-random points; a fixed seed makes it the same each time (error 1e-5).
_DUNNETT_SEED = 0
_P_DECIMALS = 4
_DECIMALS = 6


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One variant against the baseline in one domain. Bits per byte; None where one seed each leaves no variance."""

    variant: str
    seeds: int
    mean: float
    difference: float
    low: float | None
    high: float | None
    p_value: float | None
    verdict: Verdict
    #: Seeds to add to every variant for the interval to exclude zero if difference and sigma stay as they are; an
    #: even chance. 0 if resolved, None if there is no estimate or it would take more than MAX_SEEDS.
    further_seeds: int | None


@dataclass(frozen=True, kw_only=True)
class DomainComparison:
    """All variants against the baseline in one domain, or in the macro mean."""

    domain: str
    baseline_mean: float
    baseline_seeds: int
    #: Standard deviation between seeds, pooled over variants; None without degrees of freedom.
    sigma: float | None
    degrees_of_freedom: int
    #: Share of the variance that variants trained with the same seed have in common, 0 to 1; None if it cannot be
    #: estimated (fewer than two seeds in common).
    seed_share: float | None
    differences: tuple[Difference, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    baseline: str
    confidence: float
    #: In the order of the first variant's first seed; the macro mean apart.
    domains: tuple[DomainComparison, ...]
    macro: DomainComparison

    def as_json(self) -> list[dict[str, Any]]:
        """One object a domain, the macro mean last."""
        return [asdict(comparison) for comparison in (*self.domains, self.macro)]


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """Differences to the first sample. Arrays have the samples' trailing axes; `half` is None without df."""

    differences: np.ndarray  # [variants - 1, ...]
    half_widths: np.ndarray | None  # [variants - 1, ...]
    sigma: np.ndarray | None  # [...]
    degrees_of_freedom: int


def measured_from(results: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """What a `results.json` holds under variants -> name -> seeds -> seed -> domains -> domain -> bits_per_byte."""
    return {
        variant: {
            seed: {domain: float(score["bits_per_byte"]) for domain, score in run["domains"].items()}
            for seed, run in runs["seeds"].items()
        }
        for variant, runs in results["variants"].items()
    }


def compare(measured: Measured, *, baseline: str, confidence: float = 0.95) -> Comparison:
    """Compare every variant to `baseline`, in the order given.

    ValueError if the baseline is not among them, a variant has no seed, a run lacks a domain that another has, or a
    value is not a positive finite number (a run that diverged): a mean over what is left would be a different thing.
    """
    domains = _checked_domains(measured, baseline=baseline)
    names = [baseline, *(name for name in measured if name != baseline)]
    # One array a variant, [seeds, domains + 1]; the macro mean is one more domain.
    samples = [_with_macro(measured[name], domains) for name in names]
    pooled = pooled_intervals(samples, confidence=confidence)
    compared = tuple(
        _domain(domain, names, [sample[:, column] for sample in samples], measured, pooled, column, confidence)
        for column, domain in enumerate([*domains, MACRO])
    )
    return Comparison(baseline=baseline, confidence=confidence, domains=compared[:-1], macro=compared[-1])


def pooled_intervals(samples: Sequence[np.ndarray], *, confidence: float) -> Pooled:
    """t intervals of each sample's mean minus the first's. Samples are [seeds, ...] with the same trailing axes."""
    sizes = [len(sample) for sample in samples]
    means = [sample.mean(axis=0) for sample in samples]
    freedom = sum(sizes) - len(sizes)
    differences = (
        np.stack([mean - means[0] for mean in means[1:]]) if len(means) > 1 else np.empty((0, *means[0].shape))
    )
    if freedom == 0:
        return Pooled(differences=differences, half_widths=None, sigma=None, degrees_of_freedom=0)
    squares = sum(((sample - mean) ** 2).sum(axis=0) for sample, mean in zip(samples, means, strict=True))
    sigma = np.sqrt(squares / freedom)
    critical = float(stats.t.ppf(0.5 + confidence / 2, freedom))
    scale = np.array([critical * math.sqrt(1 / size + 1 / sizes[0]) for size in sizes[1:]])
    half = scale.reshape(-1, *[1] * sigma.ndim) * sigma
    return Pooled(differences=differences, half_widths=half, sigma=sigma, degrees_of_freedom=freedom)


def seeds_to_resolve(difference: float, *, sigma: float, variants: int, confidence: float) -> int | None:
    """The least number of seeds for each of `variants` (the baseline counts) at which the interval excludes zero.

    With several variants against the baseline the level is divided between them (Bonferroni, a little stricter than
    Dunnett). None above MAX_SEEDS.
    """
    level = (1 - confidence) / max(1, variants - 1)
    seeds = np.arange(2, MAX_SEEDS + 1)
    critical = stats.t.ppf(1 - level / 2, variants * (seeds - 1))
    resolved = critical * sigma * np.sqrt(2 / seeds) < abs(difference)
    return int(seeds[resolved.argmax()]) if resolved.any() else None


def _checked_domains(measured: Measured, *, baseline: str) -> list[str]:
    if baseline not in measured:
        raise ValueError(f"the baseline {baseline!r} is not among the variants: {', '.join(measured)}")
    domains: list[str] = []
    for variant, seeds in measured.items():
        if not seeds:
            raise ValueError(f"variant {variant!r} has no finished run")
        for seed, scores in seeds.items():
            domains = domains or list(scores)
            if not domains or set(scores) != set(domains):
                raise ValueError(f"variant {variant!r}, seed {seed}: scored on {sorted(scores)}, others on {domains}")
            for domain, value in scores.items():
                if not (math.isfinite(value) and value > 0):
                    raise ValueError(f"variant {variant!r}, seed {seed}, domain {domain!r}: {value} bits per byte")
    return domains


def _with_macro(seeds: Mapping[str, Mapping[str, float]], domains: Sequence[str]) -> np.ndarray:
    scores = np.array([[run[domain] for domain in domains] for run in seeds.values()], dtype=np.float64)
    return np.concatenate([scores, scores.mean(axis=1, keepdims=True)], axis=1)


def _domain(
    domain: str,
    names: Sequence[str],
    samples: Sequence[np.ndarray],
    measured: Measured,
    pooled: Pooled,
    column: int,
    confidence: float,
) -> DomainComparison:
    sigma = None if pooled.sigma is None else float(pooled.sigma[column])
    p_values = _p_values(samples, sigma=sigma, freedom=pooled.degrees_of_freedom)
    halves = _half_widths(samples, pooled, column, confidence)
    differences = []
    for place, (name, sample) in enumerate(zip(names[1:], samples[1:], strict=True)):
        difference = float(pooled.differences[place, column])
        half = halves[place]
        verdict = _verdict(difference, p_values[place], confidence=confidence)
        further: int | None = 0
        if verdict == "not resolved":
            enough = sigma and seeds_to_resolve(difference, sigma=sigma, variants=len(names), confidence=confidence)
            # Unequal numbers of seeds, or Bonferroni against Dunnett, can put the estimate below what is there.
            further = max(1, enough - min(len(sample), len(samples[0]))) if enough else None
        differences.append(
            Difference(
                variant=name,
                seeds=len(sample),
                mean=round(float(sample.mean()), _DECIMALS),
                difference=round(difference, _DECIMALS),
                low=None if half is None else round(difference - half, _DECIMALS),
                high=None if half is None else round(difference + half, _DECIMALS),
                p_value=p_values[place],
                verdict=verdict,
                further_seeds=further,
            )
        )
    return DomainComparison(
        domain=domain,
        baseline_mean=round(float(samples[0].mean()), _DECIMALS),
        baseline_seeds=len(samples[0]),
        sigma=None if sigma is None else round(sigma, _DECIMALS),
        degrees_of_freedom=pooled.degrees_of_freedom,
        seed_share=_seed_share([measured[name] for name in names], samples),
        differences=tuple(differences),
    )


def _p_values(samples: Sequence[np.ndarray], *, sigma: float | None, freedom: int) -> list[float | None]:
    """Two-sided p of each sample's mean against the first's; Dunnett's if there are several."""
    if sigma is None or len(samples) < 2:
        return [None] * (len(samples) - 1)
    means = [float(sample.mean()) for sample in samples]
    if sigma == 0:  # every seed gave the same: any difference at all is one
        return [1.0 if mean == means[0] else 0.0 for mean in means[1:]]
    if len(samples) == 2:
        error = sigma * math.sqrt(1 / len(samples[0]) + 1 / len(samples[1]))
        return [round(float(2 * stats.t.sf(abs(means[1] - means[0]) / error, freedom)), _P_DECIMALS)]
    result = stats.dunnett(*samples[1:], control=samples[0], rng=np.random.default_rng(_DUNNETT_SEED))
    return [round(float(p), _P_DECIMALS) for p in result.pvalue]


def _half_widths(samples: Sequence[np.ndarray], pooled: Pooled, column: int, confidence: float) -> list[float | None]:
    """Half of each interval: t's for one variant, Dunnett's for several. None without degrees of freedom."""
    if pooled.half_widths is None or pooled.sigma is None:
        return [None] * (len(samples) - 1)
    if len(samples) <= 2 or pooled.sigma[column] == 0:
        return [float(half) for half in pooled.half_widths[:, column]]
    result = stats.dunnett(*samples[1:], control=samples[0], rng=np.random.default_rng(_DUNNETT_SEED))
    interval = result.confidence_interval(confidence_level=confidence)
    return [float(high - low) / 2 for low, high in zip(interval.low, interval.high, strict=True)]


def _verdict(difference: float, p_value: float | None, *, confidence: float) -> Verdict:
    if p_value is None or p_value >= 1 - confidence:
        return "not resolved"
    return "better" if difference < 0 else "worse"


def _seed_share(variants: Sequence[Mapping[str, Any]], samples: Sequence[np.ndarray]) -> float | None:
    """Intraclass correlation of models with the same seed, over the seeds that every variant has (two-way layout)."""
    common = [seed for seed in variants[0] if all(seed in runs for runs in variants)]
    if len(common) < 2 or len(variants) < 2:
        return None
    # [variants, seeds], each variant's own mean taken out
    grid = np.array(
        [sample[[list(runs).index(seed) for seed in common]] for runs, sample in zip(variants, samples, strict=True)]
    )
    grid = grid - grid.mean(axis=1, keepdims=True)
    freedom = len(common) - 1
    between = len(variants) * float((grid.mean(axis=0) ** 2).sum()) / freedom
    within = float(((grid - grid.mean(axis=0)) ** 2).sum()) / (freedom * (len(variants) - 1))
    total = between + (len(variants) - 1) * within
    return round(max(0.0, (between - within) / total), 4) if total > 0 else None


def comparison_table(comparison: Comparison) -> str:
    """The comparison as plain text for a terminal: one line a domain and variant, the macro mean last."""
    header = ("domain", "variant", "bits/byte", "difference", f"{comparison.confidence:.0%} interval", "p", "verdict")
    rows: list[tuple[str, ...]] = [header]
    for domain in (*comparison.domains, comparison.macro):
        rows.append((domain.domain, comparison.baseline, f"{domain.baseline_mean:.4f}", "baseline", "", "", ""))
        rows += [("", *_cells(difference)) for difference in domain.differences]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    macro = comparison.macro
    noise = "no estimate with one seed" if macro.sigma is None else f"{macro.sigma:.4f} in the macro mean"
    lines.append(f"noise between seeds: {noise} ({macro.degrees_of_freedom} degrees of freedom, pooled over variants)")
    return "\n".join(lines)


def _cells(difference: Difference) -> tuple[str, ...]:
    interval = "" if difference.low is None else f"{difference.low:+.4f} to {difference.high:+.4f}"
    p_value = "" if difference.p_value is None else f"{difference.p_value:.4f}".replace("0.0000", "<0.0001")
    return (
        difference.variant,
        f"{difference.mean:.4f}",
        f"{difference.difference:+.4f}",
        interval,
        p_value,
        verdict_words(difference),
    )


def verdict_words(difference: Difference) -> str:
    """The verdict, and for an open one what it would take."""
    if difference.verdict != "not resolved":
        return difference.verdict
    if difference.p_value is None:
        return "not resolved (one seed each: train more)"
    if difference.further_seeds is None:
        return f"not resolved (nor by {MAX_SEEDS} seeds)"
    return f"not resolved (about {difference.further_seeds} more seeds would)"


def smallest_resolved(*, sigma: float, seeds: int, variants: int, confidence: float, power: float) -> float:
    """The difference that is resolved with this chance (`power`), if sigma is the noise between seeds: the noncentral t
    distribution, the level divided between the variants that are compared to the baseline. Bits per byte."""
    level, freedom = (1 - confidence) / max(1, variants - 1), variants * (seeds - 1)
    critical = float(stats.t.ppf(1 - level / 2, freedom))
    error = sigma * math.sqrt(2 / seeds)

    def lacks(shift: float) -> float:
        # A verdict of the wrong sign does not count as resolved.
        return float(stats.nct.sf(critical, freedom, shift)) - power

    return round(float(optimize.brentq(lacks, 1e-6, 20 * critical)) * error, _DECIMALS)
