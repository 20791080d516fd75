"""What earlier runs have kept, for near deduplication: band indexes as immutable slices, one for each finished run.

    resolve_near    which slices a run reads (the rules are those of bloom.py), and that they fit its settings
    earlier_parts   their parts, as splits behind those of the run: numbers below all of its own documents
    admit_part      a part's bands, brought into the exchange of this run
    publish_near    after the final commit: bands and shingle sets of the kept documents as this run's slice

An earlier document goes before every new one, is kept, and is never compared with another earlier one. Its text is not
read again: the slice holds its bands and its shingles, about 8 bytes a word.

    <folder>/<run>-<hash>.near.json       format, parameters, the run, its input, the slices it read; for each part its
                                          documents, and names and sha256 of its two files. Written last.
    <folder>/<run>-<hash>/u00000.bands    a run file (pipeline/exchange.py): BANDS, numbers counted within the part
    <folder>/<run>-<hash>/u00000.sets     a run file: SETS, the same numbers
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline import exchange
from pipeline.dedup import exact
from pipeline.dedup.bloom import RunIdentity, SliceError, resolve_slices
from pipeline.dedup.sketches import BANDS, MARK, SPLIT_BITS
from pipeline.dedup.survivors import id_halves
from pipeline.dedup.verify import SETS, Stored
from pipeline.engine import Engine, content_key, key_of
from pipeline.exchange import ChunkedRun, by_hash, each_batch, write_run
from pipeline.files import Files
from pipeline.keys import library_versions, source_key
from pipeline.parts import Output, Task
from pipeline.view import View, headed_texts, read_documents
from stages.editions import edition, edition_keys
from stages.minhash import SEED, band_hashes, sketch
from stages.near_dedup import NearDedupSettings
from stages.shingles import shingle_sets

FORMAT: Final = 2
SUFFIX: Final = ".near.json"
_MODULES: Final = (
    *exchange.MODULES, "pipeline.dedup.against", "pipeline.dedup.sketches", "pipeline.dedup.verify",
    "stages.editions", "stages.minhash", "stages.near_dedup", "stages.normalise", "stages.shingles",
)  # fmt: skip
#: What a change of the normal form, of shingles or of signatures would change: words, marks, digits, several scripts.
_PROBE: Final = (
    "The Cafe\u0301's 3rd \u00c9DITION, 1,024 pages_of \u0939\u093f\u0928\u094d\u0926\u0940 and "
    "\u4e2d\u6587\u5b57\u7b26 \uff21\uff22 \u0130stanbul don\u2019t x-ray "
)
#: The same for what an edition is.
_EDITIONS: Final = ("ICS 31 * Fall Quarter 2017", "Report (1998)", "winter, 2040", "x" * 490 + " 2001 a", "")


@dataclass(frozen=True, kw_only=True)
class EarlierPart:
    """One part of a slice, as a split of this run."""

    folder: str
    slice: str
    bands: str
    bands_sha256: str
    sets: str
    sets_sha256: str
    documents: int
    #: Place of its first document in the order of this run, and its split number.
    first: int
    split: int

    @property
    def stored(self) -> Stored:
        return Stored(runs=(self.sets,), folder=self.folder, first=self.first, split=self.split)


@functools.cache
def _meaning(unit: str, size: int, permutations: int) -> str:
    """A hash of what the kernels make of a fixed text: two programs that agree on it read each other's slices."""
    text = pa.array([_PROBE], pa.large_string())
    made = sketch(text, unit="word" if unit == "word" else "character", size=size, permutation_count=permutations)
    values, _ = shingle_sets(text, unit="word" if unit == "word" else "character", size=size)
    hashes = band_hashes(made.signatures, bands=permutations, rows=1)
    return key_of(values.tolist(), hashes.tolist())


def parameters(settings: NearDedupSettings) -> dict[str, Any]:
    """What a slice and a run must agree on to be compared."""
    bands, rows = settings.banding()
    return {
        "shingle": settings.shingle.model_dump(mode="json"),
        "permutations": settings.permutations,
        "bands": bands,
        "rows": rows,
        "seed": SEED,
        "editions": key_of([edition(text) for text in _EDITIONS]),
        "meaning": _meaning(settings.shingle.unit, settings.shingle.size, settings.permutations),
    }


def read_manifest(files: Files, name: str) -> dict[str, Any]:
    """The manifest of a slice. SliceError if it is none."""
    try:
        found: dict[str, Any] = json.loads(files.read(name))
        if found["format"] != FORMAT:
            raise SliceError(
                f"{files.path(name)} is a near dedup slice of format {found['format']}, this program reads {FORMAT}. "
                "Take the program that wrote it, or another folder."
            )
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise SliceError(
            f"{files.path(name)} is no near dedup slice, or a damaged one. Move it out of the folder."
        ) from error
    return found


def resolve_near(settings: NearDedupSettings, run: RunIdentity) -> list[dict[str, Any]]:
    """The slices that this run reads, as {"name", "sha256"}: see `bloom.resolve_slices`.

    SliceError if one was made with other parameters, and says which.
    """
    assert settings.against is not None
    files = Files(settings.against)
    pins = resolve_slices(settings.against, run, suffix=SUFFIX, header_of=read_manifest)
    wanted = parameters(settings)
    for entry in pins:
        had = read_manifest(files, entry["name"])["parameters"]
        different = [name for name in wanted if had.get(name) != wanted[name]]
        if different:
            told = "; ".join(f"{name}: {had.get(name)} there, {wanted[name]} here" for name in different)
            raise SliceError(
                f"{files.path(entry['name'])} was made with other parameters ({told}). Documents can only be compared "
                "by the same shingles and bands: set them as they were, or give another folder as `against`."
            )
    return pins


def earlier_parts(settings: NearDedupSettings, pins: Sequence[Mapping[str, Any]], *, splits: int) -> list[EarlierPart]:
    """The parts of the pinned slices, in order, as splits from `splits` on."""
    parts: list[EarlierPart] = []
    first = 0
    for entry in pins:
        assert settings.against is not None
        for part in read_manifest(Files(settings.against), entry["name"])["parts"]:
            given = {name: part[name] for name in ("bands", "bands_sha256", "sets", "sets_sha256", "documents")}
            parts.append(
                EarlierPart(
                    **given, folder=settings.against, slice=entry["name"], first=first, split=splits + len(parts)
                )
            )
            first += part["documents"]
    return parts


def admit_part(output: Output, *, part: EarlierPart, partitions: int) -> dict[str, Any]:
    """Task: `bands` (BANDS by hash) of a part, under its numbers in this run. Both its files are checked by sha256."""
    files = Files(part.folder)
    for name, sha256 in ((part.bands, part.bands_sha256), (part.sets, part.sets_sha256)):
        if not files.exists(name) or files.sha256(name)[0] != sha256:
            raise SliceError(
                f"{files.path(name)} is gone or changed since its run published it (slice {part.slice}). Put it back, "
                "or move the slice's .near.json out of the folder."
            )
    banded = ChunkedRun(output, "bands", BANDS, keys=["hash", "number"])
    for batch in each_batch(files, [part.bands], 0):
        hashes = batch.column("hash").to_numpy()
        places = batch.column("number").to_numpy() + np.uint64(part.first)
        numbers = places << np.uint64(SPLIT_BITS) | np.uint64(part.split)
        banded.add(pa.table([hashes, numbers], schema=BANDS), by_hash(hashes, partitions))
    banded.finish()
    return {"earlier_documents": part.documents}


def slice_part(output: Output, *, view: View, unit: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Task: `bands` and `sets` of the kept documents of a split that have a signature."""
    chosen = NearDedupSettings(**settings)
    bands, rows = chosen.banding()
    unit_of, size = chosen.shingle.unit, chosen.shingle.size
    documents = read_documents(output.files, view, unit, ["id", "text"])
    made = sketch(documents["text"], unit=unit_of, size=size, permutation_count=chosen.permutations)
    signed = np.flatnonzero(made.shingles)
    documents = documents.take(pa.array(signed))
    numbers = np.arange(len(signed), dtype=np.uint64)
    hashes = band_hashes(made.signatures[signed], bands=bands, rows=rows).ravel() | MARK
    table = pa.table([hashes, np.repeat(numbers, bands)], schema=BANDS)
    write_run(output, "bands", table, partition=np.zeros(len(hashes), dtype=np.int64), keys=["hash", "number"])
    values, offsets = shingle_sets(documents["text"], unit=unit_of, size=size)
    ids = id_halves(documents["id"])
    sets = pa.LargeListArray.from_arrays(offsets, pa.array(values))
    editions = edition_keys(headed_texts(output.files, view, unit, documents))
    table = pa.table([numbers, ids[:, 0], ids[:, 1], editions, sets], schema=SETS)
    write_run(output, "sets", table, partition=np.zeros(len(numbers), dtype=np.int64), keys=["number"])
    return {"documents": len(signed)}


def publish_near(
    engine: Engine, view: View, settings: NearDedupSettings, run: RunIdentity, pinned: Sequence[Mapping[str, Any]]
) -> str:
    """Put the slice of a finished run into `against`, and return its manifest's name. Done again, it finds itself."""
    assert settings.against is not None
    given = settings.model_dump(mode="json")
    code = [source_key(_MODULES), library_versions(exact.LIBRARIES)]
    layers = [layer.phase for layer in view.layers]
    key = key_of(code, parameters(settings), view.base.phase, layers, list(view.ledgers))
    commits = engine.run(
        [
            Task(
                phase=f"near_dedup.slice-{key}",
                unit=unit,
                function="pipeline.dedup.against:slice_part",
                arguments={"view": view, "unit": unit, "settings": given},
            )
            for unit in view.units
        ]
    )
    stem = f"{run.key}-{key_of(content_key(commits), [dict(entry) for entry in pinned])}"
    target = Files(settings.against)
    parts = []
    for number, commit in enumerate(commits):
        part: dict[str, Any] = {"documents": commit.counts["documents"]}
        for suffix in ("bands", "sets"):
            name = f"{stem}/u{number:05d}.{suffix}"
            part |= {suffix: name, f"{suffix}_sha256": commit.files[suffix].sha256}
            if not target.exists(name):
                target.copy_here(engine.files, commit.files[suffix].name, name)
        parts.append(part)
    manifest = {
        "format": FORMAT,
        "parameters": parameters(settings),
        "run": run.key,
        "sources": list(run.sources),
        "read": [dict(entry) for entry in pinned],
        "parts": parts,
    }
    if not target.exists(stem + SUFFIX):
        target.write_bytes(stem + SUFFIX, json.dumps(manifest, sort_keys=True, indent=1).encode())
    return stem + SUFFIX
