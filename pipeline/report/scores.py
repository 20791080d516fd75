"""Which score column each rule judged, and against which limits of the recipe: what lets a histogram show its line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stages.gopher_repetition import REASONS

#: stage -> column -> (reason, words that the ledger's detail begins with, setting of the least, setting of the most).
#: Where one reason stands for two columns the detail tells them apart.
_RULES: Mapping[str, Mapping[str, tuple[str, str, str, str]]] = {
    "language": {"language_score": ("language", "", "min_score", "")},
    "gopher_quality": {
        "word_count": ("word_count", "", "min_words", "max_words"),
        "mean_word_length": ("mean_word_length", "", "min_mean_word_length", "max_mean_word_length"),
        "hash_sign_ratio": ("symbol_ratio", "hash", "", "max_hash_sign_ratio"),
        "ellipsis_ratio": ("symbol_ratio", "ellips", "", "max_ellipsis_ratio"),
        "bullet_line_fraction": ("bullet_lines", "", "", "max_bullet_line_fraction"),
        "ellipsis_line_fraction": ("ellipsis_lines", "", "", "max_ellipsis_line_fraction"),
        "alpha_word_fraction": ("alpha_words", "", "min_alpha_word_fraction", ""),
        "stop_words_en": ("stop_words", "different stop words (en)", "min_stop_words", ""),
    },
    "gopher_repetition": {
        "duplicate_line_fraction": ("duplicate_lines", "", "", "max_duplicate_line_fraction"),
        "duplicate_paragraph_fraction": ("duplicate_paragraphs", "", "", "max_duplicate_paragraph_fraction"),
        "duplicate_line_character_fraction": (
            "duplicate_line_characters", "", "", "max_duplicate_line_character_fraction",
        ),
        "duplicate_paragraph_character_fraction": (
            "duplicate_paragraph_characters", "", "", "max_duplicate_paragraph_character_fraction",
        ),
        **{f"top_{n}gram_fraction": ("top_ngram", f"top_{n}gram", "", f"max_top_{n}gram_fraction") for n in (2, 3, 4)},
        **{
            f"duplicate_{n}gram_fraction": (
                "duplicate_ngrams", f"duplicate_{n}gram", "", f"max_duplicate_{n}gram_fraction",
            )
            for n in range(5, 11)
        },
    },
    "dclm_quality": {
        "word_count": ("word_count", "", "min_words", "max_words"),
        "mean_piece_length": ("mean_word_length", "", "min_mean_piece_length", "max_mean_piece_length"),
        "symbol_ratio": ("symbol_ratio", "", "", "max_symbol_ratio"),
        "loose_bullet_line_fraction": ("bullet_lines", "", "", "max_bullet_line_fraction"),
        "ellipsis_line_fraction": ("ellipsis_lines", "", "", "max_ellipsis_line_fraction"),
        "alpha_word_fraction": ("alpha_words", "", "min_alpha_word_fraction", ""),
        "stop_word_occurrences_en": ("stop_words", "", "min_stop_words", ""),
    },
    "dclm_repetition": {
        f"dclm_{column}": (reason, f"dclm_{column}", "", f"max_{column}") for column, reason in REASONS.items()
    },
    "refinedweb_lines": {
        "refinedweb_removed_word_fraction": ("removed_words", "", "", "max_removed_word_fraction"),
    },
    "c4_quality": {
        "c4_sentences": ("sentence_count", "", "min_sentences", ""),
        "c4_lorem_ipsum_lines": ("lorem_ipsum", "", "", "max_lorem_ipsum_lines"),
        "c4_curly_bracket_lines": ("curly_bracket", "", "", "max_curly_bracket_lines"),
    },
    "fineweb_quality": {
        "punctuated_line_fraction": ("line_punctuation", "", "min_punctuated_line_fraction", ""),
        "short_line_fraction": ("short_lines", "", "", "max_short_line_fraction"),
        "repeated_line_character_fraction": (
            "character_duplication", "", "", "max_repeated_line_character_fraction",
        ),
        "newline_ratio": ("newline_ratio", "", "", "max_newline_ratio"),
    },
    "quality": {"quality_score": ("quality", "", "min_score", "")},
    "toxicity": {"toxicity_score": ("toxicity", "", "", "max_score")},
    "held_out": {
        "held_out_containment": ("held_out", "", "", "max_held_out_containment"),
        "held_out_copied": ("held_out_copied", "", "", "max_held_out_copied"),
    },
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One column that a stage of the recipe judged."""

    reason: str
    detail: str
    #: (name of the setting, its value); a setting that is switched off (null) is not there.
    limits: list[tuple[str, float]]

    def matches(self, batch: pa.RecordBatch) -> pa.Array:
        """bool, one for each ledger row: whether this column's value made the row."""
        same = pc.equal(batch["reason"], self.reason)
        if not self.detail:
            return same
        return pc.and_(same, pc.fill_null(pc.starts_with(batch["detail"], self.detail), False))


def judged_columns(stages: Sequence[Mapping[str, Any]]) -> dict[str, Judged]:
    """The judged columns of a resolved recipe's stages, in its order."""
    found: dict[str, Judged] = {}
    for stage in stages:
        for column, (reason, detail, least, most) in _RULES.get(stage["type"], {}).items():
            settings = [(name, stage[name]) for name in (least, most) if name and stage.get(name) is not None]
            found[column] = Judged(
                reason=reason, detail=detail, limits=[(name, float(value)) for name, value in settings]
            )
    return found


def rule_tables() -> Mapping[str, Mapping[str, tuple[str, str, str, str]]]:
    """The table above: a test holds it against the stages' own settings and columns."""
    return _RULES
