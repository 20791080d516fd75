"""Settings of deduplication by address: of documents fetched from the same canonical URL, one is kept.

A crawl that fetched a page twice has two versions of it, which need not be alike; `survivor: [earliest]` or `[quality]`
says which one stays. A document without an http(s) address is nobody's duplicate. The work is an exchange, as that of
`exact_dedup`: `pipeline/dedup/exact.py`.

Canonical form (RFC 3986, section 6.2, and what serves the same page anywhere): http and https are one; host in lower
case without its last dot; no default port; no user name; dot segments resolved; escapes of unreserved characters
undone, others in capitals; an empty path is `/`; parameters sorted by name, those that only track the reader dropped;
no fragment, but for `#!`, with which some sites name their pages.
"""

import fnmatch
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote, unquote_to_bytes, urlsplit

import numpy as np
import pyarrow as pa
import xxhash

from stages.stage import setting
from stages.survivors import SurvivorSettings

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
#: RFC 3986: what may stand unescaped in a path, and in a query, besides letters, digits and -._~.
_PATH: Final = "!$&'()*+,;=:@/"
_QUERY: Final = "!$'()*+,;:@/?"
_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")


class UrlDedupSettings(SurvivorSettings):
    """Which parameters of an address say nothing about the page."""

    ignore_parameters: tuple[str, ...] = setting(
        ("utm_*", "gclid", "dclid", "fbclid", "msclkid", "yclid", "igshid", "mc_cid", "mc_eid", "_ga", "_gl",
         "phpsessid", "jsessionid"),
        "Parameters to drop, as patterns (* and ?) in lower case: campaign and click marks of the large advertisers, "
        "and session ids.",
    )  # fmt: skip


def _escaped(part: str, safe: str) -> str:
    """The part with escapes of unreserved characters undone and all others in one form; reserved characters that are
    escaped stay so, since they mean something else than bare ones."""
    pieces = []
    place = 0
    for found in _ESCAPE.finditer(part):
        byte = unquote_to_bytes(found.group())
        plain = quote(byte, safe="")  # unreserved characters come back bare, everything else as %XX
        pieces += [quote(part[place : found.start()].encode(errors="replace"), safe=safe + "%"), plain]
        place = found.end()
    return "".join([*pieces, quote(part[place:].encode(errors="replace"), safe=safe + "%")])


def _resolved(path: str) -> str:
    """The path without dot segments (RFC 3986, section 5.2.4)."""
    out: list[str] = []
    segments = path.split("/")
    for number, segment in enumerate(segments):
        if segment == "..":
            if len(out) > 1:
                out.pop()
        elif segment != ".":
            out.append(segment)
        if segment in (".", "..") and number == len(segments) - 1:
            out.append("")
    return "/".join(out) or "/"


def canonical_url(url: str, ignored: Sequence[str]) -> str | None:
    """The canonical form without its scheme, or None for what is no http(s) address."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:  # a port that is no number, brackets that do not close: no address
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        return None
    host = parts.hostname.rstrip(".") + (f":{port}" if port and port != _DEFAULT_PORTS[parts.scheme] else "")
    path = _resolved(_escaped(parts.path or "/", _PATH))
    named = sorted((pair.partition("=") for pair in parts.query.split("&") if pair), key=lambda pair: pair[0])
    query = "&".join(
        _escaped(name, _QUERY) + sign + _escaped(value, _QUERY + "=")
        for name, sign, value in named
        if not any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in ignored)
    )
    fragment = "#" + _escaped(parts.fragment, _PATH + "?") if parts.fragment.startswith("!") else ""
    return host + path + (f"?{query}" if query else "") + fragment


def url_keys(urls: pa.ChunkedArray, settings: UrlDedupSettings) -> tuple[np.ndarray, np.ndarray]:
    """(uint64[n, 2], bool[n]): the 128-bit XXH3 of each canonical URL, and whether there is one."""
    found = [None if url is None else canonical_url(url, settings.ignore_parameters) for url in urls.to_pylist()]
    digests = b"".join(xxhash.xxh3_128_digest((name or "").encode(errors="replace")) for name in found)
    keys = np.frombuffer(digests, dtype=">u8").astype(np.uint64).reshape(-1, 2)
    return keys, np.array([name is not None for name in found], dtype=bool)
