"""From a raw record to its text: what it really is, whether it may reach a parser, and what the parser made of it.

`extract_one` is pure and never raises on any content. It does not bound CPU time and memory, which only a process of
its own can: the pipeline runs it in a child and turns that child's death into a row.
"""

import importlib
import importlib.util
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal, Self

from pydantic import model_validator

from stages.charset import Decoded, decode
from stages.clean import clean_text, unreadable_fraction
from stages.gate import gate, prepare_gate
from stages.limits import RefusedError, scan_html
from stages.mojibake import mojibake_fraction
from stages.schema import SCORE_DECIMALS
from stages.stage import Settings, setting

#: The engine that pages meet once they have passed the gate of `cascade`: the one place that names it.
BEHIND_THE_GATE: Final = "trafilatura"
#: HTML engines that can give Markdown.
MARKDOWN_ENGINES: Final = ("trafilatura", "cascade", "tamis")


class ExtractSettings(Settings):
    """How text is extracted, and what a document may cost."""

    engine: Literal["trafilatura", "resiliparse", "cascade", "tamis"] = setting(
        "trafilatura",
        "HTML engine. trafilatura finds the main text best (F1 .93 on its own 567 pages), resiliparse (.84) is ten "
        "times as fast. cascade is trafilatura behind a gate: a cheap look at all visible text rules out pages that "
        "the recipe's later stages would not keep (`gate_…`). tamis is our own: one pass without a tree and a learned "
        "judge (docs/extractor.md), faster than resiliparse, and without limits of depth or attributes.",
    )
    gate_languages: tuple[str, ...] = setting(
        (),
        "cascade: languages that the recipe keeps, as lid.176 names them; a page whose visible text is in none of them "
        "is ruled out. Empty: language rules nothing out.",
    )
    gate_min_language_score: float = setting(
        0.05,
        "cascade: summed probability of `gate_languages` below which a page is ruled out. Far below what a language "
        "stage asks for (0.65), because menus in another language stand in the visible text of a page that is kept.",
        ge=0,
        le=1,
    )
    gate_min_words: int = setting(
        50,
        "cascade: words of all visible text below which a page is ruled out. The main text has fewer still, so a stage "
        "that asks for this many words would drop it.",
        ge=0,
    )
    gate_min_sentences: int = setting(
        0,
        "cascade: sentences, as c4_quality counts them, of all visible text below which a page is ruled out. Below the "
        "number that c4_quality asks for, because lines are cut otherwise in the main text.",
        ge=0,
    )
    format: Literal["text", "markdown"] = setting(
        "text",
        "markdown keeps headings, lists, tables, code and emphasis as Markdown marks, where `engine` can tell them: "
        "trafilatura, cascade and tamis. resiliparse cannot (it loses tables) and is refused. Documents that are plain "
        "text already stay as they are. Rules that judge lines or symbols see the marks.",
    )
    drop_identical: bool = setting(
        False,
        "Remove records whose payload bytes and declared type are those of another, before anything is extracted: the "
        "smallest id stays, the others are `exact_dup`. Every page is read twice for it, which costs a hundredth of "
        "extracting it.",
    )
    gate_duplicates: bool = setting(
        False,
        "cascade: remove pages whose visible text is nearly that of another before the costly engine sees them. Pairs "
        "are verified on all shingles; the longer visible text stays, then the smallest id; the others are `near_dup`.",
    )
    gate_min_similarity: float = setting(
        0.9,
        "cascade with `gate_duplicates`: Jaccard similarity of the visible texts (5 words a shingle) from which a page "
        "is a duplicate. Above what near_dedup asks of main texts (0.75), because menus are alike on different pages.",
        gt=0,
        le=1,
    )
    pdf_engine: Literal["pypdfium2", "pymupdf"] = setting(
        "pypdfium2",
        "PDF engine. PyMuPDF repairs truncated files and needs less memory, but is AGPL or commercial and comes with "
        "the extra `pdf-mupdf` only.",
    )
    max_html_bytes: int = setting(
        20_000_000,
        "Bytes of an HTML or plain text document after decompression: trafilatura's own limit, and four times what "
        "Common Crawl keeps of a response. Larger is `too_large`.",
        ge=1,
    )
    max_pdf_bytes: int = setting(
        100_000_000,
        "Bytes of a PDF: books with figures reach tens of megabytes. Larger is `too_large`.",
        ge=1,
    )
    max_attributes: int = setting(
        5_000,
        "Attributes on one tag. Parsers take more than quadratic time: 10,000 cost 0.3 s, 40,000 24 s. More is "
        "`too_many_attrs`.",
        ge=1,
    )
    max_depth: int = setting(
        2_000,
        "Nested elements: just under the 2,048 at which libxml2 drops the rest of a page. Deeper is `too_deep`.",
        ge=1,
        le=2_000,
    )
    max_pages: int = setting(10_000, "Pages of a PDF: more than any book. More is `too_large`.", ge=1)
    max_unreadable: float = setting(
        0.01,
        "Share of characters that are U+FFFD or control characters, before clean-up. Of 5,371 crawled pages the worst "
        "had 0.003; compressed or random bytes have 0.03 and up. More is `bad_encoding`.",
        ge=0,
        le=1,
    )
    cpu_seconds: float = setting(
        5.0,
        "CPU time for one document at the first try: 200 times what trafilatura takes for a page on average (20 ms). "
        "Documents that are stopped get ten times as much at the end, alone, so this sets the price of a hostile page "
        "(5 + 50 s), and which documents survive is decided far from what real pages take.",
        gt=0,
    )
    wall_seconds: float = setting(
        50.0,
        "Clock time for one document: ten times the CPU time, so that only a machine under absurd load, or a parser "
        "that waits for nothing, is stopped by it.",
        gt=0,
    )
    memory_bytes: int = setting(
        800_000_000,
        "Address space for one document above what the parsers themselves take: 40 times the largest page. With "
        "parsers and worker it stays under 1.5 GB.",
        ge=16_000_000,
    )

    @model_validator(mode="after")
    def _engine_knows_the_format(self) -> Self:
        if self.format == "markdown" and self.engine not in MARKDOWN_ENGINES:
            raise ValueError(
                f"format: markdown is not possible with engine: {self.engine}, which does not keep tables apart from "
                f"text. Take engine: {' or '.join(MARKDOWN_ENGINES)}, or format: text"
            )
        return self

    @model_validator(mode="after")
    def _gate_has_an_engine(self) -> Self:
        if self.gate_duplicates and self.engine != "cascade":
            raise ValueError(
                "gate_duplicates compares what the cheap pass of engine: cascade sees; with another engine leave it "
                "out (drop_identical and the near_dedup stage need no cascade)"
            )
        return self

    @property
    def page_engine(self) -> str:
        """The engine that makes a page's text: a cascade's is the one behind its gate."""
        return BEHIND_THE_GATE if self.engine == "cascade" else self.engine

    @property
    def glances(self) -> bool:
        """Whether all records are looked at, and compared, before the first is extracted."""
        return self.drop_identical or self.gate_duplicates

    @model_validator(mode="after")
    def _engine_is_installed(self) -> Self:
        if self.pdf_engine == "pymupdf" and importlib.util.find_spec("pymupdf") is None:
            raise ValueError(
                "pdf_engine: pymupdf is not installed. It is AGPL or commercial and comes with an extra: "
                "pip install 'tamis[pdf-mupdf]', or use pdf_engine: pypdfium2"
            )
        return self


@dataclass(frozen=True, kw_only=True)
class RawRecord:
    """One document as a source delivers it, with transfer and content encodings undone."""

    content: bytes
    #: As declared, parameters and letter case included or not; None if nothing is declared.
    media_type: str | None = None
    #: The HTTP header's label.
    charset: str | None = None
    url: str | None = None


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """What became of a record. `reason` is None exactly if `text` holds something."""

    #: text/html, application/pdf or text/plain; for other types what was declared.
    media_type: str | None = None
    title: str | None = None
    #: Clean: no control characters but \n and \t, no lone surrogates, no outer white space.
    text: str = ""
    #: Code from stages/reasons.py.
    reason: str | None = None
    measured: float | None = None
    threshold: float | None = None
    #: Also for a document that is kept: what of it could not be read.
    detail: str | None = None
    #: Characters that the document could show, white space left out: all of a page's text outside scripts and styles,
    #: menus included. For PDF and plain text, those of `text`. None where nothing was read.
    visible_characters: int | None = None
    #: Characters of `text`, white space left out, for each visible one; 1 for PDF and plain text, over 1 where an
    #: engine adds something (marks, alternative texts). Rounded. None where nothing was read or visible.
    text_fraction: float | None = None
    #: What the bytes were read as, in Python's name; None for PDF and for text that a source holds ready.
    charset: str | None = None
    #: Share of the characters of `text` that look encoded twice (stages/mojibake.py). Rounded.
    mojibake_fraction: float | None = None
    #: Codes of FLAGS that hold for a document that is kept, joined by commas; None for none.
    flags: str | None = None


#: What may be said of a text that is kept all the same.
FLAGS: Final = {
    "parser_cut": "the parser's tree holds clearly less text than the page: the parser stopped at a limit of its own",
}

HTML: Final = "text/html"
PDF: Final = "application/pdf"
PLAIN: Final = "text/plain"

_HTML_TYPES: Final = frozenset({HTML, "application/xhtml+xml", "application/vnd.wap.xhtml+xml"})
#: Types that say nothing, or that may hold XHTML: the content decides.
_OPEN_TYPES: Final = frozenset(
    {"", "application/octet-stream", "binary/octet-stream", "application/unknown", "unknown/unknown", "*/*"}
    | {"application/xml", "text/xml"}
)
_PDF_TYPES: Final = frozenset({PDF, "application/x-pdf"})
#: Readers of PDF accept the magic anywhere in the first kilobyte (Adobe's implementation notes).
_MAGIC: Final = b"%PDF-"
_MAGIC_BYTES: Final = 1024
#: How a page begins (WHATWG MIME sniffing, 7.1), behind white space, a byte order mark and comments.
_HTML_START: Final = re.compile(
    rb"(?:\s|\xef\xbb\xbf|<!--.*?-->|<\?xml[^>]*>)*+<(?:!doctype\s+html|html|head|script|iframe|h1|div|font|table|a|style|"
    rb"title|b|body|br|p|meta|link)[\s/>]",
    re.IGNORECASE | re.DOTALL,
)
#: Bytes that binary data has and text has not (WHATWG MIME sniffing, "binary data byte").
_BINARY: Final = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
#: What is looked at to tell HTML, text and binary data apart: as much as browsers read (1,445), and room for comments.
_SNIFF_BYTES: Final = 4096


#: (text on one line) -> probability of each language, for those that are not next to impossible.
Languages = Callable[[str], Mapping[str, float]]


def extract_one(
    record: RawRecord, settings: ExtractSettings, *, languages: Languages | None = None, judge: Any = None
) -> Extracted:
    """Text of one record, or the reason why there is none. Same record, same result; raises MemoryError only.

    `languages` is needed by a cascade with `gate_languages`, and by nothing else; `judge`, a
    `stages.extract_tamis.Judge`, by the engine tamis.
    """
    return _guarded(record, partial(_extracted, record, settings=settings, languages=languages, judge=judge))


def glance_one(record: RawRecord, settings: ExtractSettings, *, languages: Languages | None = None) -> Extracted:
    """What a cascade's cheap pass makes of a record: all visible text of a page that passes the gate, or the reason
    why there is none. PDF and plain text are not looked at: no reason, no text. Raises MemoryError only."""
    return _guarded(record, partial(_glanced, record, settings=settings, languages=languages))


def _guarded(record: RawRecord, read: Callable[[str], Extracted]) -> Extracted:
    """What `read` makes of the record, given its kind, or the row for what it raised."""
    declared = (record.media_type or "").split(";")[0].strip().lower()
    kind = declared or None
    try:
        kind = _kind(record.content, declared)
        return read(kind)
    except RefusedError as refused:
        return Extracted(
            media_type=kind,
            reason=refused.reason,
            measured=refused.measured,
            threshold=refused.threshold,
            detail=refused.detail,
        )
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a parser raises on a hostile document is that document's row
        detail = f"{type(error).__name__}: {error}"
        return Extracted(media_type=kind, reason="parser_error", detail=clean_text(detail)[:500])


def _extracted(
    record: RawRecord, kind: str, *, settings: ExtractSettings, languages: Languages | None, judge: Any
) -> Extracted:
    if kind == PDF:
        return _from_pdf(record.content, settings)
    _check_size(record.content, settings.max_html_bytes)
    if settings.engine == "tamis" and kind == HTML:
        return _with_tamis(_decoded(record, settings), settings, judge)
    return _from_text(record, kind, settings, languages)


def _glanced(record: RawRecord, kind: str, *, settings: ExtractSettings, languages: Languages | None) -> Extracted:
    if kind != HTML:
        return Extracted(media_type=kind)
    _check_size(record.content, settings.max_html_bytes)
    page = _decoded(record, settings).text
    scan = scan_html(page, max_attributes=settings.max_attributes, max_depth=settings.max_depth)
    engines = importlib.import_module("stages.extract_html")
    text = engines.visible_text(page, scan=scan, max_depth=settings.max_depth)
    gate(text, settings, languages)
    return Extracted(media_type=HTML, text=clean_text(text), visible_characters=scan.visible_characters)


def ready_text(text: str, settings: ExtractSettings) -> Extracted:
    """A text that a source holds ready, cleaned; no parser sees it. Refused like a plain text document: too large,
    too many unreadable characters, or nothing in it."""
    measured = unreadable_fraction(text)
    size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    if size > settings.max_html_bytes:
        return Extracted(media_type=PLAIN, reason="too_large", measured=float(size), detail=f"{size} bytes",
                         threshold=float(settings.max_html_bytes))  # fmt: skip
    if measured > settings.max_unreadable:
        return Extracted(media_type=PLAIN, reason="bad_encoding", measured=round(measured, 4),
                         threshold=settings.max_unreadable, detail="unreadable characters")  # fmt: skip
    return _result(PLAIN, title=None, text=clean_text(text))


def load_engines(settings: ExtractSettings) -> None:
    """Import the parsers that `settings` name and have the scan compiled, so that no document pays for it."""
    scan_html("<p>", max_attributes=1, max_depth=0)
    importlib.import_module("stages.extract_html")
    importlib.import_module("stages.extract_pdf")
    if settings.engine == "cascade":
        prepare_gate(settings)
    if settings.engine == "tamis":
        importlib.import_module("stages.extract_tamis")
    if settings.pdf_engine == "pymupdf":
        importlib.import_module("pymupdf")
    else:
        importlib.import_module("stages.pdf_characters").prepare()


def _kind(content: bytes, declared: str) -> str:
    """What a record is to be read as: HTML, PDF or PLAIN. Raises RefusedError (empty, not_pdf, media_type)."""
    if not content.strip(b"\0 \t\r\n"):
        raise RefusedError("empty", "no bytes but white space" if content else "no bytes")
    if declared in _PDF_TYPES:
        if _MAGIC not in content[:_MAGIC_BYTES]:
            raise RefusedError("not_pdf", "no %PDF- in the first 1,024 bytes")
        return PDF
    if content.lstrip()[: len(_MAGIC)] == _MAGIC:
        return PDF
    if declared in _HTML_TYPES:
        return HTML
    if declared == PLAIN:
        return PLAIN
    if declared in _OPEN_TYPES:
        return _sniffed(content, declared)
    raise RefusedError("media_type", f"declared as {clean_text(declared)[:100]}")


def _sniffed(content: bytes, declared: str) -> str:
    head = content[:_SNIFF_BYTES]
    # UTF-16 shows its ASCII characters once its zero bytes and mark are gone.
    utf16 = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    if _HTML_START.match(head.lstrip(b"\xff\xfe").replace(b"\0", b"")):
        return HTML
    if declared.endswith("/xml"):
        raise RefusedError("media_type", "XML, but not XHTML")
    if _MAGIC in content[:_MAGIC_BYTES]:
        return PDF
    if _BINARY.search(head) and not utf16:
        raise RefusedError("media_type", "no type declared, and neither HTML, PDF nor text")
    return PLAIN


def _check_size(content: bytes, limit: int) -> None:
    if len(content) > limit:
        raise RefusedError("too_large", f"{len(content)} bytes", measured=float(len(content)), threshold=float(limit))


def _from_text(record: RawRecord, kind: str, settings: ExtractSettings, languages: Languages | None) -> Extracted:
    decoded = _decoded(record, settings)
    if kind == PLAIN:
        return replace(_result(PLAIN, title=None, text=clean_text(decoded.text)), charset=decoded.charset)
    scan = scan_html(decoded.text, max_attributes=settings.max_attributes, max_depth=settings.max_depth)
    # Not at the top: the driver reads settings without loading parsers.
    engines = importlib.import_module("stages.extract_html")
    if settings.engine == "cascade":
        text = engines.visible_text(decoded.text, scan=scan, max_depth=settings.max_depth)
        gate(text, settings, languages)
    engine = engines.ENGINES[settings.page_engine]
    found = engine(decoded.text, scan=scan, max_depth=settings.max_depth, **_structure(settings))
    result = _result(HTML, title=found.title, text=found.text, visible=scan.visible_characters)
    return replace(result, charset=decoded.charset, flags="parser_cut" if found.cut else None)


def _decoded(record: RawRecord, settings: ExtractSettings) -> Decoded:
    decoded = decode(record.content, declared=record.charset)
    if decoded.unreadable > settings.max_unreadable:
        raise RefusedError(
            "bad_encoding",
            f"unreadable characters as {decoded.charset}, the best guess",
            measured=round(decoded.unreadable, 4),
            threshold=settings.max_unreadable,
        )
    return decoded


def _structure(settings: ExtractSettings) -> dict[str, bool]:
    """What an engine that can keep structure is told; others are not asked."""
    return {"markdown": True} if settings.format == "markdown" else {}


def _with_tamis(decoded: Decoded, settings: ExtractSettings, judge: Any) -> Extracted:
    assert judge is not None, "the engine tamis is given a judge"
    found = importlib.import_module("stages.extract_tamis").judged(decoded.text.encode("utf-8", "replace"), judge)
    text = found.text(markdown=settings.format == "markdown")
    result = _result(HTML, title=found.title, text=text, visible=found.visible_characters)
    return replace(result, charset=decoded.charset)


def _from_pdf(content: bytes, settings: ExtractSettings) -> Extracted:
    _check_size(content, settings.max_pdf_bytes)
    engines = importlib.import_module("stages.extract_pdf")
    engine = engines.with_pymupdf if settings.pdf_engine == "pymupdf" else engines.with_pypdfium2
    found = engine(
        content, max_pages=settings.max_pages, max_unreadable=settings.max_unreadable, **_structure(settings)
    )
    return _result(PDF, title=found.title, text=found.text, detail=found.detail)


def _result(
    kind: str, *, title: str | None, text: str, detail: str | None = None, visible: int | None = None
) -> Extracted:
    shown = len("".join(text.split()))
    all_visible = shown if visible is None else visible
    return Extracted(
        media_type=kind,
        title=title,
        text=text,
        reason=None if text else "no_text",
        detail=detail,
        visible_characters=all_visible,
        text_fraction=round(shown / all_visible, SCORE_DECIMALS) if all_visible else None,
        mojibake_fraction=round(mojibake_fraction(text), SCORE_DECIMALS),
    )
