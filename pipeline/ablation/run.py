"""`tamis ablate`: from an ablation file to results.json and report.html.

    <out>/held_out/      the samples that are scored
    <out>/runs/VARIANT/  a run of its own for each variant: kept, ledger, shards, manifest, report
    <out>/results.json   everything measured; the same bytes each time but for its `environment`
    <work>/              cached phases and models, shared by ablations

Every step finds what it has done before: killed at any moment, the same call goes on, and one more variant costs only
what is new.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.ablation import held_out
from pipeline.ablation.experiment import Experiment
from pipeline.ablation.fairness import Allowance, Data, allowances, equal_unique, repeats
from pipeline.ablation.ladder_run import measure_ladder
from pipeline.ablation.memorisation_run import measure_memorisation
from pipeline.ablation.noise import keep
from pipeline.ablation.results import LR_CHECK, assemble
from pipeline.ablation.speed import measured_speed
from pipeline.ablation.training import Cluster, Job, run_jobs, write_json
from pipeline.ablation.variants import Places, data_of, recipe_of, run_variants
from pipeline.engine import Engine, Progress
from pipeline.lock import run_lock
from pipeline.report.ablation import write_ablation_report
from pipeline.run import Options, make_runner
from train.presets import preset

Told = Callable[[str], None]
#: The learning rate at which `lr_check` ranks again, as a share of the first one. Where small models rank data sets
#: otherwise than large ones, a reduced rate has repaired it (arXiv 2512.24503).
REDUCED = 0.1


def ablate(
    experiment: Experiment, options: Options, *, progress: Progress, told: Told = lambda _: None
) -> dict[str, Any]:
    """Run the variants, train, score and compare; leaves and returns results.json. `told` is given lines to show.

    ValueError names a variant that has nothing to train on; RecipeError what of a variant cannot be done.
    """
    places = Places(out=Path(options.out).absolute(), work=str(Path(options.work).absolute()))
    with run_lock(places.out):
        domains = held_out.draw(experiment.held_out, places.held_out, sample_bytes=experiment.held_out_bytes)
        runner = make_runner(options)
        cluster = Cluster(runner=runner, work=options.work) if options.ray_address else None
        try:
            told("Runs")
            manifests = run_variants(experiment, places, runner=runner, progress=progress, options=options, told=told)
            shares = held_out.duplicated(
                Engine(options.work, runner, progress=progress), domains, manifests[experiment.baseline]
            )
            data = data_of(experiment, places)
            given = given_to(experiment, data, places)
            pools: dict[str, dict[str, Allowance]] = {"fixed-pool": given}
            if cuts_to_unique(experiment, given, places):
                cap = equal_unique(data)
                run_variants(
                    experiment, places, runner=runner, progress=progress, options=options, told=told,
                    pool="fixed-unique", cap_tokens=cap,
                )  # fmt: skip
                pools["fixed-unique"] = given_to(experiment, data_of(experiment, places, pool="fixed-unique"), places)
            jobs = jobs_of(experiment, places, pools, domains)
            told(f"Training {len(jobs)} models")
            scored = _train(jobs, workers=options.workers, cluster=cluster, told=told)
            extra = {}
            if experiment.memorisation is not None:
                extra["memorisation"] = measure_memorisation(
                    experiment, places, runner=runner, progress=progress, options=options, cluster=cluster, told=told
                )
            if experiment.ladder is not None:
                extra["ladder"] = measure_ladder(
                    experiment, places, domains, workers=options.workers, cluster=cluster, told=told
                )
        finally:
            runner.close()
        results = {**assemble(experiment, manifests, pools, scored, shares), **extra}
        written = write_json(places.out / "results.json", results)
        keep(written["noise"], experiment, folder=places.models)
        write_ablation_report(places.out, written)
    return written


def given_to(experiment: Experiment, data: Mapping[str, Data], places: Places) -> dict[str, Allowance]:
    """What the models of each variant get, by the measured speed of this machine where equal times are asked for."""
    chosen = preset(experiment.model.preset)
    if experiment.budget.equal == "wall":
        data = {
            name: replace(
                found,
                tokens_per_second=measured_speed(experiment.model, vocab_size=found.vocab_size, folder=places.models),
            )
            for name, found in data.items()
        }
    return allowances(experiment.budget, data, baseline=experiment.baseline, batch_tokens=chosen.batch_tokens)


def cuts_to_unique(experiment: Experiment, given: Mapping[str, Allowance], places: Places) -> bool:
    """Whether all variants are trained on equal amounts of unique text too: as asked, or by itself where one repeats
    its data. Not by itself where a variant has a mix of its own: cut to an amount, it would be another mix."""
    if experiment.pools is not None:
        return "fixed-unique" in experiment.pools
    return repeats(given) and all(recipe_of(experiment, name, places).mix is None for name in experiment.order)


def jobs_of(
    experiment: Experiment,
    places: Places,
    pools: Mapping[str, Mapping[str, Allowance]],
    domains: Mapping[str, Path],
) -> list[Job]:
    """All models of the ablation, seed by seed, so that a first comparison stands early."""
    model, chosen = experiment.model, preset(experiment.model.preset)
    rate = model.learning_rate or chosen.learning_rate
    rates = dict.fromkeys(pools, rate) | ({LR_CHECK: rate * REDUCED} if experiment.lr_check else {})
    return [
        Job(
            variant=name,
            shards=str(places.run(name, "fixed-unique" if group == "fixed-unique" else "fixed-pool") / "shards"),
            seed=seed,
            preset=model.preset,
            tokens=pools["fixed-pool" if group == LR_CHECK else group][name].tokens,
            domains=tuple((domain, str(path)) for domain, path in domains.items()),
            tokenizer=str(places.tokenizer(experiment, name)),
            models=str(places.models),
            learning_rate=rates[group],
            optimizer=model.optimizer,
            device=model.device,
            compile=model.compile,
            stacked=model.stacked,
            group=group,
        )
        for group in rates
        for seed in range(experiment.seeds)
        for name in experiment.order
    ]


def _train(
    jobs: Sequence[Job], *, workers: int, cluster: Cluster | None, told: Told
) -> dict[str, dict[tuple[str, int], dict[str, Any]]]:
    scored: dict[str, dict[tuple[str, int], dict[str, Any]]] = {}
    count = 0

    def done(job: Job, found: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        scored.setdefault(job.group, {})[job.variant, job.seed] = found
        shown = ", ".join(f"{name} {score['bits_per_byte']:.4f}" for name, score in sorted(found["domains"].items()))
        told(f"  {count}/{len(jobs)}  {job.label}: {shown}")

    run_jobs(jobs, workers=workers, done=done, cluster=cluster)
    return scored
