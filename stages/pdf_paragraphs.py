"""From lines in reading order to paragraphs: a line end that the line's width forced is a space, any other one stays.

A line was ended on purpose if the next line's first word would have fitted on it. That tells paragraphs from lists,
headings, verses, addresses and code without knowing fonts or languages.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median_low
from typing import Final, Literal

from stages.clean import cut_words, mend_pdf_text, pdf_characters, whole_words
from stages.pdf_layout import CJK, Block, Line

#: Heights of lines of one paragraph differ by less than this share; headings differ by more.
_SAME_HEIGHT: Final = 0.12
#: A step of more than so many usual steps from line to line is a gap between paragraphs.
_GAP: Final = 1.3
#: A step of more than so many line heights is a gap even where no usual step is known (double spacing is 2.4).
_WIDE_GAP: Final = 1.8
#: Line heights by which a line has to be indented for it to mean something.
_INDENT: Final = 0.6
#: A space is about a quarter of a line's height wide.
_SPACE: Final = 0.25
#: Justification shrinks spaces, so a word that fits by less may have been pushed out.
_SLACK: Final = 0.35

#: What list items begin with.
BULLETS: Final = "•●▪■◦○‣⁃∙·►➢➤✓❖\uf0b7\uf0a7"
_MARKS: Final = rf"[{BULLETS}]|[-–—*](?= )|\[\d{{1,4}}\](?= )|[ａ-ｚＡ-Ｚ](?=\s)"
#: With letters, which a line of prose may begin with by chance ("A. Smith").
ITEM: Final = re.compile(rf"(?:{_MARKS}|\(?(?:\d{{1,3}}|[a-zA-Z])[.)](?= ))\s*")
_ITEM_WITHOUT_LETTER: Final = re.compile(rf"(?:{_MARKS}|\(?\d{{1,3}}[.)](?= ))\s*")
_CJK_FIRST: Final = re.compile(f"[{CJK}]")
_CJK_JOIN: Final = re.compile(f"(?<=[{CJK}])\n(?=[{CJK}])")
#: A hyphen that `mend_pdf_text` leaves: numbers and signs on either side ("x86-\n64").
_HYPHEN_JOIN: Final = re.compile("(?<=\\w[-\u2010])\n(?=\\w)")
_CUT: Final = re.compile("[^\\W\\d_][-\u2010\u00ad]$")
_ENDED: Final = re.compile("[.!?:;。！？…؟۔\"'”’»)\\]]$")

Break = Literal["join", "line", "blank"]


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    """Lines that belong together. `gap`: a blank line stands before it."""

    lines: tuple[Line, ...]
    gap: bool
    #: Starts a block: a page, a column or what stands between columns.
    first: bool

    @property
    def text(self) -> str:
        """Its lines, each with its line end."""
        return "\n".join(line.text for line in self.lines)


def paragraphs_of(blocks: Sequence[Block]) -> list[Paragraph]:
    """The paragraphs of a document's blocks. One that a column or page end cuts in mid sentence is put together."""
    found: list[Paragraph] = []
    for block in blocks:
        for paragraph in _in_block(block):
            if paragraph.first and found and _continues(found[-1], paragraph):
                found[-1] = replace(found[-1], lines=found[-1].lines + paragraph.lines)
            else:
                found.append(paragraph)
    return found


def joined(paragraphs: Sequence[str]) -> list[str]:
    """Paragraphs whose lines are joined: no space within CJK text, words that a line end cuts put together."""
    cleaned = [pdf_characters(text) for text in paragraphs]
    vocabulary = whole_words(cleaned) if any(cut_words(text) for text in cleaned) else frozenset()
    return [one if "\n" not in one else _joined(one, vocabulary) for one in cleaned]


def as_text(paragraphs: Sequence[Paragraph]) -> str:
    """Plain text: a blank line between paragraphs, a line end between lines that stand close together."""
    parts: list[str] = []
    for paragraph, text in zip(paragraphs, joined([one.text for one in paragraphs]), strict=True):
        parts.append("\n\n" if paragraph.gap else "\n")
        parts.append(text)
    return "".join(parts)


def _joined(text: str, vocabulary: frozenset[str]) -> str:
    if cut_words(text) or "\u00ad" in text:
        text = mend_pdf_text(text, vocabulary=vocabulary).strip("\n")
    if not text.isascii():
        text = _CJK_JOIN.sub("", text)
    return _HYPHEN_JOIN.sub("", text).replace("\n", " ")


def _in_block(block: Block) -> Iterator[Paragraph]:
    lines = block.lines
    if not lines:
        return
    steps = [two.middle - one.middle for one, two in pairwise(lines)]
    # In heights, since a heading's lines stand further apart.
    near = [step / line.height for step, line in zip(steps, lines, strict=False) if 0 < step <= 3 * line.height]
    usual = median_low(near) if len(near) >= 3 else 0.0
    rights = sorted(line.x1 for line in lines)
    lefts = sorted((line.x0 for line in lines), reverse=True)
    # The edge that most long lines reach: one line that sticks out does not make all others short.
    edge = rights[(9 * len(rights)) // 10] if len(rights) >= 10 else rights[-1]
    left_edge = lefts[(9 * len(lefts)) // 10] if len(lefts) >= 10 else lefts[-1]
    start, gap, first = 0, True, True
    for index in range(1, len(lines)):
        after = lines[index + 1] if index + 1 < len(lines) else None
        kind = _break(lines[index - 1], lines[index], after, index - 1 == start, usual, edge, left_edge)
        if kind != "join":
            yield Paragraph(lines=tuple(lines[start:index]), gap=gap, first=first)
            start, gap, first = index, kind == "blank", False
    yield Paragraph(lines=tuple(lines[start:]), gap=gap, first=first)


def _break(
    above: Line, line: Line, after: Line | None, above_is_first: bool, usual: float, edge: float, left_edge: float
) -> Break:
    height = min(above.height, line.height)
    step = line.middle - above.middle
    if step < 0 or step > (_GAP * usual if usual else _WIDE_GAP) * height or step > 3 * max(above.height, line.height):
        return "blank"
    if abs(above.height - line.height) > _SAME_HEIGHT * max(above.height, line.height):
        return "blank" if abs(above.height - line.height) > 2 * _SAME_HEIGHT * above.height else "line"
    if above.mono and line.mono:
        return "line"
    if _CUT.search(above.text) and line.text[:1].isalpha():
        return "join"
    if above.bold != line.bold and (above.bold or above_is_first) and _room(above, line, edge, left_edge):
        return "line"
    if _is_row(above) or _is_row(line) or _starts_item(line):
        return "line"
    if _room(above, line, edge, left_edge):
        return "line"
    indent = (above.x1 - line.x1) if line.rtl else (line.x0 - above.x0)
    if abs((above.x0 + above.x1) - (line.x0 + line.x1)) < height and abs(indent) > height:
        return "join"  # Centred.
    if indent > _INDENT * height:
        hanging = above_is_first and (
            after is None
            or abs(after.x0 - line.x0) < _INDENT * height
            or _ITEM_WITHOUT_LETTER.match(above.text) is not None
        )
        return "join" if hanging else "line"
    if indent < -_INDENT * height and not above_is_first:
        return "line"
    return "join"


def _room(above: Line, line: Line, edge: float, left_edge: float) -> bool:
    """Whether the first word of `line` would have fitted on the line above it."""
    free = above.x0 - left_edge if line.rtl else edge - above.x1
    width = min(line.first_width, line.height) if _CJK_FIRST.match(line.text) else line.first_width
    return width + (_SPACE + _SLACK) * line.height < free


def _is_row(line: Line) -> bool:
    """Whether it is a row of a table or a form: cells apart, other than a list's mark and its text."""
    return len(line.cells) > 2 or (len(line.cells) == 2 and ITEM.fullmatch(line.cells[0] + " ") is None)


def _starts_item(line: Line) -> bool:
    return _ITEM_WITHOUT_LETTER.match(line.text) is not None


def _continues(above: Paragraph, below: Paragraph) -> bool:
    """Whether a paragraph goes on in the next column or on the next page: it ends in mid sentence, in the same size."""
    last, first = above.lines[-1], below.lines[0]
    return (
        not _ENDED.search(last.text)
        and first.text[:1].islower()
        and abs(last.height - first.height) <= _SAME_HEIGHT * last.height
        and not (_is_row(last) or _is_row(first) or _starts_item(first) or last.mono or first.mono)
        and len(above.lines) + len(below.lines) > 2
    )
