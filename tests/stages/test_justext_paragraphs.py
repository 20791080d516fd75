"""The paragraphs that justext is given here say what its own say."""

import justext.core
import pytest
from justext.core import PathInfo
from justext.paragraph import Paragraph

from stages.extract import ExtractSettings, load_engines
from stages.justext_paragraphs import RememberingParagraph

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
