"""`tamis remove`: documents taken out of a finished run, booked like every other document that does not survive.

    kept/, shards/    rewritten without them, where they stood; every other file stays as it is
    ledger/           a row for each, stage `remove`, reason `removed`, without their text; rows of their duplicates,
                      and of duplicates of these, lose their excerpt, which is nearly the same text
    manifest.json     counts, outputs and root anew; `removals` says what was taken out of which root

New files are written beside the old ones first, under `removal/`, with the new manifest last: from then on the removal
is decided, and a command that was killed is finished by the next one.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
import typer

from pipeline.exits import told
from pipeline.files import Files
from pipeline.lock import run_lock
from pipeline.outputs import MANIFEST, read_manifest, write_manifest
from pipeline.root import root_hash
from stages.schema import LEDGER
from tokenizer.shards import SCHEMA, ShardMetadata, ShardSet, write_shard

STAGE = "remove"
REASON = "removed"
_FOLDER = "removal"
_DECIDED = f"{_FOLDER}/{MANIFEST}"
_ORDER = [("offset", "ascending"), ("record", "ascending")]


class RemovedError(ValueError):
    """Documents were taken out of this run, and what was asked would bring them back."""


def refuse_to_undo(out: str) -> None:
    """RemovedError if documents were taken out of the run in this folder: running again would bring them back."""
    files = Files(out)
    if files.exists(MANIFEST) and json.loads(files.read(MANIFEST)).get("removals"):
        raise RemovedError(
            f"{out}: documents were taken out of this run, and running it again would bring them back. Give another "
            "--out, or delete its manifest.json if that is what you want."
        )


def remove(out: str, ids: Sequence[str]) -> dict[str, Any]:
    """Take these documents out of a finished run. Returns {"removed", "not_kept", "unknown", "root", "from_root",
    "filters", "work"}: ids that were taken out now, that the ledger holds already, and that the run has never seen.

    A second call with the same ids changes nothing. The run's cached work and the filters that later runs read are not
    touched: `work` and `filters` say where they are.
    """
    with run_lock(out):
        files = Files(out)
        _finish(files)
        manifest, wanted = read_manifest(out), set(ids)
        value_set, removed, known = pa.array(sorted(wanted), pa.string()), Counter[str](), set[str]()
        before = manifest["root"]
        names = [f"ledger/{split['part']}.parquet" for split in manifest["splits"]]
        alike = with_duplicates(lambda: (files.read_table(name, ["id", "partner"]) for name in names), wanted)
        for split in manifest["splits"]:
            known |= _part(files, manifest, split, value_set, pa.array(sorted(alike), pa.string()), removed)
        gone = set(removed)
        if gone:
            _shards(files, manifest, value_set)
            _sums(manifest, len(gone))
            manifest["root"] = root_hash(manifest["outputs"], manifest["recipe"])
            filters = manifest["observed"].get("filters", [])
            manifest.setdefault("removals", []).append(
                {
                    "from_root": before,
                    "root": manifest["root"],
                    "documents": len(gone),
                    "filters_that_hold_them": filters,
                }
            )
            files.write_bytes(_DECIDED, json.dumps(manifest).encode())
            _finish(files)
    return {
        "removed": sorted(gone), "not_kept": sorted(known - gone), "unknown": sorted(wanted - known - gone),
        "root": manifest["root"], "from_root": before, "filters": manifest["observed"].get("filters", []),
        "work": manifest["observed"]["work"],
    }  # fmt: skip


def _finish(files: Files) -> None:
    """Bring a decided removal to its end; throw away one that was not decided."""
    if files.exists(_DECIDED):
        manifest = json.loads(files.read(_DECIDED))
        for name in files.sizes(_FOLDER):
            if name != _DECIDED:
                files.copy_here(files, name, name.removeprefix(f"{_FOLDER}/"))
        write_manifest(files, manifest)
        files.delete(_DECIDED)
    for name in files.sizes(_FOLDER):
        files.delete(name)
    if files.local:
        shutil.rmtree(Path(files.path(_FOLDER)), ignore_errors=True)  # empty folders, or none


def _replace(files: Files, manifest: dict[str, Any], name: str, table: pa.Table) -> None:
    manifest["outputs"][name] = files.write_table(f"{_FOLDER}/{name}", table).sha256


def with_duplicates(ledgers: Callable[[], Iterable[pa.Table | pa.RecordBatch]], ids: set[str]) -> set[str]:
    """These ids and those of documents that were dropped as duplicates of them, of duplicates of these, and so on.
    `ledgers` gives the ledger's columns `id` and `partner`, once for each link of the longest chain."""
    found, new = set(ids), set(ids)
    while new:
        wanted, behind = pa.array(sorted(new), pa.string()), set[str]()
        for rows in ledgers():
            behind.update(rows["id"].filter(pc.is_in(rows["partner"], value_set=wanted)).to_pylist())
        new = behind - found
        found |= new
    return found


def _part(
    files: Files, manifest: dict[str, Any], split: dict[str, Any], ids: pa.Array, alike: pa.Array, removed: Counter[str]
) -> set[str]:
    """One split: its new kept/ and ledger/ parts, if anything changes. `alike`: `ids` and their duplicates. Returns the
    ids that its ledger holds."""
    kept_name, ledger_name = f"kept/{split['part']}.parquet", f"ledger/{split['part']}.parquet"
    known = pc.is_in(files.read_table(ledger_name, ["id"])["id"], value_set=ids)
    ledger = files.read_table(ledger_name)
    here = pc.is_in(files.read_table(kept_name, ["id"])["id"], value_set=ids)
    stale = pc.fill_null(pc.and_(pc.is_in(ledger["id"], value_set=alike), pc.is_valid(ledger["excerpt"])), False)
    if pc.any(stale).as_py():
        blank = pc.if_else(stale, pa.scalar(None, pa.string()), ledger["excerpt"])
        ledger = ledger.set_column(ledger.schema.get_field_index("excerpt"), "excerpt", blank).cast(LEDGER)
    if pc.any(here).as_py():
        kept = files.read_table(kept_name)
        going, staying = kept.filter(here), kept.filter(pc.invert(here))
        removed.update(going["id"].to_pylist())
        ledger = pa.concat_tables([ledger, _rows(going)]).sort_by(_ORDER)
        _replace(files, manifest, kept_name, staying)
        text_bytes = int(pc.sum(pc.binary_length(going["text"])).as_py() or 0)
        _book(split["stages"], going.num_rows, text_bytes)
        _book(manifest["counts"]["stages"], going.num_rows, text_bytes, total=manifest["counts"]["kept"])
        source = next(row for row in manifest["sources"] if row["source"] == split["source"])
        for counts in (split, source):
            counts["kept"] -= going.num_rows
            counts["dropped"] += going.num_rows
    if pc.any(stale).as_py() or pc.any(here).as_py():
        _replace(files, manifest, ledger_name, ledger)
    return set(files.read_table(ledger_name, ["id"])["id"].filter(known).to_pylist())


def _rows(going: pa.Table) -> pa.Table:
    """Ledger rows: where each document came from, and nothing of what it said."""
    n = going.num_rows
    columns = {name: going[name] for name in ("id", "source", "offset", "record", "url")}
    columns |= {"stage": pa.array([STAGE] * n), "reason": pa.array([REASON] * n), "outcome": pa.array(["dropped"] * n)}
    return pa.table({field.name: columns.get(field.name, pa.nulls(n, field.type)) for field in LEDGER}).cast(LEDGER)


def _book(stages: list[dict[str, Any]], count: int, text_bytes: int, *, total: int | None = None) -> None:
    """The line of `remove` behind the stages of the recipe."""
    last = stages[-1]
    if last["stage"] != STAGE:
        documents = last["kept"] if total is None else total
        last = {"stage": STAGE, "documents": documents, "kept": documents, "reasons": {REASON: 0},
                "text_bytes_kept": last["text_bytes_kept"]}  # fmt: skip
        stages.append(last)
    last["kept"] -= count
    last["reasons"][REASON] += count
    last["text_bytes_kept"] -= text_bytes


def _sums(manifest: dict[str, Any], count: int) -> None:
    counts = manifest["counts"]
    counts["kept"] -= count
    counts["dropped"] += count
    counts["text_bytes"] = counts["stages"][-1]["text_bytes_kept"]


def _shards(files: Files, manifest: dict[str, Any], ids: pa.Array) -> None:
    """New shards where one of the documents stands, in the same order and with the same numbers."""
    for name in [name for name in manifest["outputs"] if name.startswith("shards/")]:
        table = files.read_table(name, SCHEMA.names)
        here = pc.is_in(table["doc_id"], value_set=ids)
        if not pc.any(here).as_py():
            continue
        metadata = ShardSet([files.path(name)], filesystem=files.arrow, complete=False).metadata
        staying, going = table.filter(pc.invert(here)), table.filter(here)
        written = files.write(f"{_FOLDER}/{name}", partial(_write, rows=staying, metadata=metadata))
        manifest["outputs"][name] = written.sha256
        tokens = int(pc.sum(going["n_tokens"]).as_py())
        manifest["counts"]["tokens"] -= tokens
        summary = manifest["shards"][metadata.split]
        summary["documents"] -= going.num_rows
        summary["tokens"] -= tokens
        summary["bytes"] -= int(pc.sum(going["n_bytes"]).as_py())


def _write(sink: Any, *, rows: pa.Table, metadata: ShardMetadata) -> None:
    write_shard(sink, rows, metadata=metadata)


def removal_text(found: Mapping[str, Any]) -> str:
    """What happened, for a terminal, and what is left to do."""
    lines = [f"{len(found['removed']):,} documents removed, {len(found['not_kept']):,} were not kept anyway"]
    if found["unknown"]:
        lines.append(f"{len(found['unknown']):,} unknown to this run: {', '.join(found['unknown'][:10])}")
    if found["removed"]:
        lines += [f"root      {found['from_root']}", f"       -> {found['root']}"]
        lines += [f"still in  {one['folder']}/{one['slice']} (a filter: hashes, no text)" for one in found["filters"]]
        lines.append(f"still in  {found['work']} (cached work): delete it, or `tamis gc` with other runs named")
    return "\n".join(lines)


def remove_command(
    run_folder: Annotated[str, typer.Argument(help="folder of a finished run, as given by --out; local or s3://")],
    ids: Annotated[Path, typer.Option(help="file with the ids of documents, one a line")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of text")] = False,
) -> None:
    """Take documents out of a finished run: kept, shards and books are rewritten, and the root changes."""
    with told():
        wanted = [line.strip() for line in ids.read_text(encoding="utf-8").split("\n") if line.strip()]
        found = remove(run_folder, wanted)
        print(json.dumps(found, indent=1) if as_json else removal_text(found))
