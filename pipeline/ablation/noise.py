"""The noise between seeds, measured by every ablation and kept per model size, so that the next one can be planned."""

import json
from pathlib import Path
from typing import Any

from pipeline.ablation.experiment import Experiment, Model
from pipeline.ablation.training import write_json
from pipeline.statistics import MACRO, Comparison, smallest_resolved

#: Chances at which the smallest resolved difference is told: an even one, and the usual one of a planned trial.
_POWERS = (0.5, 0.8)
#: Numbers of tokens within this factor of each other are called alike: the noise of a size changes slowly with them.
LIKE = 2


def noise(experiment: Experiment, comparison: Comparison, *, tokens: int) -> dict[str, Any]:
    """What this ablation measured with models of so many tokens, and the smallest differences that its design resolves
    (bits per byte)."""
    macro = comparison.macro
    return {
        "preset": experiment.model.preset,
        "held_out_bytes": experiment.held_out_bytes,
        "tokens": tokens,
        "sigma": {domain.domain: domain.sigma for domain in (*comparison.domains, macro)},
        "degrees_of_freedom": macro.degrees_of_freedom,
        "smallest_resolved": resolvable(experiment, macro.sigma),
    }


def resolvable(experiment: Experiment, sigma: float | None) -> dict[str, float] | None:
    """Smallest difference in the macro mean by the chance of resolving it; None without a noise, or with one seed."""
    if not sigma or experiment.seeds < 2:
        return None
    return {
        f"{power:.0%}": smallest_resolved(
            sigma=sigma,
            seeds=experiment.seeds,
            variants=len(experiment.variants),
            confidence=experiment.confidence,
            power=power,
        )
        for power in _POWERS
    }


def keep(found: dict[str, Any], experiment: Experiment, *, folder: Path) -> None:
    """Remember the noise of models of this size, trained so, unless one from more degrees of freedom is known."""
    place, known = _place(folder, experiment.model), known_noise(folder, experiment.model)
    if known is None or known["degrees_of_freedom"] <= found["degrees_of_freedom"]:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(place, {**found, "ablation": experiment.name})


def known_noise(folder: Path, model: Model) -> dict[str, Any] | None:
    """What an earlier ablation measured with models of this size, trained so, if any did."""
    place = _place(folder, model)
    if not place.exists():
        return None
    found: dict[str, Any] = json.loads(place.read_text())
    return found


def unlike(known: dict[str, Any], experiment: Experiment, *, tokens: int) -> list[str]:
    """What was other where this noise was measured: longer training has less of it, another domain its own."""
    told = []
    if not 1 / LIKE < known["tokens"] / max(1, tokens) < LIKE:
        told.append(f"{known['tokens']:,} tokens a model")
    domains = sorted(name for name in known["sigma"] if name != MACRO)
    if domains != sorted(experiment.held_out):
        told.append(f"scored on {', '.join(domains)}")
    elif known["held_out_bytes"] != experiment.held_out_bytes:
        told.append(f"scored on {known['held_out_bytes']:,} bytes a domain")
    return told


def _place(folder: Path, model: Model) -> Path:
    rate = "" if model.learning_rate is None else f"-{model.learning_rate:g}"
    return folder / f"noise-{Path(model.preset).stem}-{model.optimizer}{rate}.json"
