"""`results.json`: everything that an ablation measured, in one versioned file.

format, name, question, experiment     what was asked, every setting resolved
variants[name]                          root, counts and recipe of its run
pools[pool].variants[name]              allowance (tokens, bytes, flop, epochs, …) and seeds[s].domains[d]
pools[pool].comparison                  differences, intervals and verdicts, the macro mean last
pools[pool].documents, .without_domain  what the differences rest on besides seeds (pipeline/ablation/documents.py)
verdict, warnings, lr_check, noise      what it comes to
memorisation, ladder                    where they are asked for
environment                             times and machine: the only part that another run may give otherwise
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from scipy import stats

from pipeline.ablation.documents import document_intervals, rests_on, without_each_domain
from pipeline.ablation.experiment import Experiment
from pipeline.ablation.fairness import Allowance, warnings
from pipeline.ablation.held_out import DUPLICATED, split_scores
from pipeline.ablation.noise import noise
from pipeline.ablation.training import results_of
from pipeline.statistics import Comparison, Measured, compare, measured_from

FORMAT = 3
LR_CHECK = "lr-check"
Scored = Mapping[tuple[str, int], Mapping[str, Any]]
#: What of a model's scores stands elsewhere: times, under `environment`, and the name of the model's folder.
_OF_A_RUN = ("environment", "model")


def assemble(
    experiment: Experiment,
    manifests: Mapping[str, Mapping[str, Any]],
    pools: Mapping[str, Mapping[str, Allowance]],
    scored: Mapping[str, Scored],
    shares: Mapping[str, Sequence[float]],
) -> dict[str, Any]:
    """The whole file as JSON values. ValueError where runs cannot be compared (a model that diverged)."""
    compared = {pool: _compared(experiment, scored[pool]) for pool in pools}
    support = {pool: _support(experiment, scored[pool]) for pool in pools}
    told = [line for pool, found in pools.items() for line in warnings(found, pool=pool)]
    told += [
        line
        for pool, found in support.items()
        for line in rests_on(compared[pool], found["documents"], found["without_domain"])
    ]
    check = lr_check(compared["fixed-pool"], _compared(experiment, scored[LR_CHECK])) if LR_CHECK in scored else None
    if check is not None:
        told += [f"learning rate: {flip}" for flip in check["flips"]]
    return {
        "format": FORMAT,
        "name": experiment.name,
        "question": experiment.question,
        "baseline": experiment.baseline,
        "experiment": experiment.model_dump(mode="json", by_alias=True),
        "variants": {
            name: {"root": found["root"], "counts": found["counts"], "recipe": found["recipe"],
                   "tokenizer_sha256": _tokenizer(found)}
            for name, found in manifests.items()
        },
        "held_out": {
            name: {"documents": len(values), "duplicated_in_raw_pool": sum(value >= DUPLICATED for value in values)}
            for name, values in shares.items()
        },
        "pools": {
            pool: {
                **_models(experiment, scored[pool], pools[pool], shares),
                "comparison": compared[pool].as_json(),
                **support[pool],
                "verdict": verdict(compared[pool]),
            }
            for pool in pools
        },
        "lr_check": check,
        "noise": noise(
            experiment, compared["fixed-pool"], tokens=max(given.tokens for given in pools["fixed-pool"].values())
        ),
        "warnings": told,
        "environment": {
            # The model's name too, so that `tamis gc` knows what the ablation stands on.
            group: {
                f"{variant} seed {seed}": {**found["environment"], "model": found["model"]}
                for (variant, seed), found in sorted(runs.items())
            }
            for group, runs in scored.items()
        },
    }  # fmt: skip


def _measured(experiment: Experiment, scored: Scored) -> Measured:
    return measured_from(results_of({key: dict(value) for key, value in scored.items()}, baseline=experiment.baseline))


def _compared(experiment: Experiment, scored: Scored) -> Comparison:
    measured = _measured(experiment, scored)
    return compare(measured, baseline=experiment.baseline, confidence=experiment.confidence)


def _support(experiment: Experiment, scored: Scored) -> dict[str, Any]:
    """What the differences rest on besides seeds: the held-out documents, and each domain."""
    asked: dict[str, Any] = {"baseline": experiment.baseline, "confidence": experiment.confidence}
    runs = {
        name: {str(seed): scored[name, seed]["domains"] for seed in range(experiment.seeds)}
        for name in experiment.order
    }
    return {
        "documents": document_intervals(runs, **asked),
        "without_domain": without_each_domain(_measured(experiment, scored), **asked),
    }


def _models(
    experiment: Experiment, scored: Scored, given: Mapping[str, Allowance], shares: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    variants: dict[str, Any] = {}
    for name in experiment.order:
        seeds = {}
        for seed in range(experiment.seeds):
            found = scored[name, seed]
            kept = {key: value for key, value in found.items() if key not in _OF_A_RUN}
            # Training counts passes over its shards, in which a mix may have written copies.
            text = {"epochs": given[name].epochs, "unique_tokens": given[name].unique_tokens}
            seeds[str(seed)] = {**kept, **text, "split": split_scores(found, shares)}
        variants[name] = {"allowance": given[name].as_json(), "seeds": seeds}
    return {"baseline": experiment.baseline, "confidence": experiment.confidence, "variants": variants}


def _tokenizer(manifest: Mapping[str, Any]) -> str:
    return str(manifest["outputs"]["tokenizer/tokenizer.json"])


def verdict(comparison: Comparison) -> str:
    """What came out, in a sentence, by the macro mean alone: it was named before anything ran."""
    parts = []
    for one in comparison.macro.differences:
        if one.verdict == "not resolved":
            parts.append(f"{one.variant} is not resolved from {comparison.baseline} ({one.difference:+.4f})")
        else:
            interval = f"{one.low:+.4f} to {one.high:+.4f}"
            parts.append(
                f"{one.variant} is {one.verdict} than {comparison.baseline} by {abs(one.difference):.4f} ({interval})"
            )
    level = f"{comparison.confidence:.0%}"
    return f"In bits per byte, mean over domains, at {level}: {'; '.join(parts)}."


def lr_check(at: Comparison, reduced: Comparison) -> dict[str, Any]:
    """The ranking at the learning rate and at the reduced one, and every pair of variants that changes places.

    A flip is called resolved where both rates tell the two apart, in opposite directions: by their verdicts where one
    is the baseline, else by the pooled t interval of their difference (not corrected for the number of pairs: this is a
    warning, and a missed one costs more than one too many).
    """
    names = [at.baseline, *(one.variant for one in at.macro.differences)]
    flips = []
    for place, second in enumerate(names):
        for first in names[:place]:
            one, other = _apart(at, second, first), _apart(reduced, second, first)
            if one[0] * other[0] < 0:
                both = one[1] and other[1]
                flips.append(
                    f"{second} against {first}: {one[0]:+.4f} at the learning rate, {other[0]:+.4f} at a tenth of it; "
                    f"{'both resolved: do not trust either' if both else 'not both resolved'}"
                )
    return {
        "comparison": reduced.as_json(),
        "ranking": _ranking(at),
        "ranking_reduced": _ranking(reduced),
        "flips": flips,
    }


def _apart(comparison: Comparison, name: str, other: str) -> tuple[float, bool]:
    """Difference of two variants' macro means, and whether it is resolved."""
    found = {one.variant: one for one in comparison.macro.differences}
    if other == comparison.baseline:
        return found[name].difference, found[name].verdict != "not resolved"
    difference, macro = found[name].mean - found[other].mean, comparison.macro
    if macro.sigma is None:
        return difference, False
    critical = float(stats.t.ppf(0.5 + comparison.confidence / 2, macro.degrees_of_freedom))
    error = macro.sigma * math.sqrt(1 / found[name].seeds + 1 / found[other].seeds)
    return difference, abs(difference) > critical * error


def _ranking(comparison: Comparison) -> list[str]:
    """The variants, best first, by the macro mean."""
    means = {comparison.baseline: comparison.macro.baseline_mean}
    means |= {one.variant: one.mean for one in comparison.macro.differences}
    return sorted(means, key=lambda name: (means[name], name))
