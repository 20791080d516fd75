"""How much of a difference rests on the documents that happened to be held out, and on any one domain.

The verdict's interval is that of the seeds: other models on the same documents. This is the other component: the same
models on other documents of the same domains. The documents of each domain are resampled with replacement, the same
ones for every variant, so that what is hard for all cancels out; a domain's difference is that of its bits over its
bytes, as it is scored; the macro mean resamples every domain by itself. Documents are many where seeds are few, which
is why a bootstrap holds here and not there (`pipeline/statistics.py`).

And once more without each domain: a macro mean that rests on one of them says nothing about the others.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from pipeline.statistics import MACRO, Comparison, Measured, compare

#: Their spread is then told to 2 %.
RESAMPLES: Final = 2000
_SEED: Final = 0xD0C5
_DECIMALS: Final = 6
#: variants[name][seed][domain] = a score with document_nats and document_bytes, parallel lists
Scores = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]


def document_intervals(scores: Scores, *, baseline: str, confidence: float) -> list[dict[str, Any]]:
    """For each domain and, last, the macro mean: every variant's difference to the baseline in bits per byte (the mean
    over seeds) and its percentile interval over resampled documents. ValueError if variants were scored on other
    documents."""
    found = _document_bits(scores)
    sizes, first = found[baseline]
    for name, (theirs, _) in found.items():
        if theirs.keys() != sizes.keys() or any((theirs[domain] != sizes[domain]).any() for domain in sizes):
            raise ValueError(f"{name} and {baseline} were scored on different documents")
    others = [name for name in found if name != baseline]
    rows, once, drawn = [], dict.fromkeys(others, 0.0), {name: np.zeros(RESAMPLES) for name in others}
    for domain, size in sizes.items():
        # The domain's own stream: what is drawn for it does not depend on which other domains there are.
        numbers = np.random.default_rng([_SEED, *domain.encode()])
        weights = numbers.multinomial(len(size), np.full(len(size), 1 / len(size)), size=RESAMPLES)
        differences = {}
        for name in others:
            bits = found[name][1][domain] - first[domain]
            value, values = float(bits.sum() / size.sum()), (weights @ bits) / (weights @ size)
            once[name] += value / len(sizes)
            drawn[name] += values / len(sizes)
            differences[name] = _interval(value, values, confidence=confidence)
        rows.append({"domain": domain, "documents": len(size), "differences": differences})
    macro = {name: _interval(once[name], drawn[name], confidence=confidence) for name in others}
    return [*rows, {"domain": MACRO, "documents": sum(len(size) for size in sizes.values()), "differences": macro}]


def _document_bits(scores: Scores) -> dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """By variant: each domain's documents in bytes, and in bits as the mean over seeds."""
    found = {}
    for name, seeds in scores.items():
        runs = list(seeds.values())
        sizes = {domain: np.array(score["document_bytes"], np.float64) for domain, score in runs[0].items()}
        bits = {
            domain: np.mean([run[domain]["document_nats"] for run in runs], axis=0) / math.log(2) for domain in sizes
        }
        found[name] = (sizes, bits)
    return found


def _interval(value: float, values: np.ndarray, *, confidence: float) -> dict[str, float]:
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return {name: round(float(one), _DECIMALS) for name, one in (("difference", value), ("low", low), ("high", high))}


def without_each_domain(measured: Measured, *, baseline: str, confidence: float) -> dict[str, list[dict[str, Any]]]:
    """By domain that is left out: each variant's difference, interval and verdict in the macro mean of the others.
    Empty where there is one domain."""
    domains = list(next(iter(measured[baseline].values())))
    if len(domains) < 2:
        return {}
    found = {}
    for left_out in domains:
        rest = {
            variant: {
                seed: {domain: value for domain, value in run.items() if domain != left_out}
                for seed, run in seeds.items()
            }
            for variant, seeds in measured.items()
        }
        macro = compare(rest, baseline=baseline, confidence=confidence).macro
        found[left_out] = [
            {"variant": one.variant, "difference": one.difference, "low": one.low, "high": one.high,
             "verdict": one.verdict}
            for one in macro.differences
        ]  # fmt: skip
    return found


def rests_on(
    comparison: Comparison, documents: Sequence[Mapping[str, Any]], without: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[str]:
    """Verdicts that other documents of the same domains, or the absence of one domain, would turn."""
    told = []
    by_documents = documents[-1]["differences"]
    for one in comparison.macro.differences:
        if one.verdict == "not resolved":
            continue
        interval = by_documents[one.variant]
        if interval["low"] <= 0 <= interval["high"]:
            told.append(
                f"documents: {one.variant} is {one.verdict} on these held-out documents ({one.difference:+.4f}), and "
                f"others of the same domains could say otherwise ({interval['low']:+.4f} to {interval['high']:+.4f}): "
                "hold out more"
            )
        needed = [
            domain
            for domain, rest in without.items()
            if any(row["variant"] == one.variant and row["verdict"] != one.verdict for row in rest)
        ]
        if needed:
            told.append(f"domains: {one.variant} is {one.verdict}, but not without {' or without '.join(needed)}")
    return told
