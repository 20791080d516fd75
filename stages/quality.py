"""Text quality by a fastText classifier: how much a document reads like edited reference text and unlike raw crawl.

Source: the classifier of DCLM (Li et al. 2024, section 4.4), after GPT-3's (Brown et al. 2020, appendix A).
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from stages.fasttext_scores import window_scores
from stages.fasttext_text import model_resource
from stages.fasttext_windows import WHOLE, cut, marks_once
from stages.stage import Resource, Rule, Settings, Stage, place, setting, threshold, verdicts


class QualitySettings(Settings):
    model: str = place(
        "builtin/quality-en",
        "`builtin/NAME` the path of a fastText classifier, or `hf:FOLDER` of a sequence classifier",
    )
    sha256: str | None = place(
        None, "sha256 of a model file of your own, 64 hex digits; refused if it differs", pattern="^[0-9a-f]{64}$"
    )
    label: str = setting(
        "__label__hq",
        "the label whose probability is the score; with a * at its end all labels that begin so, together",
        min_length=1,
    )
    lowercase: bool = setting(
        False,
        "whether the model was trained on lower-cased text (`tamis classifier train --lowercase`); the bundled one was "
        "not: lower-casing gained it nothing",
    )
    marks_once: bool = setting(
        True,
        "whether a mark without a letter or digit that stands several times in a row counts once; the dots between the "
        "titles and page numbers of one manual were a quarter of its words, and gave it a score of 0",
    )
    min_score: float = threshold(
        0.001,
        "score below which a document is dropped; the default drops the worst third of English crawl text "
        "(figures in the model card)",
        ge=0,
        le=1,
    )


ADDS = pa.schema(
    [
        # Probability of `label`, 0 to 1, over the whole text; 0 for a text without a word.
        pa.field("quality_score", pa.float64(), nullable=False)
    ]
)


def measure(docs: pa.Table, settings: QualitySettings, resources: Mapping[str, Any]) -> pa.Table:
    """ADDS for each document."""
    lines = cut(docs["text"], lowercase=settings.lowercase, split_characters=False, window_words=WHOLE)
    lines = marks_once(lines) if settings.marks_once else lines
    return pa.table([pa.array(window_scores(resources["model"], lines, label=settings.label))], schema=ADDS)


def judge(docs: pa.Table, settings: QualitySettings) -> pa.Table:
    """Drops documents that score less than `min_score`."""
    scores = docs["quality_score"].to_numpy()
    rule = Rule(reason="quality", passes=scores >= settings.min_score, measured=scores, threshold=settings.min_score)
    return verdicts([rule], docs.num_rows)


def resources(settings: QualitySettings) -> tuple[Resource, ...]:
    return model_resource(reference=settings.model, sha256=settings.sha256)


STAGE = Stage(
    name="quality",
    settings=QualitySettings,
    adds=ADDS,
    measure=measure,
    judge=judge,
    judges=("quality_score",),
    resources=resources,
    libraries=("fasttext-community", "numba"),
    modules=("stages.fasttext_text", "stages.fasttext_scores", "stages.fasttext_windows"),
)
