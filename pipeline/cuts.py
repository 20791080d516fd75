"""What exchanges below the document cut out of one document, and where it stands instead: for `tamis explain`."""

from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.books import excerpt
from pipeline.files import Files

#: Stretches of one stage that are shown, from the longest; the others are counted.
_SHOWN: Final = 5
_EXCERPT_CHARACTERS: Final = 80


def cuts(manifest: Mapping[str, Any], parts: Files, row: Mapping[str, Any]) -> dict[str, list[tuple[str, str | None]]]:
    """Stage -> (what was cut, id of the document whose copy comes first, or None for the document itself), as far as
    the work folder still holds it."""
    found: dict[str, list[tuple[str, str | None]]] = {}
    for split in manifest["splits"]:
        base = f"{manifest['base']}/{split['unit']}.docs.parquet"
        if split["source"] != row["source"] or not parts.exists(base):
            continue
        place = pc.index(parts.read_table(base, ["id"])["id"], pa.scalar(row["id"])).as_py()
        if place < 0:
            continue
        for stage, phase in manifest.get("rewritten", {}).items():
            removed = f"{phase}/{split['unit']}.removed.parquet"
            before = f"{manifest['compared'][stage]}/{split['unit']}.docs.parquet"
            if parts.exists(removed) and parts.exists(before):
                found[stage] = _of_stage(parts, removed, before, place, row["id"])
    return found


def _of_stage(parts: Files, removed: str, before: str, place: int, identity: str) -> list[tuple[str, str | None]]:
    rows = parts.read_table(removed)
    mine = rows.filter(pc.equal(rows["row"], place)).to_pylist()
    if not mine:
        return []
    text = parts.read_table(before, ["text"])["text"][place].as_py().encode()
    mine.sort(key=lambda span: (span["start"] - span["end"], span["start"]))
    shown: list[tuple[str, str | None]] = []
    for span in mine[:_SHOWN]:
        piece = excerpt(text[span["start"] : span["end"]].decode(errors="replace")) or ""
        partner = None if span["partner"] == identity else span["partner"]
        shown.append((f"{span['end'] - span['start']} bytes: {piece[:_EXCERPT_CHARACTERS]}", partner))
    if len(mine) > _SHOWN:
        shown.append((f"and {len(mine) - _SHOWN} more", None))
    return shown
