"""What an ablation would do, before anything runs: what variants share, what is left to do, time and cost."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.ablation import held_out
from pipeline.ablation.experiment import Experiment
from pipeline.ablation.fairness import Allowance, warnings
from pipeline.ablation.noise import known_noise, resolvable, unlike
from pipeline.ablation.run import cuts_to_unique, given_to, jobs_of
from pipeline.ablation.speed import measured_speed
from pipeline.ablation.training import at_once, trained
from pipeline.ablation.variants import Places, data_of, recipe_of
from pipeline.files import Files
from pipeline.parts import committed_units, read_commit
from pipeline.plan import plan
from pipeline.statistics import MACRO
from train.model import padded
from train.presets import preset
from train.settings import TrainSettings


def plan_ablation(
    experiment: Experiment, places: Places, *, workers: int, price_per_hour: float | None = None
) -> dict[str, Any]:
    """The plan as JSON values. Runs no phase and trains no model; the machine's training speed is measured in a few
    steps on made-up tokens, once, and the held-out samples are drawn, because keys depend on them."""
    domains = held_out.draw(experiment.held_out, places.held_out, sample_bytes=experiment.held_out_bytes)
    planned = {name: plan(recipe_of(experiment, name, places, planned=True), places.work) for name in experiment.order}
    phases = _phases(planned, Files(places.work))
    curation = [phase["seconds_left"] for phase in phases]
    training = _training(
        experiment,
        places,
        domains,
        made=all(found["complete"] and _made(places.run(name), found) for name, found in planned.items()),
    )
    seconds = None if None in curation else sum(curation) / workers
    further = sum(group["seconds"] for group in training["further"])
    models_at_once = at_once(experiment.model.device, workers)
    training_seconds = (training["seconds_left"] + further) / models_at_once
    total = None if seconds is None else seconds + training_seconds
    return {
        "name": experiment.name,
        "variants": {
            name: {"complete": found["complete"], "phases": [phase["phase"] for phase in found["phases"]]}
            for name, found in planned.items()
        },
        "phases": phases,
        "training": training,
        "noise": _noise(experiment, places, tokens=training["tokens"]),
        "workers": workers,
        "models_at_once": models_at_once,
        "curation_seconds": seconds,
        "training_seconds": training_seconds,
        "cost": None if total is None or price_per_hour is None else round(total / 3600 * price_per_hour, 2),
    }


def _noise(experiment: Experiment, places: Places, *, tokens: int) -> dict[str, Any] | None:
    known = known_noise(places.models, experiment.model)
    if known is None:
        return None
    sigma = known["sigma"][MACRO]
    return {
        "sigma": sigma,
        "from": known["ablation"],
        "unlike": unlike(known, experiment, tokens=tokens),
        "smallest_resolved": resolvable(experiment, sigma),
    }


def _further(experiment: Experiment, *, vocab_size: int, tokens: int, speed: float, cut: bool) -> list[dict[str, Any]]:
    """The models that equal unique tokens (`cut`), a ladder and planted texts ask for besides: how many, and the
    seconds of all together if none of them is there yet. Sizes are taken to be as fast by the operation as the
    ablation's own."""
    each = len(experiment.variants)
    own = preset(experiment.model.preset)
    operations = speed * own.model(padded(vocab_size)).flop_per_token(own.sequence_length)
    found = []
    if cut:
        number = experiment.seeds * each
        found.append({"what": "fixed-unique", "models": number, "seconds": round(number * tokens / speed, 1)})
    if experiment.ladder is not None:
        asked, total = experiment.ladder, 0.0
        for size in asked.presets:
            chosen = preset(size)
            model = chosen.model(padded(vocab_size))
            # A trunk is as long as its longest branch; every branch trains its own decay.
            share = max(asked.horizons) + TrainSettings.decay_fraction * (sum(asked.horizons) - max(asked.horizons))
            total += share * model.matmul_parameters * model.flop_per_token(chosen.sequence_length)
        number = len(asked.presets) * asked.seeds * each
        found.append({"what": "ladder", "models": number, "seconds": round(asked.seeds * each * total / operations, 1)})
    if experiment.memorisation is not None:
        number = experiment.memorisation.seeds * each
        seconds = number * (experiment.memorisation.tokens or tokens) / speed
        found.append({"what": "memorisation", "models": number, "seconds": round(seconds, 1)})
    return found


def _phases(planned: Mapping[str, Mapping[str, Any]], files: Files) -> list[dict[str, Any]]:
    """Every phase once, in order, with the variants that need it."""
    found: dict[str, dict[str, Any]] = {}
    for name, variant in planned.items():
        for phase in variant["phases"]:
            row = found.setdefault(phase["phase"], {**phase, "variants": []})
            row["variants"].append(name)
    for row in found.values():
        left = row["units"] - row["cached"]
        rate = _seconds_a_unit(files, row["phase"].rpartition("-")[0]) if left else 0.0
        row["seconds_left"] = None if rate is None else round(left * rate, 1)
    return list(found.values())


def _seconds_a_unit(files: Files, kind: str) -> float | None:
    """Mean seconds of the units of this kind of phase that lie in the work folder, whatever recipe made them; None if
    there is none."""
    spent = [
        read_commit(files, phase, unit).observed["seconds"]
        for phase in files.folders()
        if phase.rpartition("-")[0] == kind
        for unit in committed_units(files, phase)
    ]
    return sum(spent) / len(spent) if spent else None


def _made(run: Path, planned: Mapping[str, Any]) -> bool:
    """Whether the folder holds the run that was planned, and not one of older settings."""
    manifest = run / "manifest.json"
    if not manifest.exists():
        return False
    done = {phase["phase"] for phase in json.loads(manifest.read_text())["phases"]}
    return done >= {phase["phase"] for phase in planned["phases"]}


def _training(experiment: Experiment, places: Places, domains: Mapping[str, Path], *, made: bool) -> dict[str, Any]:
    chosen, model = preset(experiment.model.preset), experiment.model
    vocab_size = (
        next(iter(data_of(experiment, places).values())).vocab_size if made else _vocabulary(experiment, places)
    )
    speed = measured_speed(model, vocab_size=vocab_size, folder=places.models)
    if not made:
        flop = chosen.model(padded(vocab_size)).flop_per_token(chosen.sequence_length)
        budget = experiment.budget
        tokens = budget.tokens or (budget.flop or 0) / flop or (budget.seconds or 0) * speed or (budget.bytes or 0) / 4
        models = experiment.seeds * len(experiment.variants) * (2 if experiment.lr_check else 1)
        cut = "fixed-unique" in (experiment.pools or ())
        further = _further(experiment, vocab_size=vocab_size, tokens=round(tokens), speed=speed, cut=cut)
        return {"models": models, "trained": 0, "tokens": round(tokens), "tokens_per_second": speed, "further": further,
                "seconds_left": round(models * tokens / speed, 1), "warnings": [], "allowances": None}  # fmt: skip
    data = data_of(experiment, places)
    given: dict[str, Allowance] = given_to(experiment, data, places)
    jobs = jobs_of(experiment, places, {"fixed-pool": given}, domains)
    left = [job for job in jobs if not trained(job)]
    told = warnings(given, pool="fixed-pool")
    cut = cuts_to_unique(experiment, given, places)
    if cut and experiment.pools is None:
        told.append("a variant repeats its data: as many models again are trained on pools of equal unique tokens")
    tokens = max(allowance.tokens for allowance in given.values())
    return {
        "models": len(jobs),
        "trained": len(jobs) - len(left),
        "tokens": tokens,
        "further": _further(experiment, vocab_size=vocab_size, tokens=tokens, speed=speed, cut=cut),
        "tokens_per_second": speed,
        "seconds_left": round(sum(job.tokens for job in left) / speed, 1),
        "warnings": told,
        "allowances": {name: allowance.as_json() for name, allowance in given.items()},
    }


def _vocabulary(experiment: Experiment, places: Places) -> int:
    asked = recipe_of(experiment, experiment.baseline, places, planned=True).tokenizer
    assert asked is not None
    return asked.vocab_size


def as_text(found: Mapping[str, Any]) -> str:
    """The plan for a terminal."""
    variants = list(found["variants"])
    lines = [f"{found['name']}: {len(variants)} variants, {', '.join(variants)}", ""]
    for phase in found["phases"]:
        shared = "all" if len(phase["variants"]) == len(variants) else ", ".join(phase["variants"])
        left = phase["units"] - phase["cached"]
        does = "cached" if not left else f"{left} of {phase['units']} parts to do"
        lines.append(f"  {phase['phase']:<44} {does:<24} for {shared}")
    if not all(variant["complete"] for variant in found["variants"].values()):
        lines.append("  Later exchanges hash the contents of parts that are still to be made: their keys follow then.")
    training = found["training"]
    lines += [
        "",
        f"{training['models']} models of {training['tokens']:,} tokens, {training['trained']} trained already",
        *(
            f"{group['models']} models for {group['what']}, {_time(group['seconds'])} one after the other"
            for group in training["further"]
        ),
        f"speed     {training['tokens_per_second']:,.0f} tokens a second for each model",
        *(f"warning: {line}" for line in training["warnings"]),
        f"curation  {_time(found['curation_seconds'])}",
        f"training  {_time(found['training_seconds'])} with {found['models_at_once']} at a time",
    ]
    noise = found["noise"]
    if noise is not None and noise["smallest_resolved"] is not None:
        half, likely = noise["smallest_resolved"].values()
        unlike_here = f", which had {', '.join(noise['unlike'])}" if noise["unlike"] else ""
        lines.append(
            f"resolves  differences of {half:.4f} bits per byte half the time, of {likely:.4f} four times in five "
            f"(by the noise of {noise['from']}{unlike_here})"
        )
    if found["cost"] is not None:
        lines.append(f"cost      {found['cost']:.2f}")
    return "\n".join(lines)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "not known: this work folder holds no part of that kind yet; a first run with --sample 0.01 gives it"
    return f"about {seconds / 60:.1f} min" if seconds >= 60 else f"about {seconds:.0f} s"
