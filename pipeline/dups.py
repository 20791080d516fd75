"""`tamis dups`: the cluster of a document, and side by side how each duplicate differs from the one kept instead.

A cluster is what the ledger's partners connect. It is for reading only: members need not be similar to each other,
each was removed for its similarity to its own partner.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Group
from rich.table import Table
from rich.text import Text

from pipeline.explain import UnknownDocumentError, find
from pipeline.files import Files
from pipeline.outputs import read_manifest

#: Words shown at either end of a stretch in which both texts agree.
_CONTEXT_WORDS: Final = 8
#: Words of a stretch that differs, from its beginning; what is left out is counted.
_SHOWN_WORDS: Final = 120
#: Words in a row that must agree between two differences for the table to show them apart.
_ALIKE_WORDS: Final = 3
_PLACE: Final = ("id", "url", "source", "offset")
_LEDGER: Final = (*_PLACE, "stage", "reason", "measured", "threshold", "partner")


@dataclass(frozen=True, kw_only=True)
class Member:
    """One document of a cluster; `partner` is None for the one that was kept, or dropped for another reason."""

    id: str
    url: str | None
    source: str
    offset: int
    kept: bool
    stage: str | None = None
    measured: float | None = None
    threshold: float | None = None
    partner: str | None = None

    @property
    def name(self) -> str:
        return self.url or f"{self.source}:{self.offset}"


def cluster(out: str, identity: str) -> dict[str, Member]:
    """id -> member, for all documents that partners connect with this one. Reads the ledger once for each step of the
    longest chain, and holds the cluster and one part."""
    manifest, files = read_manifest(out), Files(out)
    parts = [split["part"] for split in manifest["splits"]]
    found: dict[str, Member] = {}
    wanted = {identity}
    while wanted:
        sought = pa.array(sorted(wanted), pa.string())
        fresh: list[dict[str, Any]] = []
        for part in parts:
            rows = files.read_table(f"ledger/{part}.parquet", list(_LEDGER))
            hit = pc.or_(pc.is_in(rows["id"], sought), pc.is_in(rows["partner"], sought))
            fresh += rows.filter(hit).to_pylist()
        known = set(found)
        for row in fresh:
            columns = {name: row[name] for name in (*_PLACE, "stage", "measured", "threshold", "partner")}
            found[row["id"]] = Member(kept=False, **columns)
        named = {name for row in fresh for name in (row["id"], row["partner"]) if name}
        wanted = named - known - wanted
    for part in parts:
        rows = files.read_table(f"kept/{part}.parquet", list(_PLACE))
        names = {identity, *(member.partner for member in found.values() if member.partner)} - set(found)
        for row in rows.filter(pc.is_in(rows["id"], pa.array(sorted(names), pa.string()))).to_pylist():
            found[row["id"]] = Member(kept=True, **row)
    return found


def _texts(manifest: Mapping[str, Any], parts: Files, wanted: set[str], stage: str) -> Iterator[tuple[str, str]]:
    """(id, text as this stage compared it), as far as the work folder still holds them."""
    folder = manifest["compared"].get(stage, manifest["base"])
    sought = pa.array(sorted(wanted), pa.string())
    for split in manifest["splits"]:
        base, held = (f"{phase}/{split['unit']}.docs.parquet" for phase in (manifest["base"], folder))
        if folder.startswith("glance-"):  # before extraction: rows of its own, in parts named without verdicts
            base = held = f"{folder}/{split['unit'].partition('-')[0]}.docs.parquet"
        if not (parts.exists(base) and parts.exists(held)):
            continue
        rows = pc.indices_nonzero(pc.is_in(parts.read_table(base, ["id"])["id"], sought))
        if len(rows):
            identities = parts.read_table(base, ["id"])["id"].take(rows).to_pylist()
            yield from zip(identities, parts.read_table(held, ["text"])["text"].take(rows).to_pylist(), strict=True)


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A run of words in which two texts agree, or differ."""

    alike: bool
    kept: tuple[str, ...]
    removed: tuple[str, ...]


def stretches(kept: str, removed: str) -> list[Stretch]:
    """The words of both texts, in order and in full, cut where they begin or cease to agree."""
    one, two = kept.split(), removed.split()
    matcher = difflib.SequenceMatcher(None, one, two, autojunk=len(one) + len(two) > 20_000)
    return [
        Stretch(alike=tag == "equal", kept=tuple(one[a:b]), removed=tuple(two[c:d]))
        for tag, a, b, c, d in matcher.get_opcodes()
    ]


def _gathered(found: list[Stretch]) -> Iterator[Stretch]:
    """Stretches for reading: a word or two in which both happen to agree do not part two differences."""
    held: Stretch | None = None
    for place, stretch in enumerate(found):
        passing = stretch.alike and len(stretch.kept) < _ALIKE_WORDS and 0 < place < len(found) - 1
        if stretch.alike and not passing:
            if held is not None:
                yield held
            yield stretch
            held = None
        elif held is None:
            held = replace(stretch, alike=False)
        else:
            held = Stretch(alike=False, kept=held.kept + stretch.kept, removed=held.removed + stretch.removed)
    if held is not None:
        yield held


def _shortened(words: tuple[str, ...], *, alike: bool) -> str:
    if alike and len(words) > 2 * _CONTEXT_WORDS + 4:
        left_out = len(words) - 2 * _CONTEXT_WORDS
        head, tail = words[:_CONTEXT_WORDS], words[-_CONTEXT_WORDS:]
        return f"{' '.join(head)} … {left_out} words alike … {' '.join(tail)}"
    if len(words) > _SHOWN_WORDS:
        return f"{' '.join(words[:_SHOWN_WORDS])} … and {len(words) - _SHOWN_WORDS} words more"
    return " ".join(words)


def side_by_side(kept: str, removed: str, *, names: tuple[str, str] = ("kept", "removed")) -> Table:
    """A table of two columns under these names; rows marked ≠ differ."""
    table = Table("", *names, expand=True, show_lines=False, pad_edge=False)
    table.columns[0].width = 1
    for column in table.columns[1:]:
        column.ratio = 1
        column.overflow = "fold"
    for stretch in _gathered(stretches(kept, removed)):
        styles = ("dim", "dim") if stretch.alike else ("bold red", "bold green")
        cells = [
            Text(_shortened(words, alike=stretch.alike), style=style)
            for words, style in zip((stretch.kept, stretch.removed), styles, strict=True)
        ]
        table.add_row("=" if stretch.alike else "≠", *cells)
    return table


def _line(member: Member) -> str:
    if member.kept:
        return f"kept     {member.id}  {member.name}"
    if member.partner is None:
        return f"dropped  {member.id}  {member.name}  by {member.stage}"
    number = "" if member.measured is None else f" {member.measured:g} (threshold {member.threshold:g})"
    return f"removed  {member.id}  {member.name}  by {member.stage}{number}, for {member.partner}"


def _rank(wanted: str) -> Callable[[Member], tuple[bool, float, str]]:
    """The document that was asked for first, then the least similar: where a wrong merge would show."""
    return lambda member: (member.id != wanted, member.measured if member.measured is not None else np.inf, member.id)


def dups(out: str, wanted: str, *, work: str | None = None, limit: int = 5) -> Group:
    """What the terminal shows: the members, then up to `limit` of those removed beside their partners.

    UnknownDocumentError if the run has no such document, or if it is nobody's duplicate and nobody is its.
    """
    row = next((row for _, row in find(out, wanted)), None)
    if row is None:
        raise UnknownDocumentError(
            f"{wanted!r}: no document of this run has this id, url or place. Give an id (8 digits or more), a url, "
            "or SOURCE:OFFSET as the ledger prints it."
        )
    members = cluster(out, row["id"])
    removed = sorted((member for member in members.values() if member.partner), key=_rank(row["id"]))
    if not removed:
        raise UnknownDocumentError(f"{row['id']}: nobody's duplicate, and no document was removed for it")
    manifest = read_manifest(out)
    parts = Files(work or manifest["observed"]["work"])
    shown: list[Any] = [f"{len(members)} documents, connected by partners; similarity is that to the partner"]
    shown += [Text(_line(member)) for member in sorted(members.values(), key=_rank(row["id"]))[: 10 * limit]]
    if len(members) > 10 * limit:
        shown.append(f"… and {len(members) - 10 * limit} more")
    for member in removed[:limit]:
        assert member.partner is not None
        assert member.stage is not None
        texts = dict(_texts(manifest, parts, {member.id, member.partner}, member.stage))
        shown += ["", Text(_line(member), style="bold")]
        missing = [name for name in (member.partner, member.id) if name not in texts]
        if missing:
            shown.append(f"  no text of {', '.join(missing)} in {parts.path('')}: an earlier run's, or freed since")
        else:
            shown.append(side_by_side(texts[member.partner], texts[member.id]))
    return Group(*shown)
