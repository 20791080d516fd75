"""Toxicity (hate, insult, threat, profanity) of a document by a fastText classifier.

The classifier learned from tweets, posts and comments of 10 to 40 words, so a document is scored in windows of that
size. Its score is the mean over the most toxic fifth of its windows. Measured on real pages: the maximum flags one long
clean page in twenty (one odd window in a hundred is enough), the mean lets a page through whose comments are full of
abuse.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from stages.fasttext_text import label_scores, model_resource, one_line, windows
from stages.schema import SCORE_DECIMALS
from stages.stage import Resource, Rule, Settings, Stage, place, setting, threshold, verdicts


class ToxicitySettings(Settings):
    model: str = place("builtin/toxicity-en", "`builtin/NAME` or the path of a fastText classifier")
    sha256: str | None = place(
        None, "sha256 of a model file of your own, 64 hex digits; refused if it differs", pattern="^[0-9a-f]{64}$"
    )
    label: str = setting("__label__toxic", "the label whose probability is the score", min_length=1)
    lowercase: bool = setting(
        True,
        "whether the model was trained on lower-cased text (`tamis classifier train --lowercase`); the bundled one "
        "was: it gained 0.009 of ROC area, and capitals hide nothing",
    )
    window_words: int = setting(40, "words in one window; the size of the posts that the model learned from", ge=5)
    worst_fraction: float = setting(
        0.2, "share of the windows, the most toxic ones, whose mean is the document's score", gt=0, le=1
    )
    max_score: float = threshold(0.5, "score above which a document is dropped", ge=0, le=1)


ADDS = pa.schema(
    [
        # Mean probability of `label`, 0 to 1, over the most toxic windows; 0 for a text without a word.
        pa.field("toxicity_score", pa.float64(), nullable=False)
    ]
)


def measure(docs: pa.Table, settings: ToxicitySettings, resources: Mapping[str, Any]) -> pa.Table:
    """ADDS for each document."""
    pieces: list[str] = []
    ends = np.zeros(docs.num_rows + 1, dtype=np.int64)
    for row, text in enumerate(docs["text"].to_pylist()):
        pieces.extend(windows(one_line(text, lowercase=settings.lowercase), words=settings.window_words))
        ends[row + 1] = len(pieces)
    scores = label_scores(resources["model"], pieces, label=settings.label)
    return pa.table([pa.array(_worst_mean(scores, ends=ends, fraction=settings.worst_fraction))], schema=ADDS)


def judge(docs: pa.Table, settings: ToxicitySettings) -> pa.Table:
    """Drops documents that score more than `max_score`."""
    scores = docs["toxicity_score"].to_numpy()
    rule = Rule(reason="toxicity", passes=scores <= settings.max_score, measured=scores, threshold=settings.max_score)
    return verdicts([rule], docs.num_rows)


def resources(settings: ToxicitySettings) -> tuple[Resource, ...]:
    return model_resource(reference=settings.model, sha256=settings.sha256)


def _worst_mean(scores: np.ndarray, *, ends: np.ndarray, fraction: float) -> np.ndarray:
    """For document i the mean of the highest `fraction` (at least one) of scores[ends[i]:ends[i + 1]]."""
    means = np.zeros(len(ends) - 1, dtype=np.float64)
    for row, (start, end) in enumerate(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)):
        worst = max(1, round((end - start) * fraction))
        means[row] = np.sort(scores[start:end])[-worst:].mean()
    return np.round(means, SCORE_DECIMALS)


STAGE = Stage(
    name="toxicity",
    settings=ToxicitySettings,
    adds=ADDS,
    measure=measure,
    judge=judge,
    judges=("toxicity_score",),
    resources=resources,
    libraries=("fasttext-community",),
    modules=("stages.fasttext_text",),
)
