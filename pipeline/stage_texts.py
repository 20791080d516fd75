"""The text of a document as the stage saw it that dropped it, as far as the work folder still holds it."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.files import Files


def text_phases(manifest: Mapping[str, Any], work: Files, stage: str, unit: str) -> list[str]:
    """Phases whose part of this split is there and has a form of the text, the one that the stage saw first."""
    compared = manifest.get("compared", {}).get(stage)
    before: list[str] = [manifest["base"]]
    for counted in manifest["counts"]["stages"]:
        if counted["stage"] == stage:
            break
        before += manifest.get("columns", {}).get(counted["stage"], {}).values()
        before += [phase for name, phase in manifest.get("rewritten", {}).items() if name == counted["stage"]]
    phases = [*([compared] if compared else []), *reversed(list(dict.fromkeys(before)))]
    names = [(phase, f"{phase}/{unit}.docs.parquet") for phase in dict.fromkeys(phases)]
    return [phase for phase, name in names if work.exists(name) and "text" in work.schema(name).names]


def texts_of(manifest: Mapping[str, Any], work: Files, rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """id -> text of ledger rows, one part's column of texts at a time. What was taken down must not be asked for."""
    found: dict[str, str] = {}
    by_source: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_source.setdefault(row["source"], []).append(row)
    for split in manifest.get("splits", []) if manifest.get("base") else []:
        wanted = [row for row in by_source.get(split["source"], []) if row["id"] not in found]
        base = f"{manifest['base']}/{split['unit']}.docs.parquet"
        if not wanted or not work.exists(base):
            continue
        identities = work.read_table(base, ["id"])["id"].combine_chunks()
        places = pc.index_in(pa.array([row["id"] for row in wanted], pa.string()), identities.cast(pa.string()))
        columns: dict[str, pa.ChunkedArray] = {}
        for row, place in zip(wanted, places.to_pylist(), strict=True):
            phases = text_phases(manifest, work, row["stage"], split["unit"]) if place is not None else []
            if not phases:
                continue
            name = f"{phases[0]}/{split['unit']}.docs.parquet"
            if name not in columns:
                columns[name] = work.read_table(name, ["text"])["text"]
            if (text := columns[name][place].as_py()) is not None:
                found[row["id"]] = text
    return found
