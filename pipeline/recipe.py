"""Recipes: YAML files that say what a run does. A wrong recipe fails before any work, naming the key, its line and the
nearest right name (pipeline/yaml_tree.py).
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pyarrow as pa
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)
from ruamel.yaml.comments import CommentedMap

import stages
from pipeline.yaml_tree import RecipeError as RecipeError
from pipeline.yaml_tree import apply_override, explain, nearest, parse, place_of
from stages.c4_quality import C4QualitySettings
from stages.dclm_quality import DclmQualitySettings
from stages.exact_dedup import ExactDedupSettings
from stages.extract import ExtractSettings
from stages.fasttext_text import FOLDER_PREFIX
from stages.gopher_quality import GopherQualitySettings
from stages.language import LanguageSettings
from stages.near_dedup import NearDedupSettings
from stages.rules import RuleSettings
from stages.stage import Exchange, Extraction, Settings, Stage
from tokenizer.learners import VocabularySettings, lossless

#: The keys of an entry of the stage list that are no settings of its stage.
_OF_EVERY_STAGE = ("type", "expect_kept")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Columns(_Part):
    """What JSON lines and Parquet files call the parts of a document."""

    text: str = Field(default="text", min_length=1, description="the text itself; a row without it is quarantined")
    id: str = Field(default="id", min_length=1, description="the source's own name for the row, kept as source_id")
    url: str = Field(default="url", min_length=1, description="the address that the text came from")
    date: str = Field(default="date", min_length=1, description="when it was fetched or written")


class Input(_Part):
    """What is read."""

    #: Files, folders and patterns. Where they lie is no part of a run's identity: what they hold is.
    paths: tuple[str, ...] = Field(
        default=(), description="files, folders or glob patterns; local or s3://, and https:// files"
    )
    columns: Columns = Columns()
    split_bytes: int = Field(
        default=64 << 20,
        ge=1024,
        description="compressed bytes of an archive in one unit of work; 64 MB keep a core busy for minutes",
    )
    max_record_bytes: int = Field(
        default=64 << 20, ge=1024, description="largest record body that is extracted, in bytes; larger ones are booked"
    )
    sample: float = Field(
        default=1.0, gt=0, le=1, description="fraction of documents that are read, chosen by a keyed hash of their id"
    )


class SampleSource(_Part):
    """Documents of one kind in the sample that a vocabulary is learned from. A document belongs to the first group that
    it matches."""

    source: str = Field(default="*", description="glob on the input file's name")
    language: str | None = Field(default=None, description="glob on the language that the language stage found")
    weight: float = Field(default=1.0, ge=0, description="share of the sample, relative to the other weights")

    @property
    def label(self) -> str:
        return self.source if self.language is None else f"{self.source} in {self.language}"


class Tokenizer(_Part):
    """A vocabulary to learn, or one that exists."""

    type: Literal["bpe", "unigram", "wordpiece", "wordlevel"] = Field(
        default="bpe",
        description="byte-level byte-pair encoding, or another kind; wordlevel loses text and makes no shards",
    )
    vocab_size: Annotated[int, Field(ge=257, le=1 << 22)] = Field(
        default=32_768, description="entries, special tokens included"
    )
    pre_tokenizer: Literal["gpt4", "gpt2", "digits"] = Field(
        default="gpt4", description="what a word is: GPT-4's rule, GPT-2's, or GPT-4's with every digit a word"
    )
    normalization: Literal["none", "nfc", "nfkc", "lowercase"] = Field(
        default="none", description="rewrites text before it is cut; anything but none loses text and makes no shards"
    )
    special_tokens: tuple[str, ...] = Field(
        default=("<|endoftext|>",), description="lowest ids, in this order; the first one separates documents"
    )
    path: Annotated[str, AfterValidator(lambda path: absolute(path))] | None = Field(
        default=None, description="a tokenizer.json to use instead of learning one"
    )
    end_of_text: str | None = Field(
        default=None, description="with path: the token that separates documents; without it the usual names are tried"
    )
    sample_bytes: int = Field(
        default=200 << 20, ge=1 << 10, description="UTF-8 bytes of text that the vocabulary is learned from, at most"
    )
    sample: tuple[SampleSource, ...] = Field(
        default=(),
        description="weights of sources and languages in that text, the last for all others; without it all documents "
        "are drawn alike",
    )

    @model_validator(mode="after")
    def _can_be_learned(self) -> Self:
        if self.end_of_text is not None and self.path is None:
            raise ValueError(
                "end_of_text names a token of the tokenizer.json in 'path', and there is none: of a vocabulary that is "
                "learned, the first of special_tokens separates documents"
            )
        if self.sample and (self.sample[-1].source != "*" or self.sample[-1].language is not None):
            raise ValueError(
                "the last group of 'sample' must match every document: add {source: '*'}, with weight: 0 to leave "
                "it out"
            )
        if self.sample and not any(group.weight for group in self.sample):
            raise ValueError("at least one weight of 'sample' must be above 0")
        self.vocabulary()
        return self

    def vocabulary(self) -> VocabularySettings:
        """What to learn. ValueError for settings that cannot be."""
        return VocabularySettings(
            type=self.type,
            vocab_size=self.vocab_size,
            special_tokens=self.special_tokens,
            pre_tokenizer=self.pre_tokenizer,
            normalization=self.normalization,
        )


class ShardOrder(_Part):
    """A curriculum: training shards in the order of a measure, in stated ranges, shuffled within each."""

    by: str = Field(
        description="a number that a stage of this recipe measures, such as quality_score, or n_tokens or n_bytes"
    )
    limits: tuple[float, ...] = Field(
        min_length=1, description="where one range of the measure ends and the next begins, ascending"
    )
    descending: bool = Field(default=False, description="the highest range first")

    @field_validator("limits")
    @classmethod
    def _ascend(cls, limits: tuple[float, ...]) -> tuple[float, ...]:
        if any(not math.isfinite(limit) for limit in limits) or any(a >= b for a, b in pairwise(limits)):
            raise ValueError("limits must be numbers that ascend, each once")
        return limits


class Shards(_Part):
    """Token shards for training."""

    tokens_per_shard: int = Field(default=100_000_000, ge=1, description="tokens in one shard file, about")
    validation_fraction: float = Field(
        default=0.005, ge=0, lt=1, description="share of documents, by hash of their text, that only monitor training"
    )
    seed: int = Field(default=0, ge=0, description="key of the global shuffle")
    order: ShardOrder | None = Field(
        default=None, description="an order of the training shards instead of one global shuffle: a curriculum"
    )


class MixSource(_Part):
    """Documents of one kind in the mix. A document belongs to the first source that it matches."""

    source: str = Field(default="*", description="glob on the input file's name")
    host: str | None = Field(default=None, description="glob on the host of the document's url, e.g. *.wikipedia.org")
    epochs: float = Field(
        default=1.0, ge=0, le=1000, description="how often each document is seen; 0.25 draws a quarter"
    )
    weight: float | None = Field(default=None, ge=0, description="share of the mix, relative to the other weights")
    max_epochs: float = Field(default=1.0, gt=0, le=1000, description="with weight: how often a document may be seen")
    cap: int | None = Field(default=None, ge=0, description="tokens (or documents) of this source in the mix, at most")

    @property
    def label(self) -> str:
        return self.source if self.host is None else f"{self.source} from {self.host}"


class Mix(_Part):
    """How often the documents of each source stand in the training shards. Without it, each once."""

    by: Literal["tokens", "documents"] = Field(default="tokens", description="what weights and caps count")
    sources: tuple[MixSource, ...] = Field(min_length=1, description="the last one must match every document")

    @property
    def weighted(self) -> bool:
        return self.sources[0].weight is not None

    @model_validator(mode="after")
    def _can_be_mixed(self) -> Self:
        last = self.sources[-1]
        if last.source != "*" or last.host is not None:
            raise ValueError(
                "the last source must match every document: add {source: '*'}, with epochs: 0 to leave it out"
            )
        if len({source.weight is None for source in self.sources}) > 1:
            raise ValueError("give a weight to every source or to none: a share needs something to be a share of")
        if self.weighted and not any(source.weight for source in self.sources):
            raise ValueError("at least one weight must be above 0")
        if self.weighted and any("epochs" in source.model_fields_set for source in self.sources):
            raise ValueError("a source has a weight or epochs, not both: weights decide the epochs")
        return self


class StageEntry(_Part):
    """One line of the recipe's stage list: the type and its settings."""

    type: str
    settings: SerializeAsAny[Settings]
    #: It changes no result, so it is no part of what a run is identified by.
    expect_kept: tuple[float, float] | None = Field(
        default=None, description="least and largest share of its documents that the stage should keep; else it warns"
    )

    @field_validator("expect_kept")
    @classmethod
    def _is_a_range_of_shares(cls, found: tuple[float, float] | None) -> tuple[float, float] | None:
        if found is not None and not 0 <= found[0] <= found[1] <= 1:
            raise ValueError("must be [least, largest], two shares from 0 to 1")
        return found

    @property
    def definition(self) -> Stage | Exchange | Extraction:
        return stages.CATALOGUE[self.type]


def _check_sentences(gate: int, rule: Any) -> None:
    """ValueError where a gate by sentences rules out what `c4_quality`, which may be missing, would keep."""
    if not isinstance(rule, C4QualitySettings):
        raise ValueError("extract.gate_min_sentences needs a c4_quality stage, which asks for sentences: add it")
    lines = ("min_words_per_line", "max_word_characters", "require_end_mark")
    other = [name for name in lines if getattr(rule, name) != C4QualitySettings.model_fields[name].default]
    if other:
        raise ValueError(
            f"extract.gate_min_sentences counts sentences by c4_quality's defaults, and {other[0]} is "
            f"{getattr(rule, other[0])} here: set the gate to 0, or leave it at its default"
        )
    least = min(rule.for_language(language).min_sentences for language in ("", *rule.per_language))
    if least < gate:
        raise ValueError(
            f"extract.gate_min_sentences {gate} is stricter than c4_quality, which asks for {least} sentences: "
            "lower the gate"
        )


class Recipe(_Part):
    """A whole recipe, every setting resolved."""

    name: str = Field(pattern=r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}", description="names the run in reports")
    input: Input = Input()
    stages: tuple[StageEntry, ...]
    tokenizer: Tokenizer | None = None
    shards: Shards | None = None
    mix: Mix | None = None

    @field_validator("stages")
    @classmethod
    def _extraction_comes_first(cls, entries: tuple[StageEntry, ...]) -> tuple[StageEntry, ...]:
        kinds = [isinstance(entry.definition, Extraction) for entry in entries]
        if not kinds or not kinds[0] or any(kinds[1:]):
            raise ValueError("the first stage, and no other, must be of type 'extract'")
        return entries

    @field_validator("stages")
    @classmethod
    def _gate_is_looser_than_what_follows(cls, entries: tuple[StageEntry, ...]) -> tuple[StageEntry, ...]:
        """A cascade may only rule out what a later stage would reject anyway."""
        gate = entries[0].settings if entries else None
        if not isinstance(gate, ExtractSettings) or gate.engine != "cascade":
            return entries
        later = {entry.type: entry.settings for entry in entries[1:]}
        language, words = later.get("language"), later.get("gopher_quality", later.get("dclm_quality"))
        if gate.gate_languages:
            keep = set(language.keep) if isinstance(language, LanguageSettings) else None
            if keep is None or not keep <= set(gate.gate_languages):
                raise ValueError(
                    f"extract.gate_languages {list(gate.gate_languages)} would rule out pages that later stages keep: "
                    f"add a language stage whose keep is among them (it is {sorted(keep) if keep else 'missing'})"
                )
            if isinstance(language, LanguageSettings) and language.min_score < gate.gate_min_language_score:
                raise ValueError(
                    f"extract.gate_min_language_score {gate.gate_min_language_score} is stricter than the language "
                    f"stage's min_score {language.min_score}: lower the gate"
                )
        least = 0
        if isinstance(words, GopherQualitySettings | DclmQualitySettings):
            least = min(words.for_language(language).min_words for language in ("", *words.per_language))
        if least < gate.gate_min_words:
            raise ValueError(
                f"extract.gate_min_words {gate.gate_min_words} is stricter than any later stage (gopher_quality or "
                f"dclm_quality asks for {least} words): lower the gate, or add that stage"
            )
        if gate.gate_min_sentences:
            _check_sentences(gate.gate_min_sentences, later.get("c4_quality"))
        return entries

    @field_validator("stages")
    @classmethod
    def _languages_with_own_thresholds_are_kept(cls, entries: tuple[StageEntry, ...]) -> tuple[StageEntry, ...]:
        """Thresholds for a language that no document has would be a misspelt code."""
        kept: set[str] | None = None
        for entry in entries:
            if isinstance(entry.settings, LanguageSettings):
                kept = set(entry.settings.keep)
            named = entry.settings.per_language if isinstance(entry.settings, RuleSettings) else {}
            if named and kept is None:
                raise ValueError(
                    f"{entry.type}.per_language needs to know the language: put a stage of type 'language' before it"
                )
            for language in sorted(named.keys() - (kept or set())):
                raise ValueError(
                    f"{entry.type}.per_language names {language!r}, which the language stage does not keep; it keeps "
                    f"{', '.join(sorted(kept or ()))}"
                )
        return entries

    @field_validator("stages")
    @classmethod
    def _removes_before_extraction_what_goes_anyway(cls, entries: tuple[StageEntry, ...]) -> tuple[StageEntry, ...]:
        """Duplicates may be removed before extraction only if a later stage would remove one of them, and if the one
        that is kept does not depend on what only that stage would look at."""
        first = entries[0].settings if entries else None
        if not isinstance(first, ExtractSettings) or not first.glances:
            return entries
        asked = "extract.gate_duplicates" if first.gate_duplicates else "extract.drop_identical"
        later = [entry.settings for entry in entries[1:]]
        exact = [each for each in later if isinstance(each, ExactDedupSettings)]
        near = [each for each in later if isinstance(each, NearDedupSettings)]
        by_address = [entry.type for entry in entries[1:] if entry.type in ("url_filter", "url_dedup")]
        if by_address:
            raise ValueError(
                f"{asked} keeps one of several pages without asking for their addresses, and {by_address[0]} may then "
                "drop that one: leave one of the two out"
            )
        if not (near or (exact and not first.gate_duplicates)):
            missing = "a near_dedup stage" if first.gate_duplicates else "an exact_dedup or near_dedup stage"
            raise ValueError(f"{asked} removes pages that no later stage would: add {missing}, or leave it out")
        if first.gate_duplicates and min(each.threshold for each in near) > first.gate_min_similarity:
            raise ValueError(
                f"extract.gate_min_similarity {first.gate_min_similarity} is stricter than near_dedup's threshold: a "
                "page that it would keep is removed before extraction. Raise it, or lower that threshold"
            )
        for criterion in ("earliest", "source_priority"):
            if any(criterion in each.survivor for each in (*exact, *near)):
                raise ValueError(
                    f"{asked} keeps the longest page or the smallest id, a later stage asks for {criterion!r}: leave "
                    "one of the two out"
                )
        return entries

    @model_validator(mode="after")
    def _shards_need_a_vocabulary(self) -> Self:
        if self.shards is not None and self.tokenizer is None:
            raise ValueError("shards need a tokenizer: add 'tokenizer: {type: bpe, vocab_size: …}' or its 'path'")
        return self

    @model_validator(mode="after")
    def _order_is_by_a_measure(self) -> Self:
        order = self.shards.order if self.shards is not None else None
        if order is None:
            return self
        known = {"n_bytes", "n_tokens"}
        for entry in self.stages:
            if isinstance(entry.definition, Stage):
                types = entry.definition.adds
                known |= {
                    each.name for each in types if pa.types.is_integer(each.type) or pa.types.is_floating(each.type)
                }
        if order.by not in known:
            raise ValueError(
                f"shards.order.by {order.by!r}: no stage of this recipe measures such a number."
                f"{nearest(order.by, sorted(known))}"
            )
        return self

    @model_validator(mode="after")
    def _sample_knows_the_languages(self) -> Self:
        asked = self.tokenizer.sample if self.tokenizer is not None else ()
        if any(group.language is not None for group in asked) and not any(
            entry.type == "language" for entry in self.stages
        ):
            raise ValueError("tokenizer.sample asks for languages: add a stage of type 'language'")
        return self

    @model_validator(mode="after")
    def _shards_give_every_text_back(self) -> Self:
        if self.mix is not None and self.shards is None:
            raise ValueError("'mix' says how often documents stand in the shards, but there is no 'shards': add it")
        asked = self.tokenizer
        if self.shards is not None and asked is not None and asked.path is None and not lossless(asked.vocabulary()):
            raise ValueError(
                f"a tokenizer of type {asked.type!r} with normalization {asked.normalization!r} does not give every "
                "text back, so no shards are made with it: choose bpe, unigram or wordpiece without normalization, or "
                "leave out 'shards'"
            )
        return self

    def resolved(self) -> dict[str, Any]:
        """Every setting as JSON values, without the places where files lie: what the root hash covers."""
        plain = self.model_dump(mode="json", exclude={"input": {"paths"}, "stages": True, "tokenizer": {"path"}})
        plain["stages"] = [{"type": entry.type, **entry.settings.lasting()} for entry in self.stages]
        return plain


def load_recipe(path: str | Path, *, overrides: Sequence[str] = (), inputs: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe. `overrides` are KEY=VALUE with a dotted key (a stage is named by its type or number);
    `inputs` replace input.paths. RecipeError says what is wrong and where."""
    tree = parse(Path(path))
    for override in overrides:
        apply_override(tree, override)
    if inputs:
        tree.setdefault("input", CommentedMap())["paths"] = list(inputs)
    return build_recipe(tree, str(path))


def build_recipe(tree: CommentedMap, where: str) -> Recipe:
    """The recipe that a parsed tree holds; `where` is the file that it came from, for errors."""
    plain = dict(tree)
    listed = plain.get("stages")
    if not isinstance(listed, list):
        raise RecipeError(f"{place_of(tree, ('stages',), where)}: 'stages' must be a list of stages")
    plain["stages"] = [_stage(tree, number, entry, where) for number, entry in enumerate(listed)]
    try:
        return Recipe.model_validate(plain)
    except ValidationError as error:
        raise RecipeError(explain(error, tree, where, prefix=(), model=Recipe)) from None


def _stage(tree: CommentedMap, number: int, entry: Any, where: str) -> StageEntry:
    place = place_of(tree, ("stages", number), where)
    if not isinstance(entry, Mapping) or not isinstance(entry.get("type"), str):
        raise RecipeError(f"{place}: stages[{number}] must be a mapping with a 'type', like {{type: language}}")
    kind = entry["type"]
    if kind not in stages.CATALOGUE:
        raise RecipeError(f"{place}: stages[{number}]: unknown type {kind!r}.{nearest(kind, list(stages.CATALOGUE))}")
    settings = {key: value for key, value in entry.items() if key not in _OF_EVERY_STAGE}
    model = stages.CATALOGUE[kind].settings
    try:
        chosen = _anchored(model.model_validate(settings))
        return StageEntry(type=kind, settings=chosen, expect_kept=entry.get("expect_kept"))
    except ValidationError as error:
        raise RecipeError(explain(error, tree, where, prefix=("stages", number), model=model)) from None


def _anchored(settings: Settings) -> Settings:
    """The settings with every place as seen from the folder that the command was given in: workers stand elsewhere."""
    found = {name: getattr(settings, name) for name in settings.names_of("place")}
    return settings.model_copy(
        update={
            name: _files_of(paths) if isinstance(paths, tuple) else absolute(paths)
            for name, paths in found.items()
            if paths is not None
        }
    )


def _files_of(paths: Sequence[str]) -> tuple[str, ...]:
    """The files that paths, folders and patterns name, in the order of their names; what names nothing stays."""
    found: list[str] = []
    for name in map(absolute, paths):
        path = Path(name)
        matching = path.iterdir() if path.is_dir() else Path(path.anchor).glob(str(path.relative_to(path.anchor)))
        found += sorted(str(file) for file in matching if file.is_file()) or [name]
    return tuple(dict.fromkeys(found))


def absolute(path: str) -> str:
    """A local path made absolute (file:// too); `builtin/NAME` and other addresses (s3://…) stay as they are."""
    if path.startswith(FOLDER_PREFIX):
        return FOLDER_PREFIX + str(Path(path.removeprefix(FOLDER_PREFIX)).resolve())
    path = path.removeprefix("file://")
    return path if "://" in path or path.startswith("builtin/") else str(Path(path).resolve())
