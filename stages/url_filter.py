"""Blocks documents by their address: by registered domain, host, address prefix, and words within the address.

A **list** is a file of entries, one a line (# begins a comment); every character of an entry means itself. An entry is

    example.com            a registered domain: blocks it and every host below it
    forum.example.org      a host below a registered domain: blocks that host alone
    example.net/adult      host and path: blocks what lies at or below that path on that host

What a registered domain is, the public suffix list says (publicsuffix.org, as the package publicsuffixlist ships it):
`co.uk` and `blogspot.com` are suffixes, so an entry `blogspot.com` blocks that one host and not a million blogs, and
`name.blogspot.com` is a registered domain of its own. Scheme, port, name and password, a leading `www.`, case and a
final full stop do not count. A document without an address passes.

A list is held as sorted 64-bit hashes of its entries, 8 bytes each: 4.5 million entries take 36 MB. A host that is on
no list is taken for one that is with probability 3e-13 at that size.

Source: Penedo et al. 2023 (RefinedWeb, appendix G.1), with the UT1 lists that it and FineWeb use; its rules for words
are the settings `words` (one is enough) and `soft_words` (two are).
"""

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa
import xxhash
from publicsuffixlist import PublicSuffixList

from stages.stage import Resource, Rule, Settings, Stage, place, setting, threshold, verdicts

#: Entries that are hashed together: bounds what is in memory besides the hashes.
_BATCH: Final = 100_000
#: Path segments that are looked up; a longer path is blocked by its beginning or not at all.
_MAX_SEGMENTS: Final = 32
#: Longer addresses are cut: what they carry behind is data, and browsers refuse them anyway.
_MAX_CHARACTERS: Final = 4096
_SCHEME: Final = re.compile(r"\A(?:[a-z][a-z0-9+.\-]*:)?//")
_HOST: Final = re.compile(r"(?:.*@)?(\[[^\]]*\]|[^:]*)")
_PLAIN_HOST: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)+")
_BORDER: Final = re.compile(r"[^a-z0-9]+")


class UrlFilterSettings(Settings):
    blocklist: str | None = place(None, "File of entries, one a line, plain or .gz; null: no list.")
    sha256: str | None = place(None, "Expected sha256 of that file; null accepts what is there and records it.")
    words: tuple[str, ...] = setting(
        (), "Words (between characters that are neither letter nor digit) of which one in the address is enough."
    )
    soft_words: tuple[str, ...] = setting((), "Words of which max_soft_words different ones are accepted.")
    substrings: tuple[str, ...] = setting((), "Strings that may stand nowhere in the address, also within a word.")
    max_soft_words: int = threshold(
        1, "Different soft_words in an address that are accepted; RefinedWeb blocks at two (appendix G.1).", ge=0
    )


#: How an address was blocked, as `url_blocked` names it, with the ledger's reason.
REASONS_OF: Final[dict[str, str]] = {
    "domain": "url_domain",
    "host": "url_host",
    "path": "url_path",
    "word": "url_word",
    "substring": "url_word",
}

ADDS: Final = pa.schema(
    [
        # The first of REASONS_OF that blocks the address; null if none does.
        pa.field("url_blocked", pa.string()),
        # The entry, word or string that does.
        pa.field("url_blocked_by", pa.string()),
        # Different soft_words in the address.
        pa.field("url_soft_words", pa.int64(), nullable=False),
    ]
)


def build_list(lines: Iterable[str]) -> np.ndarray:
    """uint64: the sorted distinct hashes of the entries in `lines`, which may come in any order."""
    found = [np.zeros(0, dtype=np.uint64)]
    remaining = iter(lines)
    while batch := list(islice(remaining, _BATCH)):
        entries = {entry for line in batch if (entry := _entry(line))}
        hashes = np.fromiter(map(_hash, entries), dtype=np.uint64, count=len(entries))
        found.append(hashes)
    # Not numpy's unique, which builds a hash table several times as large as the values.
    values = np.concatenate(found)
    found.clear()
    values.sort()
    first = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    return values if first.all() else values[first]


def measure(docs: pa.Table, settings: UrlFilterSettings, resources: Mapping[str, Any]) -> pa.Table:
    """ADDS for each document, in order."""
    listed = resources.get("blocklist", np.zeros(0, dtype=np.uint64))
    words = {word.lower() for word in settings.words}
    soft = {word.lower() for word in settings.soft_words}
    substrings = [piece.lower() for piece in settings.substrings]
    blocked: list[str | None] = []
    by: list[str | None] = []
    counts: list[int] = []
    for url in docs["url"].to_pylist():
        address = (url or "")[:_MAX_CHARACTERS].lower()
        how, what = _listed(address, listed) or _worded(address, words, substrings) or (None, None)
        blocked.append(how)
        by.append(what)
        counts.append(len(soft.intersection(_BORDER.split(address))) if soft else 0)
    columns = [pa.array(blocked, pa.string()), pa.array(by, pa.string()), pa.array(counts, pa.int64())]
    return pa.table(columns, schema=ADDS)


def judge(docs: pa.Table, settings: UrlFilterSettings) -> pa.Table:
    """Rejects what is blocked, naming the entry, then addresses with too many soft words."""
    blocked = docs["url_blocked"].to_pylist()
    by = docs["url_blocked_by"].to_pylist()
    rules = [
        Rule(
            reason=reason,
            passes=np.array([how is None or REASONS_OF[how] != reason for how in blocked], dtype=bool),
            detail=by,
        )
        for reason in dict.fromkeys(REASONS_OF.values())
    ]
    counts = docs["url_soft_words"].to_numpy()
    limit = settings.max_soft_words
    rules.append(Rule(reason="url_word", passes=counts <= limit, measured=counts, threshold=limit, detail="soft words"))
    return verdicts(rules, docs.num_rows)


def split(address: str) -> tuple[str, str]:
    """Host and path of an address, lower case: no scheme, `www.`, port, credentials, query or final slash.

    The host is in the ASCII form of international names, which lists use; "" if there is none.
    """
    authority, _, path = re.split(r"[?#]", _SCHEME.sub("", address.lower()), maxsplit=1)[0].partition("/")
    inner = _HOST.match(authority)
    host = (inner[1] if inner else "").rstrip(".").removeprefix("www.")
    if not host.isascii():
        # A name that no registry would give is looked up as it is written.
        with contextlib.suppress(UnicodeError):
            host = host.encode("idna").decode()
    return host, path.strip("/")


def _entry(line: str) -> str:
    """An entry in the form in which it is hashed, HOST or HOST/PATH; "" for a comment."""
    text = line.partition("#")[0].strip()
    if _PLAIN_HOST.fullmatch(text):  # nearly every line of a list of millions
        return text.removeprefix("www.")
    host, path = split(text)
    return f"{host}/{path}" if path else host


def _hash(entry: str) -> int:
    return xxhash.xxh3_64_intdigest(entry.encode("utf-8", "replace"))


def _in(listed: np.ndarray, entry: str) -> bool:
    value = np.uint64(_hash(entry))
    at = int(np.searchsorted(listed, value))
    return at < len(listed) and bool(listed[at] == value)


def _listed(address: str, listed: np.ndarray) -> tuple[str, str] | None:
    """How and by which entry the list blocks the address."""
    host, path = split(address)
    if not len(listed) or not host:
        return None
    domain = host if _is_number(host) else _suffixes().privatesuffix(host)
    if domain and _in(listed, domain):
        return "domain", domain
    if domain != host and _in(listed, host):
        return "host", host
    prefix = host
    for segment in path.split("/")[:_MAX_SEGMENTS] if path else ():
        prefix = f"{prefix}/{segment}"
        if _in(listed, prefix):
            return "path", prefix
    return None


def _worded(address: str, words: set[str], substrings: Sequence[str]) -> tuple[str, str] | None:
    if words:
        for word in _BORDER.split(address):
            if word in words:
                return "word", word
    for piece in substrings:
        if piece in address:
            return "substring", piece
    return None


def _is_number(host: str) -> bool:
    """Whether the host is an address of the internet protocol, which has no domain."""
    return host.startswith("[") or host.replace(".", "").isdigit()


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


def resources(settings: UrlFilterSettings) -> tuple[Resource, ...]:
    if settings.blocklist is None:
        return ()
    return (Resource(name="blocklist", kind="url_list", reference=settings.blocklist, sha256=settings.sha256),)


STAGE: Final = Stage(
    name="url_filter",
    settings=UrlFilterSettings,
    reads=("url",),
    adds=ADDS,
    measure=measure,
    judge=judge,
    judges=("url_blocked", "url_blocked_by", "url_soft_words"),
    resources=resources,
    libraries=("publicsuffixlist", "xxhash"),
)
