"""What a visitor asks of the list of documents: filters, order and page, read strictly from the address.

Values only ever reach the database as parameters; names of columns are looked up among those that the run has, so no
text of an address becomes part of a query.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final
from urllib.parse import urlencode

PAGE_ROWS: Final = 50
OUTCOMES: Final = ("kept", "dropped", "quarantined")
#: Columns that the list can be ordered by besides scores.
ORDERS: Final = ("url", "host", "source", "reason", "measured")
_WORDS: Final = re.compile(r'"([^"]+)"|(\S+)')
_LONGEST: Final = 2000
_MOST_WORDS: Final = 20


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One page of one list. An empty string or None: not asked for."""

    outcome: str = ""
    stage: str = ""
    reason: str = ""
    language: str = ""
    #: A host, or a domain with all hosts below it.
    host: str = ""
    source: str = ""
    #: Words, or "phrases in quotation marks", that must all stand in the text, whatever their case.
    words: str = ""
    #: A score's column and the range, ends included, in which it must lie.
    score: str = ""
    least: float | None = None
    most: float | None = None
    #: Id of the document that was kept instead: shows its duplicates.
    partner: str = ""
    #: First digits of an id.
    id: str = ""
    #: A column's name; empty: the order of the input.
    order: str = ""
    #: `largest` first, else the smallest.
    first: str = ""
    page: int = 1

    @property
    def wanted_words(self) -> list[str]:
        return [one or other for one, other in _WORDS.findall(self.words)][:_MOST_WORDS]

    @property
    def is_filtered(self) -> bool:
        return replace(self, order="", first="", page=1) != Asked()

    def link(self, **changes: str | float | None) -> str:
        """The query of an address for this list with changes; a change of anything but the page begins at page 1."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        told |= {"page": 1, **changes}
        if told["page"] == 1:
            del told["page"]
        return urlencode({name: value for name, value in told.items() if value not in ("", None)})

    def turned(self, column: str) -> str:
        """The link of a table's head: largest first, then smallest first, then the input's order again."""
        if self.order != column:
            return self.link(order=column, first="largest")
        return self.link(first="") if self.first else self.link(order="", first="")


def read_asked(
    query: Mapping[str, str], *, scores: frozenset[str], reasons: frozenset[str], stages: frozenset[str]
) -> Asked:
    """The query of an address. ValueError, for the visitor, names what cannot be."""
    known = {field.name for field in fields(Asked)}
    if unknown := sorted(set(query) - known):
        raise ValueError(f"{unknown[0][:50]!r} is no filter of this page")
    text = {name: value.strip() for name, value in query.items()}
    if any(len(value) > _LONGEST or "\0" in value for value in text.values()):
        raise ValueError(f"a filter is longer than {_LONGEST:,} characters, or holds a null character")
    for name, choices in (("outcome", OUTCOMES), ("stage", stages), ("reason", reasons), ("score", scores)):
        if text.get(name) and text[name] not in choices:
            raise ValueError(f"{name}: this run has no {text[name][:50]!r}")
    if text.get("order") and text["order"] not in scores and text["order"] not in ORDERS:
        raise ValueError(f"order: this run has no column {text['order'][:50]!r}")
    if text.get("first") not in (None, "", "largest"):
        raise ValueError("first: largest, or nothing")
    if text.get("id") and not re.fullmatch(r"[0-9a-f]{1,32}", text["id"]):
        raise ValueError("id: up to 32 digits of 0-9 and a-f")
    least, most = _number(text.pop("least", ""), "least"), _number(text.pop("most", ""), "most")
    if (least is not None or most is not None) and not text.get("score"):
        raise ValueError("a range needs a score: choose which")
    page = text.pop("page", "") or "1"
    if not (page.isascii() and page.isdigit() and len(page) <= 9 and int(page)):
        raise ValueError(f"page: not a number from 1 on: {page[:50]!r}")
    return Asked(**text, least=least, most=most, page=int(page))


def _number(text: str, name: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{name}: not a number: {text[:50]!r}")
    return value
