"""From chosen blocks to text that reads well: paragraphs, headings, lists, tables, code and quotes in their order."""

from typing import Any, Final

from stages import html_names as names
from stages.compiled import compiled
from stages.html_blocks import (
    BOLD_OFF,
    BOLD_ON,
    CODE_OFF,
    CODE_ON,
    FIRST_OF_ITEM,
    FIRST_ROW,
    FLAGS,
    ITALIC_OFF,
    ITALIC_ON,
    LIST_DEPTH,
    NEXT_CELL,
    ORDINAL,
    ROW,
    SHAPE,
    START,
)

_PRE, _QUOTE, _ITEM, _LIST = names.PRE, names.QUOTE, names.ITEM, names.LIST
#: Deeper lists are not indented further: nobody reads them, and an attacker writes them.
_MAX_INDENT: Final = 8
#: Bytes that `render` may write for one byte of text: the end of a cell is " | ", and "---|" below a table's head.
WRITTEN_BYTES: Final = 7
#: Bytes that `render` may write for one block beside its text: marks, indents, fences, the line below a table's head.
BLOCK_BYTES: Final = 96


@compiled
def _put(out: Any, at: int, byte: int, times: int) -> int:
    for _ in range(times):
        out[at] = byte
        at += 1
    return at


@compiled
def _number(out: Any, at: int, value: int) -> int:
    divisor = 1
    while value // divisor >= 10:
        divisor *= 10
    while divisor:
        out[at] = 48 + value // divisor % 10
        at += 1
        divisor //= 10
    return at


@compiled
def _pairs(text: Any, begin: int, end: int, opens: int, closes: int) -> bool:
    """Whether marks of one kind come in turn, with something between them."""
    last, some = closes, True
    for k in range(begin, end):
        byte = text[k]
        if byte == opens:
            if last == opens:
                return False
            last, some = opens, False
        elif byte == closes:
            if last == closes or not some:
                return False
            last = closes
        elif byte > 32:
            some = True
    return last == closes


@compiled
def render(text: Any, text_end: int, wide: Any, narrow: Any, blocks: int, keep: Any, markdown: bool, out: Any) -> int:
    """Write the blocks that `keep` names to `out` and return the bytes written: at most WRITTEN_BYTES for
    each byte of their text and BLOCK_BYTES for each block. Plain text parts blocks by a line break, Markdown by a blank
    line."""
    at = 0
    before_row = before_item = False
    for block in range(blocks):
        if not keep[block]:
            continue
        begin = wide[block, START]
        end = wide[block + 1, START] if block + 1 < blocks else text_end
        flags, shape = wide[block, FLAGS], narrow[block, SHAPE]
        level = shape & 7
        is_pre = flags & _PRE != 0
        is_row = shape & ROW != 0 and not is_pre
        is_item = flags & _ITEM != 0 and flags & _LIST != 0
        if at:
            out[at] = 10
            at += 1
            if markdown and not (is_row and before_row and not shape & FIRST_ROW) and not (is_item and before_item):
                out[at] = 10
                at += 1
        before_row, before_item = is_row, is_item
        indent = 0
        quote = markdown and flags & _QUOTE != 0
        if quote:
            out[at], out[at + 1] = 62, 32
            at += 2
        if is_item:
            depth = max(0, min(narrow[block, LIST_DEPTH] - 1, _MAX_INDENT))
            indent = 2 * depth if markdown else 0
            at = _put(out, at, 32, indent)
            if shape & FIRST_OF_ITEM:
                if narrow[block, ORDINAL] > 0:
                    at = _number(out, at, narrow[block, ORDINAL])
                    out[at] = 46
                else:
                    out[at] = 45
                out[at + 1] = 32
                at += 2
            elif markdown:
                at = _put(out, at, 32, 2)
        fence = 0
        if markdown and is_pre:
            run = 0
            fence = 3
            for k in range(begin, end):
                run = run + 1 if text[k] == 96 else 0
                fence = max(fence, min(run + 1, 16))
            at = _put(out, at, 96, fence)
            out[at] = 10
            at += 1
        elif markdown and level:
            at = _put(out, at, 35, level)
            out[at] = 32
            at += 1
        if markdown and is_row:
            out[at], out[at + 1] = 124, 32
            at += 2
        inline = markdown and not is_pre
        bold = inline and not level and _pairs(text, begin, end, BOLD_ON, BOLD_OFF)
        italic = inline and _pairs(text, begin, end, ITALIC_ON, ITALIC_OFF)
        code = inline and _pairs(text, begin, end, CODE_ON, CODE_OFF)
        cells = 1
        for k in range(begin, end):
            byte = text[k]
            if byte >= 32:
                if byte == 124 and markdown and is_row:
                    out[at] = 92
                    at += 1
                out[at] = byte
                at += 1
            elif byte == 10:
                while at and out[at - 1] in (32, 9):
                    at -= 1
                if markdown and (level or is_row):
                    out[at] = 32
                else:
                    out[at] = 10
                    if quote:
                        out[at + 1], out[at + 2] = 62, 32
                        at += 2
                at += 1
            elif byte == 9:
                out[at] = 9
                at += 1
            elif byte == NEXT_CELL and is_row:
                out[at], out[at + 1], out[at + 2] = 32, 124, 32
                at += 3
                cells += 1
            elif byte == NEXT_CELL:
                if k > begin:
                    out[at] = 32
                    at += 1
            elif bold and byte in (BOLD_ON, BOLD_OFF):
                out[at] = out[at + 1] = 42
                at += 2
            elif italic and byte in (ITALIC_ON, ITALIC_OFF):
                out[at] = 42
                at += 1
            elif code and byte in (CODE_ON, CODE_OFF):
                out[at] = 96
                at += 1
        if markdown and is_row:
            out[at], out[at + 1] = 32, 124
            at += 2
            if shape & FIRST_ROW:
                out[at], out[at + 1] = 10, 124
                at += 2
                for _ in range(cells):
                    at = _put(out, at, 45, 3)
                    out[at] = 124
                    at += 1
        if fence:
            out[at] = 10
            at = _put(out, at + 1, 96, fence)
    return at
