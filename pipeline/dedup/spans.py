"""Deduplication below the document: spans of text that stand in several places are cut out of all but the first.

    order -> ranged -> numbers          every living document gets a number that sorts like survivors (ranks.py)
          -> spans                      a part a split: key and place of every span, 24 bytes each
          -> groups                     the exchange by key: the first span of each key stays, the others are removed
          -> asks -> told               what a split has to know of the documents whose spans stay (rewrite.py)
          -> text -> ledger             texts without what was removed, and the documents that have too little left

A span travels as 64 bits of its key, the number of its document (64 bits: order and split), and 36 more bits of the key
with its first byte in the text (28 bits). Spans that stand twice in one document are found in its own split and travel
once. Memory of a task: one split's texts and spans; or a merge, which is a batch of each run, whatever the number of
copies of one span.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline import exchange
from pipeline.dedup.groups import Grouping
from pipeline.dedup.ranks import number_documents, numbers_of
from pipeline.dedup.sketches import split_in
from pipeline.engine import Engine, content_key, key_of
from pipeline.exchange import by_hash, level, merge_partition, partitions_for, run_names, write_run
from pipeline.keys import library_versions, source_key
from pipeline.parts import Commit, Output, Task
from pipeline.view import Layer, View, read_documents
from stages import words
from stages.compiled import compiled
from stages.span_dedup import (
    LineDedupSettings,
    ParagraphDedupSettings,
    SentenceDedupSettings,
    SpanSettings,
    SubstringDedupSettings,
    UnitSettings,
)
from stages.spans import cut, first_alike, unit_keys
from stages.substrings import anchors

LIBRARIES: Final = ("numba", "numpy", "pyarrow", "xxhash")
_ORDER_MODULES: Final = (*exchange.MODULES, "pipeline.dedup.ranks")
_MODULES: Final = (*exchange.MODULES, "pipeline.dedup.asks", "pipeline.dedup.rewrite", "pipeline.dedup.spans")
#: Type in a recipe of each kind of settings, which names the phases and the columns.
NAMES: Final[dict[type[SpanSettings], str]] = {
    LineDedupSettings: "line_dedup",
    ParagraphDedupSettings: "paragraph_dedup",
    SentenceDedupSettings: "sentence_dedup",
    SubstringDedupSettings: "substring_dedup",
}
_TYPES: Final = {name: kind for kind, name in NAMES.items()}
#: Bits of a place within a text: spans that begin behind 256 MB of one document are not compared.
PLACE_BITS: Final = 28
PLACE_MASK: Final = (1 << PLACE_BITS) - 1
SPANS: Final = pa.schema([pa.field(name, pa.uint64()) for name in ("key0", "number", "rest")])
#: A span that goes, and the first of its key: `places` holds the first byte of both, that of the leader below. A span
#: that is removed although it is the first names itself.
REMOVED: Final = pa.schema([pa.field(name, pa.uint64()) for name in ("number", "places", "leader")])
#: A span that stood `shift` bytes before in the same text: row, first byte and the one behind the last.
LOCAL: Final = pa.schema([pa.field(name, pa.int64()) for name in ("row", "start", "end", "shift")])
#: Bytes of spans for each byte of text, for choosing the number of partitions. No memory hangs on it.
_SPAN_SHARE: Final = 0.4
#: Different keys that agree in 64 bits, of which a merge tells this many apart; more are taken for unique.
_ALIKE: Final = 8
#: Rows after which a task writes another run, so that it never holds all copies of one span.
FLUSH_ROWS: Final = 1 << 21


def settings_of(name: str, given: dict[str, Any]) -> SpanSettings:
    """The settings of a stage type, from JSON values."""
    return _TYPES[name](**given)


def span_part(
    output: Output,
    *,
    view: View,
    unit: str,
    split: int,
    name: str,
    settings: dict[str, Any],
    numbers: Sequence[str],
    grouping: Grouping,
    partitions: int,
) -> dict[str, Any]:
    """Task: `spans` (SPANS by key) of a split's living documents, and `local` (LOCAL)."""
    chosen = settings_of(name, settings)
    rows, numbered = numbers_of(output.files, numbers, split, grouping)
    documents = read_documents(output.files, view, unit, ["text"])
    assert np.array_equal(documents["row"].to_numpy(), rows)
    data, offsets = words.utf8(documents["text"])
    begins = offsets[:-1]
    if isinstance(chosen, SubstringDedupSettings):
        found = anchors(data, offsets, chosen)
        docs, starts, keys = found.docs, found.starts, found.keys
        local = [found.run_docs, found.run_starts, found.run_ends, found.run_shifts]
    else:
        assert isinstance(chosen, UnitSettings)
        units = cut(data, offsets, chosen)
        keys = unit_keys(data, offsets, units, chosen.normalisation)
        first = first_alike(units.docs, keys)
        worded = keys.any(axis=1)
        again = worded & (first != np.arange(len(first)))
        local = [values[again] for values in (units.docs, units.starts, units.ends)]
        local.append(units.starts[again] - units.starts[first[again]])
        alone = worded & ~again
        docs, starts, keys = units.docs[alone], units.starts[alone], keys[alone]
    places = starts - begins[docs]
    near = places <= PLACE_MASK
    rest = (keys[near, 1] >> np.uint64(PLACE_BITS) << np.uint64(PLACE_BITS)) | places[near].astype(np.uint64)
    table = pa.table([keys[near, 0], numbered[docs[near]], rest], schema=SPANS)
    write_run(output, "spans", table, partition=by_hash(keys[near, 0], partitions), keys=SPANS.names)
    base = begins[local[0]]
    output.table("local", pa.table([rows[local[0]], local[1] - base, local[2] - base, local[3]], schema=LOCAL))
    return {"documents": documents.num_rows, "spans": table.num_rows, "local": len(local[0]),
            "not_compared": int((~near).sum()), "text_bytes": int(offsets[-1] - offsets[0])}  # fmt: skip


@compiled
def _resolve(
    rows: np.ndarray, limit: int, key: np.ndarray, leaders: np.ndarray, held: np.ndarray, out: np.ndarray, ending: bool
) -> int:
    """Goes on through sorted SPANS (uint64[n, 3]) and writes REMOVED rows to `out`; returns how many.

    `key` (uint64[1]), `held` (int64[1]) and `leaders` (uint64[_ALIKE, 4]: key bits, number, place, documents) are the
    open group, from one call to the next. `limit`: documents above which the first goes too; 0 for none.
    """
    written = 0
    for row in range(len(rows) + ending):
        over = row == len(rows)
        if over or rows[row, 0] != key[0]:
            for leader in range(held[0]):
                if limit and leaders[leader, 3] > np.uint64(limit):
                    place = leaders[leader, 2]
                    out[written, 0], out[written, 2] = leaders[leader, 1], leaders[leader, 1]
                    out[written, 1] = place << np.uint64(PLACE_BITS) | place
                    written += 1
            held[0] = 0
            if over:
                break
            key[0] = rows[row, 0]
        mine = rows[row, 2] >> np.uint64(PLACE_BITS)
        place = rows[row, 2] & np.uint64(PLACE_MASK)
        found = 0
        while found < held[0] and leaders[found, 0] != mine:
            found += 1
        if found < held[0]:
            leaders[found, 3] += np.uint64(1)
            out[written, 0], out[written, 2] = rows[row, 1], leaders[found, 1]
            out[written, 1] = place << np.uint64(PLACE_BITS) | leaders[found, 2]
            written += 1
        elif found < len(leaders):
            leaders[found, 0], leaders[found, 1], leaders[found, 2] = mine, rows[row, 1], place
            leaders[found, 3] = np.uint64(1)
            held[0] = found + 1
    return written


def group_part(
    output: Output, *, runs: Sequence[str], partition: int, limit: int, grouping: Grouping
) -> dict[str, Any]:
    """Task: `removed` (REMOVED by group of the span's split, in one run or several)."""
    key, held = np.zeros(1, np.uint64), np.zeros(1, np.int64)
    leaders = np.zeros((_ALIKE, 4), np.uint64)
    counts = {"spans": 0, "removed": 0}

    def found() -> Iterator[pa.Table]:
        def resolved(piece: np.ndarray, *, ending: bool) -> pa.Table:
            out = np.empty((len(piece) + _ALIKE, 3), np.uint64)
            written = _resolve(piece, limit, key, leaders, held, out, ending)
            return pa.table([np.ascontiguousarray(column) for column in out[:written].T], schema=REMOVED)

        for piece in merge_partition(output.files, runs, partition, keys=SPANS.names):
            counts["spans"] += piece.num_rows
            yield resolved(np.stack([piece[name].to_numpy() for name in SPANS.names], axis=1), ending=False)
        yield resolved(np.zeros((0, 3), np.uint64), ending=True)

    counts["removed"] = write_in_runs(output, "removed", found(), grouping, keys=["number", "places"])
    return counts


def write_in_runs(
    output: Output,
    suffix: str,
    tables: Iterator[pa.Table],
    grouping: Grouping,
    *,
    keys: Sequence[str],
    compression: str | None = None,
) -> int:
    """Write tables whose column `number` says where each row goes, as runs suffix-0, suffix-1… of FLUSH_ROWS rows or of
    PARTITION_BYTES at most; returns the number of rows."""
    waiting: list[pa.Table] = []
    rows = total = runs = 0
    size = 0

    def flush() -> None:
        nonlocal rows, size, runs
        table = pa.concat_tables(waiting)
        partition = grouping.of_splits(split_in(table["number"].to_numpy()))
        write_run(output, f"{suffix}-{runs}", table, partition=partition, keys=keys, compression=compression)
        waiting.clear()
        rows = size = 0
        runs += 1

    for table in tables:
        waiting.append(table)
        rows, size, total = rows + table.num_rows, size + table.nbytes, total + table.num_rows
        if rows >= FLUSH_ROWS or size >= exchange.PARTITION_BYTES // 4:
            flush()
    if rows:
        flush()
    return total


@dataclass(frozen=True, kw_only=True)
class Rewritten:
    """What a rewriting exchange leaves: the layer with the texts, and the phase with the ledger."""

    layer: Layer
    ledger: str


@dataclass(frozen=True, kw_only=True)
class _Steps:
    """What the driver's steps share."""

    engine: Engine
    view: View
    name: str
    grouping: Grouping

    def run(self, step: str, key: str, function: str, arguments: Sequence[dict[str, Any]], prefix: str) -> list[Commit]:
        """One phase, named after the step, of a task for each of these arguments; for each split if prefix is empty."""
        units = [f"{prefix}{number:05d}" for number in range(len(arguments))] if prefix else self.view.units
        return self.engine.run(
            [
                Task(phase=self.phase(step, key), unit=unit, function=f"pipeline.dedup.{function}", arguments=given)
                for unit, given in zip(units, arguments, strict=True)
            ]
        )

    def phase(self, step: str, key: str) -> str:
        return f"{self.name}.{step}-{key}" if step else f"{self.name}-{key}"

    def runs(self, commits: Sequence[Commit], step: str, key: str, suffix: str, keys: Sequence[str]) -> list[str]:
        return level(self.engine, run_names(commits, suffix), phase=self.phase(step, key), suffix=suffix, keys=keys)

    def splits(self, given: dict[str, Any]) -> list[dict[str, Any]]:
        return [{**given, "unit": unit, "split": split} for split, unit in enumerate(self.view.units)]


def span_dedup(
    engine: Engine,
    view: View,
    settings: SpanSettings,
    *,
    upstream: str,
    label: str | None = None,
    partition_bytes: int = exchange.PARTITION_BYTES,
) -> Rewritten:
    """Cut out of every living document what stands elsewhere before it, and book what that took.

    `upstream` is the content key of what the view holds; `label` the stage's name in the ledger. `partition_bytes`
    changes the parts on the way, never the result.
    """
    name = NAMES[type(settings)]
    steps = _Steps(engine=engine, view=view, name=name, grouping=Grouping(splits=len(view.units)))
    libraries = library_versions(LIBRARIES)
    key = key_of(settings.policy(), source_key(_ORDER_MODULES), libraries, upstream)
    policy = {"view": view, "settings": settings.policy()}
    ordered = steps.run("order", key, "ranks:order_part", [{**policy, "unit": unit} for unit in view.units], "")
    given = settings.measuring()
    key = key_of(given, source_key(_MODULES), libraries, upstream, content_key(ordered), partition_bytes)
    numbers = number_documents(
        engine, ordered, name=name, key=key, grouping=steps.grouping, partition_bytes=partition_bytes
    )
    text_bytes = sum(commit.counts["text_bytes"] for commit in ordered)
    partitions = partitions_for(int(text_bytes * _SPAN_SHARE), partition_bytes)
    shared = {"view": view, "name": name, "settings": given, "numbers": numbers, "grouping": steps.grouping}
    spanned = steps.run("spans", key, "spans:span_part", steps.splits({**shared, "partitions": partitions}), "")
    runs = steps.runs(spanned, "spans", key, "spans", SPANS.names)
    limit = settings.drop_all_above_documents or 0
    grouped = steps.run(
        "groups",
        key,
        "spans:group_part",
        [
            {"runs": runs, "partition": partition, "limit": limit, "grouping": steps.grouping}
            for partition in range(partitions)
        ],
        "p",
    )
    shared["removed"] = steps.runs(grouped, "groups", key, "removed", ["number", "places"])
    local = [{"local": commit.files["local"].name} for commit in spanned]
    each = [{**one, **two} for one, two in zip(steps.splits(shared), local, strict=True)]
    asked = steps.run("asks", key, "asks:ask_part", each, "")
    asks = steps.runs(asked, "asks", key, "asks", ["leader", "number", "start"])
    told = steps.run(
        "told",
        key,
        "asks:told_part",
        [
            {"view": view, "asks": asks, "group": group, "numbers": numbers, "grouping": steps.grouping,
             "reach": settings.window_bytes if isinstance(settings, SubstringDedupSettings) else 0}
            for group in range(steps.grouping.groups)
        ],
        "g",
    )  # fmt: skip
    heard = steps.runs(told, "told", key, "told", ["number", "start", "leader"])
    cut_commits = steps.run("text", key, "rewrite:text_part", [{**one, "told": heard} for one in each], "")
    layer = Layer(phase=steps.phase("text", key), columns=("text", *columns_of(name)))
    last = key_of(key, label or name, settings.model_dump(mode="json"), content_key(cut_commits))
    after = {"view": view.with_layer(layer), "name": name, "label": label or name, "settings": settings.model_dump()}
    steps.run("", last, "rewrite:ledger_part", [{**after, "unit": unit} for unit in view.units], "")
    return Rewritten(layer=layer, ledger=steps.phase("", last))


def columns_of(name: str) -> tuple[str, str, str]:
    """The columns that a stage type adds besides `text`: how many stretches were cut out of a document, how many bytes,
    and the document (id) that most of them stand in; null where nothing was cut."""
    return f"{name}_stretches", f"{name}_removed_bytes", f"{name}_partner"
