"""MuPDF's words as fragments, the same that `pdf_characters` makes of PDFium's characters."""

import re
from itertools import pairwise
from typing import Any, Final

from stages.pdf_characters import BOLD_NAMES, GAP_HEIGHTS, MONO_NAMES, RTL, SLANTED, Fragment, Fragments
from stages.pdf_layout import TIGHT_HEIGHTS

#: x0, y0, x1, y1, the word, numbers of its block, of its line there and of the word there.
_Word = tuple[float, float, float, float, str, int, int, int]

_CJK: Final = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")
#: A word of so many characters that is so many times as high as wide does not run from left to right.
_TALL_CHARACTERS: Final = 4
_TALL: Final = 1.5
#: Bits of a span's flags (PyMuPDF's documentation of TextPage).
_MONO: Final = 8
_BOLD: Final = 16
#: MuPDF makes a gap a space only behind letters below U+0700 and a few more (may_add_space in its stext-device.c):
#: Vietnamese vowels, Greek with breathings, Devanagari, Thai and Georgian run together.
_UNSPACED: Final = re.compile("[\u0700-\u1fff]")
_PUNCTUATION: Final = re.compile("[.,:;!?\u060c\u061b\u061f]+")
#: A gap of more than this share of the font's size is a space: MuPDF's own limit is 0.15, and kerning stays below.
_SPACE: Final = 0.15
_UPRIGHT: Final = 0.996  # The cosine of 5 degrees.


def mupdf_fragments(page: Any, *, flags: int, fonts: bool) -> Fragments:
    """The fragments of a page. Words are cheap to get but know neither direction nor font; spans do."""
    text_page = page.get_textpage(flags=flags)
    if not fonts:
        words = text_page.extractWORDS()
        tall = any(len(one[4]) >= _TALL_CHARACTERS and one[3] - one[1] > _TALL * (one[2] - one[0]) for one in words)
        text = " ".join(one[4] for one in words)
        if not tall and (text.isascii() or not (_UNSPACED.search(text) or _runs_down(text, words))):
            return {0: _of_words(words)} if words else {}
    content = text_page.extractDICT()
    lines = [line for block in content["blocks"] for line in block.get("lines", ())]
    if any(_UNSPACED.search(span["text"]) for line in lines for span in line["spans"]):
        return _of_spans(_with_spaces(text_page.extractRAWDICT()))
    return _of_spans(content)


def _runs_down(text: str, words: list[_Word]) -> bool:
    """Whether characters of one line stand below each other: Chinese and Japanese from top to bottom."""
    return _CJK.search(text) is not None and any(
        before[5:7] == one[5:7] and abs(before[0] - one[0]) < one[2] - one[0] and one[1] + one[3] > 2 * before[3]
        for before, one in pairwise(words)
    )


def _of_words(words: list[_Word]) -> list[Fragment]:
    fragments: list[Fragment] = []
    run: list[_Word] = []
    for word in words:
        if run:
            before = run[-1]
            gap = word[0] - before[2] if word[0] >= before[0] else before[0] - word[2]
            if before[5:7] != word[5:7] or gap > GAP_HEIGHTS * (word[3] - word[1]):
                fragments.append(_of_run(run, len(fragments)))
                run = []
        run.append(word)
    if run:
        fragments.append(_of_run(run, len(fragments)))
    return fragments


def _of_run(run: list[_Word], order: int) -> Fragment:
    if len(run) == 1:
        x0, y0, x1, y1, text = run[0][:5]
        return Fragment(x0, y0, x1, y1, text, x1 - x0, order, False, False)
    x0s, _, x1s, _, texts, *_ = zip(*run, strict=True)
    text = " ".join(texts)
    if not text.isascii() and RTL.search(text):
        run = _logical(run)
        text = run[0][4] + "".join(_space_before(word, before) + word[4] for before, word in pairwise(run))
    longest = max(run, key=lambda word: word[2] - word[0])
    return Fragment(min(x0s), longest[1], max(x1s), longest[3], text, run[0][2] - run[0][0], order, False, False)


def _space_before(word: _Word, before: _Word) -> str:
    """MuPDF makes punctuation behind a right-to-left word a word of its own, even where it touches that."""
    touching = before[0] - word[2] < TIGHT_HEIGHTS * (word[3] - word[1])
    return "" if touching and _PUNCTUATION.fullmatch(word[4]) else " "


def _logical(run: list[_Word]) -> list[_Word]:
    """The words of a line in the order in which it is read, where most of it is read from right to left."""
    rtl = [RTL.search(word[4]) is not None for word in run]
    if 2 * sum(rtl) < len(run):
        return run
    ordered: list[_Word] = []
    start = 0
    for word in sorted(run, key=lambda word: -word[2]):
        # Words of other scripts within it keep their order from left to right.
        if RTL.search(word[4]):
            start = len(ordered) + 1
            ordered.append(word)
        else:
            ordered.insert(start, word)
    return ordered


def _of_spans(content: dict[str, Any]) -> Fragments:
    found: Fragments = {}
    order = 0
    for block in content["blocks"]:
        for line in block.get("lines", ()):
            spans = [span for span in line["spans"] if span["text"].strip()]
            if not spans:
                continue
            raw = "".join(span["text"] for span in spans)
            text = " ".join("".join(span["text"] for span in line["spans"]).split())
            x0, x1 = min(span["bbox"][0] for span in spans), max(span["bbox"][2] for span in spans)
            y0, y1 = min(span["bbox"][1] for span in spans), max(span["bbox"][3] for span in spans)
            turn = 3 if line["wmode"] else _turn(*line["dir"])
            if turn == 0:
                # Of the longest: one sign from another font does not make the line higher.
                _, y0, _, y1 = max(spans, key=lambda span: len(span["text"]))["bbox"]
            if turn == 1:
                x0, y0, x1, y1 = -y1, x0, -y0, x1
            elif turn == 2:
                x0, y0, x1, y1 = -x1, -y1, -x0, -y0
            elif turn == 3:
                x0, y0, x1, y1 = y0, -x1, y1, -x0
            # Blanks in front are the indentation of code.
            x0 += (x1 - x0) * (len(raw) - len(raw.lstrip())) / len(raw)
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
            before: dict[str, Any] = {}
            for span in line["spans"]:
                parts = []
                for one in span["chars"]:
                    behind = before and _UNSPACED.match(before["c"]) and not one["c"].isspace()
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
