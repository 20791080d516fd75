"""Near deduplication: walk the documents in survivor order; one is removed if and only if it is verified similar to one
already kept. Bands propose the pairs, shingle sets decide.

    sketch -> runs -> groups -> numbers -> bands          every document, once
           -> [ buckets -> attach -> verify -> decide ]   rounds: one, unless a bucket is crowded
           -> told -> ledger

Every arrow is an exchange through files; the driver sees names and counts. After `bands`, only documents that share a
bucket with another are looked at. A round's pairs are those that buckets.py proposes; decide.py says why the result is
that of the definition. Memory of a task: a partition (`partition_bytes`), one split's texts or sets, or a merge.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from pipeline import exchange
from pipeline.dedup import exact
from pipeline.dedup.against import earlier_parts
from pipeline.dedup.groups import Grouping, group
from pipeline.dedup.rounds import (
    BAND_BYTES,
    DECIDE_BYTES,
    ORDER_BYTES,
    Near,
    Numbered,
    names_of,
    next_bands,
    walk_round,
)
from pipeline.engine import Engine, content_key, key_of
from pipeline.exchange import level
from pipeline.keys import library_versions, source_key
from pipeline.parts import Commit, Task
from pipeline.view import View
from stages.near_dedup import NearDedupSettings

_OWN: Final = ("stages.editions", "stages.minhash", "stages.near_dedup", "stages.shingles", "stages.normalise",
               "stages.schema", "stages.survivors")  # fmt: skip
_MODULES: Final = (
    *exact.MODULES, *_OWN, "pipeline.dedup.against", "pipeline.dedup.buckets",
    "pipeline.dedup.decide", "pipeline.dedup.near", "pipeline.dedup.outcome", "pipeline.dedup.rounds",
    "pipeline.dedup.sketches", "pipeline.dedup.verify",
)  # fmt: skip
_SKETCH_MODULES: Final = (*exchange.MODULES, *_OWN, "pipeline.dedup.sketches", "pipeline.dedup.survivors")


#: What a document costs where it meets others, in bytes, for choosing the number of partitions: its order, its state in
def _number(near: Near, sketched: Sequence[Commit]) -> Numbered:
    """Group equal texts, give leaders their numbers, and write their bands."""
    grouping = near.grouping
    signed = sum(commit.counts["signed"] for commit in sketched)
    cuts = near.partitions(signed * ORDER_BYTES)
    splitters = None
    if cuts > 1:
        samples = [commit.files["sample"].name for commit in sketched]
        (made,) = near.run("cuts", "sketches:splitters", [("all", {"samples": samples, "ranges": cuts})])
        splitters = made.files["cuts"].name
    grouped = group(
        near.engine, sketched, name="near_dedup", key=near.key, grouping=grouping, splitters=splitters,
        order_partitions=cuts, partition_bytes=near.partition_bytes,
    )  # fmt: skip
    firsts = (near.earlier_documents + np.concatenate(([0], np.cumsum(grouped.places)))).tolist()
    numbered = near.run(
        "numbers",
        "sketches:number_part",
        [
            (unit, {"runs": grouped.order, "partition": number, "first": firsts[number], "grouping": grouping})
            for number, unit in enumerate(names_of("p", cuts))
        ],
    )
    documents = firsts[-1]
    bands, _ = near.settings.banding()
    numbers = near.runs(numbered, "numbers", "numbers", ["doc"])
    partitions = near.partitions(documents * bands * BAND_BYTES)
    admitted = near.run(
        "earlier",
        "against:admit_part",
        [
            (unit, {"part": part, "partitions": partitions})
            for unit, part in zip(names_of("earlier", len(near.earlier)), near.earlier, strict=True)
        ],
    )
    banded = near.run(
        "bands",
        "sketches:band_part",
        [
            (
                unit,
                {
                    "runs": numbers,
                    "group": number,
                    "signatures": [
                        (split, sketched[split].files["signatures"].name) for split in grouping.members(number)
                    ],
                    "settings": near.dumped,
                    "partitions": partitions,
                },
            )
            for number, unit in enumerate(names_of("g", grouping.groups))
        ],
    )
    return Numbered(
        grouped=grouped,
        documents=documents,
        ranges=near.partitions(documents * DECIDE_BYTES),
        members=near.runs(banded, "bands", "members", ["number"]),
        bands=near.runs([*banded, *admitted], "bands", "bands", ["hash", "number"]),
    )


def near_dedup(
    engine: Engine,
    view: View,
    settings: NearDedupSettings,
    *,
    upstream: str,
    slices: Sequence[Mapping[str, Any]] = (),
    label: str = "near_dedup",
    partition_bytes: int = exchange.PARTITION_BYTES,
) -> str:
    """The phase whose parts are the ledger of near deduplication, one for each split of the view.

    `upstream` is the content key of what the view holds; `label` the stage's name in the ledger. `slices` are
    those of `settings.against`, from `against.resolve_near`: what earlier runs have kept goes before all documents of
    this one. `partition_bytes` bounds what a reduce task reads at once; it changes the parts on the way, never the
    result.
    """
    libraries = library_versions(exact.LIBRARIES)
    signing = {"shingle": settings.shingle.model_dump(mode="json"), "permutations": settings.permutations,
               **settings.policy()}  # fmt: skip
    key = key_of(signing, source_key(_SKETCH_MODULES), libraries, upstream)
    sketched = engine.run(
        [
            Task(
                phase=f"near_dedup.sketch-{key}",
                unit=unit,
                function="pipeline.dedup.sketches:sketch_part",
                arguments={"view": view, "unit": unit, "settings": signing},
            )
            for unit in view.units
        ]
    )
    code = source_key(_MODULES)
    pins = [dict(entry) for entry in slices]
    key = key_of(settings.lasting(), pins, code, libraries, upstream, content_key(sketched), partition_bytes)
    earlier = tuple(earlier_parts(settings, pins, splits=len(view.units)))
    grouping = Grouping(splits=len(view.units), earlier=len(earlier))
    near = Near(
        engine=engine,
        view=view,
        settings=settings,
        grouping=grouping,
        key=key,
        partition_bytes=partition_bytes,
        earlier=earlier,
    )
    numbered = _number(near, sketched)
    bands, _ = settings.banding()
    partitions = near.partitions(numbered.documents * bands * BAND_BYTES)
    number = 1
    last = walk_round(near, numbered, number, numbered.bands, partitions, None)
    removed = list(last.removed)
    while last.waiting_documents:
        number += 1
        again, partitions = next_bands(near, number, last)
        last = walk_round(near, numbered, number, again, partitions, last)
        removed += last.removed
    removed = level(engine, removed, phase=near.phase("removed"), suffix="removed", keys=["second"])
    return _finish(near, numbered, removed, label)


def _finish(near: Near, numbered: Numbered, removed: list[str], label: str) -> str:
    told = near.run(
        "told",
        "outcome:told_part",
        [
            (
                unit,
                {
                    "links": numbered.grouped.links,
                    "removed": removed,
                    "members": numbered.members,
                    "group": number,
                    "grouping": near.grouping,
                },
            )
            for number, unit in enumerate(names_of("g", near.grouping.groups))
        ],
    )
    phase = f"near_dedup-{key_of(near.key, label)}"
    ledger = {
        "view": near.view,
        "label": label,
        "threshold": near.settings.threshold,
        "followers": numbered.grouped.followers,
        "told": near.runs(told, "told", "told", ["doc"]),
        "removed": removed,
        "members": numbered.members,
        "grouping": near.grouping,
        "earlier": [(part.first, part.slice) for part in near.earlier],
        "earlier_documents": near.earlier_documents,
    }
    near.engine.run(
        [
            Task(phase=phase, unit=unit, function="pipeline.dedup.outcome:near_ledger",
                 arguments={**ledger, "unit": unit, "split": split})
            for split, unit in enumerate(near.view.units)
        ]
    )  # fmt: skip
    return phase
