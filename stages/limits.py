"""What can be known about an HTML page before a parser sees it: one linear scan over its markup.

libxml2 and lexbor take longer than quadratic time for many attributes on one tag (40,000 of them: 24 s and 6 s), and
lexbor for deep nesting (90,000 elements: over 8 s), so such pages are told by their characters alone and not by a
clock: what is refused does not depend on the machine or its load.
"""

import re
from dataclasses import dataclass
from typing import Final

from stages.reasons import REASONS

# Attributes as the HTML standard reads them: a quote counts only behind an equals sign, and a quoted value may hold
# `>`. Possessive quantifiers (`++`, `*+`) never give back what they matched, which keeps the scan linear on any input:
# whatever opens and is not closed reaches to the end, as it does in a browser.
_ATTRIBUTES: Final = r"""(?:[^>=]++|=\s*+(?:"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z))?+)*+"""
_COMMENT: Final = r"<!--(?:-?>|[^-]*+(?:-(?!-!?>)[^-]*+)*+(?:--!?>|\Z))"
_SCRIPT: Final = rf"<[sS][cC][rR][iI][pP][tT](?=[\s/>]){_ATTRIBUTES}>?[^<]*+(?:<(?!/[sS][cC][rR][iI][pP][tT])[^<]*+)*+"
_STYLE: Final = rf"<[sS][tT][yY][lL][eE](?=[\s/>]){_ATTRIBUTES}>?[^<]*+(?:<(?!/[sS][tT][yY][lL][eE])[^<]*+)*+"
_TAG: Final = rf"</?[A-Za-z]{_ATTRIBUTES}>?"
_DECLARATION: Final = r"<[!?/][^>]*+>?"
_MARKUP: Final = re.compile(f"({_COMMENT}|{_SCRIPT}|{_STYLE}|{_TAG}|{_DECLARATION})")

#: What follows an attribute's name: `= "value"`. The look-behind keeps it linear on white space.
_VALUE: Final = re.compile(r"""(?<!\s)\s*+=\s*+(?:"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z)|[^\s>]*+)""")
_NAME: Final = re.compile(r"<(/?)([A-Za-z][^\s/>]*)")

#: A character written as an entity; those of white space show nothing.
_ENTITY: Final = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_BLANK_ENTITY: Final = re.compile(
    r"&(?:nbsp;?|(?:ensp|emsp|thinsp|#0*+(?:9|10|13|32|160)|#[xX]0*+(?:9|[aAdD]|20|[aA]0));)"
)

#: Elements that hold nothing, and those that the next of their kind or their parent's end closes: they do not nest
#: by being left open. Source: the HTML standard, void elements and optional tags.
# fmt: off
_NOT_NESTING: Final = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track",
    "wbr", "basefont", "bgsound", "frame", "keygen", "html", "head", "body", "p", "li", "dt", "dd", "tr", "td",
    "th", "thead", "tbody", "tfoot", "colgroup", "caption", "option", "optgroup", "rp", "rt",
})
# fmt: on


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

    Time and memory are linear in the length: 7 ns and at most 20 bytes a character.
    """
    parts = _MARKUP.split(text)
    tags = parts[1::2]
    # An attribute takes two characters at least, a name and a separator.
    if max(map(len, tags), default=0) > 2 * max_attributes:
        for tag in tags:
            if len(tag) > 2 * max_attributes:
                _check_attributes(tag, max_attributes)
    return Scan(
        visible_characters=_shown("".join(parts[::2])),
        may_be_deeper=len(tags) > max_depth and _may_be_deeper(tags, max_depth),
    )


def _shown(text: str) -> int:
    """Characters that are not white space; an entity counts as one character, or none if it is a blank."""
    if "&" in text:
        text = _ENTITY.sub("&", _BLANK_ENTITY.sub(" ", text))
    return len("".join(text.split()))


def _check_attributes(tag: str, limit: int) -> None:
    name = _NAME.match(tag)
    if name is None:
        return
    head = tag
    if name.group(2).lower() in ("script", "style"):
        head = re.match(_TAG, tag).group()  # type: ignore[union-attr]
    count = len(_VALUE.sub(" ", head[name.end() :].removesuffix(">")).replace("/", " ").split())
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


def _may_be_deeper(tags: list[str], limit: int) -> bool:
    """Whether more than `limit` elements are open at once, if an end tag closes the last of its name and no other."""
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
