"""justext's paragraphs as trafilatura's fallback needs them: the same answers, in a quarter of the time.

justext 3.0.2 goes through a page by SAX events with name spaces and attributes that it does not read, writes down two
paths for every paragraph, and joins and normalises a paragraph's text anew each time that it is asked for it (about 15
times while a paragraph is classified). trafilatura calls it for four of five pages of a mixed crawl, a third of its
time. Here one walk over the tree makes paragraphs that remember what they were asked.

`install` puts this in place of justext's own only if both make the same of a page that has all of it in it: another
version of justext that does something else keeps its own way, and only the time is lost.
"""

from collections.abc import Collection
from typing import Any, Final

import justext.core
import trafilatura.external
from justext.core import PARAGRAPH_TAGS, ParagraphMaker
from justext.paragraph import Paragraph
from justext.utils import normalize_whitespace
from lxml import etree, html


class RememberingParagraph(Paragraph):  # type: ignore[misc]
    """Paragraph whose text and words are computed once for each length of what it is made of."""

    def __init__(self, path: Any) -> None:
        self.dom_path = path if isinstance(path, str) else path.dom
        #: Nobody asks for it.
        self.xpath = ""
        self.text_nodes: list[str] = []
        self.chars_count_in_links = 0
        self.tags_count = 0
        self.class_type = ""
        self._known = ("", 0)

    @property
    def text(self) -> str:
        """As Paragraph has it."""
        text, nodes = self._known
        if nodes != len(self.text_nodes):
            text = one_space("".join(self.text_nodes).strip())
            self._known = (text, len(self.text_nodes))
        return text

    def append_text(self, text: str) -> str:
        """As Paragraph does it."""
        text = one_space(text)
        self.text_nodes.append(text)
        return text

    def stopwords_density(self, stopwords: Collection[str]) -> float:
        """As Paragraph has it; no letter's lower case depends on what stands behind a space."""
        words = self.text.lower().split()
        return sum(map(stopwords.__contains__, words)) / len(words) if words else 0


def one_space(text: str) -> str:
    """`normalize_whitespace` of justext: every run of white space becomes one space, or one line break if it holds
    one."""
    if "\n" in text or "\r" in text or not text:
        return str(normalize_whitespace(text))
    before = " " if text[0].isspace() else ""
    inner = " ".join(text.split())
    return f"{before}{inner} " if inner and text[-1].isspace() else before + inner


def make_paragraphs(root: Any) -> list[RememberingParagraph]:
    """What ParagraphMaker.make_paragraphs(root) returns; no recursion."""
    paragraphs: list[RememberingParagraph] = []
    #: The names from the root to where the walk stands, joined by dots, at each level.
    paths = [""]
    current = RememberingParagraph("")
    link = after_break = False

    def new_paragraph() -> None:
        nonlocal current
        if current.text:  # A paragraph without text is false to justext.
            paragraphs.append(current)
        current = RememberingParagraph(paths[-1])

    def characters(content: str | None) -> None:
        nonlocal after_break
        if not content or content.isspace():
            return
        text = current.append_text(content)
        if link:
            current.chars_count_in_links += len(text)
        after_break = False

    for event, element in etree.iterwalk(root, events=("start", "end", "comment", "pi")):
        if event == "start":
            name = element.tag.rpartition("}")[2]
            paths.append(f"{paths[-1]}.{name}" if len(paths) > 1 else name)
            if name in PARAGRAPH_TAGS or (name == "br" and after_break):
                current.tags_count -= name == "br"
                new_paragraph()
            else:
                after_break = name == "br"
                if after_break:
                    current.append_text(" ")
                elif name == "a":
                    link = True
                current.tags_count += 1
            characters(element.text)
            continue
        if event == "end":
            name = element.tag.rpartition("}")[2]
            paths.pop()
            if name in PARAGRAPH_TAGS:
                new_paragraph()
            if name == "a":
                link = False
        characters(element.tail)
    new_paragraph()
    return paragraphs


#: A page with everything in it that the walk treats in its own way.
_PROBE: Final = """<html><head><title>Probe</title></head><body>Loose <b>text</b> and a<br>break<br><br>apart &copy;
<h2 class="x">A  heading</h2><div><p>The <a href="x">link of\u00a0the <i>page</i></a> tail<!-- c --> on <?pi?> \r\n two
lines</p><select><option>One<option> Two </select> </div><ul><li>The<li><a>It</a></ul>tail<br> <br>end
<div><br></div></body></html>"""
_STOPWORDS: Final = frozenset({"the", "of", "it"})


def _told(paragraphs: Any) -> list[tuple[Any, ...]]:
    """All that is ever asked of paragraphs."""
    return [
        (each.text, len(each), each.words_count, each.dom_path, each.is_heading, each.tags_count, each.text_nodes,
         each.chars_count_in_links, each.links_density(), each.stopwords_density(_STOPWORDS), each.class_type)
        for each in paragraphs
    ]  # fmt: skip


def agrees(theirs: Any) -> bool:
    """Whether a class that makes paragraphs makes of the probe what `make_paragraphs` makes of it."""
    tree = html.fromstring(_PROBE)
    tree.tail = "behind"
    return _told(theirs.make_paragraphs(tree)) == _told(make_paragraphs(tree))


def install() -> None:
    """Let justext, and trafilatura, make these paragraphs in this process. Once."""
    if justext.core.Paragraph is RememberingParagraph or not agrees(ParagraphMaker):
        return
    justext.core.Paragraph = RememberingParagraph
    ParagraphMaker.make_paragraphs = staticmethod(make_paragraphs)
    # Its tuple of all languages' stop words is hashed for every page; a frozenset remembers its hash.
    if isinstance(trafilatura.external.jt_stoplist_init(), tuple):
        trafilatura.external.JT_STOPLIST = frozenset(trafilatura.external.JT_STOPLIST)
