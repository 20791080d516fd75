"""`tamis verify`: is a finished run what its manifest says, and does every input byte have its place?

Three independent looks: the outputs' bytes against the manifest and the root hash; the books recounted from the rows
themselves; and the input read again by one sequential reader a file, whatever splits the run used.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.files import Files
from pipeline.outputs import read_manifest
from pipeline.phases.extract import document_id, sampled
from pipeline.root import root_hash
from pipeline.sources.archive import Chain, Limits
from pipeline.sources.listing import Source, Split, list_sources
from pipeline.sources.reader import read_split
from pipeline.sources.records import Fields, Skip
from stages.reasons import REASONS
from tokenizer.shards import ShardSet


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is not as it should be."""

    place: str
    problem: str


def verify(out: str, *, inputs: Sequence[str] = ()) -> tuple[list[Finding], dict[str, int]]:
    """All findings (none: the run is sound) and what was looked at, by kind.

    With `inputs` the input is read again: every document in it must be booked exactly once, and its bytes be tiled.
    """
    manifest, files = read_manifest(out), Files(out)
    looked: Counter[str] = Counter()
    findings = [*_outputs(files, manifest, looked), *_books(files, manifest, looked)]
    findings += _shards(files, manifest, looked)
    if inputs:
        findings += _input(files, manifest, list_sources(inputs, cache={}), looked)
    return findings, dict(looked)


def _outputs(files: Files, manifest: Mapping[str, Any], looked: Counter[str]) -> Iterator[Finding]:
    for name, digest in manifest["outputs"].items():
        looked["files"] += 1
        if not files.exists(name):
            yield Finding(place=name, problem="is missing")
            continue
        found, _ = files.sha256(name)
        if found != digest:
            yield Finding(place=name, problem=f"has sha256 {found}, the manifest says {digest}")
    root = root_hash(manifest["outputs"], manifest["recipe"])
    if root != manifest["root"]:
        yield Finding(place="manifest.json", problem=f"root is {root} by its outputs, {manifest['root']} by its word")


def _rows(files: Files, name: str, columns: list[str]) -> pa.Table | Finding:
    try:
        return files.read_table(name, columns)
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        return Finding(place=name, problem=f"cannot be read: {error}")


def _books(files: Files, manifest: Mapping[str, Any], looked: Counter[str]) -> Iterator[Finding]:
    """Recount: each split's documents stage by stage, no document twice, every reason known, and the sums."""
    by_stage: Counter[tuple[str, str]] = Counter()
    seen: dict[str, set[str]] = {}
    total = 0
    for split in manifest["splits"]:
        place = f"{split['source']} from byte {split['start']}"
        kept = _rows(files, f"kept/{split['part']}.parquet", ["id", "source"])
        ledger = _rows(files, f"ledger/{split['part']}.parquet", ["id", "source", "stage", "reason", "outcome"])
        if isinstance(kept, Finding) or isinstance(ledger, Finding):
            yield from (item for item in (kept, ledger) if isinstance(item, Finding))
            continue
        looked["splits"] += 1
        pairs = Counter(zip(ledger["stage"].to_pylist(), ledger["reason"].to_pylist(), strict=True))
        yield from _split(split, place, kept, ledger, pairs)
        identities = [*kept["id"].to_pylist(), *ledger["id"].to_pylist()]
        known = seen.setdefault(split["source"], set())
        twice = len(identities) - len(set(identities) - known)
        if twice:
            yield Finding(place=place, problem=f"{twice} documents are booked more than once")
        known.update(identities)
        strangers = {*kept["source"].to_pylist(), *ledger["source"].to_pylist()} - {split["source"]}
        if strangers:
            yield Finding(place=place, problem=f"holds documents of {min(strangers)}")
        by_stage.update(pairs)
        total += len(identities)
    yield from _stages("the run", manifest["counts"]["stages"], by_stage, total, manifest["counts"]["kept"])
    looked["stages"] += len(manifest["counts"]["stages"])


def _split(
    split: Mapping[str, Any], place: str, kept: pa.Table, ledger: pa.Table, pairs: Counter[tuple[str, str]]
) -> Iterator[Finding]:
    outcomes = Counter(ledger["outcome"].to_pylist())
    found = {"kept": kept.num_rows, "dropped": outcomes["dropped"], "quarantined": outcomes["quarantined"]}
    if any(found[name] != split[name] for name in found) or sum(found.values()) != split["documents"]:
        booked = {name: split[name] for name in ("documents", *found)}
        yield Finding(place=place, problem=f"holds {found}, the manifest books {booked}")
    yield from (
        Finding(place=place, problem=f"unknown reason {reason!r}") for _, reason in pairs if reason not in REASONS
    )
    yield from _stages(place, split["stages"], pairs, sum(found.values()), kept.num_rows)


def _stages(
    place: str, stages: Sequence[Mapping[str, Any]], counted: Counter[tuple[str, str]], documents: int, kept: int
) -> Iterator[Finding]:
    """Documents in = kept + rejected for every stage, and what one stage keeps is what the next one gets."""
    expected = documents
    for stage in stages:
        name = stage["stage"]
        reasons = {reason: count for (owner, reason), count in counted.items() if owner == name}
        if reasons != stage["reasons"]:
            yield Finding(place=f"{place}, {name}", problem=f"the ledger has {reasons}, booked {stage['reasons']}")
        if stage["documents"] != expected or stage["documents"] != stage["kept"] + sum(reasons.values()):
            problem = f"{expected} documents came in, booked {stage['documents']} in, {stage['kept']} kept"
            yield Finding(place=f"{place}, {name}", problem=problem)
        expected = stage["kept"]
    if expected != kept:
        yield Finding(place=place, problem=f"the last stage keeps {expected}, the tables hold {kept}")


def _shards(files: Files, manifest: Mapping[str, Any], looked: Counter[str]) -> Iterator[Finding]:
    names = [name for name in manifest["outputs"] if name.startswith("shards/") and name.endswith(".parquet")]
    looked["shards"] += len(names)
    if not names:
        return
    tokens = 0
    try:
        for split in sorted({name.rpartition("/")[2].partition("-")[0] for name in names}):
            chosen = [files.path(name) for name in names if name.startswith(f"shards/{split}-")]
            shards = ShardSet(chosen, filesystem=files.arrow)
            shards.verify()
            tokens += shards.tokens
    except (ValueError, OSError) as error:
        yield Finding(place="shards", problem=str(error))
        return
    if tokens != manifest["counts"]["tokens"]:
        yield Finding(place="shards", problem=f"hold {tokens} tokens, booked {manifest['counts']['tokens']}")


def _input(
    files: Files, manifest: Mapping[str, Any], sources: Sequence[Source], looked: Counter[str]
) -> Iterator[Finding]:
    """Read every source again from its first to its last byte and look for each of its documents in the books."""
    read = manifest["recipe"]["input"]
    booked_sources = {row["source"]: row for row in manifest["sources"]}
    for missing in sorted(set(booked_sources) - {source.name for source in sources}):
        yield Finding(place=missing, problem="is in the run, but not in the input")
    for source in sources:
        if source.name not in booked_sources:
            yield Finding(place=source.name, problem="is in the input, but not in the run")
            continue
        if source.fingerprint != booked_sources[source.name]["fingerprint"]:
            yield Finding(place=source.name, problem="has other bytes than when it was run")
            continue
        split, chain = Split(source=source, start=0, end=source.size_bytes, known_start=True), Chain()
        there: Counter[str] = Counter()
        limits = Limits(max_record_bytes=read["max_record_bytes"])
        for found in read_split(split, chain, limits, Fields(**read["columns"])):
            if not isinstance(found, Skip):
                there[document_id(source.name, found.offset, found.record)] += 1
        wanted = Counter({identity: count for identity, count in there.items() if sampled(identity, read["sample"])})
        looked["input documents"] += wanted.total()
        looked["input bytes"] += source.size_bytes
        booked = _booked(files, manifest, source.name)
        if booked != wanted:
            missing, invented = wanted - booked, booked - wanted
            yield Finding(
                place=source.name,
                problem=f"{missing.total()} documents are not booked, {invented.total()} are booked but not there",
            )
        yield from _tiling(source, chain)


def _booked(files: Files, manifest: Mapping[str, Any], source: str) -> Counter[str]:
    booked: Counter[str] = Counter()
    for split in manifest["splits"]:
        if split["source"] == source:
            for folder in ("kept", "ledger"):
                booked.update(files.read_table(f"{folder}/{split['part']}.parquet", ["id"])["id"].to_pylist())
    return booked


def _tiling(source: Source, chain: Chain) -> Iterator[Finding]:
    position = 0
    for extent in chain.extents:
        if extent.start != position:
            yield Finding(
                place=source.name, problem=f"bytes {position} to {extent.start} lie in no record, skip or damage"
            )
        position = extent.end
    if position != source.size_bytes:
        yield Finding(
            place=source.name, problem=f"bytes {position} to {source.size_bytes} lie in no record, skip or damage"
        )
