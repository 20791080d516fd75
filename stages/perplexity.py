"""Perplexity of a document under an n-gram model (kenlm): how far its words are from what the model was made of.

The model is yours, an `.arpa` or a binary file of kenlm, made of text that was cut into words as `measure` cuts it.
Nothing is dropped unless a recipe sets a limit: CCNet's head, middle and tail are thirds of what one language's pages
score, so limits belong to one model and one language (`per_language`).

Source: CCNet (Wenzek et al. 2020, section 4.3), which takes Wikipedia and pieces of words; its document perplexity is
ours. kenlm: Heafield 2011.
"""

import importlib.util
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pydantic import model_validator

from stages.fasttext_text import one_line
from stages.rules import RuleSettings, by_language
from stages.schema import SCORE_DECIMALS
from stages.stage import Resource, Rule, Stage, place, setting, threshold, verdicts


class PerplexitySettings(RuleSettings):
    model: str = place(..., "the path of an n-gram model: .arpa (also .gz), or kenlm's binary form, which loads faster")
    sha256: str | None = place(
        None, "sha256 of the model file, 64 hex digits; refused if it differs", pattern="^[0-9a-f]{64}$"
    )
    lowercase: bool = setting(False, "whether the model was made of lower-cased text")
    split_characters: bool = setting(False, "whether each Han character and kana was a word of the model's text")
    min_perplexity: float = threshold(
        0.0, "perplexity below which a document is dropped; 0 drops none. Very low is text that repeats itself", ge=0
    )
    max_perplexity: float | None = threshold(
        None, "perplexity above which a document is dropped, null drops none; CCNet keeps the lower third as its head"
    )
    max_unknown_fraction: float = threshold(
        1.0, "share of words that the model does not know above which a document is dropped; 1 drops none", ge=0, le=1
    )

    @model_validator(mode="after")
    def _kenlm_is_installed(self) -> Self:
        if importlib.util.find_spec("kenlm") is None:
            raise ValueError(
                "perplexity needs the package kenlm, which is not installed: pip install 'tamis[perplexity]'"
            )
        return self


ADDS = pa.schema(
    [
        # 10 to the power of -(log10 probability of all lines) / (words and ends of lines); 0 for a text without a word.
        pa.field("perplexity", pa.float64(), nullable=False),
        # Share of words that the model does not know, 0 to 1.
        pa.field("unknown_word_fraction", pa.float64(), nullable=False),
    ]
)


def measure(docs: pa.Table, settings: PerplexitySettings, resources: Mapping[str, Any]) -> pa.Table:
    """ADDS for each document. Every line with a word is a sentence of its own, words are what white space parts."""
    model = resources["model"]
    perplexities, unknown_fractions = [], []
    for text in docs["text"].to_pylist():
        total, words, ends, unknown = 0.0, 0, 0, 0
        for line in text.split("\n"):
            ready = one_line(line, lowercase=settings.lowercase, split_characters=settings.split_characters)
            if not ready:
                continue
            found = list(model.full_scores(ready))  # (log10 probability, length of the n-gram, is unknown)
            total += sum(score for score, _, _ in found)
            words += len(found) - 1  # the last is the end of the line
            unknown += sum(is_unknown for _, _, is_unknown in found)
            ends += 1
        perplexities.append(10.0 ** (-total / (words + ends)) if words else 0.0)
        unknown_fractions.append(unknown / words if words else 0.0)
    columns = [np.round(np.array(found, np.float64), SCORE_DECIMALS) for found in (perplexities, unknown_fractions)]
    return pa.table([pa.array(column) for column in columns], schema=ADDS)


@by_language
def judge(docs: pa.Table, settings: PerplexitySettings) -> pa.Table:
    """Drops documents outside `min_perplexity` to `max_perplexity`, or with too many unknown words."""
    found = docs["perplexity"].to_numpy()
    unknown = docs["unknown_word_fraction"].to_numpy()
    most = np.inf if settings.max_perplexity is None else settings.max_perplexity
    rules = [
        Rule(
            reason="perplexity",
            passes=found >= settings.min_perplexity,
            measured=found,
            threshold=settings.min_perplexity,
        ),
        Rule(reason="perplexity", passes=found <= most, measured=found, threshold=most),
        Rule(
            reason="unknown_words",
            passes=unknown <= settings.max_unknown_fraction,
            measured=unknown,
            threshold=settings.max_unknown_fraction,
        ),
    ]
    return verdicts(rules, docs.num_rows)


def resources(settings: PerplexitySettings) -> tuple[Resource, ...]:
    return (Resource(name="model", kind="kenlm", reference=settings.model, sha256=settings.sha256),)


STAGE = Stage(
    name="perplexity",
    settings=PerplexitySettings,
    adds=ADDS,
    measure=measure,
    judge=judge,
    judges=("perplexity", "unknown_word_fraction"),
    resources=resources,
    libraries=("kenlm",),
    modules=("stages.fasttext_text", "stages.rules"),
)
