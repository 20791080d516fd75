"""From a page to its blocks of text: one linear pass of the HTML standard's tokenizer, compiled, without a tree.

A block is the text between two boundaries of block elements, white space collapsed as a browser does it, kept verbatim
in `pre`; the cells of a short table row are one block. What a tree is for, which elements a text stands in, is
answered by a stack of open elements of bounded size: an element beyond it is counted and not pushed, so that nesting
costs nothing and loses nothing. Every byte is looked at a bounded number of times, there is no recursion, and memory is
a fixed number of bytes for each tag.

In the text of a block these bytes mark what is inline (no page's own control characters get there):

    02 03 link begins, ends     04 05 bold     06 07 italic     0e 0f code     1f next cell
"""

from typing import Any, Final

import numpy as np

from stages import html_names as names
from stages.compiled import compiled
from stages.html_names import (
    ATTRIBUTES,
    BEHAVIOUR,
    ELEMENT_KEYS,
    ELEMENT_SLOTS,
    ELEMENT_VALUES,
    ENTITY_FIRST,
    ENTITY_KEYS,
    ENTITY_SECOND,
    ENTITY_VALUES,
    HANDED_DOWN,
    KINDS_OF_NAMES,
    NUMBER,
    WINDOWS_1252,
)
from stages.utf8 import put_character

#: Columns of a block, `wide` (int32) and `narrow` (int16).
START, ELEMENT, FLAGS, PATH, KINDS = range(5)
WIDE: Final = 5
TAG, DEPTH, LIST_DEPTH, ORDINAL, OWN, INLINE, SUM, MIN, MAX, SHAPE, TAGS = range(11)
NARROW: Final = 11
#: Bits of SHAPE beside the heading level (0 to 6).
ROW: Final = 8
FIRST_ROW: Final = 16
FIRST_OF_ITEM: Final = 32

LINK_ON, LINK_OFF, BOLD_ON, BOLD_OFF, ITALIC_ON, ITALIC_OFF, CODE_ON, CODE_OFF, NEXT_CELL = (
    2, 3, 4, 5, 6, 7, 14, 15, 31,
)  # fmt: skip

#: Open elements that are remembered one by one. Real pages nest up to about 60 deep, hostile ones by the million.
STACK: Final = 1024
_S_TAG, _S_ELEMENT, _S_FLAGS, _S_PATH, _S_OWN, _S_SUM, _S_MIN, _S_MAX, _S_COUNT, _S_LISTS, _S_ORDINAL = range(11)
_S_LEVEL, _S_ITEM, _S_TABLE, _S_KINDS = 11, 12, 13, 14
STACK_COLUMNS: Final = 15
#: Blocks and elements of one page that are told apart. Of blocks the first three quarters all are; from then on a
#: boundary counts only behind as many characters as leave blocks for the rest of the page, and is a line break else.
#: An element beyond the limit is taken for the one around it. So the price of a page is bounded by its length,
#: however many tags it has: a block takes 70 bytes and 3 microseconds. Of 902 pages of two gold sets and a crawl none
#: comes near: the densest with over 500 blocks has 60 bytes a block.
MOST_BLOCKS: Final = 1 << 17
_BYTES_PER_BLOCK: Final = 24
_FEW_BLOCKS: Final = 1024
#: How far down the stack an end tag looks for its element: bounds the price of end tags that match nothing near.
_REACH: Final = 256
#: A cell with more visible bytes than this, or with a line break, is a block of its own and not part of a row.
_CELL_BYTES: Final = 160
#: Tokens of one element that count: class attributes of hundreds of names are made by machines.
MAX_TOKENS: Final = 24
#: Bytes of an attribute's value that are read for tokens.
_VALUE_BYTES: Final = 240

_PUSH, _BREAK, _VOID, _SKIP, _RAW, _SCOPE = (
    names.PUSH, names.BREAK, names.VOID, names.SKIP, names.RAW, names.SCOPE,
)  # fmt: skip
_HEADING_TAG, _CELL = names.HEADING_TAG, names.CELL
_P, _DIV, _LI, _OL, _ADDRESS = (NUMBER[n] for n in ("p", "div", "li", "ol", "address"))
_TABLE, _TR, _TD, _TH, _THEAD, _TBODY, _TFOOT = (
    NUMBER[n] for n in ("table", "tr", "td", "th", "thead", "tbody", "tfoot")
)
_DT, _DD, _OPTION, _PRE, _LISTING, _SCRIPT = (NUMBER[n] for n in ("dt", "dd", "option", "pre", "listing", "script"))
_TITLE, _TEXTAREA, _BODY, _BR, _A, _H1 = (NUMBER[n] for n in ("title", "textarea", "body", "br", "a", "h1"))
_B, _STRONG, _I, _EM, _CODE, _KBD, _SAMP, _TT = (
    NUMBER[n] for n in ("b", "strong", "i", "em", "code", "kbd", "samp", "tt")
)
_CLASS, _ID, _ROLE, _ITEMPROP, _ITEMTYPE, _HREF, _STYLE, _HIDDEN, _ARIA_HIDDEN, _PROPERTY = (
    ATTRIBUTES[n]
    for n in ("class", "id", "role", "itemprop", "itemtype", "href", "style", "hidden", "aria-hidden", "property")
)
_PRE_BIT, _HIDDEN_BIT, _SVG_BIT, _BODY_BIT = names.PRE, names.HIDDEN, names.SVG, names.BODY_OF_ARTICLE
_LIST_BIT = names.LIST
_BUCKET_MASK = names.TOKEN_BUCKETS - 1
_LEGACY, _LONGEST = names.LEGACY_LENGTH, names.ENTITY_LENGTH
_ARTICLE_BODY = names.fnv(b"articlebody")
#: What the hashes of tokens of other attributes start from, so that a role is not a class of that name.
_SEED_CLASS, _SEED_ROLE, _SEED_ITEM, _SEED_TAG = (names.fnv(n) for n in (b"class:", b"role:", b"item:", b"tag:"))
_OFFSET, _PRIME = 0x811C9DC5, 0x01000193


@compiled
def count_tags(page: Any) -> int:
    """An upper bound of the page's tags: what begins like one, and not more than there are ends."""
    opened, closed = 0, 1
    for at in range(page.size - 1):
        byte = page[at]
        if byte == 60:
            after = page[at + 1] | 32
            if after == 47 or 97 <= after <= 122:
                opened += 1
        elif byte == 62:
            closed += 1
    return int(min(opened, closed))


def most_blocks(size: int) -> int:
    """Blocks, and elements, that a page of `size` bytes may have."""
    return min(MOST_BLOCKS, size // _BYTES_PER_BLOCK + _FEW_BLOCKS)


@compiled
def _find(hash_: int, keys: Any, values: Any, size: int) -> int:
    slot = hash_ & (size - 1)
    while values[slot] >= 0:
        if keys[slot] == hash_:
            return int(values[slot])
        slot = (slot + 1) & (size - 1)
    return -1


@compiled
def _comment_end(page: Any, at: int) -> int:
    """Behind the comment whose `<!--` ends before `at`."""
    size = page.size
    if at < size and page[at] == 62:
        return at + 1
    if at + 1 < size and page[at] == 45 and page[at + 1] == 62:
        return at + 2
    while at + 2 < size:
        if page[at] == 45 and page[at + 1] == 45:
            if page[at + 2] == 62:
                return at + 3
            if page[at + 2] == 33 and at + 3 < size and page[at + 3] == 62:
                return at + 4
        at += 1
    return int(size)


@compiled
def _named(page: Any, at: int, name: int, length: int) -> bool:
    """Whether the tag name at `at` is the one of `length` bytes at `name`, and ends there."""
    if at + length >= page.size:
        return False
    for k in range(length):
        if (page[at + k] | 32) != (page[name + k] | 32):
            return False
    after = page[at + length]
    return bool(after in (62, 47, 32, 9, 10, 12, 13))


@compiled
def _comment_begins(page: Any, at: int) -> bool:
    return bool(at + 3 < page.size and page[at + 1] == 33 and page[at + 2] == 45 and page[at + 3] == 45)


@compiled
def _raw_end(page: Any, at: int, name: int, length: int, script: bool) -> int:
    """Where the end tag of an element of raw text begins; -1 if there is none.

    Scripts have states of their own: in `<!-- <script>` the next `</script>` ends the inner one only.
    """
    size, state = page.size, 0
    while at < size:
        byte = page[at]
        if byte == 60 and at + 1 < size:
            if page[at + 1] == 47 and _named(page, at + 2, name, length):
                if state < 2:
                    return at
                state = 1
            elif script and state == 1 and _named(page, at + 1, name, length):
                state = 2
            elif (
                script
                and state == 0
                and at + 3 < size
                and page[at + 1] == 33
                and page[at + 2] == 45
                and page[at + 3] == 45
            ):
                state = 1
                at += 1
        elif byte == 62 and state > 0 and at >= 2 and page[at - 1] == 45 and page[at - 2] == 45:
            state = 0
        at += 1
    return -1


@compiled
def _reference(page: Any, at: int, found: Any) -> int:
    """The character reference whose `&` stands at `at`: its code points go to `found`; bytes it takes, 0 if none."""
    size = page.size
    found[0] = found[1] = 0
    if at + 1 >= size:
        return 0
    first = page[at + 1]
    if first == 35:
        k = at + 2
        base = 10
        if k < size and (page[k] | 32) == 120:
            base = 16
            k += 1
        begin, value = k, 0
        while k < size:
            digit = page[k]
            if 48 <= digit <= 57:
                value = value * base + digit - 48
            elif base == 16 and 97 <= (digit | 32) <= 102:
                value = value * 16 + (digit | 32) - 87
            else:
                break
            value = min(value, 0x110000)
            k += 1
        if k == begin:
            return 0
        if k < size and page[k] == 59:
            k += 1
        if 0x80 <= value < 0xA0 and WINDOWS_1252[value - 0x80]:
            value = WINDOWS_1252[value - 0x80]
        if value == 0 or 0xD800 <= value < 0xE000 or value > 0x10FFFF:
            value = 0xFFFD
        found[0] = value
        return k - at
    k, hash_, best, best_end = at + 1, _OFFSET, -1, 0
    last = min(size, at + 1 + _LONGEST)
    while k < last:
        byte = page[k]
        letter = 48 <= byte <= 57 or 97 <= (byte | 32) <= 122
        if not letter and byte != 59:
            break
        hash_ = ((hash_ ^ byte) * _PRIME) & 0xFFFFFFFF
        k += 1
        if byte == 59 or (k - at - 1 <= _LEGACY and k - at > 2):
            which = _find(hash_, ENTITY_KEYS, ENTITY_VALUES, names.ENTITY_SLOTS)
            if which >= 0:
                best, best_end = which, k
        if byte == 59:
            break
    if best < 0:
        return 0
    found[0], found[1] = ENTITY_FIRST[best], ENTITY_SECOND[best]
    return best_end - at


@compiled
def _tokens(page: Any, begin: int, end: int, seed: int, tokens: Any, count: int) -> int:
    """Hash the words of an attribute's value: each whole one, and the parts between hyphens and changes of case."""
    whole, part, parts, letters = seed, seed, 0, 0
    k = begin
    end = min(end, begin + _VALUE_BYTES)
    before_lower = False
    while k <= end:
        byte = page[k] if k < end else 32
        upper = 65 <= byte <= 90
        lower = 97 <= byte <= 122
        part_ends = not (upper or lower) or (upper and before_lower)
        if part_ends and letters > 0:
            if letters > 1 and count < MAX_TOKENS:
                tokens[count] = part & _BUCKET_MASK
                count += 1
            parts += 1
            part, letters = seed, 0
        if upper or lower:
            part = ((part ^ (byte | 32)) * _PRIME) & 0xFFFFFFFF
            letters += 1
        if byte in (32, 9, 10, 12, 13):
            if parts > 1 and count < MAX_TOKENS:
                tokens[count] = (whole >> 7) & _BUCKET_MASK
                count += 1
            whole, parts = seed, 0
        elif not 48 <= byte <= 57:
            whole = ((whole ^ (byte | 32)) * _PRIME) & 0xFFFFFFFF
        before_lower = lower
        k += 1
    return count


@compiled
def _hides(page: Any, begin: int, end: int) -> bool:
    """Whether a style says `display: none`."""
    end = min(end, begin + _VALUE_BYTES)
    for k in range(begin, end - 11):
        if (
            (page[k] | 32) == 100
            and (page[k + 1] | 32) == 105
            and (page[k + 4] | 32) == 108
            and (page[k + 6] | 32) == 121
        ):
            j = k + 7
            while j < end and (page[j] == 32 or page[j] == 58):
                j += 1
            if j + 3 < end and (page[j] | 32) == 110 and (page[j + 1] | 32) == 111 and (page[j + 2] | 32) == 110:
                return True
    return False


@compiled
def _attributes(page: Any, at: int, tokens: Any, found: Any, read: bool) -> int:
    """Walk the attributes from `at` to behind the tag's `>`; -1 if the page ends first.

    found: number of tokens, whether there is a href, whether it hides, whether it is the body of an article, /> at end
    """
    size = page.size
    found[:] = 0
    while True:
        while at < size and page[at] in (32, 9, 10, 12, 13, 47):
            at += 1
        if at >= size:
            return -1
        if page[at] == 62:
            found[4] = page[at - 1] == 47
            return at + 1
        begin, hash_ = at, _OFFSET
        while at < size:
            byte = page[at]
            if byte in (32, 9, 10, 12, 13, 47, 62) or (byte == 61 and at > begin):
                break
            if 65 <= byte <= 90:
                byte |= 32
            hash_ = ((hash_ ^ byte) * _PRIME) & 0xFFFFFFFF
            at += 1
        if hash_ == _HIDDEN:
            found[2] = 1
        k = at
        while k < size and page[k] in (32, 9, 10, 12, 13):
            k += 1
        if k >= size:
            return -1
        if page[k] != 61:
            continue
        at = k + 1
        while at < size and page[at] in (32, 9, 10, 12, 13):
            at += 1
        if at >= size:
            return -1
        quote = page[at]
        if quote in (34, 39):
            at += 1
            value = at
            while at < size and page[at] != quote:
                at += 1
            if at >= size:
                return -1
            end = at
            at += 1
        else:
            value = at
            while at < size and page[at] not in (32, 9, 10, 12, 13, 62):
                at += 1
            end = at
        if not read:
            continue
        if hash_ in (_CLASS, _ID):
            found[0] = _tokens(page, value, end, _SEED_CLASS, tokens, found[0])
        elif hash_ == _HREF:
            found[1] = 1
        elif hash_ == _ROLE:
            found[0] = _tokens(page, value, end, _SEED_ROLE, tokens, found[0])
        elif hash_ in (_ITEMPROP, _PROPERTY, _ITEMTYPE):
            found[0] = _tokens(page, value, end, _SEED_ITEM, tokens, found[0])
            whole = _OFFSET
            for k in range(value, min(end, value + 24)):
                whole = ((whole ^ (page[k] | 32)) * _PRIME) & 0xFFFFFFFF
            if whole == _ARTICLE_BODY:
                found[3] = 1
        elif (hash_ == _STYLE and _hides(page, value, end)) or (
            hash_ == _ARIA_HIDDEN and end - value == 4 and (page[value] | 32) == 116
        ):
            found[2] = 1


@compiled
def _nearest(stack: Any, top: int, wanted: int, other: int, through: int) -> int:
    """Index of the nearest open element numbered `wanted` or `other`, not looked for beyond one that is a barrier.

    `through` 0: any scope element is a barrier; 1: any but p, div and address; 2: a table only.
    """
    for k in range(top, max(0, top - _REACH), -1):
        tag = stack[k, _S_TAG]
        if tag in (wanted, other):
            return k
        if through == 0:
            if BEHAVIOUR[tag] & _SCOPE:
                return 0
        elif through == 1:
            if tag not in (_P, _DIV, _ADDRESS):
                return 0
        elif tag == _TABLE:
            return 0
    return 0


@compiled
def read_blocks(
    page: Any, weights: Any, most: int, text: Any, wide: Any, narrow: Any, parents: Any, stack: Any, seen: Any
) -> tuple[int, int, int, int]:
    """Blocks of `page` (UTF-8), at most `most`: their text and columns go to the arrays given, which `blocks_of` makes
    large enough.

    `parents`: of each element the one that it stands in. `seen`: (bucket, element, or -1 - block for inline ones) of
    each class token, for who trains; empty for who does not. Returns the numbers of blocks, elements, text bytes and
    tokens.
    """
    size = page.size
    tokens = np.zeros(MAX_TOKENS + 1, np.int32)
    found = np.zeros(5, np.int32)
    codes = np.zeros(2, np.int32)
    held_row = np.zeros(STACK_COLUMNS, np.int32)
    open_count = np.zeros(BEHAVIOUR.size, np.int32)
    collect = seen.shape[0] > 0
    at = out = 0
    blocks, elements, seen_count = 0, 1, 0
    parents[0] = 0
    stack[0, :] = 0
    top, over = 0, 0
    raw, raw_begin, raw_length, absent = 0, 0, 0, 0
    begin = visible = lines = tags = inline = kinds = 0
    pending, spaced, linked, held, skip_newline = False, True, False, False, False
    cell_start, cell_visible, cell_breaks, row_cells = 0, 0, False, False
    last_item = last_table = 0
    preserve = False
    finished = False
    while not finished:
        # What follows a run of text: a tag (action 1 begins, 2 ends), or nothing that matters.
        action, tag, name, name_end = 0, 0, 0, 0
        break_here = False
        if at >= size:
            finished = break_here = True
        elif page[at] == 60 and raw:
            if at + 1 < size and page[at + 1] == 47 and _named(page, at + 2, raw_begin, raw_length):
                action, tag = 2, raw
                behind = _attributes(page, at + 2 + raw_length, tokens, found, False)
                at = size if behind < 0 else behind
                raw = 0
            else:
                action = 3
        elif page[at] == 60:
            after = page[at + 1] if at + 1 < size else 32
            letter = 97 <= (after | 32) <= 122
            if letter or (after == 47 and at + 2 < size and 97 <= (page[at + 2] | 32) <= 122):
                name = at + 1 if letter else at + 2
                name_end, hash_, token_hash = name, _OFFSET, _SEED_TAG
                while name_end < size:
                    byte = page[name_end]
                    if byte in (62, 47, 32, 9, 10, 12, 13):
                        break
                    if 65 <= byte <= 90:
                        byte |= 32
                    hash_ = ((hash_ ^ byte) * _PRIME) & 0xFFFFFFFF
                    token_hash = ((token_hash ^ byte) * _PRIME) & 0xFFFFFFFF
                    name_end += 1
                tag = max(0, _find(hash_, ELEMENT_KEYS, ELEMENT_VALUES, ELEMENT_SLOTS))
                action = 1 if letter else 2
                behind = _attributes(page, name_end, tokens, found, letter)
                if behind < 0:
                    at = size
                    continue
                at = behind
                if letter:
                    tokens[found[0]] = token_hash & _BUCKET_MASK
                    found[0] += 1
            elif _comment_begins(page, at):
                at = _comment_end(page, at + 4)
                continue
            elif after in (33, 63, 47):
                # A declaration, a processing instruction, or the end tag of nothing.
                while at < size and page[at] != 62:
                    at += 1
                at += 1
                continue
            else:
                action = 3
        else:
            action = 3

        if action == 3:
            # Text: one character at least, then on to the next `<`.
            literal = page[at] == 60
            while at < size:
                byte = int(page[at])
                if byte == 60 and not literal:
                    break
                literal = False
                if byte in (32, 9, 10, 12, 13):
                    at += 1
                    if not preserve:
                        pending = True
                        continue
                    if byte == 13:
                        if at < size and page[at] == 10:
                            continue
                        byte = 10
                    if skip_newline and byte == 10:
                        skip_newline = False
                        continue
                    skip_newline = False
                    text[out] = 32 if byte == 12 else byte
                    out += 1
                    continue
                skip_newline = False
                code, second, taken = byte, 0, 1
                if byte == 38:
                    taken = _reference(page, at, codes)
                    if taken:
                        code, second = int(codes[0]), int(codes[1])
                    else:
                        taken = 1
                elif byte >= 0x80:
                    if byte < 0xE0:
                        taken, code = 2, byte & 31
                    elif byte < 0xF0:
                        taken, code = 3, byte & 15
                    else:
                        taken, code = 4, byte & 7
                    for k in range(1, taken):
                        code = code << 6 | (page[at + k] & 63 if at + k < size else 0)
                at += taken
                if code < 0x20:
                    if code in (9, 10, 12, 13):
                        pending = True
                    continue
                if code >= 0x7F:
                    if code < 0xA0 or code == 0xAD or code in (0x200B, 0xFEFF):
                        pending |= code == 0x85
                        continue
                    if code in (0xA0, 0x2007, 0x202F):
                        if not preserve:
                            pending = True
                            continue
                        code = 32
                elif code == 32 and not preserve:
                    pending = True
                    continue
                if pending:
                    if visible and not spaced:
                        text[out] = 32
                        out += 1
                    pending = False
                spaced = False
                if code < 0x80:
                    text[out] = code
                    out += 1
                else:
                    out = put_character(text, out, code)
                if second:
                    out = put_character(text, out, second)
                visible += 1
                lines = 0
                if not preserve and second == 0:
                    # Most of what follows is plain: letters up to the next space, mark-up or reference.
                    while at < size:
                        byte = int(page[at])
                        if byte <= 32 or byte >= 0x7F or byte in (60, 38):
                            break
                        text[out] = byte
                        out += 1
                        visible += 1
                        at += 1
            continue

        behaviour = BEHAVIOUR[tag]
        if action == 1 and behaviour & _SKIP:
            end = _raw_end(page, at, name, name_end - name, tag == _SCRIPT)
            at = size if end < 0 else end
            if not behaviour & _BREAK:
                continue
        if action and not behaviour & (_PUSH | _BREAK):
            # Inline. It ends no block, but may mark one.
            tags += 1
            mark = 0
            if tag == _BR:
                if visible:
                    lines += 1
                    cell_breaks = True
                    if lines > 1 and not preserve:
                        break_here = True
                    else:
                        text[out] = 10
                        out += 1
                        pending, spaced = False, True
            elif tag == _A:
                if action == 1:
                    if linked:
                        text[out] = LINK_OFF
                        out += 1
                        linked = False
                    if found[1]:
                        mark, linked = LINK_ON, True
                elif linked:
                    mark, linked = LINK_OFF, False
            elif tag in (_B, _STRONG):
                mark = BOLD_ON if action == 1 else BOLD_OFF
            elif tag in (_I, _EM):
                mark = ITALIC_ON if action == 1 else ITALIC_OFF
            elif tag in (_CODE, _KBD, _SAMP, _TT):
                mark = CODE_ON if action == 1 else CODE_OFF
            if action == 1:
                for k in range(found[0] - 1):
                    inline += weights[tokens[k]]
                    kinds |= KINDS_OF_NAMES[tokens[k]]
                    if collect:
                        seen[seen_count, 0], seen[seen_count, 1] = tokens[k], -1 - blocks
                        seen_count += 1
            if mark:
                opens = mark in (LINK_ON, BOLD_ON, ITALIC_ON, CODE_ON)
                if opens and pending and visible and not spaced:
                    text[out] = 32
                    out += 1
                    pending, spaced = False, True
                text[out] = mark
                out += 1
            if not break_here:
                continue

        # Which elements the tag ends. `keep` is the new top of the stack before anything is pushed.
        keep = top
        ends_cell = False
        if action == 1 and behaviour & _PUSH and tag != _TITLE:
            if stack[top, _S_TAG] == _P and behaviour & _BREAK:
                keep = top - 1
            other = 0
            if tag == _LI:
                other = _nearest(stack, keep, _LI, _LI, 1)
            elif tag in (_DT, _DD):
                other = _nearest(stack, keep, _DT, _DD, 1)
            elif tag == _TR:
                other = _nearest(stack, keep, _TR, _TR, 2)
            elif tag in (_TD, _TH):
                other = _nearest(stack, keep, _TD, _TH, 2)
                row = _nearest(stack, keep, _TR, _TR, 2)
                if row > other:
                    other = 0
                ends_cell = True
            elif tag in (_THEAD, _TBODY, _TFOOT):
                for one in (_THEAD, _TBODY, _TFOOT):
                    other = max(other, _nearest(stack, keep, one, one, 2))
            elif behaviour & _HEADING_TAG:
                if BEHAVIOUR[stack[keep, _S_TAG]] & _HEADING_TAG:
                    other = keep
            elif tag == _OPTION and stack[keep, _S_TAG] == _OPTION:
                other = keep
            if other:
                keep = other - 1
        elif action == 2:
            if over and behaviour & _PUSH:
                over -= 1
                break_here = bool(behaviour & _BREAK)
            elif behaviour & _PUSH and open_count[tag] > 0 and tag != _BODY:
                through = 0
                if tag in (_TABLE, _TR, _TD, _TH, _THEAD, _TBODY, _TFOOT):
                    through = 2
                where = _nearest(stack, top, tag, tag, through)
                if behaviour & _HEADING_TAG and not where and BEHAVIOUR[stack[top, _S_TAG]] & _HEADING_TAG:
                    where = top
                if where:
                    keep = where - 1
                    ends_cell = bool(behaviour & _CELL)
        if behaviour & _BREAK:
            break_here = True
        if ends_cell:
            long_cell = visible - cell_visible > _CELL_BYTES or (cell_breaks and visible > cell_visible)
            if long_cell or stack[top, _S_TAG] not in (_TD, _TH, _TR):
                break_here = True
            elif visible and not held:
                held_row[:] = stack[top, :]
                held = True

        if break_here and visible and 4 * blocks > 3 * most and not finished:
            left = most - 4 - blocks
            if left <= 0 or visible < (size - at) // left:
                text[out] = 10
                out += 1
                pending, spaced, break_here = False, True, False
                cell_start, cell_visible, cell_breaks = out, visible, False
        if break_here:
            cut = 0
            if cell_visible > 0 and (visible - cell_visible > _CELL_BYTES or (cell_breaks and visible > cell_visible)):
                cut = cell_start
            for part in range(2):
                if part == 0 and cut == 0:
                    continue
                stop = cut if part == 0 else out
                if (visible if cut == 0 else 1) > 0 and stop > begin:
                    while stop > begin and text[stop - 1] in (10, 32, NEXT_CELL, 9):
                        stop -= 1
                    row_ = held_row if held else stack[top]
                    wide[blocks, START] = begin
                    wide[blocks, ELEMENT] = row_[_S_ELEMENT]
                    wide[blocks, FLAGS] = row_[_S_FLAGS]
                    wide[blocks, PATH] = row_[_S_PATH]
                    wide[blocks, KINDS] = row_[_S_KINDS] | (kinds & 0x7FFF) << 16
                    narrow[blocks, TAG] = row_[_S_TAG]
                    narrow[blocks, DEPTH] = min(top + over, 32767)
                    narrow[blocks, LIST_DEPTH] = row_[_S_LISTS]
                    narrow[blocks, ORDINAL] = row_[_S_ORDINAL]
                    narrow[blocks, OWN] = row_[_S_OWN]
                    narrow[blocks, INLINE] = min(max(inline, -32767), 32767)
                    narrow[blocks, SUM] = row_[_S_SUM]
                    narrow[blocks, MIN] = row_[_S_MIN]
                    narrow[blocks, MAX] = row_[_S_MAX]
                    narrow[blocks, TAGS] = min(tags, 32767)
                    shape = row_[_S_LEVEL]
                    if row_cells:
                        shape |= ROW
                        if row_[_S_TABLE] != last_table:
                            shape |= FIRST_ROW
                            last_table = row_[_S_TABLE]
                    if row_[_S_ITEM] and row_[_S_ITEM] != last_item:
                        shape |= FIRST_OF_ITEM
                        last_item = row_[_S_ITEM]
                    narrow[blocks, SHAPE] = shape
                    blocks += 1
                    if part == 0:
                        # What follows the cut stays where it is; bytes between are white space and marks.
                        begin = cut
                        row_cells = False
                    else:
                        begin = stop
                elif part == 0:
                    begin = cut
            if not visible:
                begin = min(begin, out)
            out = begin
            visible = lines = tags = inline = kinds = 0
            pending, spaced, held = False, True, False
            cell_start, cell_visible, cell_breaks, row_cells = out, 0, False, False
            if linked:
                text[out] = LINK_ON
                out += 1

        if keep < top:
            for k in range(keep + 1, top + 1):
                open_count[stack[k, _S_TAG]] -= 1
                if BEHAVIOUR[stack[k, _S_TAG]] & _CELL:
                    linked = False
            top = keep
        preserve = (stack[top, _S_FLAGS] & _PRE_BIT) != 0
        if action == 1 and behaviour & _PUSH and not (tag == _BODY and open_count[_BODY]):
            if tag == _TITLE and (stack[top, _S_FLAGS] & _SVG_BIT or absent & 1):
                continue
            if behaviour & _CELL:
                if stack[top, _S_TAG] == _TR:
                    stack[top, _S_COUNT] += 1
                    if stack[top, _S_COUNT] > 1:
                        row_cells |= visible > 0
                        text[out] = NEXT_CELL
                        out += 1
                cell_start, cell_visible, cell_breaks = out, visible, False
                pending, spaced = False, True
            if top + 1 >= STACK:
                over += 1
                continue
            # A paragraph or heading is its own only block: what stands in it is known from the block.
            leaf = tag == _P or behaviour & _HEADING_TAG != 0
            own = own_kinds = 0
            for k in range(found[0]):
                own += weights[tokens[k]]
                own_kinds |= KINDS_OF_NAMES[tokens[k]]
                if collect:
                    seen[seen_count, 0], seen[seen_count, 1] = tokens[k], -1 - blocks if leaf else elements
                    seen_count += 1
            own = min(max(own, -16000), 16000)
            above, new = stack[top], stack[top + 1]
            new[:] = above
            new[_S_TAG], new[_S_OWN], new[_S_COUNT] = tag, own, 0
            new[_S_FLAGS] = above[_S_FLAGS] | HANDED_DOWN[tag]
            if found[2]:
                new[_S_FLAGS] |= _HIDDEN_BIT
            if found[3]:
                new[_S_FLAGS] |= _BODY_BIT
            first = tokens[0] if found[0] > 1 else 0
            new[_S_PATH] = ((above[_S_PATH] * 31 + tag) * 8209 + first) & 0x3FFFFFFF
            new[_S_SUM] = ((above[_S_SUM] * 7) >> 3) + (own >> 3)
            # Low half: all elements around; high half: the nearest, and what is inline.
            new[_S_KINDS] = (above[_S_KINDS] & 0xFFFF) | own_kinds | (own_kinds & 0x7FFF) << 16
            new[_S_MIN] = min(above[_S_MIN], own)
            new[_S_MAX] = max(above[_S_MAX], own)
            if HANDED_DOWN[tag] & _LIST_BIT:
                new[_S_LISTS] = min(above[_S_LISTS] + 1, 99)
            if tag == _LI:
                above[_S_COUNT] += 1
                new[_S_ITEM] = at
                new[_S_ORDINAL] = min(above[_S_COUNT], 32767) if above[_S_TAG] == _OL else 0
            if behaviour & _HEADING_TAG:
                new[_S_LEVEL] = tag - _H1 + 1
            if tag == _TABLE:
                new[_S_TABLE], new[_S_ITEM], new[_S_LEVEL] = at, 0, 0
            if not leaf and elements < most:
                new[_S_ELEMENT] = elements
                parents[elements] = above[_S_ELEMENT]
                elements += 1
            open_count[tag] += 1
            top += 1
            preserve = (new[_S_FLAGS] & _PRE_BIT) != 0
            skip_newline = tag in (_PRE, _LISTING, _TEXTAREA)
            if behaviour & _RAW:
                bit = 1 if tag == _TITLE else 2 if tag == _TEXTAREA else 4
                if not absent & bit:
                    if _raw_end(page, at, name, name_end - name, False) < 0:
                        absent |= bit
                        if tag == _TITLE:
                            top -= 1
                            open_count[tag] -= 1
                    else:
                        raw, raw_begin, raw_length = tag, name, name_end - name
    return blocks, elements, out, seen_count
