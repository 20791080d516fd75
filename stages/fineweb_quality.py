"""FineWeb's own rules: does this text have lines as prose has them?

Source: Penedo et al. 2024, The FineWeb Datasets (arXiv 2406.17557), section 3.6, "Developing additional heuristic
filters", and datatrove 0.10, the code that made FineWeb. Blank lines are no lines. All limits are inclusive: a
document at a limit passes.
"""

from typing import Final, Literal

import pyarrow as pa

from stages import text_statistics
from stages.rules import by_language
from stages.segmentation import WordSettings, chosen_libraries
from stages.stage import Rule, Stage, threshold, verdicts

_PAPER: Final = "(FineWeb, section 3.6)"


class FineWebQualitySettings(WordSettings):
    """The limits of the four rules; what is measured does not depend on them."""

    min_punctuated_line_fraction: float = threshold(
        0.12, f"Share of the lines that end with a sentence's end mark or a closing quote {_PAPER}.", ge=0, le=1
    )
    line_end: Literal["last_character", "before_bar"] = threshold(
        "last_character",
        "What `min_punctuated_line_fraction` looks at: a line's last character, as the paper does, or what stands "
        "before the bar behind a table's last cell. Extraction writes a page laid out as one table as such cells, "
        "so that none of its lines ends a sentence. `before_bar` also knows the closing quotes 」 and 』.",
    )
    max_short_line_fraction: float = threshold(
        0.67, f"Share of the lines of at most {text_statistics.SHORT_LINE_CHARACTERS} characters {_PAPER}.", ge=0, le=1
    )
    max_repeated_line_character_fraction: float = threshold(
        0.01,
        "Characters of lines that stood further up already, per character of the text without line breaks. The paper "
        "says 0.1, the code that made FineWeb 0.01; this is the code's.",
        ge=0,
        le=1,
    )
    max_newline_ratio: float = threshold(
        0.3,
        "Line breaks per word, marks counted as words: a list (datatrove's code; the paper does not name this rule).",
        ge=0,
    )


def judge(docs: pa.Table, settings: FineWebQualitySettings) -> pa.Table:
    """The first rule, in the order of FineWeb's code, that each document fails; its measured value and limit."""
    value = {name: docs[name].to_numpy() for name in STAGE.judges}
    column = "punctuated_line_fraction" if settings.line_end == "last_character" else "ended_cell_line_fraction"
    punctuated, least = value[column], settings.min_punctuated_line_fraction
    at_most = (
        ("short_lines", "short_line_fraction", settings.max_short_line_fraction),
        (
            "character_duplication",
            "repeated_line_character_fraction",
            settings.max_repeated_line_character_fraction,
        ),
        ("newline_ratio", "newline_ratio", settings.max_newline_ratio),
    )
    rules = [
        # A document without a line has nothing that FineWeb would keep, whatever the limit.
        Rule(
            reason="line_punctuation",
            passes=(punctuated >= least) & (value["line_count"] > 0),
            measured=punctuated,
            threshold=least,
        ),
        *(
            Rule(reason=reason, passes=value[column] <= limit, measured=value[column], threshold=limit)
            for reason, column, limit in at_most
        ),
    ]
    return verdicts(rules, docs.num_rows)


STAGE: Final = Stage(
    name="fineweb_quality",
    settings=FineWebQualitySettings,
    adds=text_statistics.ADDS,
    measure=text_statistics.measure,
    judge=by_language(judge),
    judges=(
        "line_count",
        "punctuated_line_fraction",
        "ended_cell_line_fraction",
        "short_line_fraction",
        "repeated_line_character_fraction",
        "newline_ratio",
    ),
    libraries=text_statistics.LIBRARIES,
    modules=text_statistics.MODULES,
    chosen_libraries=chosen_libraries,
)
