"""Text and title from a PDF by PDFium or MuPDF: columns in reading order, paragraphs whole, no running headers.

The caller has checked that the bytes begin like a PDF: MuPDF would open HTML, EPUB or an archive as such.

    pdf_characters (PDFium), pdf_mupdf    a page as fragments: runs of text on one line, with their boxes
    pdf_margins                           without what repeats at one place of many pages
    pdf_layout                            fragments as lines in reading order
    pdf_paragraphs                        lines as paragraphs: cut words whole, ligatures spelled out
    pdf_markdown                          paragraphs as Markdown, where that is asked for

Text of form fields, free-text notes and stamps is read as a viewer shows it; images, links, other annotations and
attachments are not read. Text outside the page is not read.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pypdfium2
import pypdfium2.raw as pdfium

from stages.clean import LONE_GLYPH, clean_text, clean_title, unreadable_fraction
from stages.limits import RefusedError
from stages.pdf_characters import Fragments, fragments_of, shows_annotations
from stages.pdf_layout import read_order
from stages.pdf_margins import without_margins
from stages.pdf_markdown import as_markdown
from stages.pdf_mupdf import mupdf_fragments
from stages.pdf_paragraphs import as_text, paragraphs_of

#: PDFium's error codes for a document that needs a password and for an unknown security scheme (fpdfview.h).
_PDFIUM_ENCRYPTED: Final = (4, 5)
#: What the libraries raise for a page or a document that they cannot read.
_PAGE_ERRORS: Final = (RuntimeError, ValueError, IndexError, TypeError, AttributeError, ZeroDivisionError)
#: Share of glyphs without a known character up to which their codes are tried. Of 29 files of pdf.js with more than
#: 1 %, those that codes mend have .12 to .26, and those with .5 and more are garbled in every reader.
_MAX_UNKNOWN: Final = 0.3


@dataclass(frozen=True, kw_only=True)
class PdfText:
    """What an engine made of a PDF. `text` is clean; `detail` tells of pages that could not be read."""

    title: str | None
    text: str
    detail: str | None


def with_pypdfium2(content: bytes, *, max_pages: int, max_unreadable: float, markdown: bool = False) -> PdfText:
    """Text by PDFium. Raises RefusedError: encrypted, parser_error, too_large, bad_encoding, no_text."""
    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if error.err_code in _PDFIUM_ENCRYPTED:
            raise RefusedError("encrypted", str(error)) from error
        raise RefusedError("parser_error", str(error)) from error
    try:
        pages = len(document)
        _check_pages(pages, max_pages)
        title = document.get_metadata_value("Title")
        read = _read(partial(_pdfium_page, document, fonts=markdown), pages)
    finally:
        document.close()
    return _whole(read, title=title, max_unreadable=max_unreadable, markdown=markdown)


def _pdfium_page(document: Any, number: int, *, fonts: bool) -> Fragments:
    # Closed at once: PDFium otherwise keeps every page of the document in memory.
    page = document[number]
    try:
        if shows_annotations(page):
            # PDFium reads text from the page's own content only; flattened, what a viewer shows is content.
            pdfium.FPDFPage_Flatten(page, pdfium.FLAT_NORMALDISPLAY)
            page.close()
            page = document[number]
        text_page = page.get_textpage()
        try:
            return fragments_of(text_page, within=_page_box(page), fonts=fonts)
        finally:
            text_page.close()
    finally:
        page.close()


def _page_box(page: Any) -> tuple[float, float, float, float]:
    """Left, bottom, right, top of what may show: the media box, and what PDFium takes where that is odd."""
    (a, b, c, d), (left, bottom, right, top) = page.get_mediabox(), page.get_bbox()
    return min(a, c, left), min(b, d, bottom), max(a, c, right), max(b, d, top)


def with_pymupdf(content: bytes, *, max_pages: int, max_unreadable: float, markdown: bool = False) -> PdfText:
    """Text by MuPDF (the extra `pdf-mupdf`). Raises RefusedError as `with_pypdfium2` does, and not_pdf."""
    pymupdf = importlib.import_module("pymupdf")  # An optional extra, imported only where a recipe names it.
    pymupdf.TOOLS.mupdf_display_errors(False)
    pymupdf.TOOLS.mupdf_display_warnings(False)
    # Without CID_FOR_UNKNOWN_UNICODE, a glyph of unknown meaning is U+FFFD and not a made-up character.
    flags = pymupdf.TEXTFLAGS_TEXT & ~pymupdf.TEXT_CID_FOR_UNKNOWN_UNICODE
    errors = (*_PAGE_ERRORS, pymupdf.mupdf.FzErrorBase)
    try:
        # From the magic on, so that MuPDF does not go by what stands before it.
        document = pymupdf.open(stream=content[content.find(b"%PDF-") :], filetype="pdf")
        pages = 0 if document.needs_pass else document.page_count
    except errors as error:
        _raise_for_memory(error)
        raise RefusedError("parser_error", _message(error)) from error
    with document:
        if not document.is_pdf:
            raise RefusedError("not_pdf", "MuPDF takes it for another format")
        if document.needs_pass:
            raise RefusedError("encrypted", "needs a password")
        _check_pages(pages, max_pages)
        title = (document.metadata or {}).get("title")
        read = _read(lambda number: mupdf_fragments(document[number], flags=flags, fonts=markdown), pages, errors)
        if max_unreadable < _unreadable(read) <= _MAX_UNKNOWN:
            # Most glyphs are known, so the others' codes are likely to be what they mean too (a space, an umlaut).
            guess = flags | pymupdf.TEXT_CID_FOR_UNKNOWN_UNICODE
            again = _read(lambda number: mupdf_fragments(document[number], flags=guess, fonts=markdown), pages, errors)
            whole = "".join(_plain(document[number], guess, errors) for number in range(pages))
            if max(_unreadable(again), unreadable_fraction(whole)) <= max_unreadable:
                read = again
    return _whole(read, title=title, max_unreadable=max_unreadable, markdown=markdown)


@dataclass(frozen=True, kw_only=True)
class _Pages:
    read: list[Fragments]
    errors: list[str]


def _plain(page: Any, flags: int, errors: tuple[type[Exception], ...]) -> str:
    """A page's text with the control characters that MuPDF takes for white space between words."""
    try:
        return str(page.get_text(flags=flags))
    except errors as error:
        _raise_for_memory(error)
        return ""


def _read(
    fragments: Callable[[int], Fragments], pages: int, expected: tuple[type[Exception], ...] = _PAGE_ERRORS
) -> _Pages:
    """The fragments of each page that can be read, and a message for each other."""
    read: list[Fragments] = []
    errors: list[str] = []
    for number in range(pages):
        try:
            read.append(fragments(number))
        except expected as error:
            _raise_for_memory(error)
            errors.append(_message(error))
    return _Pages(read=read, errors=errors)


def _unreadable(pages: _Pages) -> float:
    """Share of characters without a meaning. One that stands alone is a pictogram, most often a list's bullet."""
    text = "\n".join(one.text for page in pages.read for group in page.values() for one in group)
    if not unreadable_fraction(text):
        return 0.0
    without = LONE_GLYPH.sub("", text)
    return unreadable_fraction(without if any(map(str.isalnum, without)) else text)


def _whole(pages: _Pages, *, title: str | None, max_unreadable: float, markdown: bool) -> PdfText:
    count = len(pages.read) + len(pages.errors)
    detail = f"{len(pages.errors)} of {count} pages could not be read: {pages.errors[0]}" if pages.errors else None
    if count == 0:
        raise RefusedError("no_text", "no pages")
    if not pages.read:
        raise RefusedError("parser_error", detail or "")
    unreadable = _unreadable(pages)
    if unreadable > max_unreadable:
        raise RefusedError(
            "bad_encoding",
            "glyphs that stand for no known character",
            measured=round(unreadable, 4),
            threshold=max_unreadable,
        )
    paragraphs = paragraphs_of([block for page in without_margins(pages.read) for block in read_order(page)])
    text = clean_text(as_markdown(paragraphs) if markdown else as_text(paragraphs))
    if not text:
        raise RefusedError("no_text", f"{count} pages without text: scanned or drawn{'; ' + detail if detail else ''}")
    return PdfText(title=clean_title(title), text=text, detail=detail)


def _check_pages(pages: int, limit: int) -> None:
    if pages > limit:
        raise RefusedError("too_large", f"{pages} pages", measured=float(pages), threshold=float(limit))


def _message(error: Exception) -> str:
    # MuPDF's own exceptions print as a place in memory.
    text = str(error.what()) if hasattr(error, "what") else str(error)
    return " ".join(text.split())[:200] or type(error).__name__


def _raise_for_memory(error: Exception) -> None:
    """MuPDF tells of failed allocations as of any other error; a page lost to that is not a fact about the page."""
    if "malloc" in str(error) or "calloc" in str(error):
        raise MemoryError(str(error)) from error
