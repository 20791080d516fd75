"""C4's cleaning: keep the lines that are sentences, then the documents in which enough of them are left.

Source: Raffel et al. 2020 (arXiv 1910.10683), section 2.2, in the reading of datatrove 0.10, which follows C4's
published code. Line by line:

1. a line with a piece between white space of more than `max_word_characters` goes (code, not paper);
2. Wikipedia's citation marks (`[1]`, `[]`, `[edit]`, `[citation needed]`) are cut out (code, not paper);
3. a line that does not end with a sentence's end mark or a closing quote, or that ends with an ellipsis, goes;
4. a line of fewer than `min_words_per_line` pieces between white space goes;
5. a line with `javascript` goes, one with a phrase of POLICY_PHRASES too (code, not paper), whatever the case of ASCII.

`lorem ipsum` and `{` count only in lines that come so far (`{` after `javascript`), as in C4's code: a document is
judged by what is left of it. The lines that stay are joined with one \\n; blank lines go.

Where we differ from datatrove: a citation mark behind the full stop takes the white space before it along, so that the
line still ends with the full stop; end marks and quotes of all scripts count, not only ASCII's; lines end at \\n
alone; and a document that breaks two rules gets the reason that comes first in `judge`, not in the text.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa

from stages import c4_lines, words
from stages.rules import RuleSettings, by_language
from stages.stage import Rule, Stage, setting, threshold, verdicts

_PAPER: Final = "(C4, section 2.2)"

#: The counts are of lines, but for characters and sentences. A removed line counts under the first rule that it breaks.
ADDS: Final = pa.schema(
    [
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("c4_kept_lines", pa.int64(), nullable=False),
        pa.field("c4_removed_lines", pa.int64(), nullable=False),
        # Length of the text before less after, so with citation marks, blank lines and outer white space.
        pa.field("c4_removed_characters", pa.int64(), nullable=False),
        pa.field("c4_long_word_lines", pa.int64(), nullable=False),
        pa.field("c4_unfinished_lines", pa.int64(), nullable=False),
        pa.field("c4_short_lines", pa.int64(), nullable=False),
        pa.field("c4_javascript_lines", pa.int64(), nullable=False),
        pa.field("c4_policy_lines", pa.int64(), nullable=False),
        pa.field("c4_lorem_ipsum_lines", pa.int64(), nullable=False),  # lines that pass rules 1 to 4
        pa.field("c4_curly_bracket_lines", pa.int64(), nullable=False),  # those of them without javascript
        pa.field("c4_sentences", pa.int64(), nullable=False),  # in kept lines
        # Lines of LONG_LINE_CHARACTERS or more before anything is removed.
        pa.field("c4_long_lines", pa.int64(), nullable=False),
    ]
)


class C4QualitySettings(RuleSettings):
    """What makes a line a sentence (measured), and how many a document must keep (judged)."""

    min_words_per_line: int = setting(
        3, f"Pieces between white space; shorter lines are removed {_PAPER}. C4's later code has 5.", ge=0
    )
    max_word_characters: int = setting(
        1000, "Characters of a piece between white space; lines with a longer one are removed (C4's code).", ge=1
    )
    require_end_mark: bool = setting(
        True,
        f"Whether lines without a sentence's end mark are removed {_PAPER}. FineWeb turned this off (section 3.5).",
    )
    min_sentences: int = threshold(
        5, f"Sentences in the kept lines {_PAPER}; 0 asks for none. C4's later code has 3.", ge=0
    )
    max_lorem_ipsum_lines: int = threshold(
        0, f"Lines with the placeholder `lorem ipsum` that pass rules 1 to 4 {_PAPER}.", ge=0
    )
    max_curly_bracket_lines: int = threshold(
        0,
        f"Lines with a curly bracket, the mark of code, that pass rules 1 to 4 and hold no javascript {_PAPER}.",
        ge=0,
    )
    min_long_lines: int = threshold(
        0,
        f"Lines of {c4_lines.LONG_LINE_CHARACTERS} characters or more, before any is removed. 0: C4 asks for none; "
        "mC4 asks for 3 (Xue et al. 2021, arXiv 2010.11934, section 3.1), in place of the end marks.",
        ge=0,
    )


def measure(docs: pa.Table, settings: C4QualitySettings, _resources: Mapping[str, Any]) -> pa.Table:
    """The cleaned `text` and the counts of ADDS, one row for each document, in order; the text may end up empty."""
    data, offsets = words.utf8(docs["text"])
    counts = np.zeros((docs.num_rows, c4_lines.COUNTS), dtype=np.int64)
    written = np.empty(int(offsets[-1] - offsets[0]), dtype=np.uint8)
    ends = np.zeros(docs.num_rows + 1, dtype=np.int64)
    limits = np.array(
        [settings.min_words_per_line, settings.max_word_characters, settings.require_end_mark], dtype=np.int64
    )
    kinds, small = words.character_table()
    c4_lines.clean_documents(data, offsets, kinds, small, c4_lines.tables(), limits, written, ends, counts)
    text = pa.LargeStringArray.from_buffers(
        docs.num_rows, pa.py_buffer(ends), pa.py_buffer(written[: ends[-1]].tobytes())
    )
    return pa.table([text, *(np.ascontiguousarray(column) for column in counts.T)], schema=ADDS)


def judge(docs: pa.Table, settings: C4QualitySettings) -> pa.Table:
    """The first rule that each document fails; the count and its limit."""
    value = {name: docs[name].to_numpy() for name in STAGE.judges}
    notices = value["c4_javascript_lines"] + value["c4_policy_lines"]
    rules = [
        Rule(
            reason="lorem_ipsum",
            passes=value["c4_lorem_ipsum_lines"] <= settings.max_lorem_ipsum_lines,
            measured=value["c4_lorem_ipsum_lines"],
            threshold=settings.max_lorem_ipsum_lines,
        ),
        Rule(
            reason="curly_bracket",
            passes=value["c4_curly_bracket_lines"] <= settings.max_curly_bracket_lines,
            measured=value["c4_curly_bracket_lines"],
            threshold=settings.max_curly_bracket_lines,
        ),
        Rule(
            reason="policy",
            passes=(value["c4_kept_lines"] > 0) | (notices == 0),
            measured=notices,
            detail="policy and script notices were removed, and no line is left",
        ),
        Rule(
            reason="sentence_count",
            passes=value["c4_sentences"] >= settings.min_sentences,
            measured=value["c4_sentences"],
            threshold=settings.min_sentences,
        ),
        Rule(
            reason="long_lines",
            passes=value["c4_long_lines"] >= settings.min_long_lines,
            measured=value["c4_long_lines"],
            threshold=settings.min_long_lines,
        ),
    ]
    return verdicts(rules, docs.num_rows)


STAGE: Final = Stage(
    name="c4_quality",
    settings=C4QualitySettings,
    adds=ADDS,
    measure=measure,
    judge=by_language(judge),
    judges=(
        "c4_kept_lines",
        "c4_javascript_lines",
        "c4_policy_lines",
        "c4_lorem_ipsum_lines",
        "c4_curly_bracket_lines",
        "c4_sentences",
        "c4_long_lines",
    ),
    libraries=("numba",),
    modules=("stages.words", "stages.compiled", "stages.c4_lines"),
)
