"""The end of deduplication below the document: the texts of a split without what was removed, and its ledger (spans.py
says what goes, asks.py where its copies stand).

text_part     a split: `docs`, a row for each of its documents: the text that is left and what was cut out of it;
              `removed`, a row for each span that went: row, first byte, the one behind the last, and partner
ledger_part   a split: the documents that have too little left
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.books import ConservationError
from pipeline.dedup.asks import TOLD, Going, going_of, joined
from pipeline.dedup.groups import Grouping
from pipeline.dedup.ranks import numbers_of
from pipeline.dedup.rejections import Rejections, write_ledger
from pipeline.dedup.sketches import split_in
from pipeline.dedup.spans import (
    LOCAL,
    PLACE_BITS,
    columns_of,
    settings_of,
)
from pipeline.dedup.survivors import id_text
from pipeline.exchange import read_partition
from pipeline.files import Files
from pipeline.parts import Output
from pipeline.view import View, read_documents
from stages import words
from stages.span_dedup import (
    LineDedupSettings,
    ParagraphDedupSettings,
    SpanSettings,
    SubstringDedupSettings,
    UnitSettings,
)
from stages.span_removal import Cut, cut_out
from stages.spans import LINES, PARAGRAPHS, SENTENCES, cut
from stages.substrings import agreeing, whole_words

_REMOVED_ROW: Final = pa.schema(
    [*(pa.field(name, pa.int64()) for name in ("row", "start", "end")), pa.field("partner", pa.string())]
)

#: What is left between what a cut brings together; after substrings the same as after sentences.
_KINDS: Final[dict[type[SpanSettings], int]] = {LineDedupSettings: LINES, ParagraphDedupSettings: PARAGRAPHS}


@dataclass(frozen=True, kw_only=True)
class _Here:
    """One split at the end: its living documents, and what it heard of others."""

    rows: np.ndarray
    numbered: np.ndarray
    ids: pa.Array
    data: np.ndarray
    offsets: np.ndarray
    going: Going
    local: pa.Table
    #: (number, leader, start) -> row of `told`.
    heard: Mapping[tuple[int, int, int], int]
    told: pa.Table


@dataclass(frozen=True, kw_only=True)
class _Stretches:
    """What is cut out, ascending by document and start: int64, places in the buffer of all texts, and ids."""

    docs: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    partners: np.ndarray


def _here(
    files: Files, view: View, unit: str, split: int, numbers: Sequence[str], removed: Sequence[str], local: str,
    told: Sequence[str], grouping: Grouping,
) -> _Here:  # fmt: skip
    rows, numbered = numbers_of(files, numbers, split, grouping)
    documents = read_documents(files, view, unit, ["id", "text"])
    data, offsets = words.utf8(documents["text"])
    answers = read_partition(files, told, split // grouping.size, schema=TOLD)
    answers = answers.filter(pa.array(split_in(answers["number"].to_numpy()) == split))
    named = zip(*(answers[name].to_pylist() for name in ("number", "leader", "start")), strict=True)
    return _Here(
        rows=rows, numbered=numbered, ids=documents["id"].combine_chunks(), data=data, offsets=offsets,
        going=going_of(files, removed, split, grouping, numbered), local=files.read_table(local, LOCAL.names),
        heard={key: place for place, key in enumerate(named)}, told=answers,
    )  # fmt: skip


def _ordered(docs: np.ndarray, starts: np.ndarray, ends: np.ndarray, partners: np.ndarray) -> _Stretches:
    order = np.lexsort((partners.astype(str), ends, starts, docs))
    return _Stretches(docs=docs[order], starts=starts[order], ends=ends[order], partners=partners[order])


def _unit_stretches(here: _Here, chosen: UnitSettings) -> _Stretches:
    """The units that go, each with its partner: the document that keeps the first copy, or itself."""
    begins = here.offsets[:-1]
    own = np.array(here.ids.to_pylist(), dtype=object)
    going = here.going
    units = cut(here.data, here.offsets, chosen)
    known = units.docs << PLACE_BITS | (units.starts - begins[units.docs])
    ends = units.ends[np.searchsorted(known, going.docs << PLACE_BITS | going.starts)]
    told_ids = id_text(here.told["id0"].to_numpy(), here.told["id1"].to_numpy()).to_pylist()
    partners = own[going.docs]
    numbers = here.numbered[going.docs]
    for place in np.flatnonzero(going.leaders != numbers).tolist():
        partners[place] = told_ids[here.heard[int(numbers[place]), int(going.leaders[place]), 0]]
    docs = np.searchsorted(here.rows, here.local["row"].to_numpy())
    base = begins[docs]
    return _ordered(
        np.concatenate([going.docs, docs]),
        np.concatenate([begins[going.docs] + going.starts, base + here.local["start"].to_numpy()]),
        np.concatenate([ends, base + here.local["end"].to_numpy()]),
        np.concatenate([partners, own[docs]]),
    )


def _substring_stretches(here: _Here, chosen: SubstringDedupSettings) -> tuple[_Stretches, int]:
    """The stretches that go, compared byte by byte with their copies, followed to where they cease to agree, and
    shortened to whole words; and how many did not agree, though their hashes did."""
    own = here.ids.to_pylist()
    kinds, _ = words.character_table()
    told_ids = id_text(here.told["id0"].to_numpy(), here.told["id1"].to_numpy()).to_pylist()
    going, ends = joined(here.going, chosen.length_bytes)
    found: list[tuple[int, int, int, str]] = []
    unlike = 0

    def add(doc: int, start: int, end: int, other: np.ndarray, there: int, partner: str) -> int:
        text = here.data[here.offsets[doc] : here.offsets[doc + 1]]
        first, last = agreeing(text, start, end, 0, len(text), other, there, chosen.window_bytes)
        if first == last:
            return 1
        first, last = whole_words(text, first, last, kinds)
        if first < last:
            found.append((doc, int(here.offsets[doc]) + first, int(here.offsets[doc]) + last, partner))
        return 0

    columns = (going.docs, going.starts, ends, going.leaders, here.numbered[going.docs])
    for doc, start, end, leader, number in zip(*(column.tolist() for column in columns), strict=True):
        if leader == number:  # the first copy, which goes too
            whole = here.data[here.offsets[doc] : here.offsets[doc + 1]]
            unlike += add(doc, start, end, whole, start, own[doc])
            continue
        place = here.heard[number, leader, start]
        other = np.frombuffer(here.told["bytes"][place].as_py(), np.uint8)
        unlike += add(doc, start, end, other, here.told["lead"][place].as_py(), told_ids[place])
    docs = np.searchsorted(here.rows, here.local["row"].to_numpy()).tolist()
    for doc, row in zip(docs, here.local.select(["start", "end", "shift"]).to_pylist(), strict=True):
        whole = here.data[here.offsets[doc] : here.offsets[doc + 1]]
        unlike += add(doc, row["start"], row["end"], whole, row["start"] - row["shift"], own[doc])
    at, first, last = (np.array([row[column] for row in found], dtype=np.int64) for column in range(3))
    return _ordered(at, first, last, np.array([row[3] for row in found], dtype=object)), unlike


def text_part(
    output: Output,
    *,
    view: View,
    unit: str,
    split: int,
    name: str,
    settings: dict[str, Any],
    numbers: Sequence[str],
    removed: Sequence[str],
    local: str,
    told: Sequence[str],
    grouping: Grouping,
) -> dict[str, Any]:
    """Task: `docs` (text and columns_of, a row for each document of the split; those that are not alive have no text),
    and `removed`. Counts bytes before, after and cut out."""
    chosen = settings_of(name, settings)
    here = _here(output.files, view, unit, split, numbers, removed, local, told, grouping)
    unlike = 0
    if isinstance(chosen, SubstringDedupSettings):
        stretches, unlike = _substring_stretches(here, chosen)
    else:
        assert isinstance(chosen, UnitSettings)
        stretches = _unit_stretches(here, chosen)
    kind = _KINDS.get(type(chosen), SENTENCES)
    done = cut_out(
        here.data, here.offsets, docs=stretches.docs, starts=stretches.starts, ends=stretches.ends, kind=kind
    )
    base = here.offsets[:-1][stretches.docs]
    gone = pa.table(
        [here.rows[stretches.docs], stretches.starts - base, stretches.ends - base,
         pa.array(stretches.partners.tolist(), pa.string())], schema=_REMOVED_ROW,
    )  # fmt: skip
    output.table("removed", gone)
    rows = output.files.count_rows(f"{view.base.phase}/{unit}.docs.parquet")
    output.table("docs", _layer(name, rows, here.rows, done, _main_partners(gone, here.rows)))
    before, after = int(here.offsets[-1] - here.offsets[0]), int(pc.sum(pc.binary_length(done.texts)).as_py() or 0)
    taken = int(done.removed_bytes.sum())
    if before != after + taken or (done.removed_bytes < 0).any():
        raise ConservationError(f"split {unit}: {before} bytes of text became {after}, with {taken} removed")
    return {"documents": len(here.rows), "changed": int((done.stretches > 0).sum()), "spans": gone.num_rows,
            "stretches": int(done.stretches.sum()), "text_bytes": before, "kept_bytes": after, "removed_bytes": taken,
            "hash_collisions": unlike}  # fmt: skip


def _main_partners(gone: pa.Table, rows: np.ndarray) -> list[str | None]:
    """For each row the document that most of what was cut out of it stands in; None where nothing was."""
    size = pc.subtract(gone["end"], gone["start"])
    sums = gone.append_column("size", size).group_by(["row", "partner"], use_threads=False).aggregate([("size", "sum")])
    sums = sums.sort_by([("row", "ascending"), ("size_sum", "descending"), ("partner", "ascending")])
    found: dict[int, str] = {}
    for row, partner in zip(sums["row"].to_pylist(), sums["partner"].to_pylist(), strict=True):
        found.setdefault(row, partner)
    return [found.get(row) for row in rows.tolist()]


def _layer(name: str, rows: int, alive: np.ndarray, done: Cut, partners: Sequence[str | None]) -> pa.Table:
    """A row for each document of the split, whether it is alive or not."""
    places = np.full(rows, -1, dtype=np.int64)
    places[alive] = np.arange(len(alive))
    index = pa.array(places, mask=places < 0)
    stretches, removed_bytes, partner = columns_of(name)
    return pa.table(
        {
            "text": pc.fill_null(done.texts.take(index), ""),
            stretches: pc.fill_null(pa.array(done.stretches).take(index), 0),
            removed_bytes: pc.fill_null(pa.array(done.removed_bytes).take(index), 0),
            partner: pa.array(partners, pa.string()).take(index),
        }
    )


def ledger_part(
    output: Output, *, view: View, unit: str, name: str, label: str, settings: dict[str, Any]
) -> dict[str, Any]:
    """Task: `ledger`: the documents out of which something was cut and that have less than `min_left_bytes` left. The
    stage's counts say what was cut out of documents, and what was left in those that go: bytes in = kept + both."""
    least = settings_of(name, settings).min_left_bytes
    stretches, removed_bytes, partner = columns_of(name)
    documents = read_documents(output.files, view, unit, ["id", "text", stretches, removed_bytes, partner])
    left = np.asarray(pc.binary_length(documents["text"]).to_numpy())
    gone = (documents[stretches].to_numpy() > 0) & (left < least)
    going = documents.filter(pa.array(gone))
    taken = going[removed_bytes].to_numpy()
    detail = [f"{cut} of {cut + rest} bytes stand elsewhere" for cut, rest in zip(taken, left[gone], strict=True)]
    itself = pc.equal(going[partner], going["id"])
    counts = write_ledger(
        output,
        view,
        unit,
        Rejections(
            label=label,
            reason="little_left",
            rows=going["row"].to_numpy(),
            measured=left[gone].astype(np.float64),
            threshold=float(least),
            partner=pc.if_else(itself, pa.scalar(None, pa.string()), going[partner]),
            detail=pa.array(detail, pa.string()),
        ),
    )
    counts["stages"][label] |= {
        "changed": int((documents[stretches].to_numpy() > 0).sum()),
        "stretches_removed": int(documents[stretches].to_numpy().sum()),
        "text_bytes_removed": int(documents[removed_bytes].to_numpy().sum()),
        "text_bytes_dropped": int(left[gone].sum()),
    }
    return counts
