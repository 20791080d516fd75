"""The report's section on the vocabulary: what it was learned from, bytes per token by language and by source, and how
much of it is used."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Languages or sources that are shown; the rest are summed, so that the rows together are the whole.
ROWS = 20
REST = "all others"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One language or source: its documents, and what they become."""

    name: str
    documents: int
    bytes: int
    tokens: int
    #: UTF-8 bytes of text for one token; 0 where there is no token.
    bytes_per_token: float
    #: The ratio as a share of the largest one in the table: how wide its bar is.
    width: float


def compression_tables(manifest: Mapping[str, Any]) -> list[tuple[str, list[Line]]]:
    """(`language` or `source`, its lines, the largest by tokens first). Empty where the run has no tokens."""
    vocabulary = manifest.get("vocabulary") or {}
    tables = vocabulary.get("compression") or {}
    return [(name.removeprefix("by_"), _lines(found)) for name, found in sorted(tables.items())]


@dataclass(frozen=True, kw_only=True)
class Used:
    """Entries that occur so often, and how wide their bar is: their share of the vocabulary."""

    name: str
    entries: int
    width: float


def usage_lines(manifest: Mapping[str, Any]) -> list[Used]:
    """How many entries occur nowhere, 1 to 9 times, 10 to 99 times, and so on; together all of the vocabulary. Empty
    where the run has no tokens."""
    found = (manifest.get("vocabulary") or {}).get("usage")
    if not found:
        return []
    rows = [("nowhere", found["unused"])]
    rows += [(f"{least:,} to {10 * least - 1:,} times", entries) for least, entries in found["decades"]]
    return [Used(name=name, entries=entries, width=entries / found["entries"]) for name, entries in rows]


def _lines(found: Mapping[str, Mapping[str, int]]) -> list[Line]:
    ordered = sorted(found.items(), key=lambda item: (-item[1]["tokens"], item[0]))
    rows = [(name, dict(sums)) for name, sums in ordered[:ROWS]]
    rest = [sums for _, sums in ordered[ROWS:]]
    if rest:
        rows.append((REST, {of: sum(each[of] for each in rest) for of in ("documents", "bytes", "tokens")}))
    ratios = [sums["bytes"] / sums["tokens"] if sums["tokens"] else 0.0 for _, sums in rows]
    most = max(ratios, default=0.0) or 1.0
    return [
        Line(name=name, **sums, bytes_per_token=round(ratio, 4), width=ratio / most)
        for (name, sums), ratio in zip(rows, ratios, strict=True)
    ]
