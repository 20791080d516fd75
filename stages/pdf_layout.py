"""The order in which a page is read: fragments with boxes go in, lines in reading order come out, column by column.

A recursive cut along white space. Bands are what overlaps vertically; bands below each other that leave the same
gutter free form a region; a region is cut at a gutter if both halves read like columns of text and not like the cells
of a table, or if the file itself writes one half after the other. What is not cut is read row by row. The same for
every engine; nothing depends on more than the boxes, the texts and the file's order.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median_low
from typing import Final, NamedTuple

from stages.pdf_characters import RTL, SLANTED, Fragment, Fragments

#: Rows are told apart by the middle of their letters: boxes of fonts reach over the line spacing and overlap.
_MIDDLE: Final = 0.25
#: A gutter is at least so many line heights wide. Typical ones are 1.2 (journals) to 3; a space is 0.25.
MIN_GUTTER_HEIGHTS: Final = 0.75
#: Lines in each half for columns where the file writes them one after the other, and where it alternates.
MIN_COLUMN_LINES: Final = 2
MIN_ALTERNATING_LINES: Final = 4
#: Characters of a typical line in each half: cells of tables are shorter. Columns of newspapers have 20 and up.
MIN_COLUMN_CHARACTERS: Final = 12
MIN_ALTERNATING_CHARACTERS: Final = 20
#: Share of its half's width that a typical line of alternating columns fills.
MIN_FILL: Final = 0.7
#: Deeper than any page is nested; bounds the recursion.
MAX_CUTS: Final = 12
#: Fragments of one row with a gap under this many heights stand together without a space (superscripts, kerning).
TIGHT_HEIGHTS: Final = 0.1
#: A gap of at least this many heights within a row parts cells.
CELL_HEIGHTS: Final = 1.0
#: More fragments than this on one page are no text to be laid out (maps, plots): they keep the file's order.
MAX_FRAGMENTS: Final = 20_000

CJK: Final = "\u2e80-\u303f\u3040-\u30ff\u3100-\u312f\u31a0-\u9fff\uf900-\ufaff\uff00-\uff9f\U00020000-\U0003ffff"
_CJK_END: Final = re.compile(f"[{CJK}]$")
_CJK_START: Final = re.compile(f"^[{CJK}]")
_LEFT_PUNCTUATION: Final = re.compile(r"([.,:;!?\u060c\u061b\u061f]+)\s*(\w.*)", re.DOTALL)


class Line(NamedTuple):
    """One line as it is read. Coordinates as in Fragment."""

    x0: float
    y0: float
    x1: float
    y1: float
    text: str
    first_width: float
    cells: tuple[str, ...]
    #: Left edges of the cells.
    cell_places: tuple[float, ...]
    bold: bool
    mono: bool
    rtl: bool

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def middle(self) -> float:
        return (self.y0 + self.y1) / 2


@dataclass(frozen=True, kw_only=True)
class Block:
    """Lines that stand below each other in one column."""

    lines: list[Line]


def read_order(fragments: Fragments) -> list[Block]:
    """The blocks of a page in reading order: text of the commonest direction first, then other directions."""
    blocks: list[Block] = []
    by_size = sorted(fragments.items(), key=lambda item: (-sum(len(one.text) for one in item[1]), item[0]))
    for direction, group in by_size:
        if direction == SLANTED or len(group) > MAX_FRAGMENTS:
            blocks.extend(Block(lines=[_line([one])]) for one in group)
        else:
            _cut(sorted(group, key=_top), blocks, MAX_CUTS)
    return blocks


def rows_of(fragments: Sequence[Fragment]) -> list[list[Fragment]]:
    """Fragments that stand side by side, from top to bottom; within a row in the order of their left edges.

    `fragments` are sorted by `_top`.
    """
    rows: list[list[Fragment]] = []
    bottom = 0.0
    for one in fragments:
        middle = (one.y0 + one.y1) / 2
        if rows and middle < bottom:
            rows[-1].append(one)
            continue
        rows.append([one])
        bottom = middle + _MIDDLE * 2 * (one.y1 - one.y0)
    for row in rows:
        if len(row) > 1:
            row.sort(key=lambda one: (one.x0, one.order))
    return rows


def _top(one: Fragment) -> tuple[float, float, int]:
    return one.y0 + one.y1, one.x0, one.order


class _Band(NamedTuple):
    """What overlaps vertically, and the free intervals between its leftmost and rightmost edge."""

    fragments: list[Fragment]
    x0: float
    x1: float
    gutters: list[tuple[float, float]]


def _cut(group: list[Fragment], blocks: list[Block], cuts_left: int) -> None:
    """Append the blocks of `group` (sorted by `_top`) in reading order."""
    pending: list[Fragment] = []

    def flush() -> None:
        if pending:
            blocks.append(Block(lines=[_line(row) for row in rows_of(pending)]))
            pending.clear()

    for region, gutters in _regions(group):
        halves = _halves(region, gutters) if gutters and cuts_left else None
        if halves is None:
            pending.extend(region)
            continue
        flush()
        for half in halves:
            _cut(half, blocks, cuts_left - 1)
    flush()


def _bands(group: list[Fragment], smallest: float) -> list[_Band]:
    bands: list[_Band] = []
    start, bottom = 0, float("-inf")
    for index, one in enumerate(group):
        reach = _MIDDLE * (one.y1 - one.y0)
        middle = (one.y0 + one.y1) / 2
        if middle - reach > bottom and index:
            bands.append(_band(group[start:index], smallest))
            start = index
            bottom = float("-inf")
        bottom = max(bottom, middle + reach)
    if group:
        bands.append(_band(group[start:], smallest))
    return bands


def _band(members: list[Fragment], smallest: float) -> _Band:
    if len(members) == 1:
        return _Band(members, members[0].x0, members[0].x1, [])
    spans = sorted((one.x0, one.x1) for one in members)
    gutters, right = [], spans[0][1]
    for x0, x1 in spans:
        if x0 - right >= smallest:
            gutters.append((right, x0))
        right = max(right, x1)
    return _Band(members, spans[0][0], right, gutters)


def _regions(group: list[Fragment]) -> list[tuple[list[Fragment], list[tuple[float, float]]]]:
    """Bands below each other that share gutters, with those gutters; bands without any are regions of their own."""
    regions: list[tuple[list[Fragment], list[tuple[float, float]]]] = []
    if not group:
        return regions
    members: list[Fragment] = []
    gutters: list[tuple[float, float]] = []
    # Of all, so that an integral sign or a heading does not ask for a gutter of its own size.
    smallest = MIN_GUTTER_HEIGHTS * median_low(one.y1 - one.y0 for one in group)
    for band in _bands(group, smallest):
        if members and gutters:
            left = _shared(gutters, band, smallest)
            if left:
                members += band.fragments
                gutters = left
                continue
        elif members and band.gutters:
            # Lines before the first row of a table or of columns: short ones may belong to the left column.
            left = _before(members, band, smallest)
            if left:
                members += band.fragments
                gutters = left
                continue
        elif members:
            members += band.fragments
            continue
        if members:
            regions.append((members, gutters))
        members, gutters = list(band.fragments), band.gutters
    if members:
        regions.append((members, gutters))
    return regions


def _shared(gutters: list[tuple[float, float]], band: _Band, smallest: float) -> list[tuple[float, float]]:
    """What of each gutter the band leaves free too, where that is still wide enough."""
    free = [(float("-inf"), band.x0), *band.gutters, (band.x1, float("inf"))]
    found = []
    for low, high in gutters:
        for free_low, free_high in free:
            start, end = max(low, free_low), min(high, free_high)
            if end - start >= smallest:
                found.append((start, end))
    return found


def _before(members: list[Fragment], band: _Band, smallest: float) -> list[tuple[float, float]]:
    gutters = band.gutters
    for one in members:
        gutters = [
            (start, end)
            for low, high in gutters
            for start, end in ((low, min(high, one.x0)), (max(low, one.x1), high))
            if end - start >= smallest
        ]
        if not gutters:
            break
    return gutters


def _halves(region: list[Fragment], gutters: list[tuple[float, float]]) -> list[list[Fragment]] | None:
    """The region cut at the widest gutter at which both halves are columns; None if there is none."""
    for low, high in sorted(gutters, key=lambda gutter: (gutter[0] - gutter[1], gutter[0])):
        cut = (low + high) / 2
        left = [one for one in region if one.x1 <= cut]
        right = [one for one in region if one.x1 > cut]
        if left and right and _are_columns(left, right):
            return [right, left] if _mostly_rtl(region) else [left, right]
    return None


def _are_columns(left: list[Fragment], right: list[Fragment]) -> bool:
    lines = [[_line(row) for row in rows_of(half)] for half in (left, right)]
    fewest = min(map(len, lines))
    if fewest < MIN_COLUMN_LINES:
        return False
    typical = min(map(_typical_length, lines))
    if _CJK_START.match(lines[0][0].text):
        typical *= 2
    sides = [side for _, side in sorted([(one.order, 0) for one in left] + [(one.order, 1) for one in right])]
    changes = sum(before != after for before, after in pairwise(sides))
    if changes <= max(1, fewest // 4):
        return typical >= MIN_COLUMN_CHARACTERS
    return (
        fewest >= MIN_ALTERNATING_LINES
        and typical >= MIN_ALTERNATING_CHARACTERS
        and min(_fill(half) for half in lines) >= MIN_FILL
    )


def _typical_length(lines: list[Line]) -> int:
    """Half of the characters stand in lines of at least this length: formulas between the lines do not count much."""
    lengths = sorted((len(line.text) for line in lines), reverse=True)
    half, seen = sum(lengths) / 2, 0
    for length in lengths:
        seen += length
        if seen >= half:
            return length
    return 0


def _fill(lines: list[Line]) -> float:
    width = max(line.x1 for line in lines) - min(line.x0 for line in lines)
    return median_low(line.x1 - line.x0 for line in lines) / max(width, 1e-6)


def _mostly_rtl(fragments: Sequence[Fragment]) -> bool:
    text = "".join(one.text for one in fragments)
    return not text.isascii() and 2 * len(RTL.findall(text)) > sum(map(str.isalpha, text))


def _from_the_right(row: Sequence[Fragment]) -> list[Fragment]:
    """A row of right-to-left text as it is read. What stands in it in letters or digits of other scripts is read from
    left to right, but for punctuation at its left end: that belongs to the line, so it is read last."""
    merged: list[Fragment] = []
    for one in sorted(row, key=lambda one: (one.x0, one.order)):
        if merged and not (RTL.search(one.text) or RTL.search(merged[-1].text)):
            before = merged[-1]
            gap, height = one.x0 - before.x1, before.y1 - before.y0
            if gap < CELL_HEIGHTS * height:
                space = "" if gap < TIGHT_HEIGHTS * height or before.text.endswith(" ") else " "
                merged[-1] = before._replace(x1=max(before.x1, one.x1), text=before.text + space + one.text)
                continue
        merged.append(one)
    return [one._replace(text=_punctuated(one.text)) for one in reversed(merged)]


def _punctuated(text: str) -> str:
    found = None if RTL.search(text) else _LEFT_PUNCTUATION.match(text)
    return f"{found[2].rstrip()}{found[1]}" if found else text


def _line(row: list[Fragment]) -> Line:
    """One row as text: gaps are spaces, except within CJK text and where letters nearly touch."""
    first = row[0]
    if len(row) == 1:
        rtl = not first.text.isascii() and _mostly_rtl(row)
        text = " ".join(first.text.split()) if rtl else first.text.rstrip()
        return Line(
            first.x0, first.y0, first.x1, first.y1, text, first.first_width, (text,), (first.x0,),
            first.bold, first.mono, rtl,
        )  # fmt: skip
    rtl = _mostly_rtl(row)
    ordered = _from_the_right(row) if rtl else row
    # The letters of a row are as high as most of it, not as its superscripts.
    widest = max(row, key=lambda one: (one.x1 - one.x0, -one.order))
    height = widest.y1 - widest.y0
    cells, places, parts = [], [ordered[0].x0], [ordered[0].text]
    for before, one in pairwise(ordered):
        gap = before.x0 - one.x1 if rtl else one.x0 - before.x1
        if gap >= CELL_HEIGHTS * height:
            cells.append("".join(parts).rstrip())
            places.append(one.x0)
            parts = [one.text]
            continue
        touching = gap < TIGHT_HEIGHTS * height
        cjk = gap < height and _CJK_END.search(before.text) and _CJK_START.search(one.text)
        parts.append(one.text if touching or cjk or before.text.endswith(" ") else " " + one.text)
    cells.append("".join(parts).rstrip())
    if rtl:
        # Each word may bring the space in front of it as well as the one behind it.
        cells = [" ".join(cell.split()) for cell in cells]
    return Line(
        min(one.x0 for one in row), widest.y0, max(one.x1 for one in row), widest.y1, " ".join(cells),
        ordered[0].first_width, tuple(cells), tuple(places),
        all(one.bold for one in row), all(one.mono for one in row), rtl,
    )  # fmt: skip
