"""Paragraphs of a PDF as Markdown: headings by size and weight, lists, tables of aligned cells, code by its font."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from stages.pdf_layout import Line
from stages.pdf_paragraphs import BULLETS, Paragraph, joined

#: Letters of a heading are at least so much higher than those of most text.
MIN_HEADING: Final = 1.12
#: A bold paragraph of at most so many characters, without a full stop, is a heading of the lowest level in use.
MAX_BOLD_HEADING: Final = 100
#: Longer paragraphs in large letters are large text (posters, slides), not headings.
MAX_HEADING: Final = 200
_MAX_LEVEL: Final = 6
_MIN_LETTERS: Final = 3
#: Cells of two rows stand in one column if their left edges differ by at most so many line heights, or overlap.
_SAME_COLUMN: Final = 1.0
#: Rows that make a table, and columns.
MIN_ROWS: Final = 2

_BULLET: Final = re.compile(rf"(?:[{BULLETS}]|[-–—*](?= ))\s*")
_NUMBERED: Final = re.compile(r"\(?(\d{1,3})[.)]\s+")
#: What would be read as Markdown at the head of a line.
_MARK: Final = re.compile(r"(?:#{1,6} |> |\||```)")


def as_markdown(paragraphs: Sequence[Paragraph]) -> str:
    """Blocks with a blank line between them; list items, table rows and lines of code follow each other without."""
    levels = _levels(paragraphs)
    texts = joined([paragraph.text for paragraph in paragraphs])
    parts: list[str] = []
    for kind, group in groupby(zip(paragraphs, texts, strict=True), key=lambda item: _kind(item[0], item[1], levels)):
        members = list(group)
        if kind == "code":
            parts.append(_code([line for one, _ in members for line in one.lines]))
        elif kind == "row":
            parts.append(_table([one.lines[0] for one, _ in members]))
        elif kind == "item":
            parts.append("\n".join(_item(text) for _, text in members))
        elif kind.startswith("#"):
            parts.extend(f"{kind} {text}" for _, text in members)
        else:
            parts.extend(_prose(members))
    return "\n\n".join(parts)


def _levels(paragraphs: Sequence[Paragraph]) -> dict[int, str]:
    """Height of letters in half points -> the marks of its heading; heights that are no heading's are absent."""
    letters: Counter[int] = Counter()
    for paragraph in paragraphs:
        for line in paragraph.lines:
            letters[_size(line)] += len(line.text)
    if not letters:
        return {}
    body = max(letters, key=lambda size: (letters[size], -size))
    large = {
        _size(paragraph.lines[0])
        for paragraph in paragraphs
        if _size(paragraph.lines[0]) > MIN_HEADING * body
        and len(paragraph.text) <= MAX_HEADING
        and _letters(paragraph.text)
    }
    levels: dict[int, str] = {}
    level, above = 0, 0
    for size in sorted(large, reverse=True):
        # Sizes that differ by half a point are one: boxes are rounded.
        if not level or above - size > 1:
            level += 1
        above = size
        levels[size] = "#" * min(_MAX_LEVEL, level)
    return levels


def _size(line: Line) -> int:
    return round(2 * line.height)


def _kind(paragraph: Paragraph, text: str, levels: dict[int, str]) -> str:
    first = paragraph.lines[0]
    if all(line.mono for line in paragraph.lines):
        return "code"
    if len(paragraph.lines) == 1 and len(first.cells) > 1 and not _marked(first.cells[0]):
        return "row"
    marks = levels.get(_size(first))
    if marks and len(text) <= MAX_HEADING and _letters(text):
        return marks
    heads = _heads(paragraph, text)
    # A numbered line in bold that stands alone heads a section.
    if _BULLET.match(text) or (_NUMBERED.match(text) and not heads):
        return "item"
    if heads:
        return "#" * min(_MAX_LEVEL, len(set(levels.values())) + 1)
    return "text"


def _marked(cell: str) -> bool:
    return _BULLET.fullmatch(cell + " ") is not None or _NUMBERED.fullmatch(cell + " ") is not None


def _letters(text: str) -> bool:
    """Whether there is at least a short word in it: a formula's signs are large too."""
    return sum(map(str.isalpha, text)) >= _MIN_LETTERS


def _heads(paragraph: Paragraph, text: str) -> bool:
    return (
        all(line.bold for line in paragraph.lines)
        and paragraph.gap
        and len(text) <= MAX_BOLD_HEADING
        and not text.endswith((".", ":", ",", ";"))
        and _letters(text)
    )


def _prose(members: list[tuple[Paragraph, str]]) -> Iterator[str]:
    """Lines that were ended on purpose keep their end: two spaces before it."""
    block: list[str] = []
    for paragraph, text in members:
        if block and paragraph.gap:
            yield "  \n".join(block)
            block = []
        block.append("\\" + text if _MARK.match(text) else text)
    yield "  \n".join(block)


def _item(text: str) -> str:
    number = _NUMBERED.match(text)
    if number:
        return f"{number[1]}. {text[number.end() :]}"
    return "- " + _BULLET.sub("", text, count=1)


def _code(lines: list[Line]) -> str:
    """A fenced block; columns by the width of the letters, blank lines where lines stand far apart."""
    widths = sorted((line.x1 - line.x0) / max(1, len(line.text)) for line in lines)
    width = max(widths[len(widths) // 2], 1e-6)
    left = min(line.x0 for line in lines)
    shown: list[str] = []
    for before, line in zip([None, *lines], lines, strict=False):
        if before is not None and line.middle - before.middle > 2 * before.height:
            shown.append("")
        shown.append(" " * min(80, round((line.x0 - left) / width)) + line.text)
    fence = "```" if not any("```" in line for line in shown) else "~~~~"
    return "\n".join([fence, *shown, fence])


def _table(rows: list[Line]) -> str:
    """A pipe table of rows whose cells stand below each other; rows that make none stay lines."""
    columns = _columns(rows)
    if len(rows) < MIN_ROWS or len(columns) < 2:
        return "  \n".join(line.text for line in rows)
    table = []
    for line in rows:
        cells = [""] * len(columns)
        for place, cell in zip(line.cell_places, line.cells, strict=True):
            at = max((index for index, start in enumerate(columns) if start <= place + line.height), default=0)
            cells[at] = f"{cells[at]} {cell}".strip()
        table.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    table.insert(1, "|" + " --- |" * len(columns))
    return "\n".join(table)


def _columns(rows: list[Line]) -> list[float]:
    """Left edges of columns: places where cells of several rows begin, or of the only rows there are."""
    places = sorted((place, line.height) for line in rows for place in line.cell_places)
    groups: list[list[float]] = []
    for place, height in places:
        if groups and place - groups[-1][-1] <= _SAME_COLUMN * height:
            groups[-1].append(place)
        else:
            groups.append([place])
    needed = 1 if len(rows) <= MIN_ROWS else max(2, len(rows) // 4)
    kept = [group[0] for group in groups if len(group) >= needed]
    return kept or [group[0] for group in groups]
