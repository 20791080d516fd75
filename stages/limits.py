"""What can be known about an HTML page before a parser sees it: one linear scan over its markup.

libxml2 and lexbor take longer than quadratic time for many attributes on one tag (40,000 of them: 24 s and 6 s), and
lexbor for deep nesting (90,000 elements: over 8 s), so such pages are told by their characters alone and not by a
clock: what is refused does not depend on the machine or its load.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

import numpy as np

from stages.html_scan import count_shown, find_markup, may_nest_deeper
from stages.reasons import REASONS

#: What follows an attribute's name: `= "value"`. The look-behind keeps it linear on white space.
_VALUE: Final = re.compile(r"""(?<!\s)\s*+=\s*+(?:"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z)|[^\s>]*+)""")
_NAME: Final = re.compile(r"<(/?)([A-Za-z][^\s/>]*)")

#: Elements that hold nothing, and those that the next of their kind or their parent's end closes: they do not nest
#: by being left open. Source: the HTML standard, void elements and optional tags.
# fmt: off
_NOT_NESTING: Final = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track",
    "wbr", "basefont", "bgsound", "frame", "keygen", "html", "head", "body", "p", "li", "dt", "dd", "tr", "td",
    "th", "thead", "tbody", "tfoot", "colgroup", "caption", "option", "optgroup", "rp", "rt",
})
# fmt: on
_FLAT: Final = tuple(name.encode() for name in sorted(_NOT_NESTING))
_FLAT_NAMES: Final = np.frombuffer(b"".join(_FLAT), dtype=np.uint8)
_FLAT_PLACES: Final = np.array([0, *accumulate(map(len, _FLAT))], dtype=np.int64)


class RefusedError(Exception):
    """A document that no text comes from: its reason code, and what the ledger says about it."""

    def __init__(
        self, reason: str, detail: str, *, measured: float | None = None, threshold: float | None = None
    ) -> None:
        assert reason in REASONS, reason
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
        self.measured = measured
        self.threshold = threshold


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What one pass over a page's markup tells."""

    #: Characters outside tags, comments, scripts and styles that are not white space; an entity counts as one.
    #: What the page could show, and more (hidden parts, menus): a text far below it has lost something.
    visible_characters: int
    #: Whether elements may nest deeper than was asked about. False is certain; True is for a parser to check, since
    #: an element that another one's end closes counts as open here.
    may_be_deeper: bool


def scan_html(text: str, *, max_attributes: int, max_depth: int) -> Scan:
    """Scan a decoded page. Raises RefusedError with `too_many_attrs` if one tag has more than `max_attributes`.

    Time and memory are linear in the length: 2 ns and at most 10 bytes for each byte of the page as UTF-8.
    """
    data = text.encode("utf-8", "surrogatepass")
    page = np.frombuffer(data, dtype=np.uint8)
    # An attribute takes two characters at least, a name and a separator.
    head_bytes = 2 * max_attributes
    # Where the tags are is asked only where they are enough to nest too deep.
    most = data.count(b"<")
    places = np.empty((2, most if most > max_depth else 0), np.int32 if len(data) < 1 << 31 else np.int64)
    shown = np.empty(len(data), np.uint8)
    heads = np.empty((len(data) // (head_bytes + 1) + 1, 2), np.int64)
    count, kept, long_heads = find_markup(page, head_bytes, shown, places[0], places[1], heads)
    between = shown[:kept]
    # The kernels are compiled for one type of array: the page's, which is read-only.
    between.flags.writeable = False
    for start, end in heads[:long_heads].tolist():
        _check_attributes(data[start:end].decode("utf-8", "surrogatepass"), max_attributes)
    return Scan(
        visible_characters=count_shown(between),
        may_be_deeper=count > max_depth and _may_be_deeper(data, page, places[:, :count], max_depth),
    )


def _check_attributes(tag: str, limit: int) -> None:
    name = _NAME.match(tag)
    if name is None:
        return
    count = len(_VALUE.sub(" ", tag[name.end() :].removesuffix(">")).replace("/", " ").split())
    if count > limit:
        raise RefusedError(
            "too_many_attrs",
            f"a <{name.group(2)[:20].lower()}> tag with {count} attributes",
            measured=float(count),
            threshold=float(limit),
        )


class _Names(dict[str, str]):
    """What a tag's first word does to nesting: the name that it opens, `/` and the name that it closes, or nothing.

    A page has thousands of tags and dozens of first words; asking a pattern for each tag took half of the scan.
    """

    def __missing__(self, word: str) -> str:
        match = _NAME.match(word)
        name = match.group(2).lower() if match else ""
        self[word] = found = "" if match is None or name in _NOT_NESTING else match.group(1) + name
        return found


def _may_be_deeper(data: bytes, page: Any, places: Any, limit: int) -> bool:
    """Whether more than `limit` elements are open at once, if an end tag closes the last of its name and no other."""
    told = may_nest_deeper(page, places[0], places[1], limit, _FLAT_NAMES, _FLAT_PLACES)
    if told >= 0:
        return bool(told)
    return _nests_deeper((data[a:b].decode("utf-8", "surrogatepass") for a, b in places.T.tolist()), limit)


def _nests_deeper(tags: Iterable[str], limit: int) -> bool:
    """`_may_be_deeper` for names in any letters."""
    names = _Names()
    opened: dict[str, int] = {}
    depth = 0
    for tag in tags:
        name = names[tag.split(None, 1)[0]]
        if not name:
            continue
        if name[0] == "/":
            name = name[1:]
            if opened.get(name, 0):
                opened[name] -= 1
                depth -= 1
        elif not tag.endswith("/>"):
            opened[name] = opened.get(name, 0) + 1
            depth += 1
            if depth > limit:
                return True
    return False
