"""PDFium's characters as fragments: runs of text on one line, with their boxes.

PDFium is asked character by character (what, where, at which angle), which by ctypes costs four times what PDFium
itself takes for a page. So the loop is compiled and calls PDFium's functions by their addresses.
"""

import ctypes
import re
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
import pypdfium2
import pypdfium2.raw as pdfium
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from stages.compiled import compiled

#: Text running right, up, left, down (multiples of 90 degrees counter-clockwise), and at any other angle.
SLANTED: Final = 4
#: A gap of this many line heights ends a fragment: more than between words, less than between most columns. Rows put
#: fragments together again where no column comes between.
GAP_HEIGHTS: Final = 0.8
#: Lines of which less than this share of the lower height overlaps are different lines: superscripts overlap by more.
_LINE_OVERLAP: Final = 0.35
#: From here on Unicode has the scripts that are also written from top to bottom.
_FIRST_CJK: Final = 0x2E80
#: Text within so many degrees of a right angle counts as upright: PDFium's angle is that of the letters' stems, and
#: letters slanted for want of an italic font lean by up to 20.
_SIGNIFICANT_DEGREES: Final = 25.0
#: Share of the height under which a gap between Chinese or Japanese characters that PDFium takes for a space is none.
_CJK_SPACE: Final = 0.6
#: And under which one that the file itself calls a space is none.
_NO_SPACE: Final = 0.15
RTL: Final = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_LETTER: Final = r"[0-9A-Za-z\u00c0-\u024f\u0370-\u052f%]"
#: Runs that are read from left to right within right-to-left text.
_LEFT_TO_RIGHT: Final = re.compile(rf"{_LETTER}(?:[^\s\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]*{_LETTER})?")
_BRACKET: Final = re.compile(r"[()\[\]{}]")
_MIRRORED: Final = str.maketrans("()[]{}", ")(][}{")
#: PDFium's marks for a hyphen that it takes for one of line end.
_HYPHENS: Final = (0x2, 0xFFFE)
_LAST_CODE_POINT: Final = 0x10FFFF
_FIRST_SURROGATE: Final = 0xD800
_LAST_SURROGATE: Final = 0xDFFF
#: Annotations with a look of their own that may be text.
_SHOWN: Final = frozenset({pdfium.FPDF_ANNOT_WIDGET, pdfium.FPDF_ANNOT_FREETEXT, pdfium.FPDF_ANNOT_STAMP})
#: Annotations of a page that are looked at: a page with more is full of links.
_MAX_ANNOTATIONS: Final = 2_000
#: Flags of a font descriptor (ISO 32000-1, table 123).
_FIXED_PITCH: Final = 1
_FORCE_BOLD: Final = 1 << 18
_FONT_NAME_BYTES: Final = 256
#: What the names of bold and of monospaced fonts have in them; many files set no flag. cmtt is TeX's typewriter.
BOLD_NAMES: Final = ("bold", "black", "heavy", "cmbx", "sfbx")
MONO_NAMES: Final = ("mono", "courier", "consol", "cmtt", "sftt", "typewriter", "menlo")


class Fragment(NamedTuple):
    """A run of text on one line. Coordinates in points in the frame of its direction: x along the text, y down."""

    x0: float
    y0: float
    x1: float
    y1: float
    #: Ends in a space where the file has one before the next fragment.
    text: str
    #: Width of the first word: a line that had room for it was ended on purpose.
    first_width: float
    #: Place in the file's own order.
    order: int
    bold: bool
    mono: bool


#: Direction (0 to 4) -> fragments in the file's order.
Fragments = dict[int, list[Fragment]]


@intrinsic  # type: ignore[untyped-decorator]
def _call(context: Any, address: Any, page: Any, index: Any, pointer: Any) -> Any:  # noqa: ARG001 - numba's own form
    """uint32 function(page, int index, void *pointer) at an address; a shorter argument list is called as well."""

    def build(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [ir.IntType(64), ir.IntType(32), ir.IntType(64)])
        return builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])

    return types.uint32(types.int64, types.int64, types.int32, types.int64), build


@intrinsic  # type: ignore[untyped-decorator]
def _call_float(context: Any, address: Any, page: Any, index: Any) -> Any:  # noqa: ARG001
    """float function(page, int index) at an address."""

    def build(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.FloatType(), [ir.IntType(64), ir.IntType(32)])
        return builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])

    return types.float32(types.int64, types.int64, types.int32), build


@compiled
def _unspaced(code: int) -> bool:
    """Whether a character is of Chinese or Japanese, which have no spaces between words."""
    return (
        0x2E80 <= code <= 0x312F
        or 0x31A0 <= code <= 0x9FFF
        or 0xF900 <= code <= 0xFAFF
        or 0xFF00 <= code <= 0xFF9F
        or 0x20000 <= code <= 0x3FFFF
    )


@compiled
def _right_to_left(code: int) -> bool:
    return 0x590 <= code <= 0x8FF or 0xFB1D <= code <= 0xFDFF or 0xFE70 <= code <= 0xFEFC


@compiled
def _collect(
    unicode_at: int, box_at: int, angle_at: int, generated_at: int, page: int, count: int, within: np.ndarray,
    box: np.ndarray, box_pointer: int, text: np.ndarray, bounds: np.ndarray, boxes: np.ndarray,
) -> int:  # fmt: skip
    """Fill `text` (code points), `bounds` (first and end in `text`, first character, direction, right-to-left letters
    that follow each other to the right minus those to the left) and `boxes` (x0, y0, x1, y1, first word's width) with
    one row a fragment; the number of fragments. All of them have room for `count`."""
    fragments, length = 0, 0
    is_open = vertical = pending_space = generated = first_done = False
    direction, start, shown = 0, 0, 0
    u0 = v0 = u1 = v1 = last_u0 = last_u1 = last_v0 = last_v1 = 0.0
    x = y = gap = 0.0
    for index in range(count + 1):
        code = np.uint32(13)
        if index < count:
            code = _call(unicode_at, page, np.int32(index), 0)
        if code in (13, 10):
            if is_open:
                bounds[fragments, 1] = length
                fragments += 1
            is_open = pending_space = False
            continue
        if code in (32, 0xA0, 9):
            pending_space = is_open
            generated = _call(generated_at, page, np.int32(index), 0) == 1
            continue
        _call(box_at, page, np.int32(index), box_pointer)
        left, top, right, bottom = box[0], box[1], box[2], box[3]
        x_middle, y_middle = (left + right) / 2, (top + bottom) / 2
        if not (within[0] <= x_middle <= within[2] and within[1] <= y_middle <= within[3]):
            continue  # Off the page: nobody sees it.
        degrees = _call_float(angle_at, page, np.int32(index)) * 57.29577951308232
        turn = int(degrees / 90.0 + 0.5)
        turn = SLANTED if abs(degrees - turn * 90.0) > _SIGNIFICANT_DEGREES else turn % 4
        if is_open and vertical and turn == 0:
            turn = 3
        n_u0, n_v0, n_u1, n_v1 = left, -top, right, -bottom
        if turn == 1:
            n_u0, n_v0, n_u1, n_v1 = bottom, left, top, right
        elif turn == 2:
            n_u0, n_v0, n_u1, n_v1 = -right, bottom, -left, top
        elif turn == 3:
            n_u0, n_v0, n_u1, n_v1 = -top, -right, -bottom, -left
        if is_open:
            height = min(last_v1 - last_v0, n_v1 - n_v0)
            overlap = min(last_v1, n_v1) - max(last_v0, n_v0)
            gap = max(n_u0 - last_u1, last_u0 - n_u1)
            same = turn == direction and (
                direction == SLANTED or (overlap >= _LINE_OVERLAP * height and gap <= GAP_HEIGHTS * (last_v1 - last_v0))
            )
            if not same and turn == 0 and direction == 0 and length - start == 1 and code >= _FIRST_CJK:
                # Upright characters that stand one below the other: a line that runs down.
                width = max(right - left, 1e-3)
                below = abs((left + right) / 2 - x) < 0.3 * width and 0 <= -top - (y - 0.4 * width) <= 0.8 * width
                if below and text[start] >= _FIRST_CJK:
                    vertical, same, direction = True, True, 3
                    bounds[fragments, 3] = 3
                    old = u0, v0, u1, v1
                    u0, v0, u1, v1 = old[1], -old[2], old[3], -old[0]
                    n_u0, n_v0, n_u1, n_v1 = -top, -right, -bottom, -left
            if not same:
                if pending_space:
                    text[length] = 32
                    length += 1
                bounds[fragments, 1] = length
                fragments += 1
                is_open = pending_space = False
                if vertical:
                    turn = 0
                    n_u0, n_v0, n_u1, n_v1 = left, -top, right, -bottom
        if not is_open:
            bounds[fragments, 0], bounds[fragments, 2] = length, index
            bounds[fragments, 3], bounds[fragments, 4] = turn, 0
            is_open, vertical, first_done, direction, start, shown = True, False, False, turn, length, 0
            u0, v0, u1, v1 = n_u0, n_v0, n_u1, n_v1
        elif (
            pending_space
            and _unspaced(text[length - 1])
            and _unspaced(int(code))
            and gap < (_CJK_SPACE if generated else _NO_SPACE) * (v1 - v0)
        ):
            pending_space = False  # PDFium takes wide setting for spaces; Chinese and Japanese are written without.
            first_done = True
        elif pending_space:
            text[length] = 32
            length += 1
            pending_space = False
            first_done = True
        if _right_to_left(int(code)) and length > start and _right_to_left(text[length - 1]):
            bounds[fragments, 4] += 1 if n_u0 > last_u0 else -1
        text[length] = code
        length += 1
        # Upper and lower edge are the letters' mean: one sign from another font does not make the line higher.
        shown += 1
        v0, v1 = v0 + (n_v0 - v0) / shown, v1 + (n_v1 - v1) / shown
        u0, u1 = min(u0, n_u0), max(u1, n_u1)
        boxes[fragments, 0], boxes[fragments, 1], boxes[fragments, 2], boxes[fragments, 3] = u0, v0, u1, v1
        if not first_done:
            boxes[fragments, 4] = u1 - u0
        last_u0, last_u1, last_v0, last_v1 = n_u0, n_u1, n_v0, n_v1
        x, y = (left + right) / 2, -bottom
    return fragments


@cache
def _addresses() -> tuple[int, int, int, int]:
    """Of PDFium's functions: code point, loose box and angle of a character, and whether PDFium has added it."""
    functions = (
        pdfium.FPDFText_GetUnicode,
        pdfium.FPDFText_GetLooseCharBox,
        pdfium.FPDFText_GetCharAngle,
        pdfium.FPDFText_IsGenerated,
    )
    found = [ctypes.cast(function, ctypes.c_void_p).value or 0 for function in functions]
    return found[0], found[1], found[2], found[3]


def prepare() -> None:
    """Compile, or load what was compiled before: seconds that no document should pay for out of its own budget."""
    box = np.zeros(4, np.float32)
    arrays = np.empty(2, np.uint32), np.empty((1, 5), np.int32), np.empty((1, 5))
    # Of no characters: no function is called.
    _collect(0, 0, 0, 0, 0, 0, np.zeros(4, np.float64), box, box.ctypes.data, *arrays)


def fragments_of(
    text_page: pypdfium2.PdfTextPage, *, within: tuple[float, float, float, float], fonts: bool
) -> Fragments:
    """The fragments of a page that lie in its box (left, bottom, right, top); with `fonts` it is also told which are
    bold or monospaced."""
    count = max(0, int(pdfium.FPDFText_CountChars(text_page)))
    box = np.zeros(4, np.float32)
    # A space may stand before each character.
    text, bounds, boxes = (
        np.empty(2 * count + 2, np.uint32),
        np.empty((count + 1, 5), np.int32),
        np.empty((count + 1, 5)),
    )
    page = ctypes.cast(text_page.raw, ctypes.c_void_p).value or 0
    found = _collect(
        *_addresses(), page, count, np.array(within, np.float64), box, box.ctypes.data, text, bounds, boxes
    )
    if found == 0:
        return {}
    used = text[: bounds[found - 1, 1]]
    for odd in _HYPHENS:
        used[used == odd] = ord("-")
    used[used > _LAST_CODE_POINT] = ord("\ufffd")
    whole = used.tobytes().decode("utf-32-le", "surrogatepass")
    paired = bool(((used >= _FIRST_SURROGATE) & (used <= _LAST_SURROGATE)).any())
    result: Fragments = {}
    places, measures = bounds[:found].tolist(), boxes[:found].tolist()
    fonts_seen: dict[int, tuple[bool, bool]] = {}
    for order in range(found):
        begin, end, first, direction, rightwards = places[order]
        x0, y0, x1, y1, first_width = measures[order]
        piece = whole[begin:end]
        if paired:
            piece = piece.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        if rightwards and not piece.isascii():
            piece = _logical(piece, visual=rightwards > 0)
        bold, mono = _font(text_page, first, fonts_seen) if fonts else (False, False)
        fragment = Fragment(x0, y0, x1, y1, piece, first_width, order, bold, mono)
        result.setdefault(direction, []).append(fragment)
    return result


def _logical(text: str, *, visual: bool) -> str:
    """Text with right-to-left letters in the order in which it is read.

    PDFium turns Hebrew and most Arabic round itself, but not letters in their shapes for a place in the word, nor
    brackets, whose glyphs it reads as they are seen.
    """
    if visual:
        text = _LEFT_TO_RIGHT.sub(lambda match: match[0][::-1], text[::-1])
    brackets = _BRACKET.findall(text)
    if brackets and brackets[0] in ")]}":
        text = text.translate(_MIRRORED)
    return text


def _font(text_page: pypdfium2.PdfTextPage, index: int, seen: dict[int, tuple[bool, bool]]) -> tuple[bool, bool]:
    """Whether the character's font is bold, and whether it is monospaced: by its flags, its weight and its name."""
    shown = pdfium.FPDFText_GetTextObject(text_page, index)
    if not shown:
        return False, False
    font = pdfium.FPDFTextObj_GetFont(shown)
    key = ctypes.cast(font, ctypes.c_void_p).value or 0
    if key not in seen:
        name = ctypes.create_string_buffer(_FONT_NAME_BYTES)
        pdfium.FPDFFont_GetBaseFontName(font, name, _FONT_NAME_BYTES)
        flags, lower = pdfium.FPDFFont_GetFlags(font), name.value.decode("latin-1").lower()
        bold = bool(flags > 0 and flags & _FORCE_BOLD) or any(word in lower for word in BOLD_NAMES)
        mono = bool(flags > 0 and flags & _FIXED_PITCH) or any(word in lower for word in MONO_NAMES)
        seen[key] = bold, mono
    return seen[key]


def shows_annotations(page: pypdfium2.PdfPage) -> bool:
    """Whether a page has annotations whose look may hold text: form fields, free text and stamps. Links do not."""
    for index in range(min(int(pdfium.FPDFPage_GetAnnotCount(page)), _MAX_ANNOTATIONS)):
        annotation = pdfium.FPDFPage_GetAnnot(page, index)
        if annotation:
            kind = pdfium.FPDFAnnot_GetSubtype(annotation)
            pdfium.FPDFPage_CloseAnnot(annotation)
            if kind in _SHOWN:
                return True
    return False
