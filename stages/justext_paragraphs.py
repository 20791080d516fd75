"""justext's paragraphs as trafilatura's fallback needs them: the same answers, at half the time.

justext 3.0.2 joins and normalises a paragraph's text anew each time that it is asked for it (about 15 times while a
paragraph is classified), and writes down an XPath for every paragraph, which nothing reads here. trafilatura calls it
for four of five pages of a mixed crawl, a fifth of its time.
"""

from typing import Any

import justext.core
from justext.paragraph import Paragraph
from justext.utils import normalize_whitespace


class RememberingParagraph(Paragraph):  # type: ignore[misc]
    """Paragraph whose text is computed once for each length of what it is made of."""

    def __init__(self, path: Any) -> None:
        self.dom_path = path.dom
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
            text = normalize_whitespace("".join(self.text_nodes).strip())
            self._known = (text, len(self.text_nodes))
        return text


def install() -> None:
    """Let justext make these paragraphs, in this process."""
    justext.core.Paragraph = RememberingParagraph
