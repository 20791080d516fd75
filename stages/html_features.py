"""What the judge sees of each block: a row of whole numbers, from the block, its neighbours, elements and page.

All of it is integer arithmetic in a fixed order, so that a row is the same on every machine. Shares are in thousandths,
characters count three times where a script writes words with few of them (Chinese, Japanese, Korean).
"""

from typing import Any, Final

from stages import html_names as names
from stages.compiled import compiled
from stages.html_blocks import (
    DEPTH,
    ELEMENT,
    FLAGS,
    INLINE,
    KINDS,
    LINK_OFF,
    LINK_ON,
    LIST_DEPTH,
    MAX,
    MIN,
    OWN,
    PATH,
    SHAPE,
    START,
    SUM,
    TAG,
    TAGS,
)
from stages.html_names import KINDS_OF_WORDS, STOP_KEYS, STOP_SLOTS, STOP_VALUES, TOKEN_BUCKETS
from stages.html_trees import add_trees

#: Columns of `sizes` (int32) and `counts` (uint8) of a block, of `totals` of an element, and of `page`.
CHARACTERS, LINKED, HASH, SAID = range(4)
SIZES: Final = 4
WORDS, STOPS, ENDS, COMMAS, CAPITALS, DIGITS, LINES, IN_TITLE = range(8)
COUNTS: Final = 8
(
    PAGE_CHARACTERS,
    PAGE_LINKED,
    PAGE_GOOD,
    PAGE_GOOD_BLOCKS,
    PAGE_VISIBLE,
    PAGE_LONGEST,
    PAGE_ARTICLE,
    PAGE_MAIN,
    PAGE_TITLED,
) = range(9)
PAGE: Final = 9
#: Buckets that count equal texts and equal paths within a page; two that fall together are one, as on every machine.
BUCKETS: Final = 1 << 12
_BUCKET_MASK = BUCKETS - 1
#: A block with as many characters, at most this share of them linked, is taken for prose before anything is learned.
_GOOD_CHARACTERS: Final = 80
_GOOD_LINKED: Final = 300
_TITLE_BITS = 1023
#: Blocks from which on prose is far away, however far.
_FAR: Final = 50
#: Words of a text that may be a label of what follows.
_HEADING_WORDS: Final = 8

_BITS: Final = (
    names.ARTICLE, names.MAIN, names.NAV, names.ASIDE, names.HEADER, names.FOOTER, names.FORM, names.FIGURE,
    names.QUOTE, names.TABLE, names.LIST, names.PRE, names.HIDDEN, names.NOSCRIPT, names.SVG, names.PARAGRAPH,
    names.SECTION, names.BODY_OF_ARTICLE, names.DEFINITIONS,
)  # fmt: skip
_TITLE = names.NUMBER["title"]
_MAIN_KIND = 1 << names.MAIN_KIND
_LEVELS: Final = 5
_AROUND: Final = 3
#: Features of the first judge, and those that the second has besides.
FIRST: Final = 31 + 4 + 4 * names.KINDS - 1 + len(_BITS) + 3 * _LEVELS + 7 + 4 + 2 * _AROUND * 6
SECOND: Final = FIRST + 9 + 2 + 2 + 12 + 5
_OFFSET, _PRIME = 0x811C9DC5, 0x01000193
_CAP: Final = 1_000_000
_LIMIT: Final = 32_000
#: Scores this near to the page's best are good on a page of which nothing is certain.
_NEAR_BEST: Final = 1500


@compiled
def _stop(hash_: int) -> int:
    slot = hash_ & (STOP_SLOTS - 1)
    while STOP_VALUES[slot] >= 0:
        if STOP_KEYS[slot] == hash_:
            return 1
        slot = (slot + 1) & (STOP_SLOTS - 1)
    return 0


@compiled
def _per_mille(part: int, whole: int) -> int:
    return (part * 1000) // whole if whole > 0 else 0


@compiled
def _is_good(characters: int, linked: int) -> bool:
    return characters >= _GOOD_CHARACTERS and linked * 1000 <= _GOOD_LINKED * characters


@compiled
def _is_headline(shape: int, in_title: int) -> bool:
    """Whether a block is a heading that says what the page's title says."""
    return bool(0 < shape & 7 <= 2 and in_title > 150)


@compiled
def measure(
    text: Any, text_end: int, wide: Any, narrow: Any, blocks: int, parents: Any, elements: int, sizes: Any, counts: Any,
    totals: Any, paths: Any, repeats: Any, page: Any,
) -> None:  # fmt: skip
    """Fill `sizes` and `counts` of each block, `totals` (characters, linked, good) of each element with all that is in
    it, `paths` (blocks, characters, linked) and `repeats` by bucket, and `page`."""
    bits = repeats[BUCKETS:]
    page[:] = 0
    for block in range(blocks):
        begin = wide[block, START]
        end = wide[block + 1, START] if block + 1 < blocks else text_end
        is_title = narrow[block, TAG] == _TITLE
        characters = linked = words = stops = ends = commas = capitals = digits = lines = known = visible = 0
        letters = said = 0
        word, whole, in_link = _OFFSET, _OFFSET, False
        k = begin
        while k <= end:
            byte = int(text[k]) if k < end else 32
            if byte > 32 and byte < 0x80 and (97 <= (byte | 32) <= 122):
                characters += 1
                visible += 1
                capitals += byte <= 90
                linked += in_link
                letters += 1
                word = ((word ^ (byte | 32)) * _PRIME) & 0xFFFFFFFF
                whole = ((whole ^ (byte | 32)) * _PRIME) & 0xFFFFFFFF
            elif byte >= 0x80:
                whole = ((whole ^ byte) * _PRIME) & 0xFFFFFFFF
                word = ((word ^ byte) * _PRIME) & 0xFFFFFFFF
                if byte >= 0xC0:
                    visible += 1
                    weight = 3 if 0xE3 <= byte < 0xEE else 1
                    characters += weight
                    linked += weight * in_link
                    letters += 1
                    second = int(text[k + 1]) if k + 1 < end else 0
                    third = int(text[k + 2]) if k + 2 < end else 0
                    if 0xE3 <= byte < 0xEA:
                        one = ((_OFFSET ^ byte) * _PRIME) & 0xFFFFFFFF
                        one = ((one ^ second) * _PRIME) & 0xFFFFFFFF
                        one = ((one ^ third) * _PRIME) & 0xFFFFFFFF
                        words += 1
                        stops += 3 * _stop(one)
                    if byte == 0xE3 and second == 0x80:
                        ends += third == 0x82
                        commas += third == 0x81
                    elif byte == 0xEF and second == 0xBC:
                        ends += third in (0x81, 0x9F, 0x8E)
                        commas += third == 0x8C
                    elif byte == 0xE0 and second == 0xA5:
                        ends += third in (0xA4, 0xA5)
                    elif byte == 0xD8:
                        ends += second == 0x9F
                        commas += second == 0x8C
                    elif byte == 0xDB:
                        ends += second == 0x94
            elif byte <= 32 or byte == 127:
                if byte == LINK_ON:
                    in_link = True
                elif byte == LINK_OFF:
                    in_link = False
                elif byte in (9, 10, 31, 32):
                    if letters:
                        words += 1
                        stops += _stop(word)
                        if words <= _HEADING_WORDS:
                            said |= KINDS_OF_WORDS[word & (TOKEN_BUCKETS - 1)]
                        if is_title:
                            if letters > 2:
                                bits[word & _TITLE_BITS] = 1
                        elif letters > 2 and bits[word & _TITLE_BITS]:
                            known += 1
                    lines += byte == 10
                    letters, word = 0, _OFFSET
                    characters += k < end
            else:
                characters += 1
                visible += 1
                linked += in_link
                if 48 <= byte <= 57:
                    digits += 1
                elif byte in (46, 33, 63):
                    after = int(text[k + 1]) if k + 1 < end else 32
                    ends += after <= 34 or after >= 0x80
                elif byte in (44, 59):
                    commas += 1
            k += 1
        sizes[block, CHARACTERS], sizes[block, LINKED] = characters, min(linked, characters)
        sizes[block, HASH] = whole & 0x7FFFFFFF
        # A text of many words is about many things.
        sizes[block, SAID] = said if words <= _HEADING_WORDS else 0
        some = max(1, characters)
        counts[block, WORDS] = min(words, 255)
        counts[block, STOPS] = min(255, stops * 255 // max(1, words))
        counts[block, ENDS], counts[block, COMMAS] = min(ends, 255), min(commas, 255)
        counts[block, CAPITALS], counts[block, DIGITS] = capitals * 255 // some, digits * 255 // some
        counts[block, LINES] = min(lines, 255)
        counts[block, IN_TITLE] = min(255, known * 255 // max(1, words))
        if is_title:
            continue
        if page[PAGE_TITLED] == 0 and _is_headline(narrow[block, SHAPE], counts[block, IN_TITLE]):
            page[PAGE_TITLED] = block
        page[PAGE_CHARACTERS] += characters
        page[PAGE_LINKED] += linked
        page[PAGE_VISIBLE] += visible
        good = _is_good(characters, linked)
        if good:
            page[PAGE_GOOD] += characters
            if wide[block, FLAGS] & (names.ARTICLE | names.MAIN | names.BODY_OF_ARTICLE):
                page[PAGE_ARTICLE] += characters
            if wide[block, KINDS] & _MAIN_KIND:
                page[PAGE_MAIN] += characters
            page[PAGE_GOOD_BLOCKS] += 1
            page[PAGE_LONGEST] = max(page[PAGE_LONGEST], characters)
        bucket = wide[block, PATH] & _BUCKET_MASK
        paths[bucket, 0] += 1
        paths[bucket, 1] += characters
        paths[bucket, 2] += linked
        repeats[whole & _BUCKET_MASK] += 1
        element = wide[block, ELEMENT]
        totals[element, 0] += characters
        totals[element, 1] += linked
        if good:
            totals[element, 2] += characters
    for element in range(elements - 1, 0, -1):
        above = parents[element]
        for k in range(3):
            totals[above, k] += totals[element, k]


@compiled
def first_rows(
    low: int, high: int, wide: Any, narrow: Any, blocks: int, parents: Any, sizes: Any, counts: Any, totals: Any,
    paths: Any, repeats: Any, page: Any, position: int, rows: Any,
) -> int:  # fmt: skip
    """Features of blocks `low` to `high` into `rows`; `position`: characters before `low`. Returns those before
    `high`."""
    page_characters = max(1, page[PAGE_CHARACTERS])
    since_good = _FAR
    for block in range(low - 1, max(-1, low - 1 - _FAR), -1):
        if _is_good(sizes[block, CHARACTERS], sizes[block, LINKED]):
            since_good = low - block - 1
            break
    until_good = -1
    # What the last heading says; one far above says nothing.
    label = label_at = 0
    for block in range(low - 1, max(-1, low - 1 - _FAR), -1):
        if narrow[block, SHAPE] & 7:
            label, label_at = sizes[block, SAID], block
            break
    for block in range(low, high):
        row = rows[block - low]
        characters, linked = sizes[block, CHARACTERS], sizes[block, LINKED]
        words = max(1, counts[block, WORDS])
        good = _is_good(characters, linked)
        row[0] = min(characters, _CAP)
        row[1] = counts[block, WORDS]
        row[2] = _per_mille(linked, characters)
        for k in range(1, COUNTS):
            row[2 + k] = counts[block, k]
        row[10] = min(characters * 10 // words, 9999)
        row[11] = narrow[block, TAG]
        row[12] = narrow[block, DEPTH]
        row[13] = narrow[block, LIST_DEPTH]
        row[14] = narrow[block, OWN]
        row[15] = narrow[block, INLINE]
        row[16] = narrow[block, SUM]
        row[17] = narrow[block, MIN]
        row[18] = narrow[block, MAX]
        row[19] = narrow[block, SHAPE] & 7
        row[20] = narrow[block, SHAPE] >> 3
        row[21] = narrow[block, TAGS]
        row[22] = _per_mille(position, page_characters)
        row[23] = block * 1000 // blocks
        row[24] = min(block, 999)
        row[25] = min(blocks - block, 999)
        row[26] = repeats[sizes[block, HASH] & _BUCKET_MASK]
        path = paths[wide[block, PATH] & _BUCKET_MASK]
        row[27] = path[0]
        row[28] = min(path[1] // max(1, path[0]), _CAP)
        row[29] = _per_mille(path[2], path[1])
        row[30] = min(characters * 100 // max(1, counts[block, ENDS] + counts[block, COMMAS] + 1), _CAP)
        at = 31
        flags = wide[block, FLAGS]
        for bit in _BITS:
            row[at] = (flags & bit) != 0
            at += 1
        kinds = wide[block, KINDS]
        for kind in range(names.KINDS):
            row[at] = (kinds >> kind) & 1
            at += 1
        for kind in range(names.KINDS - 1):
            row[at] = (kinds >> (16 + kind)) & 1
            at += 1
        row[at] = _per_mille(page[PAGE_ARTICLE], max(1, page[PAGE_GOOD]))
        row[at + 1] = _per_mille(page[PAGE_MAIN], max(1, page[PAGE_GOOD]))
        row[at + 2] = page[PAGE_TITLED] > 0
        row[at + 3] = min(max(block - page[PAGE_TITLED], -99), 99)
        at += 4
        said = sizes[block, SAID]
        if block - label_at > _FAR:
            label = 0
        for kind in range(names.KINDS):
            row[at] = (said >> kind) & 1
            row[at + 1] = (label >> kind) & 1
            at += 2
        element = wide[block, ELEMENT]
        for level in range(_LEVELS):
            row[at] = _per_mille(totals[element, 0], page_characters)
            row[at + 1] = _per_mille(totals[element, 1], totals[element, 0])
            row[at + 2] = _per_mille(totals[element, 2], max(1, page[PAGE_GOOD]))
            at += 3
            element = parents[element]
            if level == _LEVELS - 2:
                element = parents[element]
        row[at] = min(page[PAGE_CHARACTERS], _CAP)
        row[at + 1] = min(blocks, 9999)
        row[at + 2] = _per_mille(page[PAGE_LINKED], page_characters)
        row[at + 3] = min(page[PAGE_GOOD], _CAP)
        row[at + 4] = min(page[PAGE_GOOD_BLOCKS], 9999)
        row[at + 5] = _per_mille(page[PAGE_GOOD], page_characters)
        row[at + 6] = _per_mille(characters, max(1, page[PAGE_LONGEST]))
        at += 7
        if until_good < 0:
            until_good = _FAR
            for after in range(block + 1, min(blocks, block + _FAR)):
                if _is_good(sizes[after, CHARACTERS], sizes[after, LINKED]):
                    until_good = after - block
                    break
        row[at], row[at + 1] = since_good, until_good
        row[at + 2] = block > 0 and wide[block, ELEMENT] == wide[block - 1, ELEMENT]
        row[at + 3] = block > 0 and wide[block, PATH] == wide[block - 1, PATH]
        at += 4
        for distance in range(-_AROUND, _AROUND + 1):
            if distance == 0:
                continue
            other = block + distance
            if 0 <= other < blocks:
                row[at] = min(sizes[other, CHARACTERS], _CAP)
                row[at + 1] = _per_mille(sizes[other, LINKED], sizes[other, CHARACTERS])
                row[at + 2] = counts[other, STOPS]
                row[at + 3] = counts[other, ENDS]
                row[at + 4] = narrow[other, OWN]
                row[at + 5] = narrow[other, TAG]
            else:
                row[at : at + 6] = -1
            at += 6
        if narrow[block, SHAPE] & 7:
            label, label_at = said, block
        since_good = 0 if good else min(since_good + 1, _FAR)
        until_good = until_good - 1 if 1 < until_good < _FAR else -1
        if narrow[block, TAG] != _TITLE:
            position += characters
    return position


@compiled
def spread_scores(
    wide: Any, narrow: Any, blocks: int, parents: Any, elements: int, sizes: Any, scores: Any, totals: Any, paths: Any
) -> tuple[int, int]:
    """Fill totals[:, 3] and paths[:, 3] with the characters of blocks with a positive score; returns the page's number
    of such characters and its best score."""
    totals[:elements, 3:] = 0
    paths[:, 3] = 0
    positive, best = 0, -32767
    for block in range(blocks):
        if narrow[block, TAG] == _TITLE:
            continue
        best = max(best, int(scores[block]))
        if scores[block] > 0:
            characters = sizes[block, CHARACTERS]
            positive += characters
            totals[wide[block, ELEMENT], 3] += characters
            paths[wide[block, PATH] & _BUCKET_MASK, 3] += characters
    for block in range(blocks):
        if scores[block] > best - _NEAR_BEST:
            totals[wide[block, ELEMENT], 4] += sizes[block, CHARACTERS]
    for element in range(elements - 1, 0, -1):
        totals[parents[element], 3] += totals[element, 3]
        totals[parents[element], 4] += totals[element, 4]
    return positive, best


@compiled
def second_rows(
    low: int, high: int, wide: Any, blocks: int, parents: Any, totals: Any, paths: Any, page: Any, scores: Any,
    positive: int, best: int, rows: Any,
) -> None:  # fmt: skip
    """The further features of the second judge, behind those of the first in `rows`."""
    for block in range(low, high):
        row = rows[block - low]
        at = FIRST
        for distance in range(-4, 5):
            other = block + distance
            row[at] = scores[other] if 0 <= other < blocks else -20_000
            at += 1
        before, after = 0, 0
        for distance in range(1, 13):
            before += int(scores[block - distance]) if block >= distance else -4096
            after += int(scores[block + distance]) if block + distance < blocks else -4096
        row[at], row[at + 1] = before // 12, after // 12
        at += 2
        row[at] = row[at + 1] = 60
        for distance in range(1, 60):
            if block >= distance and scores[block - distance] > 0:
                row[at] = distance
                break
        for distance in range(1, 60):
            if block + distance < blocks and scores[block + distance] > 0:
                row[at + 1] = distance
                break
        at += 2
        element = wide[block, ELEMENT]
        for _ in range(6):
            row[at] = _per_mille(totals[element, 3], totals[element, 0])
            row[at + 1] = _per_mille(totals[element, 4], totals[element, 0])
            at += 2
            element = parents[element]
        path = paths[wide[block, PATH] & _BUCKET_MASK]
        row[at] = _per_mille(path[3], path[1])
        row[at + 1] = best - scores[block]
        row[at + 2] = min(positive, _CAP)
        row[at + 3] = _per_mille(positive, page[PAGE_CHARACTERS])
        row[at + 4] = best


@compiled
def _score(total: int) -> int:
    """Leaves count in 1/65536 of a logit, scores in 1/1024, which fits 16 bits for any logit worth telling apart."""
    return min(max(total >> 6, -_LIMIT), _LIMIT)


@compiled
def judge(
    wide: Any, narrow: Any, blocks: int, parents: Any, elements: int, sizes: Any, counts: Any, totals: Any, paths: Any,
    repeats: Any, page: Any, nodes: Any, values: Any, roots: Any, nodes2: Any, values2: Any, roots2: Any, rows: Any,
    sums: Any, first: Any, second: Any,
) -> None:  # fmt: skip
    """Scores of both judges; `rows` and `sums` are room for as many blocks as are judged at a time."""
    chunk = sums.size
    position = 0
    for low in range(0, blocks, chunk):
        high = min(blocks, low + chunk)
        position = first_rows(
            low, high, wide, narrow, blocks, parents, sizes, counts, totals, paths, repeats, page, position, rows
        )
        sums[:] = 0
        add_trees(rows, high - low, nodes, values, roots, sums)
        for block in range(low, high):
            first[block] = _score(sums[block - low])
    # The first judge's features are made again and not kept: a row is ten times as large as the block's columns.
    positive, best = spread_scores(wide, narrow, blocks, parents, elements, sizes, first, totals, paths)
    position = 0
    for low in range(0, blocks, chunk):
        high = min(blocks, low + chunk)
        position = first_rows(
            low, high, wide, narrow, blocks, parents, sizes, counts, totals, paths, repeats, page, position, rows
        )
        second_rows(low, high, wide, blocks, parents, totals, paths, page, first, positive, best, rows)
        sums[:] = 0
        add_trees(rows, high - low, nodes2, values2, roots2, sums)
        for block in range(low, high):
            second[block] = _score(sums[block - low])
