"""Settings of deduplication below the document: of text that stands in several places, one place keeps it.

    line_dedup        whole lines                                (C4's code; CCNet's paragraphs are lines of its input)
    paragraph_dedup   runs of lines without a blank one between
    sentence_dedup    spans of three sentences                   (C4, section 2.2; datatrove)
    substring_dedup   any stretch of so many bytes               (Lee et al. 2021, arXiv 2107.06499)

The first place in survivor order (stages/survivors.py), and within it the first in the text, keeps its copy; all others
are cut out. So what is cut out of one document stands, as of this stage, in another one or further up in the same. The
work is an exchange that rewrites text: `pipeline/dedup/spans.py`. How a text is cut: `stages/spans.py`.
"""

from typing import Literal, Self

from pydantic import model_validator

from stages.stage import setting, threshold
from stages.survivors import SurvivorSettings

Normalisation = Literal["verbatim", "normal_form", "ccnet"]
#: Bytes by which anchors of substrings are chosen: long enough that two places seldom agree in them by chance.
SAMPLE_BYTES = 16


class SpanSettings(SurvivorSettings):
    """What all four stages share."""

    drop_all_above_documents: int | None = setting(
        None,
        "Text that stands in more documents than this is boilerplate and cut out of all of them, the first one too; "
        "null keeps the first copy whatever the number.",
        ge=1,
    )
    min_left_bytes: int = threshold(
        250,
        "UTF-8 bytes that a document must have left if something was cut out of it, about the 50 words that datatrove "
        "asks for; documents that lost nothing are not judged.",
        ge=1,
    )


class UnitSettings(SpanSettings):
    """Settings of the stages that compare whole units."""

    normalisation: Normalisation = setting(
        "normal_form",
        "What does not count when units are compared: `verbatim` nothing but outer white space; `normal_form` case, "
        "white space and punctuation (stages/normalise.py); `ccnet` digits too, each of which is a 0 (Wenzek et al. "
        "2020, section 3.1; accents, which CCNet drops, count).",
    )


class LineDedupSettings(UnitSettings):
    """Which lines are compared."""

    min_unit_bytes: int = setting(
        100,
        "UTF-8 bytes of a line without outer white space; shorter ones stay: headings, list entries, lines of code and "
        "captions belong to their document, and are often the same in others by right.",
        ge=1,
    )


class ParagraphDedupSettings(UnitSettings):
    """Which paragraphs are compared."""

    min_unit_bytes: int = setting(
        150,
        "UTF-8 bytes of a paragraph without outer white space; shorter ones stay, such as lists of a few words.",
        ge=1,
    )


class SentenceDedupSettings(UnitSettings):
    """Which spans of sentences are compared."""

    sentences: int = setting(3, "Sentences of a span (C4, section 2.2).", ge=1, le=20)
    min_unit_bytes: int = setting(120, "UTF-8 bytes of a span without outer white space; shorter ones stay.", ge=1)


class SubstringDedupSettings(SpanSettings):
    """How long a repeated stretch must be."""

    length_bytes: int = setting(
        200,
        "Least UTF-8 bytes of a repeated stretch: 50 tokens of English (Lee et al.) are some 215 bytes. Stretches are "
        "followed to where they cease to agree, then shortened to whole words.",
        ge=32,
    )
    window_bytes: int = setting(
        64,
        "Every repeated stretch of length_bytes + window_bytes - 1 bytes is found, shorter ones of length_bytes or "
        "more by chance. An anchor of 24 bytes is kept for about every window_bytes / 2 bytes of text.",
        ge=4,
    )

    @model_validator(mode="after")
    def _anchors_fit(self) -> Self:
        if self.window_bytes + SAMPLE_BYTES > self.length_bytes:
            raise ValueError(f"window_bytes must be {SAMPLE_BYTES} or more below length_bytes, so that an anchor fits")
        return self
