"""`tamis explain`: what happened to one document, stage by stage, with the measured values."""

import itertools
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.cuts import cuts
from pipeline.files import Files
from pipeline.outputs import read_manifest
from stages.reasons import REASONS

_TEXT_CHARACTERS = 600


class UnknownDocumentError(LookupError):
    """No document of the run has this id, address or place."""


def find(out: str, wanted: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every document of a run that `wanted` names: an id (or its first 8 or more digits), a url, or source:offset.

    Yields ("kept" | "ledger", row).
    """
    manifest, files = read_manifest(out), Files(out)
    for split in manifest["splits"]:
        for folder in ("kept", "ledger"):
            name = f"{folder}/{split['part']}.parquet"
            places = files.read_table(name, ["id", "url", "source", "offset"])
            rows = _matching(places, wanted)
            if len(rows):
                for row in files.read_table(name).take(rows).to_pylist():
                    yield folder, row


def _matching(places: pa.Table, wanted: str) -> pa.Array:
    hit = pc.equal(places["url"], wanted)
    if len(wanted) >= 8 and all(digit in "0123456789abcdef" for digit in wanted):
        hit = pc.or_kleene(hit, pc.starts_with(places["id"], pattern=wanted))
    source, _, offset = wanted.rpartition(":")
    if offset.isdigit():
        place = pc.and_(pc.equal(places["source"], source), pc.equal(places["offset"], int(offset)))
        hit = pc.or_kleene(hit, place)
    return pc.indices_nonzero(pc.fill_null(hit, fill_value=False))


def explain(out: str, wanted: str, *, work: str | None = None) -> str:
    """The story of each matching document as text. UnknownDocumentError if there is none.

    The values that passed stages measured are read from the run's work folder, if it is still there.
    """
    manifest = read_manifest(out)
    parts = Files(work or manifest["observed"]["work"])
    stories = [_story(out, manifest, parts, folder, row) for folder, row in itertools.islice(find(out, wanted), 20)]
    if not stories:
        raise UnknownDocumentError(
            f"{wanted!r}: no document of this run has this id, url or place. Give an id (8 digits or more), a url, "
            "or SOURCE:OFFSET as the ledger prints it."
        )
    return "\n\n".join(stories)


def _story(out: str, manifest: Mapping[str, Any], parts: Files, folder: str, row: dict[str, Any]) -> str:
    lines = [
        f"document  {row['id']}",
        f"where     {row['source']}, byte {row['offset']}" + (f", record {row['record']}" if row["record"] else ""),
        f"url       {row['url'] or '(none)'}",
    ]
    stages = [stage["stage"] for stage in manifest["counts"]["stages"]]
    kept = folder == "kept"
    values = measured_values(manifest, parts, row)
    taken = cuts(manifest, parts, row)
    for stage in stages if kept else stages[: stages.index(row["stage"])]:
        told = {name: value for name, value in values.get(stage, {}).items() if value is not None}
        measured = ", ".join(f"{name} {_shown(value)}" for name, value in told.items())
        lines += textwrap.wrap(f"{stage:<20} passed  {measured}", 118, initial_indent="  ", subsequent_indent=" " * 30)
        lines += [f"  {'':<20} cut out {piece}{_stands(out, partner)}" for piece, partner in taken.get(stage, [])]
    if kept:
        return "\n".join([*lines, "result    kept", _quoted(row["text"])])
    lines.append(f"  {row['stage']:<20} {row['outcome']}: {row['reason']} ({REASONS[row['reason']]})")
    if row["measured"] is not None:
        held = f", threshold {_shown(row['threshold'])}" if row["threshold"] is not None else ""
        lines.append(f"  {'':<20} measured {_shown(row['measured'])}{held}")
    if row["detail"]:
        lines.append(f"  {'':<20} {row['detail']}")
    for piece, partner in taken.get(row["stage"], []):
        lines.append(f"  {'':<20} cut out {piece}{_stands(out, partner)}")
    if row["end"] is not None:
        lines.append(f"  {'':<20} bytes {row['offset']} to {row['end']} of {row['source']}")
    if row["partner"]:
        lines.append(f"  {'':<20} kept instead: {row['partner']} {_partner(out, row['partner'])}")
    lines.append(f"result    {row['outcome']}")
    if row["excerpt"]:
        lines.append(_quoted(row["excerpt"]))
    return "\n".join(lines)


def measured_values(manifest: Mapping[str, Any], parts: Files, row: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Stage -> column -> the value that the stage judged, as far as the work folder still holds it."""
    values: dict[str, dict[str, Any]] = {}
    for split in manifest["splits"]:
        if split["source"] != row["source"]:
            continue
        base = f"{manifest['base']}/{split['unit']}.docs.parquet"
        places = parts.read_table(base, ["id"])["id"].to_pylist() if parts.exists(base) else []
        if row["id"] not in places:
            continue
        place = places.index(row["id"])
        for stage, columns in manifest["columns"].items():
            for column, phase in columns.items():
                name = f"{phase}/{split['unit']}.docs.parquet"
                if parts.exists(name):
                    values.setdefault(stage, {})[column] = parts.read_table(name, [column])[column][place].as_py()
    return values


def _stands(out: str, partner: str | None) -> str:
    return f" | first in {partner} {_partner(out, partner)}" if partner else ""


def _partner(out: str, identity: str) -> str:
    for folder, row in find(out, identity):
        return f"({row['url'] or row['source']}{'' if folder == 'kept' else ', itself dropped later'})"
    return "(of an earlier run)"


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _quoted(text: str) -> str:
    shown = text[:_TEXT_CHARACTERS] + (" …" if len(text) > _TEXT_CHARACTERS else "")
    return "\n".join(f"  | {line}" for line in shown.splitlines() if line.strip())
