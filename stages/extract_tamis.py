"""The engine `tamis`: a page's blocks in one linear pass, and a small learned judge of which of them are main text.

It needs no parser of others and no process of its own: no input makes it take more than linear time, or more memory
than a fixed number of bytes for each byte of the page.
"""

import io
import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from stages import html_blocks as reading
from stages import html_features as seeing
from stages.clean import clean_title
from stages.html_names import NUMBER
from stages.html_render import BLOCK_BYTES, WRITTEN_BYTES, render
from stages.html_trees import Trees, add_trees

#: Rows that are judged at a time: their features stay in the processor's cache.
_CHUNK: Final = 64
#: Scores are logits in 1/1024.
SCALE: Final = 1024
_LIMIT: Final = 32_000
#: Scores are told apart in steps of 1/16 logit between -8 and 8 when blocks are chosen.
_LEVEL_BITS: Final = 6
_HALF: Final = 8 * SCALE
#: The chance that each step stands for, in 1/_ONE.
_ONE: Final = 10_000
_CHANCES: Final = np.array([round(_ONE / (1 + math.exp(8 - step / 16))) for step in range(256)], np.int64)
_TITLE: Final = NUMBER["title"]
#: Inline marks, and what stands for one between cells.
_MARKS: Final = bytes([2, 3, 4, 5, 6, 7, 14, 15])
_CELLS: Final = bytes.maketrans(bytes([reading.NEXT_CELL]), b" ")


@dataclass(frozen=True, kw_only=True)
class Judge:
    """What was learned."""

    #: int16[TOKEN_BUCKETS]: what the names of classes, ids, roles and elements speak for.
    tokens: Any
    first: Trees
    second: Trees
    #: What is taken from scores before blocks are chosen: more is stricter.
    bias: int

    @classmethod
    def from_bytes(cls, data: bytes) -> "Judge":
        """The judge in a file as `to_bytes` writes it. ValueError if it is none."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            parts = [
                Trees(nodes=arrays[f"{name}_nodes"], leaves=arrays[f"{name}_leaves"], roots=arrays[f"{name}_roots"])
                for name in ("first", "second")
            ]
            return cls(tokens=arrays["tokens"], first=parts[0], second=parts[1], bias=int(arrays["bias"].item()))


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """A page's blocks in order, as flat columns; see stages/html_blocks.py for their numbers."""

    text: Any
    text_end: int
    wide: Any
    narrow: Any
    parents: Any
    #: (bucket, element or -1 - block) of each class token; empty unless asked for.
    seen: Any

    def __len__(self) -> int:
        return len(self.wide)

    def plain(self, block: int) -> str:
        """The text of one block on its own."""
        return self.raw(block).translate(_CELLS, _MARKS).decode("utf-8").strip()

    def raw(self, block: int) -> bytes:
        """The bytes of one block, inline marks included."""
        end = self.wide[block + 1, reading.START] if block + 1 < len(self) else self.text_end
        return bytes(self.text[self.wide[block, reading.START] : end])


def blocks_of(page: bytes, judge_tokens: Any, *, collect: bool = False) -> Blocks:
    """Blocks of a page in UTF-8."""
    source = np.frombuffer(page, np.uint8)
    tags = reading.count_tags(source)
    # A character reference can be a fifth shorter than what it stands for; a mark takes a byte and stands for a tag.
    text = np.empty(source.size + source.size // 5 + 2 * tags + 64, np.uint8)
    most = reading.most_blocks(source.size)
    room = min(2 * tags + 2, source.size // 2 + 2, most + 2)
    wide, narrow = np.empty((room, reading.WIDE), np.int32), np.empty((room, reading.NARROW), np.int16)
    parents = np.empty(min(tags, most) + 2, np.int32)
    stack = np.empty((reading.STACK, reading.STACK_COLUMNS), np.int32)
    seen = np.empty(((tags + 1) * (reading.MAX_TOKENS + 1) if collect else 0, 2), np.int32)
    blocks, elements, end, count = reading.read_blocks(
        source, judge_tokens, most, text, wide, narrow, parents, stack, seen
    )
    return Blocks(
        text=text,
        text_end=end,
        wide=wide[:blocks],
        narrow=narrow[:blocks],
        parents=parents[:elements],
        seen=seen[:count],
    )


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page with its blocks judged."""

    blocks: Blocks
    #: int16[blocks], in 1/SCALE of a logit: what the judge thinks of each.
    scores: Any
    #: bool[blocks]: main text.
    keep: Any
    #: Characters of all blocks that are not white space, menus included.
    visible_characters: int

    @property
    def title(self) -> str | None:
        return title_of(self.blocks)

    def text(self, *, markdown: bool = False) -> str:
        """The main text; empty if there is none."""
        return rendered(self.blocks, self.keep, markdown=markdown)

    def shown(self) -> list[tuple[str, float, bool]]:
        """Each block with its score as a probability and whether it is main text, in the page's order."""
        return [
            (self.blocks.plain(block), 1 / (1 + math.exp(-int(self.scores[block]) / SCALE)), bool(self.keep[block]))
            for block in range(len(self.blocks))
        ]


def judged(page: bytes, judge: Judge) -> Page:
    """The blocks of a page in UTF-8 and what `judge` makes of them. Never raises on any page but MemoryError."""
    blocks = blocks_of(page, judge.tokens)
    made = measured(blocks)
    number = len(blocks)
    first, second = np.empty(number, np.int16), np.empty(number, np.int16)
    seeing.judge(
        blocks.wide, blocks.narrow, number, blocks.parents, len(blocks.parents), made.sizes, made.counts, made.totals,
        made.paths, made.repeats, made.page, *judge.first.laid, *judge.second.laid,
        np.empty((_CHUNK, seeing.SECOND), np.int32), np.empty(_CHUNK, np.int64), first, second,
    )  # fmt: skip
    titles = blocks.narrow[:, reading.TAG] == _TITLE
    second[titles] = -_LIMIT
    return Page(
        blocks=blocks,
        scores=second,
        keep=chosen(second, np.where(titles, 0, made.sizes[:, seeing.CHARACTERS]), judge.bias) & ~titles,
        visible_characters=int(made.page[seeing.PAGE_VISIBLE]),
    )


def chosen(scores: Any, sizes: Any, bias: int) -> Any:
    """bool[blocks]: those with which F1 by characters is largest, if the scores less `bias` are what they claim to be.

    On a page whose main text is certain this is every block that is main text more likely than not; on one where
    nothing is certain, also blocks that are less likely, rather than next to nothing.
    """
    levels = np.clip((scores.astype(np.int32) - bias + _HALF) >> _LEVEL_BITS, 0, len(_CHANCES) - 1)
    total = np.bincount(levels, weights=sizes, minlength=len(_CHANCES)).astype(np.int64)[::-1]
    chances = _CHANCES[::-1]
    expected = np.cumsum(total * chances)
    taken = np.cumsum(total) * _ONE
    if expected[-1] == 0:
        return np.zeros(len(scores), bool)
    # Whole numbers until here; one division of each, which IEEE 754 rounds alike everywhere.
    best = int(np.argmax(2 * expected / (taken + expected[-1])))
    return levels >= len(_CHANCES) - 1 - best


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What `measure` counts; see stages/html_features.py."""

    sizes: Any
    counts: Any
    totals: Any
    paths: Any
    repeats: Any
    page: Any


def measured(blocks: Blocks) -> Measured:
    number, elements = len(blocks), len(blocks.parents)
    made = Measured(
        sizes=np.empty((number, seeing.SIZES), np.int32),
        counts=np.empty((number, seeing.COUNTS), np.uint8),
        totals=np.zeros((elements, 5), np.int32),
        paths=np.zeros((seeing.BUCKETS, 4), np.int32),
        repeats=np.zeros(seeing.BUCKETS + 1024, np.int32),
        page=np.zeros(seeing.PAGE, np.int32),
    )
    seeing.measure(
        blocks.text, blocks.text_end, blocks.wide, blocks.narrow, number, blocks.parents, elements, made.sizes,
        made.counts, made.totals, made.paths, made.repeats, made.page,
    )  # fmt: skip
    return made


def features(blocks: Blocks, made: Measured) -> Any:
    """int32[blocks, FIRST]: what the first judge sees."""
    rows = np.empty((len(blocks), seeing.FIRST), np.int32)
    seeing.first_rows(
        0, len(blocks), blocks.wide, blocks.narrow, len(blocks), blocks.parents, made.sizes, made.counts, made.totals,
        made.paths, made.repeats, made.page, 0, rows,
    )  # fmt: skip
    return rows


def second_features(blocks: Blocks, made: Measured, first: Any, scores: Any) -> Any:
    """int32[blocks, SECOND]: what the second judge sees. Overwrites part of `made`."""
    rows = np.empty((len(blocks), seeing.SECOND), np.int32)
    rows[:, : seeing.FIRST] = first
    positive, best = seeing.spread_scores(
        blocks.wide, blocks.narrow, len(blocks), blocks.parents, len(blocks.parents), made.sizes, scores, made.totals,
        made.paths,
    )  # fmt: skip
    seeing.second_rows(
        0, len(blocks), blocks.wide, len(blocks), blocks.parents, made.totals, made.paths, made.page, scores, positive,
        best, rows,
    )  # fmt: skip
    return rows


def scores_from(sums: Any) -> Any:
    """int16 scores from sums of leaves."""
    return np.clip(sums >> 6, -_LIMIT, _LIMIT).astype(np.int16)


def add(rows: Any, trees: Trees) -> Any:
    sums = np.zeros(len(rows), np.int64)
    add_trees(rows, len(rows), *trees.laid, sums)
    return sums


def rendered(blocks: Blocks, keep: Any, *, markdown: bool) -> str:
    """The kept blocks as text."""
    lengths = np.diff(blocks.wide[:, reading.START], append=blocks.text_end)
    out = np.empty(WRITTEN_BYTES * int(lengths[keep].sum()) + BLOCK_BYTES * int(keep.sum()) + 16, np.uint8)
    end = render(blocks.text, blocks.text_end, blocks.wide, blocks.narrow, len(blocks), keep, markdown, out)
    return out[:end].tobytes().decode("utf-8").strip()


def title_of(blocks: Blocks) -> str | None:
    for block in np.flatnonzero(blocks.narrow[:, reading.TAG] == _TITLE)[:1]:
        return clean_title(blocks.plain(int(block)))
    return None
