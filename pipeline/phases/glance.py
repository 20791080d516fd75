"""A look at all records before the first is extracted, so that what another record makes needless is never extracted.

    glance      a part a split: payload keys; for a cascade its gate's verdicts, and the visible text of what passed
    identical   the exchange by payload: of records with the same bytes and declared type one is left
    near_dedup  the exchange by similarity of visible texts, verified: of pages that are nearly the same one is left

The extract phase then reads the records again and extracts those that are left. What was ruled out is in its ledger,
under the extract stage's name, with the values that were measured here: the books have one line for all of extraction.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline.parser_child import RETRY_FACTOR, STOPPED
from pipeline.parts import Output
from pipeline.phases.extract import LOAD_REASONS, document_id, parser_child, raw_record, sampled
from pipeline.sources.archive import Chain, Limits
from pipeline.sources.listing import Split
from pipeline.sources.reader import read_split
from pipeline.sources.records import Document, Fields
from pipeline.view import LEDGER_PART, alive_key
from stages.extract import Extracted, ExtractSettings
from stages.reasons import outcome_of

#: One row for each record that has bytes to extract.
GLANCED: Final = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("record", pa.int64(), nullable=False),
        pa.field("url", pa.string()),
        # 128-bit BLAKE2b of payload, declared type and character set: its two halves.
        pa.field("payload0", pa.uint64(), nullable=False),
        pa.field("payload1", pa.uint64(), nullable=False),
        # All visible text of a page that passed a cascade's gate; empty for everything else, which nothing is near to.
        pa.field("text", pa.large_string(), nullable=False),
    ]
)
#: Text of a row group: what a task holds while it reads on.
_GROUP_BYTES: Final = 16 << 20


@dataclass(frozen=True, kw_only=True)
class _Look:
    """A record without its content, its payload's key, and what the cheap pass made of it."""

    document: Document
    payload: tuple[int, int]
    found: Extracted


def payload_key(document: Document) -> tuple[int, int]:
    """Two 64-bit numbers, equal for records that any engine gives the same text. No hostile page can forge them."""
    declared = f"{document.media_type or ''}\0{document.charset or ''}\0"
    digest = hashlib.blake2b(declared.encode() + document.content, digest_size=16).digest()
    return int.from_bytes(digest[:8]), int.from_bytes(digest[8:])


@dataclass
class _Rows:
    """What a split's task collects."""

    docs: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in GLANCED.names})
    ledger: list[dict[str, Any]] = field(default_factory=list)
    count: int = 0
    nondeterministic: int = 0


def run(
    output: Output,
    *,
    split: Split,
    label: str,
    settings: dict[str, Any],
    max_record_bytes: int,
    sample: float,
    columns: dict[str, str],
) -> dict[str, Any]:
    """Task: `docs` (GLANCED) and `ledger` (LEDGER_PART, what the cheap pass ruled out) of one split."""
    chosen = ExtractSettings.model_validate(settings)
    chain, rows = Chain(), _Rows()
    documents = (
        found
        for found in read_split(split, chain, Limits(max_record_bytes=max_record_bytes), Fields(**columns))
        if isinstance(found, Document)
        # A text that a source holds ready costs nothing to extract, and what is blank is nobody's copy.
        and found.text is None
        and found.content.strip(b"\0 \t\r\n")
        and sampled(document_id(split.source.name, found.offset, found.record), sample)
    )
    looks = _looked(documents, chosen, rows) if chosen.engine == "cascade" else map(_unseen, documents)
    output.tables("docs", GLANCED, _row_groups(split, looks, rows, label))
    output.table("ledger", pa.Table.from_pylist(rows.ledger, schema=LEDGER_PART))
    gone = np.array([row["row"] for row in rows.ledger], dtype=np.int64)
    return {
        "records": rows.count,
        "ruled_out": len(gone),
        "nondeterministic_drops": rows.nondeterministic,
        "alive": alive_key(np.setdiff1d(np.arange(rows.count), gone)),
        "chain": {"first": chain.first, "next": chain.next},
    }


def _look(document: Document, found: Extracted) -> _Look:
    return _Look(document=replace(document, content=b""), payload=payload_key(document), found=found)


def _unseen(document: Document) -> _Look:
    return _look(document, Extracted())


def _looked(documents: Iterator[Document], settings: ExtractSettings, rows: _Rows) -> Iterator[_Look]:
    """The cheap pass over each record, in the order of the file; what was stopped is tried again alone at the end."""
    waiting: list[_Look | Document] = []
    for document in documents:
        found = parser_child().glance(raw_record(document), settings)
        if found.reason in STOPPED:
            waiting.append(document)
        elif waiting:
            waiting.append(_look(document, found))
        else:
            yield _look(document, found)
    for one in waiting:
        if isinstance(one, _Look):
            yield one
            continue
        found = parser_child().glance(raw_record(one), settings, budget_factor=RETRY_FACTOR)
        rows.nondeterministic += found.reason in LOAD_REASONS
        yield _look(one, found)


def _row_groups(split: Split, looks: Iterator[_Look], rows: _Rows, label: str) -> Iterator[pa.Table]:
    """GLANCED in pieces of about _GROUP_BYTES of text; at least one, which may be empty."""
    held = 0
    for look in looks:
        _add(split, look, rows, label)
        held += len(look.found.text.encode())
        if held >= _GROUP_BYTES:
            yield pa.table(rows.docs, schema=GLANCED)
            held, rows.docs = 0, {name: [] for name in GLANCED.names}
    yield pa.table(rows.docs, schema=GLANCED)


def _add(split: Split, look: _Look, rows: _Rows, label: str) -> None:
    document, found = look.document, look.found
    place = {"id": document_id(split.source.name, document.offset, document.record), "source": split.source.name,
             "offset": document.offset, "record": document.record, "url": document.url}  # fmt: skip
    row = {**place, "payload0": look.payload[0], "payload1": look.payload[1], "text": found.text}
    for name, values in rows.docs.items():
        values.append(row[name])
    if found.reason is not None:
        rows.ledger.append(
            {**place, "row": rows.count, "end": document.end, "stage": label, "reason": found.reason,
             "outcome": outcome_of(found.reason), "measured": found.measured, "threshold": found.threshold,
             "detail": found.detail}
        )  # fmt: skip
    rows.count += 1
