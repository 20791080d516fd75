"""The models of an ablation's `ladder`: every variant at several sizes, and the lengths that branch off each trunk."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pipeline.ablation.experiment import MOST_EPOCHS, Experiment, Ladder
from pipeline.ablation.ladder import Point, fit_ladder, ladder_sentence
from pipeline.ablation.training import Cluster, Doing, Job, run_jobs, scores_of, write_json
from pipeline.ablation.variants import Places, data_of
from pipeline.engine import key_of
from pipeline.keys import source_key
from tokenizer.shards import ShardSet
from train.horizons import train_horizons
from train.presets import preset

GROUP = "ladder"


def measure_ladder(
    experiment: Experiment,
    places: Places,
    domains: Mapping[str, Path],
    *,
    workers: int,
    cluster: Cluster | None,
    told: Callable[[str], None],
) -> dict[str, Any]:
    """Train, score and fit; the `ladder` of results.json."""
    asked, model = experiment.ladder, experiment.model
    assert asked is not None
    jobs = [
        Job(
            variant=name, shards=str(places.run(name) / "shards"), seed=seed, preset=size,
            # Every trunk is as long as its longest branch; how long that is depends on the vocabulary.
            tokens=max(_lengths(asked, size, places.run(name) / "shards").values()),
            domains=tuple((domain, str(path)) for domain, path in domains.items()),
            tokenizer=str(places.tokenizer(experiment, name)), models=str(places.models),
            # One rate serves one size: the sizes have their presets' unless it is asked for.
            learning_rate=model.learning_rate,
            optimizer=model.optimizer, device=model.device, compile=model.compile, group=GROUP,
        )
        for size in asked.presets
        for seed in range(asked.seeds)
        for name in experiment.order
    ]  # fmt: skip
    told(f"Training {len(jobs)} models of the ladder, {len(asked.horizons)} lengths of each")
    found: dict[tuple[str, str, int], dict[str, Any]] = {}

    def done(job: Job, one: dict[str, Any]) -> None:
        found[job.variant, job.preset, job.seed] = one
        told(f"  {len(found)}/{len(jobs)}  {job.label} {job.preset}")

    does = Doing(function=f"{__name__}:train_ladder", arguments={"asked": asked.model_dump(mode="json")})
    run_jobs(jobs, workers=workers, done=done, does=does, cluster=cluster)
    # Variants with the same shards share their models: a point is that of each of them.
    data = data_of(experiment, places)
    # A trunk counts passes over its shards, in which a mix may have written copies.
    copies = {name: each.epoch_tokens / each.unique_tokens for name, each in data.items()}
    rows = [
        {**row, "variant": job.variant, "preset": job.preset, "epochs": round(row["epochs"] * copies[job.variant], 4)}
        for job in jobs
        for row in found[job.variant, job.preset, job.seed]["points"]
    ]
    points = [Point(**{name: row[name] for name in Point.__dataclass_fields__}) for row in rows]
    fitted = asdict(fit_ladder(points, baseline=experiment.baseline, confidence=experiment.confidence))
    most = max(row["epochs"] for row in rows)
    return {
        "points": rows,
        "fit": fitted,
        "sentence": ladder_sentence(fitted, baseline=experiment.baseline, confidence=experiment.confidence),
        "warnings": [f"ladder: data is repeated up to {most:.1f} times"] if most > MOST_EPOCHS else [],
    }


def _lengths(asked: Ladder, size: str, shards: Path) -> dict[int, int]:
    """Tokens of each length, whole steps, by its place among `horizons`."""
    chosen = preset(size)
    parameters = chosen.model(ShardSet.from_folder(shards).metadata.vocab_size).matmul_parameters
    return {
        place: math.ceil(each * parameters / chosen.batch_tokens) * chosen.batch_tokens
        for place, each in enumerate(sorted(asked.horizons))
    }


def train_ladder(job: Job, identity: str, *, asked: dict[str, Any]) -> dict[str, Any]:
    """Train and score one trunk with its branches, or read them back: a point a length."""
    shards = ShardSet.from_folder(job.shards)
    lengths = _lengths(Ladder.model_validate(asked), job.preset, Path(job.shards))
    place = Path(job.models) / f"ladder-{key_of(identity, lengths, source_key(['train.horizons', __name__]))}"
    if (place / "points.json").exists():
        done: dict[str, Any] = json.loads((place / "points.json").read_text())
        return done
    tokenizer = job.vocabulary()
    settings = job.settings()
    results = train_horizons(
        shards, replace(settings, tokens=job.tokens), horizons=list(lengths.values()),
        model=preset(job.preset).model(shards.metadata.vocab_size), out=place, tokenizer=tokenizer,
    )  # fmt: skip
    points = []
    for horizon, tokens in lengths.items():
        scores = scores_of(job, place / f"tokens-{tokens}" / "model")
        each = [score["bits_per_byte"] for score in scores.values()]
        points.append({
            "model": place.name, "seed": job.seed, "horizon": horizon, "tokens": tokens,
            "flop": float(results[tokens]["flop"]), "epochs": results[tokens]["epochs"], "loss": sum(each) / len(each),
            "domains": {name: score["bits_per_byte"] for name, score in scores.items()},
        })  # fmt: skip
    return write_json(place / "points.json", {"points": points})
