"""`tamis ablate mix`: which proportions of given sources are best, tried on many small models, predicted, confirmed.

    name: sources
    base: ../web.yaml                     # a recipe without a mix
    sources: {web: "crawl*", code: "code*", pdf: "*"}     # globs on the input file's name; the first that matches
    held_out: {wiki: held/wiki.jsonl, code: held/code.jsonl}
    model: {preset: pico}
    tokens: 500_000                       # of each model
    mixtures: 32
    confirm: {seeds: 3}

    <out>/runs/natural, runs/mix-007.mixtures    a run for each mixture; all share everything but the last two phases
    <out>/confirm/                               an ordinary ablation: natural proportions, equal ones, the best
    <out>/mixture.json                           what was drawn, scored, predicted and confirmed

Weights are shares of tokens. A mixture's shards hold what one model is trained on, so that a source that is small for
its weight is repeated within them; no drawn mixture repeats a source more than `max_epochs` times.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.ablation import held_out
from pipeline.ablation.experiment import MOST_EPOCHS, Budget, Experiment, Model, Variant
from pipeline.ablation.mixtures import draw_mixtures, predict_best
from pipeline.ablation.run import ablate
from pipeline.ablation.training import Cluster, Job, run_jobs, write_json
from pipeline.ablation.variants import Places, run_variants
from pipeline.engine import Progress
from pipeline.lock import run_lock
from pipeline.run import Options, make_runner
from pipeline.yaml_tree import RecipeError, apply_override, explain, parse
from tokenizer.shards import ShardSet
from train.presets import preset

FORMAT = 1
POOL = "mixtures"
NATURAL, UNIFORM, BEST = "natural", "uniform", "best"
Told = Callable[[str], None]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Confirm(_Part):
    """The comparison that decides."""

    seeds: int = Field(default=3, ge=2, le=1000, description="models trained for each of natural, uniform and best")


class Search(_Part):
    """A whole search for a mixture, every setting resolved."""

    name: str = Field(pattern=r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,50}")
    question: str = Field(default="", description="what is asked, for the report")
    base: str = Field(description="the recipe whose documents are mixed")
    input: tuple[str, ...] = Field(default=(), description="files and folders in place of the base's input.paths")
    sources: dict[str, str] = Field(min_length=2, description="source -> glob on the input file's name")
    held_out: dict[str, str] = Field(min_length=1, description="domain -> file of texts that nobody may train on")
    held_out_bytes: int = Field(default=200_000, ge=1_000, description="bytes of each domain that are scored")
    model: Model = Model(preset="pico")
    tokens: int = Field(ge=1, description="tokens of a model's training")
    mixtures: int = Field(default=32, ge=4, le=100_000, description="mixtures drawn and tried, one model each")
    concentration: float = Field(default=1.0, gt=0, description="of the Dirichlet distribution; 1: all equally likely")
    max_epochs: float = Field(default=MOST_EPOCHS, gt=0, le=1000, description="how often a source may be repeated")
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    confirm: Confirm = Confirm()

    @model_validator(mode="after")
    def _enough_mixtures(self) -> Self:
        if self.mixtures <= len(self.sources):
            raise ValueError(f"{self.mixtures} mixtures say nothing about {len(self.sources)} sources: draw more")
        return self


def load_search(path: str | Path, *, overrides: Sequence[str] = ()) -> Search:
    """Read and check the file; `overrides` are KEY=VALUE. RecipeError says what is wrong and where."""
    tree = parse(Path(path))
    for override in overrides:
        apply_override(tree, override)
    try:
        return Search.model_validate(tree)
    except ValidationError as error:
        raise RecipeError(explain(error, tree, str(path), prefix=(), model=Search)) from None


def search(asked: Search, options: Options, *, progress: Progress, told: Told = lambda _: None) -> dict[str, Any]:
    """Run, train, predict and confirm; leaves and returns mixture.json. Interrupted, the same call goes on."""
    places = Places(out=Path(options.out).absolute(), work=str(Path(options.work).absolute()))
    experiment = _experiment(asked, {NATURAL: Variant(), UNIFORM: Variant()}, seeds=1)
    with run_lock(places.out):
        domains = held_out.draw(experiment.held_out, places.held_out, sample_bytes=asked.held_out_bytes)
        runner = make_runner(options)
        try:
            told("The base as it is")
            shared: dict[str, Any] = {"runner": runner, "progress": progress, "options": options, "told": told}
            run_variants(experiment, places, names=[NATURAL], **shared)
            sizes = _sizes(asked, places.run(NATURAL) / "shards")
            limits = [min(1.0, size * asked.max_epochs / asked.tokens) for size in sizes]
            weights = draw_mixtures(
                asked.mixtures, sources=len(sizes), concentration=asked.concentration, limits=limits
            )
            drawn = {f"mix-{n:03d}": _mixed(asked, row, sizes) for n, row in enumerate(weights)}
            mixed = experiment.model_copy(update={"variants": {**experiment.variants, **drawn}})
            run_variants(mixed, places, names=list(drawn), pool=POOL, **shared)
            cluster = Cluster(runner=runner, work=options.work) if options.ray_address else None
            scored = _train(
                asked, mixed, places, domains, list(drawn), workers=options.workers, cluster=cluster, told=told
            )
        finally:
            runner.close()
        losses = np.array([[score["bits_per_byte"] for score in scored[name].values()] for name in drawn])
        natural = np.array(sizes) / sum(sizes)
        found = predict_best(
            list(asked.sources), weights, losses, natural,
            limits=limits, concentration=asked.concentration, confidence=asked.confidence,
        )  # fmt: skip
        told(f"Confirming {_shares(found['weights'])}")
        best = np.array(list(found["weights"].values()))
        equal = np.full(len(sizes), 1 / len(sizes))
        confirming = _experiment(
            asked,
            {NATURAL: Variant(), UNIFORM: _mixed(asked, equal, sizes), BEST: _mixed(asked, best, sizes)},
            seeds=asked.confirm.seeds,
        )
        confirmed = ablate(
            confirming,
            replace(options, out=str(places.out / "confirm"), work=places.work),
            progress=progress,
            told=told,
        )
        result = {
            "format": FORMAT,
            "search": asked.model_dump(mode="json"),
            "sources": {
                name: {"tokens": size, "natural": round(float(share), 4), "limit": round(limit, 4),
                       "epochs_of_best": round(float(weight) * asked.tokens / size, 4) if size else 0.0}
                for name, size, share, limit, weight in zip(asked.sources, sizes, natural, limits, best, strict=True)
            },
            "mixtures": [
                {"weights": dict(zip(asked.sources, map(float, row), strict=True)),
                 "domains": {name: score["bits_per_byte"] for name, score in scored[variant].items()}}
                for variant, row in zip(drawn, weights, strict=True)
            ],
            "prediction": found,
            "confirmed": {
                "verdict": confirmed["pools"]["fixed-pool"]["verdict"],
                "comparison": confirmed["pools"]["fixed-pool"]["comparison"],
                "warnings": confirmed["warnings"],
            },
        }  # fmt: skip
        return write_json(places.out / "mixture.json", result)


def _experiment(asked: Search, variants: Mapping[str, Variant], *, seeds: int) -> Experiment:
    return Experiment(
        name=asked.name, question=asked.question, base=asked.base, input=asked.input, baseline=NATURAL,
        variants=dict(variants), held_out=asked.held_out, held_out_bytes=asked.held_out_bytes, model=asked.model,
        budget=Budget(equal="flops", tokens=asked.tokens), seeds=seeds, pools=("fixed-pool",),
        confidence=asked.confidence,
    )  # fmt: skip


def _sizes(asked: Search, folder: Path) -> list[int]:
    """Tokens of each source in the training shards of the base. ValueError for a source without any."""
    shards = ShardSet.from_folder(folder)
    sizes = dict.fromkeys(asked.sources, 0)
    for number in range(len(shards.row_groups)):
        table = shards.read_documents(number)
        for source, tokens in zip(table["source"].to_pylist(), table["n_tokens"].to_pylist(), strict=True):
            mine = next((name for name, pattern in asked.sources.items() if fnmatchcase(source, pattern)), None)
            if mine is not None:
                sizes[mine] += tokens
    empty = [name for name, size in sizes.items() if not size]
    if empty:
        raise ValueError(f"sources: the base keeps no document whose file's name is like {asked.sources[empty[0]]!r}")
    return list(sizes.values())


def _mixed(asked: Search, weights: np.ndarray, sizes: Sequence[int]) -> Variant:
    """The base with a mix of these weights, as large as one model's training or as max_epochs allow."""
    whole = [
        {"source": pattern, "weight": round(float(weight), 4), "max_epochs": asked.max_epochs,
         "cap": math.ceil(weight * asked.tokens)}
        for pattern, weight in zip(asked.sources.values(), weights, strict=True)
    ]  # fmt: skip
    if whole[-1]["source"] != "*":
        whole.append({"source": "*", "weight": 0.0})
    assert len(sizes) <= len(whole)
    return Variant.model_validate({"set": {"mix": {"by": "tokens", "sources": whole}}})


def _train(
    asked: Search, experiment: Experiment, places: Places, domains: Mapping[str, Path], names: Sequence[str], *,
    workers: int, cluster: Cluster | None, told: Told,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Scores of one model of each mixture, by its name and domain."""
    chosen, model = preset(asked.model.preset), asked.model
    jobs = [
        Job(
            variant=name, shards=str(places.run(name, POOL) / "shards"), seed=0, preset=model.preset,
            tokens=max(1, round(asked.tokens / chosen.batch_tokens)) * chosen.batch_tokens,
            domains=tuple((domain, str(path)) for domain, path in domains.items()),
            tokenizer=str(places.tokenizer(experiment, name)), models=str(places.models),
            learning_rate=model.learning_rate or chosen.learning_rate, optimizer=model.optimizer, device=model.device,
            compile=model.compile, group=POOL,
        )
        for name in names
    ]  # fmt: skip
    told(f"Training {len(jobs)} models, one a mixture")
    scored: dict[str, dict[str, Any]] = {}

    def done(job: Job, found: dict[str, Any]) -> None:
        scored[job.variant] = {name: found["domains"][name] for name in domains}
        told(f"  {len(scored)}/{len(jobs)}  {job.variant}")

    run_jobs(jobs, workers=workers, done=done, cluster=cluster)
    return scored


def _shares(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {weight:.0%}" for name, weight in weights.items())


def search_text(result: Mapping[str, Any]) -> str:
    """What came out, for a terminal."""
    found, sources = result["prediction"], result["sources"]
    lines = [
        f"{name:<16} natural {sources[name]['natural']:>4.0%}   best {weight:>4.0%} "
        f"({found['intervals'][name][0]:.0%} to {found['intervals'][name][1]:.0%}), "
        f"{sources[name]['epochs_of_best']:.2f} epochs"
        for name, weight in found["weights"].items()
    ]
    low, high = found["predicted_gain_interval"]
    error, spread = found["left_out_error"], found["spread"]
    gain = f"{found['predicted_gain_over_natural']:+.4f} bits per byte less than natural proportions"
    lines.append(
        f"regression  {found['form']}; mixtures left out are missed by {error:.4f}, and differ by {spread:.4f}"
    )
    lines.append(f"predicted   {gain} ({low:+.4f} to {high:+.4f})")
    warned = [f"warning: {line}" for line in result["confirmed"]["warnings"]]
    return "\n".join([*lines, f"confirmed   {result['confirmed']['verdict']}", *warned])
