"""RefinedWeb's corrections line by line: what menus and counters left in the text goes; pages made of them go whole.

Source: Penedo et al. 2023, The RefinedWeb Dataset (arXiv 2306.01116), section 3.2, "Line-wise corrections", and
appendix G.2. RefinedWeb's other rules, for whole documents, are MassiveWeb's: `gopher_repetition` and `gopher_quality`
at their defaults. The paper names no thresholds but two (10 words, 5 %) and shows one example a rule; what it leaves
open is read as in DCLM's reimplementation (Li et al. 2024, arXiv 2406.11794; `uppercase_ratio_line_modifier`, …).

A line goes, for the first of these rules that it breaks:

1. "mainly composed of uppercase characters": more than half of its characters, spaces within it included, are capitals;
2. "only composed of numerical characters": all that is not white space (DCLM: white space counts against it);
3. "a counter (e.g. 3 likes)": a number, with k, m or b behind it or not, and one of `counters`, and no other letter;
4. "only contains one word": pieces between white space. In scripts that write none, each letter is a word, so that a
   Chinese line is not one word (DCLM: it is, and goes).

Then, in lines of at most 10 words, phrases are cut out at the beginning, at the end, or anywhere (`beginnings`,
`endings`, `phrases`), with a space beside them and whatever the case of ASCII letters; a line of which nothing is left
goes.

"If the words in the flagged lines represent more than 5 % of the total document words, the document is discarded": the
words of lines that went, and those cut out of lines, count as removed (DCLM: the same). Phrases mean themselves; in
DCLM's code the full stops of `Read more...` match anything. A document of which no line goes keeps every byte. Where
lines go, the blank lines around them become one, and those at the document's ends go too.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa

from stages import corrected_lines, words
from stages.rules import RuleSettings, by_language
from stages.stage import Rule, Stage, setting, threshold, verdicts

_PAPER: Final = "(RefinedWeb, appendix G.2)"

#: Words are counted as rule 4 does. A removed line counts under the first rule that it breaks.
ADDS: Final = pa.schema(
    [
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("refinedweb_words", pa.int64(), nullable=False),  # before anything is removed
        pa.field("refinedweb_removed_words", pa.int64(), nullable=False),
        # Length of the text before less after, so with the line breaks.
        pa.field("refinedweb_removed_characters", pa.int64(), nullable=False),
        pa.field("refinedweb_uppercase_lines", pa.int64(), nullable=False),
        pa.field("refinedweb_numeric_lines", pa.int64(), nullable=False),
        pa.field("refinedweb_counter_lines", pa.int64(), nullable=False),
        pa.field("refinedweb_short_lines", pa.int64(), nullable=False),
        # Lines out of which a phrase was cut, those of which nothing was left included.
        pa.field("refinedweb_edited_lines", pa.int64(), nullable=False),
        # Removed words per word, 4 decimals; 0 for a document without words.
        pa.field("refinedweb_removed_word_fraction", pa.float64(), nullable=False),
    ]
)
#: DCLM's list; the paper has `likes` as its example.
COUNTERS: Final = (
    *("likes", "shares", "comments", "retweets", "reposts", "quotes", "bookmarks", "upvotes", "downvotes"),
    *("downloads", "views", "followers"),
)


class RefinedWebLinesSettings(RuleSettings):
    """Which lines go and what is cut (measured), and how much of a document may (judged)."""

    max_uppercase_fraction: float = setting(
        0.5, f"Capitals per character of a line; 'mainly' {_PAPER}, as DCLM reads it. 1 lets all pass.", ge=0, le=1
    )
    counters: tuple[str, ...] = setting(
        COUNTERS, f"Nouns that make a line of a number and one of them a counter {_PAPER}; the list is DCLM's."
    )
    min_words_per_line: int = setting(2, f"Words; shorter lines go {_PAPER}.", ge=0)
    max_words_of_edited_line: int = setting(10, f"Words; longer lines are not edited {_PAPER}.", ge=0)
    beginnings: tuple[str, ...] = setting(("sign-in",), f"Phrases that are cut at a short line's beginning {_PAPER}.")
    endings: tuple[str, ...] = setting(
        ("read more...", "read more…"), f"Phrases that are cut at a short line's end {_PAPER}."
    )
    phrases: tuple[str, ...] = setting(("items in cart",), f"Phrases that are cut anywhere in a short line {_PAPER}.")
    max_removed_word_fraction: float = threshold(
        0.05, f"Share of a document's words that may be removed; beyond it the document goes {_PAPER}.", ge=0, le=1
    )


def measure(docs: pa.Table, settings: RefinedWebLinesSettings, _resources: Mapping[str, Any]) -> pa.Table:
    """The corrected `text` and the counts of ADDS, one row for each document, in order; the text may end up empty."""
    data, offsets = words.utf8(docs["text"])
    counts = np.zeros((docs.num_rows, corrected_lines.COUNTS), dtype=np.int64)
    written = np.empty(int(offsets[-1] - offsets[0]), dtype=np.uint8)
    ends = np.zeros(docs.num_rows + 1, dtype=np.int64)
    cuts = [
        *((phrase, corrected_lines.ANYWHERE) for phrase in settings.phrases),
        *((phrase, corrected_lines.AT_END) for phrase in settings.endings),
        *((phrase, corrected_lines.AT_BEGINNING) for phrase in settings.beginnings),
    ]
    limits = np.array(
        [settings.max_uppercase_fraction, settings.min_words_per_line, settings.max_words_of_edited_line],
        dtype=np.float64,
    )
    corrected_lines.correct_documents(
        data,
        offsets,
        *words.character_table(),
        corrected_lines.phrase_table((noun, corrected_lines.ANYWHERE) for noun in settings.counters if noun),
        corrected_lines.phrase_table((phrase, place) for phrase, place in cuts if phrase),
        limits,
        written,
        ends,
        counts,
    )
    text = pa.LargeStringArray.from_buffers(
        docs.num_rows, pa.py_buffer(ends), pa.py_buffer(written[: ends[-1]].tobytes())
    )
    column = [np.ascontiguousarray(values) for values in counts.T]
    removed = words.fraction(column[corrected_lines.REMOVED_WORDS], column[corrected_lines.WORDS])
    return pa.table([text, *column, removed], schema=ADDS)


def judge(docs: pa.Table, settings: RefinedWebLinesSettings) -> pa.Table:
    """Rejects documents of which too much went; a document of which nothing is left has lost all its words."""
    removed = docs["refinedweb_removed_word_fraction"].to_numpy()
    rule = Rule(
        reason="removed_words",
        passes=removed <= settings.max_removed_word_fraction,
        measured=removed,
        threshold=settings.max_removed_word_fraction,
    )
    return verdicts([rule], docs.num_rows)


STAGE: Final = Stage(
    name="refinedweb_lines",
    settings=RefinedWebLinesSettings,
    adds=ADDS,
    measure=measure,
    judge=by_language(judge),
    judges=("refinedweb_removed_word_fraction",),
    libraries=("numba",),
    modules=("stages.words", "stages.compiled", "stages.corrected_lines"),
)
