"""The compiled half of `limits`: where markup stands in a page, what is shown outside it, and how deep tags may nest.

One pass finds tags, comments, scripts, styles and declarations as the HTML standard reads them, and copies what stands
between them; a second counts its characters. Positions are those of the page as UTF-8.
"""

from typing import Any, Final

import numpy as np

from stages.compiled import compiled

_SCRIPT: Final = np.frombuffer(b"script", dtype=np.uint8)
_STYLE: Final = np.frombuffer(b"style", dtype=np.uint8)
_NBSP: Final = np.frombuffer(b"nbsp", dtype=np.uint8)
_ENSP: Final = np.frombuffer(b"ensp", dtype=np.uint8)
_EMSP: Final = np.frombuffer(b"emsp", dtype=np.uint8)
_THINSP: Final = np.frombuffer(b"thinsp", dtype=np.uint8)
#: Letters and digits of the longest name of an entity.
_LONGEST_ENTITY: Final = 32


@compiled
def _space(page: Any, at: int) -> int:
    """Bytes of the white space character at `at`, in Python's sense (str.isspace); 0 if there is another one."""
    byte = page[at]
    if byte < 0x80:
        return 1 if byte == 32 or 9 <= byte <= 13 or 28 <= byte <= 31 else 0
    if byte == 0xC2:
        return 2 if at + 1 < page.size and (page[at + 1] == 0x85 or page[at + 1] == 0xA0) else 0
    if byte < 0xE1 or byte > 0xE3 or at + 2 >= page.size:
        return 0
    second, third = page[at + 1], page[at + 2]
    if byte == 0xE1:
        return 3 if second == 0x9A and third == 0x80 else 0
    if byte == 0xE3:
        return 3 if second == 0x80 and third == 0x80 else 0
    if second == 0x80:
        return 3 if third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF else 0
    return 3 if second == 0x81 and third == 0x9F else 0


@compiled
def _letter(byte: Any) -> bool:
    return bool(97 <= (byte | 32) <= 122)


@compiled
def _digit(byte: Any) -> bool:
    return bool(48 <= byte <= 57)


@compiled
def _named(page: Any, at: int, name: Any) -> bool:
    """Whether `name`, in small letters, stands at `at` in letters of any case."""
    if at + name.size > page.size:
        return False
    place = 0
    while place < name.size and (page[at + place] | 32) == name[place]:
        place += 1
    return bool(place == name.size)


@compiled
def _attributes_end(page: Any, at: int) -> int:
    """The place of the `>` that ends a tag's attributes, or the page's end. A quote counts only behind an equals sign
    (and white space), and a quoted value may hold `>`."""
    while at < page.size and page[at] != 62:
        at += 1
        if page[at - 1] != 61:
            continue
        width = 1
        while at < page.size and width:
            width = _space(page, at)
            at += width
        if at < page.size and (page[at] == 34 or page[at] == 39):
            quote = page[at]
            at += 1
            while at < page.size and page[at] != quote:
                at += 1
            at += at < page.size
    return at


@compiled
def _comment_end(page: Any, at: int) -> int:
    """Behind the comment whose `<!--` ends before `at`."""
    if at < page.size and page[at] == 62:
        return at + 1
    if at + 1 < page.size and page[at] == 45 and page[at + 1] == 62:
        return at + 2
    while at + 2 < page.size:
        if page[at] == 45 and page[at + 1] == 45:
            if page[at + 2] == 62:
                return at + 3
            if page[at + 2] == 33 and at + 3 < page.size and page[at + 3] == 62:
                return at + 4
        at += 1
    return int(page.size)


@compiled
def _raw_text_end(page: Any, at: int, name: Any) -> int:
    """The place of the `</` with the name of the element whose raw text begins at `at`, or the page's end."""
    while at < page.size:
        if page[at] == 60 and at + 1 < page.size and page[at + 1] == 47 and _named(page, at + 2, name):
            return at
        at += 1
    return at


@compiled
def _raw_name(page: Any, at: int) -> int:
    """Bytes of the name at `at` if it is that of an element whose content is no markup: script or style."""
    for name in (_SCRIPT, _STYLE):
        behind = at + name.size
        if _named(page, at, name) and behind < page.size:
            byte = page[behind]
            if byte == 47 or byte == 62 or _space(page, behind):
                return int(name.size)
    return 0


@compiled
def find_markup(page: Any, head_bytes: int, shown: Any, starts: Any, ends: Any, heads: Any) -> Any:
    """Cut a page into markup and what stands between: (pieces of markup, bytes of the latter, long heads).

    `shown` gets the bytes outside markup, as long as the page at most; `starts` and `ends` the place of each piece of
    markup, as many as they have room for; `heads` the places of the first bytes and behind the last ones of tags whose
    attributes end more than `head_bytes` behind their beginning.
    """
    at = count = kept = long_heads = 0
    while at < page.size:
        byte = page[at]
        if byte != 60 or at + 1 >= page.size:
            shown[kept] = byte
            kept += 1
            at += 1
            continue
        start, after = at, page[at + 1]
        first = at + 2 if after == 47 else at + 1
        if after == 33 and at + 3 < page.size and page[at + 2] == 45 and page[at + 3] == 45:
            at = _comment_end(page, at + 4)
        elif first < page.size and _letter(page[first]):
            raw = _raw_name(page, first) if after != 47 else 0
            at = _attributes_end(page, first + 1 if raw == 0 else first + raw)
            at += at < page.size
            if at - start > head_bytes:
                heads[long_heads, 0], heads[long_heads, 1] = start, at
                long_heads += 1
            if raw == _SCRIPT.size:
                at = _raw_text_end(page, at, _SCRIPT)
            elif raw == _STYLE.size:
                at = _raw_text_end(page, at, _STYLE)
        elif after == 33 or after == 47 or after == 63:
            at += 2
            while at < page.size and page[at] != 62:
                at += 1
            at += at < page.size
        else:
            shown[kept] = byte
            kept += 1
            at += 1
            continue
        if count < starts.size:
            starts[count], ends[count] = start, at
        count += 1
    return count, kept, long_heads


@compiled
def count_shown(text: Any) -> int:
    """Characters of UTF-8 that are not white space; an entity counts as one, or as none if it is white space."""
    at = count = 0
    while at < text.size:
        byte = text[at]
        width = 1
        if byte == 38:
            width = _blank_entity(text, at)
            if width == 0:
                width = max(1, _entity(text, at))
                count += 1
        elif byte < 0x80:
            count += not (byte == 32 or 9 <= byte <= 13 or 28 <= byte <= 31)
        elif byte == 0xC2 or 0xE1 <= byte <= 0xE3:
            # What white space beyond ASCII begins with.
            width = _space(text, at)
            if width == 0:
                width = 1
                count += 1
        else:
            count += byte >= 0xC0
        at += width
    return count


@compiled
def _blank_entity(text: Any, at: int) -> int:
    """Bytes of the entity at `at` if it stands for white space, else 0."""
    after = at + 1
    if _exactly(text, after, _NBSP):
        behind = after + _NBSP.size
        return int(behind + 1 - at if behind < text.size and text[behind] == 59 else behind - at)
    # Their semicolon is not optional.
    for name in (_ENSP, _EMSP, _THINSP):
        behind = after + name.size
        if _exactly(text, after, name) and behind < text.size and text[behind] == 59:
            return int(behind + 1 - at)
    if after < text.size and text[after] == 35:
        return _blank_number(text, at)
    return 0


@compiled
def _exactly(text: Any, at: int, name: Any) -> bool:
    if at + name.size > text.size:
        return False
    place = 0
    while place < name.size and text[at + place] == name[place]:
        place += 1
    return bool(place == name.size)


@compiled
def _blank_number(text: Any, at: int) -> int:
    """Bytes of `&#…;` if it is tab, line feed, carriage return, space or no-break space, else 0."""
    digit = at + 2
    hexadecimal = digit < text.size and (text[digit] | 32) == 120
    digit += hexadecimal
    while digit < text.size and text[digit] == 48:
        digit += 1
    value, digits = 0, 0
    while digit < text.size and digits < 4 and text[digit] != 59:
        byte = text[digit]
        if _digit(byte):
            value = value * (16 if hexadecimal else 10) + byte - 48
        elif hexadecimal and 97 <= (byte | 32) <= 102:
            value = value * 16 + (byte | 32) - 87
        else:
            return 0
        digit += 1
        digits += 1
    ended = digit < text.size and text[digit] == 59
    blank = value == 9 or value == 10 or value == 13 or value == 32 or value == 160
    return digit + 1 - at if ended and digits and blank else 0


@compiled
def _entity(text: Any, at: int) -> int:
    """Bytes of the entity at `at`: a name of up to 32 letters and digits or a number, and a semicolon; 0 for none."""
    place = at + 1
    if place >= text.size:
        return 0
    begin, most = place, _LONGEST_ENTITY
    hexadecimal = named = False
    if text[place] == 35:
        place += 1
        hexadecimal = place < text.size and (text[place] | 32) == 120
        place += hexadecimal
        begin, most = place, 6 if hexadecimal else 7
    elif _letter(text[place]):
        named = True
    else:
        return 0
    while place < text.size and place - begin < most:
        byte = text[place]
        if not (_digit(byte) or (named and _letter(byte)) or (hexadecimal and 97 <= (byte | 32) <= 102)):
            break
        place += 1
    if place - begin < (2 if named else 1) or place >= text.size or text[place] != 59:
        return 0
    return int(place + 1 - at)


@compiled
def may_nest_deeper(page: Any, starts: Any, ends: Any, limit: int, flat: Any, flat_places: Any) -> int:
    """Whether more than `limit` elements are open at once, if an end tag closes the last of its name and no other: 1 or
    0; -1 if a name has bytes beyond ASCII, of which only Python knows what is one letter in two cases.

    `flat` holds the names of elements that do not nest, one after the other, `flat_places` where each begins.
    """
    size = 64
    slots = np.full(size, -1, np.int64)
    names = np.zeros((size, 2), np.int64)
    opened = np.zeros(size, np.int64)
    known = depth = 0
    for tag in range(starts.size):
        at = starts[tag] + 1
        closing = at < page.size and page[at] == 47
        at += closing
        if at >= page.size or not _letter(page[at]):
            continue
        end = at
        while end < page.size and page[end] != 47 and page[end] != 62 and not _space(page, end):
            if page[end] >= 0x80:
                return -1
            end += 1
        slot = _hash(page, at, end) & (size - 1)
        while slots[slot] >= 0 and not _same(page, names[slots[slot], 0], names[slots[slot], 1], at, end):
            slot = (slot + 1) & (size - 1)
        number = slots[slot]
        if number < 0:
            if 2 * known >= size:
                size *= 4
                slots, names, opened = _grown(page, names, opened, known, size)
                slot = _hash(page, at, end) & (size - 1)
                while slots[slot] >= 0:
                    slot = (slot + 1) & (size - 1)
            number = known
            slots[slot] = number
            names[number, 0], names[number, 1] = at, end
            opened[number] = -1 if _flat(page, at, end, flat, flat_places) else 0
            known += 1
        if opened[number] < 0:
            continue
        if closing:
            if opened[number]:
                opened[number] -= 1
                depth -= 1
        elif not (page[ends[tag] - 1] == 62 and page[ends[tag] - 2] == 47):
            opened[number] += 1
            depth += 1
            if depth > limit:
                return 1
    return 0


@compiled
def _lower(byte: Any) -> int:
    return int(byte) + 32 if 65 <= byte <= 90 else int(byte)


@compiled
def _hash(page: Any, start: int, end: int) -> int:
    """FNV-1a, 32 bits, of a name in small letters."""
    found = 2166136261
    for place in range(start, end):
        found = ((found ^ _lower(page[place])) * 16777619) & 0xFFFFFFFF
    return found


@compiled
def _same(page: Any, start: int, end: int, other: int, other_end: int) -> bool:
    """Whether two names are one, letter case aside."""
    if end - start != other_end - other:
        return False
    while start < end and _lower(page[start]) == _lower(page[other]):
        start += 1
        other += 1
    return start == end


@compiled
def _flat(page: Any, at: int, end: int, flat: Any, flat_places: Any) -> bool:
    for name in range(flat_places.size - 1):
        start = flat_places[name]
        if flat_places[name + 1] - start != end - at:
            continue
        place = 0
        while place < end - at and _lower(page[at + place]) == flat[start + place]:
            place += 1
        if place == end - at:
            return True
    return False


@compiled
def _grown(page: Any, names: Any, opened: Any, known: int, size: int) -> Any:
    """The same table of names with `size` slots."""
    new_slots = np.full(size, -1, np.int64)
    new_names = np.zeros((size, 2), np.int64)
    new_opened = np.zeros(size, np.int64)
    new_names[:known] = names[:known]
    new_opened[:known] = opened[:known]
    for number in range(known):
        slot = _hash(page, names[number, 0], names[number, 1]) & (size - 1)
        while new_slots[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        new_slots[slot] = number
    return new_slots, new_names, new_opened
