"""Which edition of a page a text is: the term, month or year that it names first, near its beginning.

Course pages of two terms and reports of two years share most of their sentences, as much as revisions of one page do,
and a person calls the first different and the second the same. What tells them apart is that an edition says at its
top which one it is. Two texts that both do, and name different ones, are no duplicates of each other.

What is looked at is a term in the page's address (`/courses/10/su15.html`: summer 2015), its title, and its text as it
was extracted: rules that drop lines without a sentence's end drop the headings that name a term. Dates in addresses are
not looked at: the same article has another one on each site that carries it.

A date with its day says when a page was written, printed or fetched, and is no edition: a page with today's date at its
top, a wiki page's last change and a source file's header stay the same page.

Measured on 329 pairs of one university's pages with a similarity of 0.75 or more, sorted by their addresses: it parts
104 of 119 pairs of editions (of the other 15 most are a page and its dated copy), none of 37 pairs of releases of one
source file, and 4 of 122 pairs of versions of one page (docs/decisions.md has the table).
"""

import re
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

#: Characters of a text in which it says what it is: 500, 1,000 and 2,000 gave the same on those pairs.
HEAD_CHARACTERS: Final = 500
_YEAR = r"(?:19[89]\d|20[0-3]\d)"
#: English, German, Spanish and French, with the short forms of English and German.
_MONTH = (
    "(?:jan(?:uary|uar|vier)?|enero|feb(?:ruary|ruar|rero)?|février|mar(?:ch|s|zo)?|märz|apr(?:il)?|abril|"
    "avril|ma[iy]|mayo|jun[ei]?|junio|juin|jul[iy]?|julio|juillet|aug(?:ust)?|agosto|août|sep(?:t(?:ember|embre)?)?|"
    "septiembre|setiembre|o[ck]t(?:ober|obre|ubre)?|nov(?:ember|embre|iembre)?|de[cz](?:ember)?|décembre|diciembre)"
)
_DAY = r"\d{1,2}(?:st|nd|rd|th|\.)?"
_TIME = r"(?:\s+(?:at\s+)?\d{1,2}:\d\d\S*(?:\s+[ap]m)?(?:\s+[a-z]{2,5})?)?"
_DATE: Final = re.compile(
    rf"\b{_YEAR}([-/.])\d{{1,2}}\1\d{{1,2}}(?!\d)|\b\d{{1,2}}([-/.])\d{{1,2}}\2{_YEAR}\b"
    rf"|\b{_MONTH}\b\.?\s+{_DAY},?{_TIME}\s+{_YEAR}\b"
    rf"|\b{_DAY}[\s-]+(?:(?:de|of)\s+)?{_MONTH}\b\.?,?[\s-]+(?:del?\s+)?{_YEAR}\b"
    rf"|{_YEAR}\s?年\s?\d{{1,2}}\s?月\s?\d{{1,2}}",
    re.IGNORECASE,
)
#: "Fall 2017", "Spring Quarter 2018", "Wintersemester 2016/17", "WS 2016", "otoño de 2016".
_TERM: Final = re.compile(
    r"\b(fall|autumn|winter|spring|summer|wintersemester|sommersemester|ws|wise|ss|sose|herbst|frühjahr|sommer|"
    r"otoño|invierno|primavera|verano|automne|hiver|printemps|été)"
    rf"\W{{1,3}}(?:(?:quarter|semester|term|del?)\W{{1,3}})?({_YEAR})\b",
    re.IGNORECASE,
)
_IN_MONTH: Final = re.compile(rf"\b({_MONTH})\b\.?\W{{1,3}}(?:del?\W{{1,3}})?({_YEAR})\b", re.IGNORECASE)
_ANY_YEAR: Final = re.compile(rf"\b{_YEAR}\b")
#: What every year begins with. Most texts have none of it, and are not looked at one by one.
_DECADE: Final = "19[89]|20[0-3]"


#: A course's term as a part of a path: "su15", "ics125_fq99", "cs122b-w17".
_TERM_OF_PATH: Final = r"[/_-](w|wi|wq|s|sp|sq|su|f|fa|fq)([089]\d|[123]\d)(?:[/._-]|$)"
#: What stands before and behind an address's path. Not by a parser: those raise for a host that cannot be.
_AROUND_PATH: Final = re.compile(r"^[a-z][a-z0-9+.\-]*://[^/?#]*|[?#].*", re.IGNORECASE | re.DOTALL)
_SEASONS: Final = {"w": "winter", "s": "spring", "su": "summer", "f": "fall"}


def terms_of_addresses(urls: pa.Array | pa.ChunkedArray) -> list[str]:
    """The term that each address names in its path, as a text would name it ("summer 2015"); empty if it names none."""
    found = [""] * len(urls)
    named = pc.match_substring_regex(urls, _TERM_OF_PATH, ignore_case=True)
    rows = np.flatnonzero(pc.fill_null(named, False).to_numpy(zero_copy_only=False))
    for row, url in zip(rows, urls.take(pa.array(rows)).to_pylist(), strict=True):
        if term := re.search(_TERM_OF_PATH, _AROUND_PATH.sub("", url).lower()):
            season = _SEASONS[term[1] if term[1] == "su" else term[1][0]]
            found[row] = f"{season} {'19' if term[2] >= '80' else '20'}{term[2]}"
    return found


def edition(text: str) -> str:
    """The first term with its year, else the first month with its year, else the first year, of a text's beginning
    without its dates of days; empty if it names none."""
    head = _DATE.sub(" ", text[:HEAD_CHARACTERS])
    for pattern in (_TERM, _IN_MONTH):
        if named := pattern.search(head):
            return f"{named[1].lower()} {named[2]}"
    year = _ANY_YEAR.search(head)
    return year[0] if year else ""


def all_editions(text: str) -> str:
    """Every term and year of a text, in order; empty if it names none. What two texts with the same answer begin with,
    once menus and the like are cut away, names the same edition."""
    terms = [f"{match[1].lower()} {match[2]}" for match in _TERM.finditer(text)]
    return "; ".join([*terms, *_ANY_YEAR.findall(text)])


def edition_keys(texts: pa.Array | pa.ChunkedArray, *, everywhere: bool = False) -> np.ndarray:
    """uint64[n]: a hash of each text's `edition`, or of `all_editions` where it is asked for `everywhere`; 0 where it
    names none."""
    looked_at = texts if everywhere else pc.utf8_slice_codeunits(texts, 0, HEAD_CHARACTERS)
    keys = np.zeros(len(texts), dtype=np.uint64)
    named = all_editions if everywhere else edition
    rows = np.flatnonzero(pc.match_substring_regex(looked_at, _DECADE).to_numpy(zero_copy_only=False))
    for row, text in zip(rows, looked_at.take(pa.array(rows)).to_pylist(), strict=True):
        if name := named(text):
            keys[row] = xxhash.xxh3_64_intdigest(name.encode())
    return keys
