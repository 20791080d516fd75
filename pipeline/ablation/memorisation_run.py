"""The runs and models of an ablation's `memorisation`, and what they come to."""

from collections.abc import Callable
from typing import Any

from pipeline.ablation import held_out
from pipeline.ablation.experiment import Budget, Experiment
from pipeline.ablation.fairness import allowances
from pipeline.ablation.memorisation import (
    CONTROLS,
    GROUP,
    given_back,
    overlap,
    plant,
    probe,
    sentences,
    with_canaries,
    written,
)
from pipeline.ablation.training import Cluster, Doing, Job, run_jobs
from pipeline.ablation.variants import Places, data_of, run_variants
from pipeline.engine import Engine, Progress
from pipeline.run import Options
from pipeline.runners.base import Runner
from train.presets import preset


def measure_memorisation(
    experiment: Experiment,
    places: Places,
    *,
    runner: Runner,
    progress: Progress,
    options: Options,
    cluster: Cluster | None,
    told: Callable[[str], None],
) -> dict[str, Any]:
    """Plant, run, train and probe every variant; the `memorisation` of results.json."""
    asked = experiment.memorisation
    assert asked is not None
    folder = places.out / "canaries"
    files = plant(asked, folder)
    told("Runs with planted texts")
    planted = with_canaries(experiment, folder)
    manifests = run_variants(planted, places, runner=runner, progress=progress, options=options, told=told, pool=GROUP)
    model, chosen = experiment.model, preset(experiment.model.preset)
    data = data_of(experiment, places, pool=GROUP)
    budget = experiment.budget
    if asked.tokens is not None:
        budget = Budget(equal="flops", tokens=asked.tokens)
    given = allowances(budget, data, baseline=experiment.baseline, batch_tokens=chosen.batch_tokens)
    jobs = [
        Job(
            variant=name, shards=str(places.run(name, GROUP) / "shards"), seed=seed, preset=model.preset,
            tokens=given[name].tokens, domains=tuple((label, str(path)) for label, path in files.items()),
            tokenizer=str(places.tokenizer(experiment, name)), models=str(places.models),
            learning_rate=model.learning_rate or chosen.learning_rate, optimizer=model.optimizer, device=model.device,
            compile=model.compile, group=GROUP,
        )
        for seed in range(asked.seeds)
        for name in experiment.order
    ]  # fmt: skip
    found: dict[tuple[str, int], dict[str, Any]] = {}

    def done(job: Job, one: dict[str, Any]) -> None:
        found[job.variant, job.seed] = one
        told(f"  {len(found)}/{len(jobs)}  {job.label}")

    does = Doing(function=f"{probe.__module__}:probe", arguments={"asked": asked.model_dump(mode="json")})
    run_jobs(jobs, workers=options.workers, done=done, does=does, cluster=cluster)
    engine = Engine(options.work, runner, progress=progress)
    before = held_out.duplicated(engine, files, manifests[experiment.baseline])
    variants = {}
    for name in experiment.order:
        models = [found[name, seed] for seed in range(asked.seeds)]
        samples = [sample for one in models for sample in one["samples"]]
        share = overlap(
            engine, samples, manifests[name], width=asked.match_tokens, tokenizer=places.tokenizer(experiment, name),
            folder=folder,
        )  # fmt: skip
        variants[name] = {
            "texts": given_back(models, confidence=experiment.confidence),
            "written": written(places, name, asked),
            "epochs": given[name].epochs,
            "tokens": given[name].tokens,
            "overlap": share,
            "samples": len(samples),
            "sampled_tokens": sum(map(len, samples)),
        }
    result: dict[str, Any] = {
        "copies": list(asked.copies),
        "variants": variants,
        # Of controls: the crawl itself must not hold them.
        "controls_in_raw_pool": sum(share >= held_out.DUPLICATED for share in before[CONTROLS]),
    }
    return {**result, "sentences": sentences(result)}
