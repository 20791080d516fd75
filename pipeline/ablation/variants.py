"""The runs of an ablation's variants, each a run of its own over one work folder: what they share is done once."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.ablation.experiment import Experiment, variant_recipe
from pipeline.ablation.fairness import Data
from pipeline.engine import Progress
from pipeline.recipe import Recipe
from pipeline.report.page import write_report
from pipeline.run import Options, pin_slices, plan_splits, run
from pipeline.runners.base import Runner
from tokenizer.shards import ShardSet
from train.presets import preset


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where an ablation keeps what it makes."""

    out: Path
    work: str

    @property
    def held_out(self) -> Path:
        return self.out / "held_out"

    @property
    def models(self) -> Path:
        """Beside the cached phases: a model is shared by ablations as a phase is."""
        return Path(self.work) / "models"

    def run(self, variant: str, pool: str = "fixed-pool") -> Path:
        return self.out / "runs" / (variant if pool == "fixed-pool" else f"{variant}.{pool}")

    def tokenizer(self, experiment: Experiment, variant: str) -> Path:
        """The vocabulary that a variant's shards are made with."""
        owner = experiment.baseline if experiment.tokenizer == "baseline" else variant
        return self.run(owner) / "tokenizer" / "tokenizer.json"


def recipe_of(
    experiment: Experiment, name: str, places: Places, *, pool: str = "fixed-pool", cap_tokens: int | None = None,
    planned: bool = False,
) -> Recipe:  # fmt: skip
    """One variant's recipe as it runs. `planned`: the baseline's vocabulary may not exist yet, and is then left out."""
    shared = places.tokenizer(experiment, name)
    learns = experiment.tokenizer == "own" or name == experiment.baseline
    given = None if (learns and pool == "fixed-pool") or (planned and not shared.exists()) else shared
    held_out = places.held_out / "all.jsonl"
    return variant_recipe(experiment, name, held_out=held_out, tokenizer=given, cap_tokens=cap_tokens)


def run_variants(
    experiment: Experiment,
    places: Places,
    *,
    runner: Runner,
    progress: Progress,
    options: Options,
    told: Callable[[str], None],
    pool: str = "fixed-pool",
    cap_tokens: int | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, dict[str, Any]]:
    """The manifests of all variants (or of those named), the baseline first, as runs of that pool.

    Only those of fixed-pool learn their vocabulary; with `cap_tokens` each is cut to so many unique tokens.
    """
    manifests = {}
    recipes = {
        name: recipe_of(experiment, name, places, pool=pool, cap_tokens=cap_tokens)
        for name in names or experiment.order
    }
    for recipe in recipes.values():
        # All before the first run: filters that others publish meanwhile are seen by no variant, or by all.
        pin_slices(recipe, plan_splits(recipe, options.work), options.work, keep=True)
    for name, recipe in recipes.items():
        told(f"{name} ({pool})" if pool != "fixed-pool" else name)
        place = places.run(name, pool)
        manifests[name] = run(recipe, _at(options, place), progress=progress, runner=runner)
        if not manifests[name]["counts"]["tokens"]:
            raise ValueError(f"variant {name!r} kept no document: there is nothing to train on. See {place}")
        if pool == "fixed-pool":
            write_report(place)
    return manifests


def _at(options: Options, place: Path) -> Options:
    return replace(options, out=str(place), publish=False)


def data_of(experiment: Experiment, places: Places, *, pool: str = "fixed-pool") -> dict[str, Data]:
    """What each variant has to train on, from its shards."""
    chosen = preset(experiment.model.preset)
    found = {}
    for name in experiment.order:
        shards = ShardSet.from_folder(places.run(name, pool) / "shards")
        model = chosen.model(shards.metadata.vocab_size)
        found[name] = Data(
            epoch_tokens=shards.tokens + shards.documents,
            bytes=shards.bytes,
            documents=shards.documents,
            vocab_size=shards.metadata.vocab_size,
            flop_per_token=model.flop_per_token(chosen.sequence_length),
            copied_tokens=_copied(places.run(name, pool)),
        )
    return found


def _copied(run: Path) -> int:
    """Tokens, separators counted, of the copies that the run's mix wrote."""
    books = json.loads((run / "manifest.json").read_text())["shards"].get("mix") or []
    return sum(source["repeated"]["tokens"] + source["repeated"]["documents"] for source in books)
