"""An ablation as one YAML file: a base recipe, variants of it, a budget, seeds and what is measured on.

    name: dedup
    base: ../web.yaml                     # a recipe; places in this file are seen from the folder of the command
    baseline: exact                       # the variant that the others are compared with
    variants:
      none:  {without: [exact_dedup, near_dedup]}
      exact: {without: [near_dedup]}
      near:  {}                           # the base as it is
      hard:  {set: {stages.near_dedup.threshold: 0.6}}
    held_out: {wiki: held/wiki.jsonl, code: held/code.jsonl.gz}
    model: {preset: nano}
    budget: {equal: flops, tokens: 2_000_000}
    seeds: 3

All that decides a verdict is named here, before anything runs: the domains and their macro mean, the seeds, the
confidence. A wrong file fails before any work, naming the key, its line and the nearest right name.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from pipeline.recipe import Recipe, build_recipe
from pipeline.yaml_tree import RecipeError, apply_override, explain, member, parse, set_value
from stages import CATALOGUE
from stages.stage import Exchange

Fairness = Literal["flops", "tokens", "bytes", "wall"]
Pool = Literal["fixed-pool", "fixed-unique"]
#: Epochs beyond which repeats cost what curation gains, so that a difference is no longer that of the data
#: (Muennighoff et al. 2023, figure 5: up to 4 epochs are nearly as good as new data).
MOST_EPOCHS = 4.0
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class Insertion(_Part):
    """A stage that a variant adds."""

    stage: dict[str, Any] = Field(description="type and settings, as in a recipe")
    after: str | None = Field(default=None, description="type or number of the stage that it follows; default: last")


class Variant(_Part):
    """What differs from the base. Empty, it is the base."""

    recipe: str | None = Field(default=None, description="another recipe in place of the base")
    changes: dict[str, Any] = Field(default={}, alias="set", description="dotted keys and their values, as for --set")
    without: tuple[str, ...] = Field(default=(), description="types or numbers of stages that are left out")
    insert: tuple[Insertion, ...] = Field(default=(), description="stages that are added, in this order")
    input: tuple[str, ...] | None = Field(default=None, description="files and folders in place of the base's input")
    add_input: tuple[str, ...] = Field(default=(), description="files and folders read besides the base's input")


class Model(_Part):
    """What is trained. One shape for all variants."""

    preset: str = Field(default="nano", description="size: a file of configs/train, or a .toml of your own")
    learning_rate: float | None = Field(default=None, gt=0, description="peak rate; default: the preset's")
    optimizer: Literal["adamw", "muon", "soap"] = "adamw"
    device: str = Field(default="cpu", description="cpu or cuda")
    compile: bool = Field(default=False, description="torch.compile: once for all models of one process")
    stacked: bool = Field(
        default=False,
        description="the seeds of a variant as one batched model: fills a GPU that one small model leaves idle. Such a "
        "model keeps no checkpoints",
    )

    @model_validator(mode="after")
    def _can_be_stacked(self) -> Self:
        if self.stacked and self.optimizer != "adamw":
            raise ValueError("stacked models are trained by adamw")
        return self


class Budget(_Part):
    """How much each model is trained, and what is held equal between variants."""

    equal: Fairness = Field(default="flops", description="what every variant gets the same of")
    tokens: int | None = Field(default=None, ge=1, description="tokens of the baseline; the others follow from `equal`")
    flop: float | None = Field(default=None, gt=0, description="floating-point operations of a model's training")
    bytes: int | None = Field(default=None, ge=1, description="bytes of text of a model's training")
    seconds: float | None = Field(default=None, gt=0, description="seconds of a model's training on this machine")

    @model_validator(mode="after")
    def _one_amount(self) -> Self:
        fitting = {
            "flops": ("flop", "tokens"),
            "tokens": ("tokens",),
            "bytes": ("bytes", "tokens"),
            "wall": ("seconds",),
        }
        given = [name for name in ("tokens", "flop", "bytes", "seconds") if getattr(self, name) is not None]
        if len(given) != 1 or given[0] not in fitting[self.equal]:
            raise ValueError(f"equal: {self.equal} takes exactly one of {', '.join(fitting[self.equal])}")
        return self


class Memorisation(_Part):
    """How much models give back of what they saw: texts planted at several numbers of copies, and samples compared with
    the raw pool. Models of its own, so that no planted text touches a verdict."""

    canaries: str = Field(description="file of real texts that nobody trains or is scored on: JSONL or plain text")
    copies: tuple[int, ...] = Field(default=(1, 4, 16, 64, 256), min_length=1, description="numbers of copies planted")
    texts: int = Field(default=8, ge=1, description="texts planted at each number, and as many unseen controls")
    seeds: int = Field(default=1, ge=1, le=1000, description="models trained for each variant")
    tokens: int | None = Field(default=None, ge=1, description="tokens of a model; default: what `budget` gives")
    prompt_tokens: int = Field(default=32, ge=1, description="tokens of a planted text that a model is shown")
    continuation_tokens: int = Field(default=32, ge=1, description="tokens that it must continue with, exactly")
    samples: int = Field(default=200, ge=1, description="texts drawn from each model without a prompt")
    sample_tokens: int = Field(default=256, ge=1, description="tokens of a sample, at most the model's context")
    match_tokens: int = Field(default=50, ge=2, description="tokens in a row that must stand in the raw pool")

    @field_validator("copies")
    @classmethod
    def _are_numbers_of_copies(cls, found: tuple[int, ...]) -> tuple[int, ...]:
        if min(found) < 1 or len(set(found)) < len(found):
            raise ValueError("must be different numbers from 1 on")
        return tuple(sorted(found))


class Ladder(_Part):
    """Several model sizes and lengths of training, for the difference as a multiple of compute."""

    presets: tuple[str, ...] = Field(default=("pico", "nano", "micro"), min_length=2, description="sizes, as in model")
    horizons: tuple[float, ...] = Field(
        default=(5, 10, 20), min_length=1, description="tokens of training for each parameter of the matrices"
    )
    seeds: int = Field(default=1, ge=1, le=1000, description="models trained for each variant and size")

    @field_validator("horizons")
    @classmethod
    def _are_lengths(cls, found: tuple[float, ...]) -> tuple[float, ...]:
        if min(found) <= 0 or len(set(found)) < len(found):
            raise ValueError("must be different numbers above 0")
        return found


class Experiment(_Part):
    """A whole ablation, every setting resolved."""

    name: str = Field(pattern=_NAME)
    question: str = Field(default="", description="what is asked, for the report")
    base: str = Field(description="the recipe that the variants change")
    input: tuple[str, ...] = Field(default=(), description="files and folders in place of the base's input.paths")
    baseline: str = Field(description="the variant that the others are compared with")
    variants: dict[str, Variant] = Field(min_length=2)
    held_out: dict[str, str] = Field(min_length=1, description="domain -> file of texts that nobody may train on")
    held_out_bytes: int = Field(
        default=200_000, ge=1_000, description="bytes of each domain that are scored, documents drawn by a keyed hash"
    )
    model: Model = Model()
    budget: Budget
    seeds: int = Field(default=3, ge=1, le=1000, description="models trained for each variant")
    pools: tuple[Pool, ...] | None = Field(
        default=None,
        description="fixed-pool: each variant's own data; fixed-unique: all cut to the least unique tokens. "
        "Default: fixed-pool, and fixed-unique too where a variant repeats its data",
    )
    tokenizer: Literal["baseline", "own"] = Field(
        default="baseline", description="one vocabulary, learned on the baseline, for all; own: it is the question"
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    lr_check: bool = Field(default=False, description="rank again at a tenth of the learning rate")
    memorisation: Memorisation | None = None
    ladder: Ladder | None = None

    @field_validator("variants")
    @classmethod
    def _names_can_be_folders(cls, found: dict[str, Variant]) -> dict[str, Variant]:
        wrong = [name for name in found if not re.fullmatch(_NAME, name)]
        if wrong:
            raise ValueError(f"the name {wrong[0]!r} cannot be a folder: letters, digits, '_', '.', '-'")
        return found

    @model_validator(mode="after")
    def _can_be_compared(self) -> Self:
        if self.baseline not in self.variants:
            raise ValueError(f"baseline {self.baseline!r} is not among the variants: {', '.join(self.variants)}")
        if self.tokenizer == "own" and self.budget.equal == "tokens":
            raise ValueError(
                "equal: tokens gives a coarser vocabulary more text: with tokenizer: own use bytes or flops"
            )
        if self.memorisation is not None and self.memorisation.tokens is None and self.budget.equal == "wall":
            raise ValueError(
                "memorisation.tokens is missing: seconds (equal: wall) say nothing about how often it is seen"
            )
        return self

    @property
    def order(self) -> list[str]:
        """The variants, the baseline first."""
        return [self.baseline, *(name for name in self.variants if name != self.baseline)]


def load_experiment(path: str | Path, *, overrides: Sequence[str] = ()) -> Experiment:
    """Read and check an ablation file; `overrides` are KEY=VALUE. RecipeError says what is wrong and where."""
    path = Path(path)
    tree = parse(path)
    for override in overrides:
        apply_override(tree, override)
    try:
        return Experiment.model_validate(tree)
    except ValidationError as error:
        raise RecipeError(explain(error, tree, str(path), prefix=(), model=Experiment)) from None


def variant_recipe(
    experiment: Experiment, name: str, *, held_out: Path | None = None, tokenizer: Path | None = None,
    cap_tokens: int | None = None,
) -> Recipe:  # fmt: skip
    """The recipe of one variant. `held_out` (a file of all held-out texts) is kept out of its data, `tokenizer` is used
    instead of the recipe's own, `cap_tokens` bounds the unique tokens of its shards by a mix. RecipeError names what of
    the variant cannot be done."""
    variant = experiment.variants[name]
    where = variant.recipe or experiment.base
    said = f"variant {name!r} of {experiment.name} ({where})"
    tree = parse(Path(where))
    tree["name"] = f"{experiment.name}-{name}"[:64]
    read = tree.setdefault("input", CommentedMap())
    paths = list(variant.input or experiment.input or read.get("paths") or [])
    read["paths"] = [*paths, *variant.add_input]
    if not read["paths"]:
        raise RecipeError(f"{said}: there is no input; name it in the recipe or in `input` of the ablation")
    stages = _stages(tree, said)
    for wanted in variant.without:
        stages.remove(member(stages, wanted, said=f"{said}: without {wanted}"))
    for addition in variant.insert:
        stages.insert(_place_behind(stages, addition.after, said), CommentedMap(addition.stage))
    for key, value in variant.changes.items():
        set_value(tree, key, value, said=f"{said}: set {key}")
    if held_out is not None:
        _hold_out(stages, held_out)
    if tree.get("tokenizer") is None:
        raise RecipeError(f"{said}: no tokenizer, so there is nothing to train on; add `tokenizer` to the recipe")
    if tokenizer is not None:
        tree["tokenizer"] = {"path": str(tokenizer)}
    tree.setdefault("shards", CommentedMap())
    if cap_tokens is not None:
        if tree.get("mix") is not None:
            raise RecipeError(f"{said}: a recipe with a mix of its own cannot be cut to equal unique tokens (pools)")
        tree["mix"] = {"by": "tokens", "sources": [{"source": "*", "cap": cap_tokens}]}
    return build_recipe(tree, said)


def _stages(tree: CommentedMap, said: str) -> CommentedSeq:
    stages = tree.get("stages")
    if not isinstance(stages, CommentedSeq):
        raise RecipeError(f"{said}: 'stages' must be a list of stages")
    return stages


def _place_behind(stages: CommentedSeq, after: str | None, said: str) -> int:
    if after is None:
        return len(stages)
    return int(stages.index(member(stages, after, said=f"{said}: insert after {after}"))) + 1


def _hold_out(stages: CommentedSeq, texts: Path) -> None:
    """Put the `held_out` stage before the first exchange: what is a copy of a held-out text may not stand for others.

    A recipe that holds out other texts too keeps that stage beside it.
    """
    entry = CommentedMap({"type": "held_out", "against": str(texts)})
    exchanges = [
        number
        for number, stage in enumerate(stages)
        if isinstance(stage, Mapping) and isinstance(CATALOGUE.get(str(stage.get("type"))), Exchange)
    ]
    stages.insert(exchanges[0] if exchanges else len(stages), entry)
