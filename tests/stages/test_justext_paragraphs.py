"""The paragraphs that justext is given here say what its own say."""

import justext.core
import lxml.sax
import pytest
from justext.core import ParagraphMaker, PathInfo
from justext.paragraph import Paragraph
from justext.utils import normalize_whitespace
from lxml import html

from stages.extract import ExtractSettings, load_engines
from stages.justext_paragraphs import RememberingParagraph, agrees, make_paragraphs, one_space

STOPLIST = frozenset({"the", "of"})


@pytest.mark.parametrize(
    "pieces", [[], ["  The  end\n of ", " "], ["one", " ", "two\r\n\r\nthree", "\t"], [" of the of "], [""]]
)
def test_after_every_piece_both_paragraphs_answer_the_same(pieces):
    path = PathInfo().append("body").append("h2")
    own, theirs = RememberingParagraph(path), Paragraph(path)
    for piece in [*pieces, None]:
        for name in ("text", "words_count", "is_heading", "is_boilerplate", "dom_path", "text_nodes"):
            assert getattr(own, name) == getattr(theirs, name)
        assert (len(own), own.contains_text()) == (len(theirs), theirs.contains_text())
        assert own.stopwords_density(STOPLIST) == theirs.stopwords_density(STOPLIST)
        assert own.links_density() == theirs.links_density()
        if piece is not None:
            assert own.append_text(piece) == theirs.append_text(piece)


def test_justext_makes_them_once_the_engines_are_loaded():
    load_engines(ExtractSettings())
    assert justext.core.Paragraph is RememberingParagraph
    body = "<p>" + "The house stood at the end of the road for all of the years. " * 9 + "</p>"
    found = justext.core.justext(f"<html><body>{body}<p>Home</p></body></html>".encode(), STOPLIST)
    assert [paragraph.is_boilerplate for paragraph in found] == [False, True]


#: Behind install(), the class still holds the way from its events to paragraphs.
class ByEvents(ParagraphMaker):
    @classmethod
    def make_paragraphs(cls, root):
        handler = cls()
        lxml.sax.saxify(root, handler)
        return handler.paragraphs


PAGES = [
    "<p>The house <a href=x>stood <b>at</b> the</a> end</p> of <br><br> the road",
    "<div><br></div><table><tr><td>One<td>Two</table><!-- out --> behind <a>a<p>link</p>left open",
    "<h2>A\u00a0heading  of\ttwo</h2><pre>kept\n  as\r\nit is</pre><select><option>1<option>2</select>",
    "<div>" * 500 + "The bottom." + "</div>" * 500,
]


@pytest.mark.parametrize("page", PAGES)
def test_the_walk_makes_the_paragraphs_that_the_events_make(page):
    tree = html.document_fromstring(f"<html><body>{page}</body></html>", parser=html.HTMLParser(huge_tree=True))
    own, theirs = make_paragraphs(tree), ByEvents.make_paragraphs(tree)
    assert len(own) > 0
    for names in ("text", "text_nodes", "dom_path", "tags_count", "chars_count_in_links"):
        assert [getattr(each, names) for each in own] == [getattr(each, names) for each in theirs]


@pytest.mark.parametrize("text", ["", " ", "a", " a  b ", "\u3000a\x1cb", "a \n b", "a\r", "\t"])
def test_white_space_becomes_one_space(text):
    assert one_space(text) == normalize_whitespace(text)


def test_a_justext_that_does_something_else_is_left_alone():
    class Other(ByEvents):
        def characters(self, content):
            super().characters(content.upper())

    assert agrees(ByEvents)
    assert not agrees(Other)
