"""Running headers, footers and page numbers of a document: what stands at one place of many pages, numbers aside."""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from stages.pdf_characters import SLANTED, Fragment, Fragments
from stages.pdf_layout import rows_of

#: Share of the height of all pages, at the top and at the bottom, where headers and footers stand.
ZONE: Final = 0.15
#: Rows that a header or a footer has at most.
MAX_ROWS: Final = 3
#: Pages that repeat a row before it counts as one; a document of two pages has to repeat it on both.
MIN_PAGES: Final = 3
#: Points by which a row may stand elsewhere: rounding, and digits that are higher than others.
SAME_PLACE: Final = 3.0
#: A header is at most so many times as high as half of the document's lines: "Chapter 5" at the head of many pages is
#: a heading.
MAX_HEIGHT: Final = 1.25
#: A row without letters is a page number only if it is this short ("- 12 -", "3 / 117").
_NUMBER_CHARACTERS: Final = 15
#: Share of the pages on which a page number is another one.
_VARYING: Final = 0.9

_NUMBER: Final = re.compile(r"\d+")
_ROMAN: Final = re.compile(r"[ivxlc]{1,7}|[IVXLC]{1,7}")


def without_margins(pages: Sequence[Fragments]) -> list[Fragments]:
    """The pages without rows that repeat at the same place. A page never loses all that it shows."""
    if len(pages) < 2:
        return list(pages)
    heights = sorted(one.y1 - one.y0 for page in pages for one in _main(page)[1])
    highest = MAX_HEIGHT * heights[len(heights) // 2] if heights else 0.0
    edges = [_edges(page) for page in pages]
    places: dict[tuple[str, str, int], dict[int, str]] = defaultdict(dict)
    for number, (top, bottom) in enumerate(_in_zones(edges)):
        for side, rows in (("top", top), ("bottom", bottom)):
            for row in rows:
                if row[0].y1 - row[0].y0 > highest:
                    continue
                text, place = _text(row), _place(row)
                for near in (place - 1, place, place + 1):
                    places[side, _masked(text), near].setdefault(number, text)
    needed = min(MIN_PAGES, len(pages))
    repeated = {key for key, found in places.items() if len(found) >= needed and _runs(key[1], found)}
    result = []
    for page, (top, bottom) in zip(pages, _in_zones(edges), strict=True):
        gone: set[int] = set()
        for side, rows in (("top", top), ("bottom", bottom)):
            for row in rows:
                if row[0].y1 - row[0].y0 > highest or (side, _masked(_text(row)), _place(row)) not in repeated:
                    break
                gone.update(one.order for one in row)
        result.append(_without(page, gone) if gone else page)
    return result


#: Rows from the outermost one inwards.
_Rows = list[list[Fragment]]


def _main(page: Fragments) -> tuple[int, list[Fragment]]:
    """The direction of most text, and its fragments."""
    upright = [(sum(len(one.text) for one in group), -turn) for turn, group in page.items() if turn != SLANTED]
    if not upright:
        return 0, []
    turn = -max(upright)[1]
    return turn, page[turn]


def _edges(page: Fragments) -> tuple[_Rows, _Rows]:
    """The outermost rows of a page, from the top downwards and from the bottom upwards."""
    _, group = _main(page)
    ordered = sorted(group, key=lambda one: (one.y0 + one.y1, one.x0, one.order))
    # Rows have few fragments; more than these would be a table.
    few = 12 * MAX_ROWS
    return rows_of(ordered[:few])[:MAX_ROWS], rows_of(ordered[-few:])[: -MAX_ROWS - 1 : -1]


def _in_zones(edges: list[tuple[_Rows, _Rows]]) -> list[tuple[_Rows, _Rows]]:
    tops = [row[0].y0 for top, _ in edges for row in top[:1]]
    bottoms = [row[0].y1 for _, bottom in edges for row in bottom[:1]]
    if not tops:
        return edges
    highest, lowest = min(tops), max(bottoms)
    reach = ZONE * (lowest - highest)
    return [
        ([row for row in top if row[0].y0 <= highest + reach], [row for row in bottom if row[0].y1 >= lowest - reach])
        for top, bottom in edges
    ]


def _place(row: list[Fragment]) -> int:
    return round((row[0].y0 + row[0].y1) / 2 / SAME_PLACE)


def _text(row: list[Fragment]) -> str:
    return " ".join(one.text for one in row)


def _masked(text: str) -> str:
    return "#" if _ROMAN.fullmatch(text) else _NUMBER.sub("#", text)


def _runs(masked: str, found: dict[int, str]) -> bool:
    """Whether rows that differ in numbers only are a header: words do, numbers alone have to vary."""
    if any(map(str.isalpha, masked)):
        return True
    if not 1 <= masked.count("#") <= 2 or len(masked) > _NUMBER_CHARACTERS:
        return False
    return len(set(found.values())) >= _VARYING * len(found)


def _without(page: Fragments, gone: set[int]) -> Fragments:
    turn, group = _main(page)
    left = {**page, turn: [one for one in group if one.order not in gone]}
    return left if any(left.values()) else page
