"""Gopher's repetition rules: does this text say the same thing over and over?

Source: Rae et al. 2021, Scaling Language Models (arXiv 2112.11446), appendix A.1.1, "Repetition removal", table A1. All
limits are inclusive: a document at a limit passes. Our reading, where the paper leaves room:

- A line, paragraph or n-gram is a duplicate if it stood further up already: the first one never counts.
- Fractions of characters are of all characters of the text; lines and n-grams may lie in several duplicates, but a
  character counts once. Blank lines are no lines. n-grams are of words in small letters (stages/words.py).
- The top n-gram is the commonest one that occurs at least twice, the first in the text among equals; it takes up the
  text from its first word to its last, at every occurrence.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa

from stages import ngrams, segmentation, words
from stages.rules import by_language
from stages.segmentation import WordSettings
from stages.stage import Rule, Stage, threshold, verdicts

_TABLE: Final = "(Gopher, table A1)"


def _limit(default: float, what: str) -> Any:
    return threshold(default, f"{what} {_TABLE}.", ge=0, le=1)


class GopherRepetitionSettings(WordSettings):
    """The thirteen limits of table A1; what is measured does not depend on them."""

    max_duplicate_line_fraction: float = _limit(0.30, "Share of the lines")
    max_duplicate_paragraph_fraction: float = _limit(0.30, "Share of the paragraphs, which blank lines part")
    max_duplicate_line_character_fraction: float = _limit(0.20, "Share of the characters in duplicate lines")
    max_duplicate_paragraph_character_fraction: float = _limit(0.20, "Share of the characters in duplicate paragraphs")
    max_top_2gram_fraction: float = _limit(0.20, "Share of the characters in the commonest 2-gram")
    max_top_3gram_fraction: float = _limit(0.18, "Share of the characters in the commonest 3-gram")
    max_top_4gram_fraction: float = _limit(0.16, "Share of the characters in the commonest 4-gram")
    max_duplicate_5gram_fraction: float = _limit(0.15, "Share of the characters in duplicate 5-grams")
    max_duplicate_6gram_fraction: float = _limit(0.14, "Share of the characters in duplicate 6-grams")
    max_duplicate_7gram_fraction: float = _limit(0.13, "Share of the characters in duplicate 7-grams")
    max_duplicate_8gram_fraction: float = _limit(0.12, "Share of the characters in duplicate 8-grams")
    max_duplicate_9gram_fraction: float = _limit(0.11, "Share of the characters in duplicate 9-grams")
    max_duplicate_10gram_fraction: float = _limit(0.10, "Share of the characters in duplicate 10-grams")


#: The measured columns in the order of table A1, each with its reason code. A limit is called max_<column>.
REASONS: Final = {
    "duplicate_line_fraction": "duplicate_lines",
    "duplicate_paragraph_fraction": "duplicate_paragraphs",
    "duplicate_line_character_fraction": "duplicate_line_characters",
    "duplicate_paragraph_character_fraction": "duplicate_paragraph_characters",
    **{f"top_{n}gram_fraction": "top_ngram" for n in ngrams.TOP},
    **{f"duplicate_{n}gram_fraction": "duplicate_ngrams" for n in ngrams.REPEATED},
}

#: The same fractions as DCLM counts them (stages/dclm_repetition.py), in the same order; those of the top n-grams may
#: pass 1.
DCLM_COLUMNS: Final = tuple(f"dclm_{column}" for column in REASONS)
#: All but those in [0, 1], rounded to 4 decimals; 0 where there is nothing to divide by.
ADDS: Final = pa.schema([pa.field(column, pa.float64(), nullable=False) for column in (*REASONS, *DCLM_COLUMNS)])


#: What enters the key of the measure besides this module, for the records of the stages that share it.
LIBRARIES: Final = ("numba",)
MODULES: Final = ("stages.words", "stages.compiled", "stages.ngrams", "stages.segmentation")


def measure(docs: pa.Table, settings: WordSettings, _resources: Mapping[str, Any]) -> pa.Table:
    """The columns of ADDS for the `text` of each document, in order; a null or empty text repeats nothing."""
    data, offsets = words.utf8(docs["text"])
    counts = np.zeros((docs.num_rows, ngrams.COUNTS), dtype=np.int64)
    word_text = segmentation.word_text(docs["text"], settings.segmenters)
    ngrams.count_documents(data, offsets, *words.character_table(), word_text, counts)
    column = counts.T
    characters = column[ngrams.CHARACTERS]
    measured = [
        words.fraction(column[ngrams.REPEATED_LINES], column[ngrams.LINES]),
        words.fraction(column[ngrams.REPEATED_PARAGRAPHS], column[ngrams.PARAGRAPHS]),
        words.fraction(column[ngrams.REPEATED_LINE_CHARACTERS], characters),
        words.fraction(column[ngrams.REPEATED_PARAGRAPH_CHARACTERS], characters),
        *(words.fraction(part, characters) for part in column[ngrams.TOP_CHARACTERS : ngrams.COPIED_LINES]),
        words.fraction(column[ngrams.COPIED_LINES], column[ngrams.LINES]),
        words.fraction(column[ngrams.COPIED_PARAGRAPHS], column[ngrams.PARAGRAPHS]),
        words.fraction(column[ngrams.COPIED_LINE_CHARACTERS], column[ngrams.LINE_CHARACTERS]),
        words.fraction(column[ngrams.COPIED_PARAGRAPH_CHARACTERS], column[ngrams.PARAGRAPH_CHARACTERS]),
        *(words.fraction(part, column[ngrams.WORD_CHARACTERS]) for part in column[ngrams.TOP_WORD_CHARACTERS :]),
    ]
    return pa.table(measured, schema=ADDS)


def judge(docs: pa.Table, settings: GopherRepetitionSettings) -> pa.Table:
    """The first rule of table A1 that each document fails; its measured value and limit, and the column's name."""
    limits = settings.model_dump()
    rules = [
        Rule(
            reason=reason,
            passes=docs[column].to_numpy() <= limits[f"max_{column}"],
            measured=docs[column].to_numpy(),
            threshold=limits[f"max_{column}"],
            detail=column,
        )
        for column, reason in REASONS.items()
    ]
    return verdicts(rules, docs.num_rows)


STAGE: Final = Stage(
    name="gopher_repetition",
    settings=GopherRepetitionSettings,
    adds=ADDS,
    measure=measure,
    judge=by_language(judge),
    judges=tuple(REASONS),
    libraries=LIBRARIES,
    modules=MODULES,
    chosen_libraries=segmentation.chosen_libraries,
)
