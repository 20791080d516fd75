"""Gopher's repetition rules as DCLM counts: every copy of a line or n-gram, the first one too.

Source: Li et al. 2024, DataComp-LM (arXiv 2406.11794), section 4.1, which rebuilds RefinedWeb's filters; in its code
`massive_web_repetition_filters`. The thresholds are those of Gopher's table A1; the counts are others than
`gopher_repetition`'s, and drop more:

- A line, paragraph or n-gram counts if it stands in the document at least twice, its first occurrence included: two
  equal lines out of four are half of the lines, where `gopher_repetition` finds a quarter.
- Fractions of characters in lines and paragraphs are of the characters of all lines and paragraphs, without what stands
  between them; those of n-grams are of the characters of words alone.
- The top n-gram is the longest of the commonest ones; its occurrences count in full where they overlap, so the fraction
  may pass 1. One that occurs once does not count.

Where we differ from DCLM's code: n-grams are of words in small letters (DCLM: as they are written), and words are
ours (stages/words.py; DCLM's are uniseg's, which is Unicode's rule and close to it). Limits are inclusive.
"""

from typing import Any, Final

import pyarrow as pa

from stages import gopher_repetition, ngrams
from stages.gopher_repetition import REASONS
from stages.rules import by_language
from stages.segmentation import WordSettings, chosen_libraries
from stages.stage import Rule, Stage, threshold, verdicts


def _limit(default: float, what: str) -> Any:
    return threshold(default, f"{what} (Gopher, table A1; counted as DCLM does).", ge=0)


class DclmRepetitionSettings(WordSettings):
    """The thirteen limits; what is measured does not depend on them."""

    max_duplicate_line_fraction: float = _limit(0.30, "Share of the lines that stand twice or more")
    max_duplicate_paragraph_fraction: float = _limit(0.30, "Share of the paragraphs that stand twice or more")
    max_duplicate_line_character_fraction: float = _limit(0.20, "Share of the characters in such lines")
    max_duplicate_paragraph_character_fraction: float = _limit(0.20, "Share of the characters in such paragraphs")
    max_top_2gram_fraction: float = _limit(0.20, "Share of the words' characters in the commonest 2-gram")
    max_top_3gram_fraction: float = _limit(0.18, "Share of the words' characters in the commonest 3-gram")
    max_top_4gram_fraction: float = _limit(0.16, "Share of the words' characters in the commonest 4-gram")
    max_duplicate_5gram_fraction: float = _limit(0.15, "Share of the words' characters in repeated 5-grams")
    max_duplicate_6gram_fraction: float = _limit(0.14, "Share of the words' characters in repeated 6-grams")
    max_duplicate_7gram_fraction: float = _limit(0.13, "Share of the words' characters in repeated 7-grams")
    max_duplicate_8gram_fraction: float = _limit(0.12, "Share of the words' characters in repeated 8-grams")
    max_duplicate_9gram_fraction: float = _limit(0.11, "Share of the words' characters in repeated 9-grams")
    max_duplicate_10gram_fraction: float = _limit(0.10, "Share of the words' characters in repeated 10-grams")


assert len(ngrams.TOP) + len(ngrams.REPEATED) + 4 == len(REASONS), "every column has its limit"


def judge(docs: pa.Table, settings: DclmRepetitionSettings) -> pa.Table:
    """The first rule of table A1 that each document fails; its measured value and limit, and the column's name."""
    limits = settings.model_dump()
    rules = [
        Rule(
            reason=reason,
            passes=docs[f"dclm_{column}"].to_numpy() <= limits[f"max_{column}"],
            measured=docs[f"dclm_{column}"].to_numpy(),
            threshold=limits[f"max_{column}"],
            detail=f"dclm_{column}",
        )
        for column, reason in REASONS.items()
    ]
    return verdicts(rules, docs.num_rows)


STAGE: Final = Stage(
    name="dclm_repetition",
    settings=DclmRepetitionSettings,
    adds=gopher_repetition.ADDS,
    measure=gopher_repetition.measure,
    judge=by_language(judge),
    judges=gopher_repetition.DCLM_COLUMNS,
    libraries=gopher_repetition.LIBRARIES,
    modules=gopher_repetition.MODULES,
    chosen_libraries=chosen_libraries,
)
