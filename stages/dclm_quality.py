"""Gopher's quality rules as DCLM reads them: looser about stop words and bullets, and about pieces instead of words.

Source: Li et al. 2024, DataComp-LM (arXiv 2406.11794), section 4.1, which rebuilds RefinedWeb's filters; its code's
configuration `dclm_baseline_refinedweb.yaml` and the filters named there. The thresholds are those of Gopher's appendix
A.1.1; these counts are others than `gopher_quality`'s:

- The length of words and the symbols are per piece between white space, punctuation included, not per word.
- Hash signs and ellipses are added up before they are held against the limit, not each by itself.
- A line begins with a bullet if it begins with ●, •, * or -, whatever follows.
- Stop words count every time that they occur, so that two `the` are enough (`count_unique: False`).

Where we differ from DCLM's code: words of `min_words` are ours (stages/words.py; DCLM's are fastText's tokens that
begin with a letter or digit); a stop word is one with punctuation behind it too; a run of full stops is one ellipsis,
`. . .` is none. Limits are inclusive, in the order of DCLM's configuration.
"""

from typing import Final

import pyarrow as pa

from stages import text_statistics
from stages.rules import by_language
from stages.segmentation import WordSettings, chosen_libraries
from stages.stage import Rule, Stage, threshold, verdicts

_CODE: Final = "(DCLM's refinedweb configuration)"


class DclmQualitySettings(WordSettings):
    """The limits; what is measured does not depend on them."""

    min_words: int = threshold(50, f"Words {_CODE}.", ge=0)
    max_words: int = threshold(100_000, f"Words {_CODE}.", ge=1)
    min_mean_piece_length: float = threshold(3.0, f"Characters per piece between white space {_CODE}.", ge=0)
    max_mean_piece_length: float = threshold(10.0, f"Characters per piece between white space {_CODE}.", gt=0)
    max_symbol_ratio: float = threshold(0.1, f"Hash signs and ellipses per piece between white space {_CODE}.", ge=0)
    max_bullet_line_fraction: float = threshold(
        0.9, f"Share of the non-blank lines that begin with ●, •, * or - {_CODE}.", ge=0, le=1
    )
    max_ellipsis_line_fraction: float = threshold(
        0.3, f"Share of the non-blank lines that end with an ellipsis {_CODE}.", ge=0, le=1
    )
    min_alpha_word_fraction: float = threshold(
        0.8, f"Share of the pieces between white space that hold a letter {_CODE}.", ge=0, le=1
    )
    min_stop_words: int = threshold(
        2, f"How often English stop words must occur, each time counted {_CODE}. 0 for other languages.", ge=0
    )


def judge(docs: pa.Table, settings: DclmQualitySettings) -> pa.Table:
    """The first rule that each document fails; its measured value and limit."""
    value = {name: docs[name].to_numpy() for name in STAGE.judges}

    def at_least(reason: str, column: str, limit: float, detail: str) -> Rule:
        measured = value[column]
        return Rule(reason=reason, passes=measured >= limit, measured=measured, threshold=limit, detail=detail)

    def at_most(reason: str, column: str, limit: float, detail: str) -> Rule:
        measured = value[column]
        return Rule(reason=reason, passes=measured <= limit, measured=measured, threshold=limit, detail=detail)

    shortest, longest = settings.min_mean_piece_length, settings.max_mean_piece_length
    bullets, ellipses = settings.max_bullet_line_fraction, settings.max_ellipsis_line_fraction
    rules = [
        at_least("word_count", "word_count", settings.min_words, "too few words"),
        at_most("word_count", "word_count", settings.max_words, "too many words"),
        at_least("mean_word_length", "mean_piece_length", shortest, "pieces too short on average"),
        at_most("mean_word_length", "mean_piece_length", longest, "pieces too long on average"),
        at_most("symbol_ratio", "symbol_ratio", settings.max_symbol_ratio, "hash signs and ellipses per piece"),
        at_most("bullet_lines", "loose_bullet_line_fraction", bullets, "lines with a bullet"),
        at_most("ellipsis_lines", "ellipsis_line_fraction", ellipses, "lines that end with an ellipsis"),
        at_least("alpha_words", "alpha_word_fraction", settings.min_alpha_word_fraction, "words with a letter"),
        at_least(
            "stop_words", "stop_word_occurrences_en", settings.min_stop_words, "English stop words, each time counted"
        ),
    ]
    return verdicts(rules, docs.num_rows)


STAGE: Final = Stage(
    name="dclm_quality",
    settings=DclmQualitySettings,
    adds=text_statistics.ADDS,
    measure=text_statistics.measure,
    judge=by_language(judge),
    judges=(
        "word_count",
        "mean_piece_length",
        "symbol_ratio",
        "loose_bullet_line_fraction",
        "ellipsis_line_fraction",
        "alpha_word_fraction",
        "stop_word_occurrences_en",
    ),
    libraries=text_statistics.LIBRARIES,
    modules=text_statistics.MODULES,
    chosen_libraries=chosen_libraries,
)
