"""The compiled scan against the patterns that say in one line each what it does in many."""

import random
import re
from typing import Final

import pytest

from stages.limits import _NOT_NESTING, RefusedError, Scan, _check_attributes, _nests_deeper, scan_html

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

#: A character written as an entity; those of white space show nothing.
_ENTITY: Final = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_BLANK_ENTITY: Final = re.compile(
    r"&(?:nbsp;?|(?:ensp|emsp|thinsp|#0*+(?:9|10|13|32|160)|#[xX]0*+(?:9|[aAdD]|20|[aA]0));)"
)


#: What pages are made of, and what they are made of when they are damaged.
PIECES: Final = (
    "<", "</", "<!", "<!--", "-->", "--!>", "--", "-", ">", "/>", "=", "\"", "'", " ", "\n", "\x1c", "\x85", "\xa0",
    "\u3000", "\u2009", "\u205f", "\u200b", "\x00", "a", "B", "\xe9", "\u8a9e", "\U0001d11e", "\ud800", "<p>",
    "<div>", "</div>", "<DIV class=x>", "<div/>", "<b a='x>y' c=\"<\">", "<script>", "<SCRIPT\x1f", "</script",
    "</ScRiPt >", "<style", "</style>", "<style>", "<scripty>", "<?php", "&", "&amp;", "&nbsp", "&nbsp;", "&nbspx;",
    "&ensp;", "&ensp", "&thinsp;", "&#160;", "&#00032;", "&#xA0;", "&#X0a;", "&#x0000020;", "&#9;", "&#99999999;",
    "&#1;", "&#x1234567;", "&a;", "&abcdefghijklmnopqrstuvwxyz012345;", "&abcdefghijklmnopqrstuvwxyz0123456;", "#",
    "x", "0", "1", ";", "am", "p;", "<li>", "</li>", "<svg", "<\xc9>", "<d\xe9>", "</d\xe9>", " a b c d e f g h",
    "<a/b/c/d/e/f/g/h/i/j/k>", "='", "=\"",
)  # fmt: skip


def by_patterns(text: str, *, max_attributes: int, max_depth: int) -> Scan:
    """`scan_html` as it was written before there was a kernel."""
    parts = _MARKUP.split(text)
    tags = parts[1::2]
    for tag in tags:
        head = re.match(_TAG, tag) if re.match("</?[A-Za-z]", tag) else None
        if head and len(tag) > 2 * max_attributes:
            _check_attributes(head.group(), max_attributes)
    shown = "".join(parts[::2])
    if "&" in shown:
        shown = _ENTITY.sub("&", _BLANK_ENTITY.sub(" ", shown))
    return Scan(
        visible_characters=len("".join(shown.split())),
        may_be_deeper=len(tags) > max_depth and _nests_deeper(tags, max_depth),
    )


def told(scan: object, page: str, *, max_attributes: int, max_depth: int) -> object:
    try:
        return scan(page, max_attributes=max_attributes, max_depth=max_depth)  # type: ignore[operator]
    except RefusedError as refused:
        return (refused.reason, refused.detail, refused.measured, refused.threshold)


@pytest.mark.parametrize("seed", range(8))
def test_the_kernel_says_what_the_patterns_say(seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(1_500):
        page = "".join(draw.choices(PIECES, k=draw.randrange(1, 60)))
        limits = {"max_attributes": draw.choice((1, 3, 1000)), "max_depth": draw.choice((1, 2, 5, 100))}
        assert told(scan_html, page, **limits) == told(by_patterns, page, **limits), repr((page, limits))


def test_many_names_nest_as_few_do() -> None:
    names = [f"n{number}" for number in range(3_000)]
    page = "".join(f"<{name}></{name.upper()}>" for name in names)
    assert not scan_html(page, max_attributes=10, max_depth=100).may_be_deeper
    assert scan_html(page.replace("/", ""), max_attributes=10, max_depth=5_999).may_be_deeper
    assert not scan_html(page.replace("/", ""), max_attributes=10, max_depth=6_000).may_be_deeper


@pytest.mark.parametrize("name", sorted(_NOT_NESTING))
def test_what_is_left_open_by_habit_does_not_nest(name: str) -> None:
    assert not scan_html(f"<{name.title()}>" * 20, max_attributes=10, max_depth=10).may_be_deeper
