"""Paragraphs of a PDF as Markdown."""

from collections.abc import Sequence

from stages.pdf_paragraphs import Paragraph, as_text


def as_markdown(paragraphs: Sequence[Paragraph]) -> str:
    return as_text(paragraphs)
