"""`results.json`: everything that an ablation measured, in one versioned file.

format, name, question, experiment     what was asked, every setting resolved
variants[name]                          root, counts and recipe of its run
pools[pool].variants[name]              allowance (tokens, bytes, flop, epochs, …) and seeds[s].domains[d]
pools[pool].comparison                  differences, intervals and verdicts, the macro mean last
verdict, warnings, lr_check, noise      what it comes to
memorisation, ladder                    where they are asked for
environment                             times and machine: the only part that another run may give otherwise
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.ablation.experiment import Experiment
from pipeline.ablation.fairness import Allowance, warnings
from pipeline.ablation.held_out import split_scores
from pipeline.ablation.noise import noise
from pipeline.ablation.training import results_of
from pipeline.statistics import Comparison, compare, measured_from

FORMAT = 2
LR_CHECK = "lr-check"
Scored = Mapping[tuple[str, int], Mapping[str, Any]]
#: Of a model's scores: kept for each document, so that a reader can compare documents.
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
    told = [line for pool, found in pools.items() for line in warnings(found, pool=pool)]
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
            name: {"documents": len(values), "duplicated_in_raw_pool": sum(value >= 0.5 for value in values)}
            for name, values in shares.items()
        },
        "pools": {
            pool: {
                **_models(experiment, scored[pool], pools[pool], shares),
                "comparison": compared[pool].as_json(),
                "verdict": verdict(compared[pool]),
            }
            for pool in pools
        },
        "lr_check": check,
        "noise": noise(experiment, compared["fixed-pool"]),
        "warnings": told,
        "environment": {
            group: {f"{variant} seed {seed}": found["environment"] for (variant, seed), found in sorted(runs.items())}
            for group, runs in scored.items()
        },
    }  # fmt: skip


def _compared(experiment: Experiment, scored: Scored) -> Comparison:
    found = results_of({key: dict(value) for key, value in scored.items()}, baseline=experiment.baseline)
    return compare(measured_from(found), baseline=experiment.baseline, confidence=experiment.confidence)


def _models(
    experiment: Experiment, scored: Scored, given: Mapping[str, Allowance], shares: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    variants: dict[str, Any] = {}
    for name in experiment.order:
        seeds = {}
        for seed in range(experiment.seeds):
            found = scored[name, seed]
            kept = {key: value for key, value in found.items() if key not in _OF_A_RUN}
            seeds[str(seed)] = {**kept, "split": split_scores(found, shares)}
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
    """The ranking at the learning rate and at the reduced one, and every pair that changes places.

    A flip is called resolved where both rates give a verdict, and the verdicts contradict each other.
    """
    first = {one.variant: one for one in at.macro.differences}
    second = {one.variant: one for one in reduced.macro.differences}
    flips = []
    for name, one in first.items():
        other = second[name]
        if one.difference * other.difference < 0:
            both = "not resolved" not in (one.verdict, other.verdict)
            flips.append(
                f"{name} against {at.baseline}: {one.difference:+.4f} at the learning rate, {other.difference:+.4f} "
                f"at a tenth of it; {'both resolved: do not trust either' if both else 'not both resolved'}"
            )
    return {
        "comparison": reduced.as_json(),
        "ranking": _ranking(at),
        "ranking_reduced": _ranking(reduced),
        "flips": flips,
    }


def _ranking(comparison: Comparison) -> list[str]:
    """The variants, best first, by the macro mean."""
    means = {comparison.baseline: comparison.macro.baseline_mean}
    means |= {one.variant: one.mean for one in comparison.macro.differences}
    return sorted(means, key=lambda name: (means[name], name))
