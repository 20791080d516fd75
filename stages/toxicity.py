"""Toxicity (hate, insult, threat, profanity) of a document by a fastText classifier.

The classifier learned from tweets, posts and comments of 10 to 40 words, so a document is scored in windows of that
size. Windows lie within paragraphs, so that a comment is not judged together with half of the next one. The document's
score is the mean over the most toxic fifth of its windows. Measured on real pages: the maximum flags one long clean
page in twenty (one odd window in a hundred is enough), the mean lets a page through whose comments are full of abuse.
What single paragraphs reach stands beside it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from stages.fasttext_scores import window_scores
from stages.fasttext_text import model_resource, one_line
from stages.fasttext_windows import cut
from stages.schema import SCORE_DECIMALS
from stages.stage import Resource, Rule, Settings, Stage, place, setting, threshold, verdicts


class ToxicitySettings(Settings):
    model: str = place(
        "builtin/toxicity-en",
        "`builtin/NAME` the path of a fastText classifier, or `hf:FOLDER` of a sequence classifier",
    )
    sha256: str | None = place(
        None, "sha256 of a model file of your own, 64 hex digits; refused if it differs", pattern="^[0-9a-f]{64}$"
    )
    label: str = setting(
        "__label__toxic*",
        "the label whose probability is the score; with a * at its end all labels that begin so, together",
        min_length=1,
    )
    lowercase: bool = setting(
        True,
        "whether the model was trained on lower-cased text (`tamis classifier train --lowercase`); the bundled one "
        "was: it gained 0.009 of ROC area, and capitals hide nothing",
    )
    split_characters: bool = setting(
        True,
        "whether the model was trained with each Han character and kana as a word "
        "(`tamis classifier train --split-characters`); the bundled ones were, and text without them is the same",
    )
    window_words: int = setting(40, "words in one window; the size of the posts that the model learned from", ge=5)
    worst_fraction: float = setting(
        0.2, "share of the windows, the most toxic ones, whose mean is the document's score", gt=0, le=1
    )
    toxic_paragraph: float = setting(0.5, "score above which a paragraph counts as toxic", ge=0, le=1)
    max_score: float = threshold(0.5, "score above which a document is dropped", ge=0, le=1)
    max_paragraph_score: float = threshold(
        1.0,
        "score of the most toxic paragraph above which a document is dropped; 1 drops none: one paragraph of a long "
        "page is too little to go by",
        ge=0,
        le=1,
    )
    max_toxic_paragraph_fraction: float = threshold(
        1.0, "share of toxic paragraphs above which a document is dropped; 1 drops none", ge=0, le=1
    )


ADDS = pa.schema(
    [
        # Mean probability of `label`, 0 to 1, over the most toxic windows; 0 for a text without a word.
        pa.field("toxicity_score", pa.float64(), nullable=False),
        # The same of the most toxic paragraph, as the mean over its windows.
        pa.field("toxicity_max_paragraph", pa.float64(), nullable=False),
        # Share of paragraphs that score above `toxic_paragraph`.
        pa.field("toxicity_paragraph_fraction", pa.float64(), nullable=False),
    ]
)


def measure(docs: pa.Table, settings: ToxicitySettings, resources: Mapping[str, Any]) -> pa.Table:
    """ADDS for each document."""
    windows = cut(
        docs["text"],
        lowercase=settings.lowercase,
        split_characters=settings.split_characters,
        window_words=settings.window_words,
    )
    scores = window_scores(resources["model"], windows, label=settings.label)
    return _by_document(scores, windows.of_paragraph, windows.of_document, settings)


def paragraphs(text: str, settings: ToxicitySettings) -> list[str]:
    """The text's lines, each as one line of words; short ones joined with those that follow until they are half a
    window long, and what is too short at the end with the one before. At least one, in order.

    What a window lies within; `measure` has it from stages/fasttext_windows.py, which does the same to a whole batch.
    """
    least = settings.window_words // 2
    found: list[str] = []
    open_lines: list[str] = []
    words = 0
    for line in text.split("\n"):
        ready = one_line(line, lowercase=settings.lowercase, split_characters=settings.split_characters)
        if ready:
            open_lines.append(ready)
            words += ready.count(" ") + 1
        if words >= least:
            found.append(" ".join(open_lines))
            open_lines, words = [], 0
    if open_lines and found:
        found[-1] += " " + " ".join(open_lines)
    elif not found:
        found.append(" ".join(open_lines))
    return found


def judge(docs: pa.Table, settings: ToxicitySettings) -> pa.Table:
    """Drops documents that score more than `max_score`, or whose paragraphs do."""
    rules = [
        Rule(reason="toxicity", passes=found <= limit, measured=found, threshold=limit, detail=detail)
        for found, limit, detail in (
            (docs["toxicity_score"].to_numpy(), settings.max_score, None),
            (docs["toxicity_max_paragraph"].to_numpy(), settings.max_paragraph_score, "its most toxic paragraph"),
            (
                docs["toxicity_paragraph_fraction"].to_numpy(),
                settings.max_toxic_paragraph_fraction,
                "share of toxic paragraphs",
            ),
        )
    ]
    return verdicts(rules, docs.num_rows)


def resources(settings: ToxicitySettings) -> tuple[Resource, ...]:
    return model_resource(reference=settings.model, sha256=settings.sha256)


def _by_document(
    scores: np.ndarray, windows_of: np.ndarray, paragraphs_of: np.ndarray, settings: ToxicitySettings
) -> pa.Table:
    """ADDS from the scores of all windows, in order; every paragraph has a window, every document a paragraph."""
    if len(paragraphs_of) == 0:
        return ADDS.empty_table()
    first_window = np.cumsum(windows_of) - windows_of
    first_paragraph = np.cumsum(paragraphs_of) - paragraphs_of
    paragraph = np.round(np.add.reduceat(scores, first_window) / windows_of, SCORE_DECIMALS)
    toxic = np.add.reduceat((paragraph > settings.toxic_paragraph).astype(np.float64), first_paragraph)
    windows_in_document = np.add.reduceat(windows_of, first_paragraph)
    columns = [
        _worst_mean(scores, sizes=windows_in_document, fraction=settings.worst_fraction),
        np.maximum.reduceat(paragraph, first_paragraph),
        np.round(toxic / paragraphs_of, SCORE_DECIMALS),
    ]
    return pa.table([pa.array(column) for column in columns], schema=ADDS)


def _worst_mean(scores: np.ndarray, *, sizes: np.ndarray, fraction: float) -> np.ndarray:
    """For each run of `sizes` scores the mean of its highest `fraction` (at least one of them)."""
    means = np.zeros(len(sizes), dtype=np.float64)
    start = 0
    for row, size in enumerate(sizes.tolist()):
        worst = max(1, round(size * fraction))
        means[row] = np.sort(scores[start : start + size])[-worst:].mean()
        start += size
    return np.round(means, SCORE_DECIMALS)


STAGE = Stage(
    name="toxicity",
    settings=ToxicitySettings,
    adds=ADDS,
    measure=measure,
    judge=judge,
    judges=("toxicity_score", "toxicity_max_paragraph", "toxicity_paragraph_fraction"),
    resources=resources,
    libraries=("fasttext-community", "numba"),
    modules=("stages.fasttext_text", "stages.fasttext_scores", "stages.fasttext_windows"),
)
