"""Which edition of a page a text is: the term or year that it names first, near its beginning.

Course pages of two terms and reports of two years share most of their sentences, as much as revisions of one page do,
and a person calls the first different and the second the same. What tells them apart is that an edition says at its
top which one it is. Two texts that both do, and name different ones, are no duplicates of each other.

Measured on 329 pairs of one university's pages with a similarity of 0.75 or more, sorted by their addresses: it parts
104 of 119 pairs of editions (of the other 15 most are a page and its dated copy), 15 of 37 pairs of releases of one
source file, and 4 of 122 pairs of versions of one page (docs/decisions.md has the table).
"""

import re
from collections.abc import Callable
from typing import Final

import numpy as np
import pyarrow as pa
import xxhash

#: Characters of a text in which it says what it is: 500, 1,000 and 2,000 gave the same on those pairs.
HEAD_CHARACTERS: Final = 500
_YEAR = r"(?:19[89]\d|20[0-3]\d)"
#: English seasons: terms are named so. "Fall 2017", "Spring Quarter 2018".
_TERM: Final = re.compile(
    rf"\b(fall|autumn|winter|spring|summer)\W{{1,3}}(?:(?:quarter|semester|term)\W{{1,3}})?({_YEAR})\b", re.IGNORECASE
)
_ANY_YEAR: Final = re.compile(rf"\b{_YEAR}\b")


def edition(text: str) -> str:
    """The first term with its year, or the first year, of a text's beginning; empty if it names none."""
    head = text[:HEAD_CHARACTERS]
    if term := _TERM.search(head):
        return f"{term[1].lower()} {term[2]}"
    year = _ANY_YEAR.search(head)
    return year[0] if year else ""


def all_editions(text: str) -> str:
    """Every term and year of a text, in order; empty if it names none. What two texts with the same answer begin with,
    once menus and the like are cut away, names the same edition."""
    terms = [f"{match[1].lower()} {match[2]}" for match in _TERM.finditer(text)]
    return "; ".join([*terms, *_ANY_YEAR.findall(text)])


def edition_keys(texts: pa.Array | pa.ChunkedArray, *, named: Callable[[str], str] = edition) -> np.ndarray:
    """uint64[n]: a hash of each text's edition; 0 where it names none."""
    names = [named(text) for text in texts.to_pylist()]
    return np.array([xxhash.xxh3_64_intdigest(name.encode()) if name else 0 for name in names], dtype=np.uint64)
