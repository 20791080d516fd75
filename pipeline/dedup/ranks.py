"""A number for every living document that sorts like survivors do and names its split (pipeline/dedup/sketches.py).

order_part    a part a split: place and id of each document, and samples of them
ranged_part   a group of splits: the same rows as a run, by ranges of the order
number_part   a range: documents in order get their numbers (sketches.py), by group of splits
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dedup.groups import Grouping
from pipeline.dedup.sketches import NUMBERED
from pipeline.dedup.survivors import ORDER, doc_numbers, ordering, ordering_columns, row_of, split_of
from pipeline.engine import Engine
from pipeline.exchange import level, partitions_for, read_partition, run_names, write_run
from pipeline.files import Files
from pipeline.parts import Commit, Output, Task
from pipeline.view import View, read_documents
from stages.survivors import SurvivorSettings

#: Bytes of a row of ORDER.
_ROW_BYTES: Final = 32
#: Sampled places of one split: with 64 of each, the ranges of a thousand splits differ by a few per cent.
_SAMPLES: Final = 64


def order_part(output: Output, *, view: View, unit: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Task: `order` (row, place, id0, id1) of the split's living documents, and `sample` of it. Counts their text."""
    chosen = SurvivorSettings(**settings)
    documents = read_documents(output.files, view, unit, ordering_columns(view, chosen))
    order = ordering(documents, chosen)
    output.table("order", pa.table({"row": documents["row"], **order}))
    sampled = np.lexsort((order["id0"], order["place"]))[:: max(1, documents.num_rows // _SAMPLES)]
    output.table("sample", pa.table({"place": order["place"][sampled], "id0": order["id0"][sampled]}))
    text_bytes = pc.sum(pc.binary_length(documents["text"])).as_py() or 0
    return {"documents": documents.num_rows, "text_bytes": text_bytes}


def ranged_part(output: Output, *, parts: Sequence[tuple[int, str]], cuts: str | None, ranges: int) -> dict[str, Any]:
    """Task: `order`: ORDER of some splits, given as (split number, file), by range. Counts the documents of each."""
    tables = []
    for split, name in parts:
        table = output.files.read_table(name)
        docs = pa.array(doc_numbers(split, table["row"].to_numpy()))
        tables.append(table.append_column("doc", docs).select(list(ORDER)))
    rows = pa.concat_tables(tables)
    found = np.zeros(rows.num_rows, dtype=np.int64)
    if cuts is not None:
        place, id0 = rows["place"].to_numpy(), rows["id0"].to_numpy()
        for cut in output.files.read_table(cuts).to_pylist():
            found += (place > cut["place"]) | ((place == cut["place"]) & (id0 >= cut["id0"]))
    write_run(output, "order", rows, partition=found, keys=ORDER)
    held = np.bincount(found, minlength=ranges).tolist()
    return {"places": {f"{place:05d}": number for place, number in enumerate(held)}}


def number_documents(
    engine: Engine, ordered: Sequence[Commit], *, name: str, key: str, grouping: Grouping, partition_bytes: int
) -> list[str]:
    """Runs of NUMBERED, partitioned by group of splits, given the `order` parts of all splits."""
    ranges = partitions_for(sum(commit.counts["documents"] for commit in ordered) * _ROW_BYTES, partition_bytes)
    cuts = None
    if ranges > 1:
        samples = [commit.files["sample"].name for commit in ordered]
        (made,) = engine.run(
            [Task(phase=f"{name}.cuts-{key}", unit="all", function="pipeline.dedup.sketches:splitters",
                  arguments={"samples": samples, "ranges": ranges})]
        )  # fmt: skip
        cuts = made.files["cuts"].name
    phase = f"{name}.ranged-{key}"
    ranged = engine.run(
        [
            Task(
                phase=phase,
                unit=f"g{number:05d}",
                function="pipeline.dedup.ranks:ranged_part",
                arguments={
                    "parts": [(split, ordered[split].files["order"].name) for split in grouping.members(number)],
                    "cuts": cuts,
                    "ranges": ranges,
                },
            )
            for number in range(grouping.groups)
        ]
    )
    runs = level(engine, run_names(ranged, "order"), phase=phase, suffix="order", keys=ORDER)
    held = [sum(commit.counts["places"][f"{place:05d}"] for commit in ranged) for place in range(ranges)]
    firsts = np.concatenate(([0], np.cumsum(held))).tolist()
    phase = f"{name}.numbers-{key}"
    numbered = engine.run(
        [
            Task(
                phase=phase,
                unit=f"p{number:05d}",
                function="pipeline.dedup.sketches:number_part",
                arguments={"runs": runs, "partition": number, "first": firsts[number], "grouping": grouping},
            )
            for number in range(ranges)
        ]
    )
    return level(engine, run_names(numbered, "numbers"), phase=phase, suffix="numbers", keys=["doc"])


def numbers_of(files: Files, runs: Sequence[str], split: int, grouping: Grouping) -> tuple[np.ndarray, np.ndarray]:
    """(int64[n], uint64[n]): rows and numbers of a split's living documents, ascending by row."""
    table = read_partition(files, runs, split // grouping.size, schema=NUMBERED)
    docs, numbers = table["doc"].to_numpy(), table["number"].to_numpy()
    mine = np.flatnonzero(split_of(docs) == split)
    mine = mine[np.argsort(docs[mine])]
    return row_of(docs[mine]), numbers[mine]
