"""Text and title from a decoded HTML page, by trafilatura or resiliparse, with nothing lost silently.

libxml2 (so lxml, so trafilatura) by default drops everything below and behind nesting depth 256 and behind a text or
attribute of over 10,000,000 bytes, and says so only in an error log. Pages are therefore parsed here with
`huge_tree`, which lifts the first limit to 2,048 and the second out of reach, the log is read, and trafilatura gets
the tree. Neither it nor lexbor ever sees bytes: trafilatura would decompress them on its own account.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import trafilatura
from lxml import etree
from lxml.html import HtmlComment, HtmlElement, HtmlEntity, HTMLParser, HtmlProcessingInstruction, fromstring
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLParserException, HTMLTree
from trafilatura.utils import repair_faulty_html

from stages import justext_paragraphs
from stages.clean import clean_text, clean_title
from stages.limits import RefusedError, Scan

# trafilatura warns on stderr about every page without text; here such a page becomes a row.
logging.getLogger("trafilatura").addHandler(logging.NullHandler())
logging.getLogger("htmldate").addHandler(logging.NullHandler())
justext_paragraphs.install()

#: What we ask of trafilatura. Comments are other people's text in another voice; tables hold facts; deduplication
#: within and between pages is for the stages that book what they remove; neither precision nor recall is favoured,
#: which scored best on trafilatura's own pages (F1 .931 against .924 for precision).
TRAFILATURA_OPTIONS: Final[dict[str, Any]] = {
    "include_comments": False,
    "include_tables": True,
    "deduplicate": False,
    "output_format": "txt",
    "with_metadata": False,
}

#: Elements in which a line break of the source is one of the text.
_PREFORMATTED: Final = ("pre", "textarea", "listing", "xmp", "plaintext")
#: A line break with the white space around it, next to something that is not white space: blank text is left alone.
_SOURCE_LINE: Final = re.compile(r"(?<=\S)[ \t\r\f]*\n\s*|[ \t\r\f]*\n\s*(?=\S)")

#: What libxml2 takes from a page and lxml does not take back.
_NOT_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")

#: What is asked for besides where Markdown is wanted: headings, lists, tables, code and emphasis keep their marks.
MARKDOWN_OPTIONS: Final[dict[str, Any]] = {"output_format": "markdown", "include_formatting": True}

#: Share of a page's visible characters that its tree must hold; below it the parser has lost something. Of 2,265 real
#: pages eleven held less than 0.999 of them and one, a frame set, less than this.
MIN_PARSED_FRACTION: Final = 0.95

#: The class of an element's Python object. lxml asks a Python function for it, so that forms and their fields get
#: classes of their own, each time it makes such an object anew: a million times for 100 pages, 9 % of trafilatura's
#: time. trafilatura asks elements for nothing but what all of them have.
_CLASSES: Final = etree.ElementDefaultClassLookup(
    element=HtmlElement, comment=HtmlComment, entity=HtmlEntity, pi=HtmlProcessingInstruction
)
#: The depth at which libxml2 stops even with `huge_tree` is 2,048; two levels are html and body.
DEEPEST: Final = 2046


@dataclass(frozen=True, kw_only=True)
class HtmlText:
    """What an engine made of a page; `text` is clean and empty if there is none."""

    title: str | None
    text: str
    #: Whether the parser's tree holds clearly less text than the page shows.
    cut: bool = False


def with_trafilatura(page: str, *, scan: Scan, max_depth: int, markdown: bool = False) -> HtmlText:
    """The text that `trafilatura.extract(page, **TRAFILATURA_OPTIONS)` returns, cleaned.

    It differs in four points: line breaks of the page's source are white space, as in a browser; nesting of 256 to
    `max_depth`, large text nodes and what stands behind `</html>` are kept; and a page that does not say `html` in its
    first 50 characters is not rejected for having one block only. Raises RefusedError (too_deep, parser_limit) where
    the parser says that it did not keep the whole page.
    """
    tree = parse_whole(page, scan=scan, max_depth=max_depth)
    if tree is None:
        return HtmlText(title=None, text="")
    cut = _characters(tree) < MIN_PARSED_FRACTION * scan.visible_characters
    _join_source_lines(tree)
    text = trafilatura.extract(tree, **(TRAFILATURA_OPTIONS | (MARKDOWN_OPTIONS if markdown else {})))
    return HtmlText(title=_title(tree), text=clean_text(text or ""), cut=cut)


def _characters(tree: Any) -> int:
    """Characters of the tree's text that are not white space, without scripts and styles."""
    every = etree.tostring(tree, method="text", encoding="unicode", with_tail=False)
    hidden = sum(len("".join(element.text.split())) for element in tree.iter("script", "style") if element.text)
    return len("".join(every.split())) - hidden


def _join_source_lines(tree: Any) -> None:
    """Turn the line breaks of the source code into spaces, except in preformatted text.

    trafilatura 2.3.1 keeps them where text follows a `br`, so that one sentence becomes several lines, and rules that
    judge lines (C4's, FineWeb's) cut it to pieces.
    """
    kept = {inner for outer in tree.iter(*_PREFORMATTED) for inner in outer.iter()}
    for element in tree.iter(etree.Element):
        text, tail = element.text, element.tail
        # Most of what holds a line break is indentation: nothing but white space, which stays.
        if text and "\n" in text and not text.isspace() and element not in kept:
            element.text = _NOT_XML.sub("", _SOURCE_LINE.sub(" ", text))
        if tail and "\n" in tail and not tail.isspace() and not (element in kept and element.tag not in _PREFORMATTED):
            element.tail = _NOT_XML.sub("", _SOURCE_LINE.sub(" ", tail))


def _lexbor_tree(page: str, *, scan: Scan, max_depth: int) -> Any:
    """The page as lexbor parses it. Raises RefusedError (too_deep).

    lexbor has no limit of its own, but takes quadratic time to nest: where the scan cannot rule out that a page is
    deeper than `max_depth`, libxml2 decides, so that both engines refuse the same pages.
    """
    if scan.may_be_deeper:
        parse_whole(page, scan=scan, max_depth=max_depth)
    try:
        return HTMLTree.parse(page)
    except HTMLParserException as error:
        # lexbor takes any page; it fails only where it gets no memory.
        raise MemoryError("lexbor") from error


def visible_text(page: str, *, scan: Scan, max_depth: int) -> str:
    """All text that the page shows, menus included, not cleaned. Raises RefusedError (too_deep)."""
    return str(extract_plain_text(_lexbor_tree(page, scan=scan, max_depth=max_depth), main_content=False))


def with_resiliparse(page: str, *, scan: Scan, max_depth: int) -> HtmlText:
    """The text that `extract_plain_text(main_content=True)` returns, cleaned. Raises RefusedError (too_deep)."""
    tree = _lexbor_tree(page, scan=scan, max_depth=max_depth)
    return HtmlText(title=clean_title(tree.title), text=clean_text(extract_plain_text(tree, main_content=True)))


def parse_whole(page: str, *, scan: Scan, max_depth: int) -> Any:
    """The lxml tree of the whole page, as trafilatura parses it; None if there is no element in it.

    Raises RefusedError: too_deep for elements nested deeper than `max_depth`, parser_limit where libxml2 stopped
    for another reason.
    """
    page = repair_faulty_html(page, page[:50].lower())
    # The parser keeps the log of its last run, so each page has its own.
    parser = HTMLParser(
        collect_ids=False,
        default_doctype=False,
        encoding="utf-8",
        remove_comments=True,
        remove_pis=True,
        huge_tree=True,
    )
    parser.set_element_class_lookup(_CLASSES)
    try:
        tree = _parse(page, parser)
    except etree.ParserError:  # "Document is empty"
        return None
    except etree.XMLSyntaxError as error:
        # The parser recovers from any syntax. No tree and no error to name is what is left when memory runs out.
        if "unknown error" in str(error):
            raise MemoryError("libxml2") from error
        raise
    for fatal in parser.error_log.filter_from_fatals():
        if fatal.type == etree.ErrorTypes.ERR_NO_MEMORY:
            raise MemoryError("libxml2")
        if fatal.type == etree.ErrorTypes.ERR_RESOURCE_LIMIT:
            if "depth" in fatal.message:
                raise _too_deep(max_depth)
            raise RefusedError("parser_limit", fatal.message)
    if scan.may_be_deeper and _deeper(tree, max_depth):
        raise _too_deep(max_depth)
    _append_what_follows(tree)
    return tree


def _append_what_follows(tree: Any) -> None:
    """Bring into the page what stands behind `</html>`, where browsers show it too.

    libxml2 2.14 makes it another `html` element beside the first, which nobody looks at: eight of 2,265 real pages
    lost up to half of their text there, and say nothing about it.
    """
    page = tree.find("body") if tree.find("body") is not None else tree
    for extra in list(tree.itersiblings("html")):
        for part in extra.iter("html", "body"):
            part.tag = "div"
        page.append(extra)


def _parse(page: str, parser: Any) -> Any:
    """The tree, from text first and from bytes where lxml asks for bytes or finds nothing, as trafilatura does it."""
    try:
        tree = fromstring(page, parser=parser)
    except ValueError:  # "Unicode strings with encoding declaration are not supported."
        return fromstring(page.encode("utf-8", "surrogatepass"), parser=parser)
    if len(tree) < 1:
        tree = fromstring(page.encode("utf-8", "surrogatepass"), parser=parser)
    return tree


def _too_deep(max_depth: int) -> RefusedError:
    return RefusedError("too_deep", f"elements nested deeper than {max_depth}", threshold=float(max_depth))


def _deeper(tree: Any, limit: int) -> bool:
    """Whether any element of the tree has more than `limit` above it. Linear, without recursion."""
    depth = 0
    for event, _ in etree.iterwalk(tree, events=("start", "end")):
        depth += 1 if event == "start" else -1
        if depth > limit + 1:
            return True
    return False


def _title(tree: Any) -> str | None:
    found = tree.findtext(".//head/title")
    return clean_title(found if found is not None else tree.findtext(".//title"))


#: What makes a page's text, by the engine's name.
ENGINES: Final[dict[str, Callable[..., HtmlText]]] = {"trafilatura": with_trafilatura, "resiliparse": with_resiliparse}
