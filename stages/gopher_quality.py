"""Gopher's quality rules: is this text made of words and sentences?

Source: Rae et al. 2021, Scaling Language Models (arXiv 2112.11446), appendix A.1.1, "Quality filtering". All limits are
inclusive: a document at a limit passes.
"""

from typing import Final, Literal

import numpy as np
import pyarrow as pa

from stages import text_statistics
from stages.rules import by_language
from stages.segmentation import WordSettings, chosen_libraries
from stages.stage import Rule, Stage, threshold, verdicts
from stages.stop_words import STOP_WORDS

_PAPER: Final = "(Gopher, appendix A.1.1)"


#: The languages of STOP_WORDS, and any of them.
StopWordLanguage = Literal[
    "en", "de", "es", "fr", "it", "nl", "pl", "pt", "ru", "sv", "ar", "bg", "ca", "cs", "da", "el", "fa", "fi", "he",
    "hi", "hr", "hu", "id", "ja", "ko", "no", "ro", "sk", "th", "tr", "uk", "vi", "zh", "any",
]  # fmt: skip


class GopherQualitySettings(WordSettings):
    """The limits of the nine rules; what is measured does not depend on them."""

    min_words: int = threshold(
        50, f"Words; fewer say too little {_PAPER}. A word is a run of letters and digits (stages/words.py).", ge=0
    )
    max_words: int = threshold(100_000, f"Words {_PAPER}.", ge=1)
    min_mean_word_length: float = threshold(
        3.0, f"Characters per word {_PAPER}. 1 for Chinese, Japanese and Thai, whose words are shorter.", ge=0
    )
    max_mean_word_length: float = threshold(10.0, f"Characters per word {_PAPER}.", gt=0)
    max_hash_sign_ratio: float = threshold(
        0.1, f'Hash signs (#) per word {_PAPER}: "symbol-to-word ratio", each symbol by itself.', ge=0
    )
    max_ellipsis_ratio: float = threshold(
        0.1, f"Ellipses per word {_PAPER}: … or a run of three full stops or more.", ge=0
    )
    max_bullet_line_fraction: float = threshold(
        0.9, f"Share of the non-blank lines that begin with a bullet, or with - or * and a space {_PAPER}.", ge=0, le=1
    )
    max_ellipsis_line_fraction: float = threshold(
        0.3, f"Share of the non-blank lines that end with an ellipsis {_PAPER}.", ge=0, le=1
    )
    min_alpha_word_fraction: float = threshold(
        0.8,
        f"Share of the pieces between white space that hold a letter {_PAPER}. Pieces, not words: our words have no "
        "punctuation, so the rule would only see numbers. datatrove counts each punctuation mark as a word here.",
        ge=0,
        le=1,
    )
    min_stop_words: int = threshold(
        2, f"Different stop words that must occur, whatever their case {_PAPER}. 0 for languages without a list.", ge=0
    )
    stop_words: StopWordLanguage = threshold(
        "en", "Whose stop words count (stages/stop_words.py); `any` takes the language with the most."
    )


def judge(docs: pa.Table, settings: GopherQualitySettings) -> pa.Table:
    """The first rule of the paper's order that each document fails; its measured value and limit."""
    value = {name: docs[name].to_numpy() for name in STAGE.judges}
    word_count, length = value["word_count"], value["mean_word_length"]
    languages = STOP_WORDS if settings.stop_words == "any" else (settings.stop_words,)
    found = np.maximum.reduce([value[f"stop_words_{language}"] for language in languages])

    def at_least(reason: str, measured: np.ndarray, limit: float, detail: str) -> Rule:
        return Rule(reason=reason, passes=measured >= limit, measured=measured, threshold=limit, detail=detail)

    def at_most(reason: str, measured: np.ndarray, limit: float, detail: str) -> Rule:
        return Rule(reason=reason, passes=measured <= limit, measured=measured, threshold=limit, detail=detail)

    rules = [
        at_least("word_count", word_count, settings.min_words, "too few words"),
        at_most("word_count", word_count, settings.max_words, "too many words"),
        at_least("mean_word_length", length, settings.min_mean_word_length, "words too short on average"),
        at_most("mean_word_length", length, settings.max_mean_word_length, "words too long on average"),
        at_most("symbol_ratio", value["hash_sign_ratio"], settings.max_hash_sign_ratio, "hash signs per word"),
        at_most("symbol_ratio", value["ellipsis_ratio"], settings.max_ellipsis_ratio, "ellipses per word"),
        at_most(
            "bullet_lines", value["bullet_line_fraction"], settings.max_bullet_line_fraction, "lines with a bullet"
        ),
        at_most(
            "ellipsis_lines",
            value["ellipsis_line_fraction"],
            settings.max_ellipsis_line_fraction,
            "lines that end with an ellipsis",
        ),
        at_least("alpha_words", value["alpha_word_fraction"], settings.min_alpha_word_fraction, "words with a letter"),
        at_least("stop_words", found, settings.min_stop_words, f"different stop words ({settings.stop_words})"),
    ]
    return verdicts(rules, docs.num_rows)


STAGE: Final = Stage(
    name="gopher_quality",
    settings=GopherQualitySettings,
    adds=text_statistics.ADDS,
    measure=text_statistics.measure,
    judge=by_language(judge),
    judges=(
        "word_count",
        "mean_word_length",
        "hash_sign_ratio",
        "ellipsis_ratio",
        "bullet_line_fraction",
        "ellipsis_line_fraction",
        "alpha_word_fraction",
        *(f"stop_words_{language}" for language in STOP_WORDS),
    ),
    libraries=text_statistics.LIBRARIES,
    modules=text_statistics.MODULES,
    chosen_libraries=chosen_libraries,
)
