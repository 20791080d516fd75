"""Documents that an earlier run has kept: Bloom filters as immutable slices, one for each finished run.

    resolve_slices   which slices a run reads: all that are there, never its own; a re-run reads those it read before
    bloom_dedup      drops documents whose text is in one of them
    publish_slice    after the final commit: the kept documents' texts as this run's slice

A slice file is MAGIC, the length of its header (8 bytes, little endian), the header (JSON: parameters, number of texts,
the run, the slices which that run read, sha256 of the bits) and the bits (stages/bloom.py). Its name is the run's
key and a piece of its own hash. A task holds one slice at a time, capacity x 14.4 bits at the default rate.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline import exchange
from pipeline.dedup import exact
from pipeline.dedup.rejections import Rejections, write_ledger
from pipeline.engine import Engine, content_key, key_of
from pipeline.files import Files
from pipeline.keys import library_versions, source_key
from pipeline.parts import Output, Task
from pipeline.view import View, read_documents
from stages.bloom import Shape, empty, expected_rate, insert, probe, shape_for, strangers
from stages.bloom_dedup import BloomSettings
from stages.normalise import text_keys

MAGIC: Final = b"TAMISBLOOM1\n"
_SUFFIX: Final = ".bloom"
_MODULES: Final = (
    *exchange.MODULES, "pipeline.dedup.bloom", "pipeline.dedup.rejections", "stages.bloom", "stages.bloom_dedup",
    "stages.normalise",
)  # fmt: skip
#: Keys that no text has, with which a slice is probed: at a rate of 0.001 the measured one is within a tenth of it.
PROBES: Final = 1_000_000


class SliceError(ValueError):
    """A slice is missing, damaged, too full, or made with other settings."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One slice in memory."""

    header: Mapping[str, Any]
    bits: np.ndarray

    @property
    def shape(self) -> Shape:
        return Shape(bits=self.header["bits"], hashes=self.header["hashes"])


def _slice_bytes(header: Mapping[str, Any], bits: np.ndarray) -> bytes:
    text = json.dumps(header, sort_keys=True).encode()
    return MAGIC + len(text).to_bytes(8, "little") + text + bits.tobytes()


def read_header(files: Files, name: str) -> dict[str, Any]:
    """The header of a slice file. SliceError if it is no slice."""
    with files.open(name) as source:
        start = source.read(len(MAGIC) + 8)
        length = int.from_bytes(start[len(MAGIC) :], "little")
        text = source.read(length) if start.startswith(MAGIC) and length <= source.size() else b""
    try:
        header: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError as error:
        raise SliceError(
            f"{files.path(name)} is no Bloom slice, or a damaged one. Move it out of the folder."
        ) from error
    return header


@functools.lru_cache(maxsize=2)
def _load(folder: str, name: str, sha256: str) -> Slice:
    files = Files(folder)
    data = files.read(name)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise SliceError(f"{files.path(name)} is not the slice that this run was planned with (sha256 {sha256})")
    header = read_header(files, name)
    return Slice(header=header, bits=np.frombuffer(data, dtype=np.uint8)[-(header["bits"] // 8) :])


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """Who a run is to the filters: the same run reads the same slices, and no run reads what came of its own input."""

    #: Over recipe, models and input: names the run.
    key: str
    #: Content hashes of the input files, sorted.
    sources: tuple[str, ...]


def resolve_slices(
    folder: str,
    run: RunIdentity,
    *,
    suffix: str = _SUFFIX,
    header_of: Callable[[Files, str], dict[str, Any]] = read_header,
) -> list[dict[str, Any]]:
    """The slices that this run reads, as {"name", "sha256"} in the order of names.

    All that are in the folder, but those of runs that read one of this run's own input files: a dump is not earlier
    than itself, whatever recipe it went through, and a crawl that has grown must not find its beginning seen. If this
    run has published a slice before, exactly those that it read then, so that the same run gives the same result
    however many others finished since. SliceError if one of those is gone or changed.
    """
    files = Files(folder)
    headers = {name: header_of(files, name) for name in files.names("") if name.endswith(suffix)}
    own = [name for name, header in headers.items() if header["run"] == run.key]
    if not own:
        mine = set(run.sources)
        earlier = [name for name, header in headers.items() if not mine & set(header["sources"])]
        return [{"name": name, "sha256": files.sha256(name)[0]} for name in earlier]
    read: list[dict[str, Any]] = headers[own[0]]["read"]
    check_pins(files, read)
    return read


def check_pins(files: Files, pins: Sequence[Mapping[str, Any]]) -> None:
    """SliceError unless every pinned slice is there as it was."""
    for entry in pins:
        if not files.exists(entry["name"]) or files.sha256(entry["name"])[0] != entry["sha256"]:
            raise SliceError(
                f"{files.path(entry['name'])} is gone or changed, but this run was planned with it. Put it back, or "
                "give another --work and another folder of slices to run against those that are there now."
            )


def check_slice(output: Output, *, folder: str, entry: Mapping[str, Any], compare: str) -> dict[str, Any]:
    """Task: nothing is written; the counts say how full the slice is, and its false positive rate by its bits and by
    probing it with keys that no text has."""
    del output
    found = _load(folder, entry["name"], entry["sha256"])
    if found.header["compare"] != compare:
        raise SliceError(
            f"{folder}/{entry['name']} was made with compare: {found.header['compare']}, this recipe says {compare}"
        )
    seed = int(entry["sha256"][:16], 16)
    return {
        "slices": {
            entry["name"]: {
                "texts": found.header["count"],
                "capacity": found.header["capacity"],
                "expected_false_positive_rate": expected_rate(found.bits, found.shape),
                "measured_false_positive_rate": float(
                    probe(found.bits, strangers(PROBES, seed=seed), found.shape).mean()
                ),
            }
        }
    }


def bloom_ledger(
    output: Output, *, view: View, unit: str, label: str, folder: str, slices: Sequence[Mapping[str, Any]], compare: str
) -> dict[str, Any]:
    """Task: `ledger`: the documents whose text is in a slice, with the first such slice as detail."""
    documents = read_documents(output.files, view, unit, ["text"])
    keys, has = text_keys(documents["text"], normalised=compare == "normal_form")
    holder = np.full(documents.num_rows, -1, dtype=np.int64)
    for number, entry in enumerate(slices):
        found = _load(folder, entry["name"], entry["sha256"])
        open_rows = np.flatnonzero(has & (holder < 0))
        holder[open_rows[probe(found.bits, keys[open_rows], found.shape)]] = number
    seen = np.flatnonzero(holder >= 0)
    rejections = Rejections(
        label=label,
        reason="seen_before",
        rows=documents["row"].to_numpy()[seen],
        detail=pa.array([f"in slice {slices[number]['name']}" for number in holder[seen].tolist()], pa.string()),
    )
    return write_ledger(output, view, unit, rejections)


def _read(view: View) -> list[Any]:
    return [view.base.phase, [layer.phase for layer in view.layers], list(view.ledgers)]


def bloom_dedup(
    engine: Engine,
    view: View,
    settings: BloomSettings,
    slices: Sequence[Mapping[str, Any]],
    *,
    upstream: str,
    label: str = "bloom",
) -> str:
    """The phase whose parts are the ledger of this stage, one for each split. `slices` comes from `resolve_slices`."""
    code = [source_key(_MODULES), library_versions(exact.LIBRARIES)]
    pinned = [dict(entry) for entry in slices]
    key = key_of(code, pinned, settings.compare)
    engine.run(
        [
            Task(
                phase=f"bloom.check-{key}",
                unit=f"s{number:05d}",
                function="pipeline.dedup.bloom:check_slice",
                arguments={"folder": settings.seen, "entry": entry, "compare": settings.compare},
            )
            for number, entry in enumerate(pinned)
        ]
    )
    phase = f"bloom-{key_of(key, label, upstream)}"
    engine.run(
        [
            Task(
                phase=phase,
                unit=unit,
                function="pipeline.dedup.bloom:bloom_ledger",
                arguments={
                    "view": view,
                    "unit": unit,
                    "label": label,
                    "folder": settings.seen,
                    "slices": pinned,
                    "compare": settings.compare,
                },
            )
            for unit in view.units
        ]
    )
    return phase


def kept_keys(output: Output, *, view: View, unit: str, compare: str) -> dict[str, Any]:
    """Task: `keys`: key0 and key1 of every kept document that has a text."""
    documents = read_documents(output.files, view, unit, ["text"])
    keys, has = text_keys(documents["text"], normalised=compare == "normal_form")
    output.table("keys", pa.table({"key0": keys[has, 0], "key1": keys[has, 1]}))
    return {"texts": int(has.sum())}


def build_slice(
    output: Output,
    *,
    parts: Sequence[str],
    settings: Mapping[str, Any],
    run: RunIdentity,
    read: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Task: `slice`: the slice file of a run. Holds the slice and one split's keys."""
    chosen = BloomSettings(**settings)
    shape = shape_for(chosen.capacity, false_positive_rate=chosen.false_positive_rate)
    bits = empty(shape)
    count = 0
    for name in parts:
        table = output.files.read_table(name)
        insert(bits, np.stack([table["key0"].to_numpy(), table["key1"].to_numpy()], axis=1), shape)
        count += table.num_rows
    header = {
        "format": 1,
        "compare": chosen.compare,
        "capacity": chosen.capacity,
        "false_positive_rate": chosen.false_positive_rate,
        "bits": shape.bits,
        "hashes": shape.hashes,
        "count": count,
        "run": run.key,
        "sources": list(run.sources),
        "read": [dict(entry) for entry in read],
        "bits_sha256": hashlib.sha256(bits.tobytes()).hexdigest(),
    }
    output.bytes("slice", _slice_bytes(header, bits))
    return {"texts": count}


def publish_slice(
    engine: Engine,
    view: View,
    folder: str,
    run: RunIdentity,
    pinned: Sequence[Mapping[str, Any]],
    settings: BloomSettings,
) -> str:
    """Put the slice of a finished run into the folder, and return its name. Done again, it finds itself there.

    SliceError if the run kept more texts than the slice can hold.
    """
    code = [source_key(_MODULES), library_versions(exact.LIBRARIES)]
    key = key_of(code, settings.compare, _read(view))
    commits = engine.run(
        [
            Task(
                phase=f"bloom.kept-{key}",
                unit=unit,
                function="pipeline.dedup.bloom:kept_keys",
                arguments={"view": view, "unit": unit, "compare": settings.compare},
            )
            for unit in view.units
        ]
    )
    texts = sum(commit.counts["texts"] for commit in commits)
    if texts > settings.capacity:
        raise SliceError(
            f"this run kept {texts} texts, but its Bloom slice is to hold {settings.capacity}: beyond that it would "
            f"take new documents for old ones. Set the stage's `capacity` to at least {texts}."
        )
    given = settings.model_dump(mode="json")
    read = [dict(entry) for entry in pinned]
    key = key_of(key, content_key(commits), settings.lasting(), run.key, run.sources, read)
    (built,) = engine.run(
        [
            Task(
                phase=f"bloom.slice-{key}",
                unit="slice",
                function="pipeline.dedup.bloom:build_slice",
                arguments={
                    "parts": [commit.files["keys"].name for commit in commits],
                    "settings": given,
                    "run": run,
                    "read": read,
                },
            )
        ]
    )
    written = built.files["slice"]
    # Named by its content too: a run that keeps other texts after a change of ours, or of a model, publishes another
    # slice beside the one that earlier runs may stand on.
    name = f"{run.key}-{written.sha256[:16]}{_SUFFIX}"
    target = Files(folder)
    if not target.exists(name):
        target.copy_here(engine.files, written.name, name)
    return name
