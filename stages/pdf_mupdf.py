"""MuPDF's words as fragments, the same that `pdf_characters` makes of PDFium's characters."""

import re
from typing import Any, Final

from stages.pdf_characters import BOLD_NAMES, GAP_HEIGHTS, MONO_NAMES, SLANTED, Fragment, Fragments

#: A word of so many characters that is so many times as high as wide does not run from left to right.
_TALL_CHARACTERS: Final = 4
_TALL: Final = 1.5
#: Bits of a span's flags (PyMuPDF's documentation of TextPage).
_MONO: Final = 8
_BOLD: Final = 16
#: MuPDF makes a gap a space only behind letters below U+0700 and a few more (may_add_space in its stext-device.c):
#: Vietnamese vowels, Greek with breathings, Devanagari, Thai and Georgian run together.
_UNSPACED: Final = re.compile("[\u0700-\u1fff]")
#: A gap of more than this share of the font's size is a space: MuPDF's own limit is 0.15, and kerning stays below.
_SPACE: Final = 0.15
_UPRIGHT: Final = 0.996  # The cosine of 5 degrees.


def mupdf_fragments(page: Any, *, flags: int, fonts: bool) -> Fragments:
    """The fragments of a page. Words are cheap to get but know neither direction nor font; spans do."""
    text_page = page.get_textpage(flags=flags)
    if not fonts:
        words = text_page.extractWORDS()
        tall = any(len(one[4]) >= _TALL_CHARACTERS and one[3] - one[1] > _TALL * (one[2] - one[0]) for one in words)
        if not tall and not _UNSPACED.search(" ".join(one[4] for one in words)):
            return {0: _of_words(words)} if words else {}
    content = text_page.extractDICT()
    if any(_UNSPACED.search(span["text"]) for block in content["blocks"] for line in block.get("lines", ()) for span in line["spans"]):
        return _of_spans(_with_spaces(text_page.extractRAWDICT()))
    return _of_spans(content)


def _of_words(words: list[tuple[float, float, float, float, str, int, int, int]]) -> list[Fragment]:
    fragments: list[Fragment] = []
    parts: list[str] = []
    place: tuple[int, int] = (-1, -1)
    u0 = v0 = u1 = v1 = last0 = last1 = first_width = 0.0
    for x0, y0, x1, y1, word, block, line, _ in words:
        if parts:
            gap = x0 - last1 if x0 >= last0 else last0 - x1
            if (block, line) == place and gap <= GAP_HEIGHTS * (y1 - y0):
                parts.append(word)
                u0, v0, u1, v1 = min(u0, x0), min(v0, y0), max(u1, x1), max(v1, y1)
                last0, last1 = x0, x1
                continue
            fragments.append(Fragment(u0, v0, u1, v1, " ".join(parts), first_width, len(fragments), False, False))
        parts, place = [word], (block, line)
        u0, v0, u1, v1, last0, last1, first_width = x0, y0, x1, y1, x0, x1, x1 - x0
    if parts:
        fragments.append(Fragment(u0, v0, u1, v1, " ".join(parts), first_width, len(fragments), False, False))
    return fragments


def _of_spans(content: dict[str, Any]) -> Fragments:
    found: Fragments = {}
    order = 0
    for block in content["blocks"]:
        for line in block.get("lines", ()):
            spans = [span for span in line["spans"] if span["text"].strip()]
            if not spans:
                continue
            text = " ".join("".join(span["text"] for span in line["spans"]).split())
            x0, x1 = min(span["bbox"][0] for span in spans), max(span["bbox"][2] for span in spans)
            y0, y1 = min(span["bbox"][1] for span in spans), max(span["bbox"][3] for span in spans)
            turn = 3 if line["wmode"] else _turn(*line["dir"])
            if turn == 1:
                x0, y0, x1, y1 = -y1, x0, -y0, x1
            elif turn == 2:
                x0, y0, x1, y1 = -x1, -y1, -x0, -y0
            elif turn == 3:
                x0, y0, x1, y1 = y0, -x1, y1, -x0
            first_width = (x1 - x0) * len(text.split(" ", 1)[0]) / len(text)
            bold = all(_is(span, _BOLD, BOLD_NAMES) for span in spans)
            mono = all(_is(span, _MONO, MONO_NAMES) for span in spans)
            found.setdefault(turn, []).append(Fragment(x0, y0, x1, y1, text, first_width, order, bold, mono))
            order += 1
    return found


def _with_spaces(content: dict[str, Any]) -> dict[str, Any]:
    """Spans of characters as spans of text, with the spaces that MuPDF leaves out behind letters of some scripts."""
    for block in content["blocks"]:
        for line in block.get("lines", ()):
            before = None
            for span in line["spans"]:
                parts = []
                for one in span["chars"]:
                    behind = before is not None and _UNSPACED.match(before["c"]) and not one["c"].isspace()
                    if behind and one["bbox"][0] - before["bbox"][2] > _SPACE * span["size"]:
                        parts.append(" ")
                    parts.append(one["c"])
                    before = one
                span["text"] = "".join(parts)
    return content


def _turn(cosine: float, sine: float) -> int:
    """Direction as `pdf_characters` counts it. MuPDF's y runs down, so text that runs up has a sine of -1."""
    for turn, value in ((0, cosine), (1, -sine), (2, -cosine), (3, sine)):
        if value >= _UPRIGHT:
            return turn
    return SLANTED


def _is(span: dict[str, Any], flag: int, names: tuple[str, ...]) -> bool:
    lower = span["font"].lower()
    return bool(span["flags"] & flag) or any(name in lower for name in names)
