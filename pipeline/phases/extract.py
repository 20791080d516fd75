"""Records in, documents out: one task a split reads, extracts and writes the base that all later phases stand on.

The chain rule: the result is that of one sequential reader. Splits are read side by side, each from the first record
boundary it finds; then the driver walks each file's chain, and a split that did not begin exactly where its predecessor
ended was shown a decoy and is read again from the right place.
"""

import atexit
import hashlib
import heapq
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from pipeline.books import StageCount, excerpt
from pipeline.engine import Engine
from pipeline.parser_child import RETRY_FACTOR, STOPPED, ParserChild
from pipeline.parts import Commit, Output, Task
from pipeline.sources.archive import Chain, Limits
from pipeline.sources.listing import Split
from pipeline.sources.reader import read_split
from pipeline.sources.records import Bad, Document, Fields, Found, Skip
from pipeline.view import LEDGER_PART
from stages.extract import Extracted, ExtractSettings, RawRecord, ready_text
from stages.reasons import outcome_of
from stages.schema import DOCUMENT

#: What an extraction part holds: the document, and what is known of how it came here.
BASE = pa.schema(
    [
        *DOCUMENT,
        # How much visible text its page had in all, so that an engine that leaves much out can be seen.
        pa.field("visible_characters", pa.int64()),
        # Characters of the text for each visible one, white space left out: an engine that leaves much out is far
        # below 1, one that adds marks may be over it. Null where nothing was visible.
        pa.field("text_fraction", pa.float64()),
        # What the bytes were read as, in Python's name of the character set; null for PDF and ready text.
        pa.field("charset", pa.string()),
        # Share of the text's characters that were encoded twice before the crawler came ("Itâ€™s"), in [0, 1].
        pa.field("mojibake_fraction", pa.float64()),
        # Codes of stages.extract.FLAGS, joined by commas; null for none. parser_cut: the page has text that is lost.
        pa.field("flags", pa.string()),
        # The source's own name for the document: the id of a JSON line or Parquet row; null where it has none.
        pa.field("source_id", pa.string()),
        # Why the crawler cut the record short (WARC-Truncated): length, time, disconnect, unspecified; null if whole.
        pa.field("truncated", pa.string()),
        # What the reader forgave: an encoding that is declared but not there, a block digest that is wrong.
        pa.field("read_note", pa.string()),
    ]
)
#: What `explain` tells of a document's extraction.
MEASURED = ("visible_characters", "text_fraction", "charset", "mojibake_fraction", "flags", "truncated", "read_note")
#: Text of a row group of the base: what a task holds while it reads on.
GROUP_BYTES = 16 << 20
#: Which byte ranges of the input hold what.
EXTENTS = pa.schema([pa.field("start", pa.int64()), pa.field("end", pa.int64()), pa.field("kind", pa.string())])
#: Reasons that the machine's load may have a part in, even after the second try.
LOAD_REASONS = frozenset({"timeout"})
#: Sampling looks at this many leading hex digits of the id: 64 bits, so that any fraction is met to 1e-16.
_SAMPLE_DIGITS = 16
#: Records whose extraction took longest that a part names, for `tamis status`.
_SLOWEST = 5


def document_id(source: str, offset: int, record: int) -> str:
    """32 hex digits (128 bits) of BLAKE2b over the source's name and the record's place in it."""
    return hashlib.blake2b(f"{source}\0{offset}\0{record}".encode(), digest_size=16).hexdigest()


def sampled(identity: str, fraction: float) -> bool:
    """Whether a document is in a keyed sample: a function of its id alone, so larger samples hold smaller ones."""
    return int(identity[:_SAMPLE_DIGITS], 16) < fraction * 16.0**_SAMPLE_DIGITS


@dataclass
class _Books:
    """What a split's task counts and collects."""

    read: StageCount = field(default_factory=StageCount)
    extract: StageCount = field(default_factory=StageCount)
    skipped: dict[str, int] = field(default_factory=dict)
    base: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in BASE.names})
    ledger: list[dict[str, Any]] = field(default_factory=list)
    nondeterministic: int = 0
    #: Ledger rows of what was ruled out before, by (offset, record).
    ruled_out: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    #: (seconds, offset, record, url) of those that took longest.
    slowest: list[tuple[float, int, int, str]] = field(default_factory=list)

    def timed(self, document: Document, settings: ExtractSettings, **options: Any) -> Extracted:
        """What the parser child makes of a document; how long that took is remembered."""
        started = time.perf_counter()
        extracted = parser_child().call(raw_record(document), settings, **options)
        seconds = round(time.perf_counter() - started, 4)
        entry = (seconds, document.offset, document.record, document.url or "")
        self.slowest = heapq.nlargest(_SLOWEST, [*self.slowest, entry])
        return extracted

    def skip(self, record_type: str) -> None:
        self.skipped[record_type] = self.skipped.get(record_type, 0) + 1

    def reject(self, row: dict[str, Any], *, stage: str, count: StageCount) -> None:
        count.reject(row["reason"])
        self.ledger.append({**row, "stage": stage, "outcome": outcome_of(row["reason"]), "row": None})


def run(
    output: Output,
    *,
    split: Split,
    label: str,
    settings: dict[str, Any],
    max_record_bytes: int,
    sample: float,
    columns: dict[str, str],
    ruled_out: Sequence[str] = (),
) -> dict[str, Any]:
    """Task: `docs` (BASE), `ledger` (LEDGER_PART) and `extents` of one split. `ruled_out` names ledgers of documents
    that are not extracted any more (glance.py): their rows are booked here as they stand there."""
    chosen = ExtractSettings.model_validate(settings)
    limits, chain, books = Limits(max_record_bytes=max_record_bytes), Chain(), _Books()
    for name in ruled_out:
        rows = output.files.read_table(name).to_pylist()
        books.ruled_out |= {(row["offset"], row["record"]): row for row in rows}
    read = read_split(split, chain, limits, Fields(**columns))
    documents = _extracted(split, read, chosen, books, sample)
    output.tables("docs", BASE, _row_groups(split, documents, books, label))
    ledger = sorted(books.ledger, key=lambda row: (row["offset"], row["record"]))
    output.table("ledger", pa.Table.from_pylist(ledger, schema=LEDGER_PART))
    extents = [{"start": extent.start, "end": extent.end, "kind": extent.kind} for extent in chain.extents]
    output.table("extents", pa.Table.from_pylist(extents, schema=EXTENTS))
    output.observed["slowest_records"] = [
        {"seconds": seconds, "source": split.source.name, "offset": offset, "record": record, "url": url}
        for seconds, offset, record, url in books.slowest
    ]
    return {
        "stages": {"read": books.read.as_json(), label: books.extract.as_json()},
        "records_skipped": dict(sorted(books.skipped.items())),
        "nondeterministic_drops": books.nondeterministic,
        "truncated": int(chain.truncated),
        "chain": {"first": chain.first, "next": chain.next},
    }


def _row_groups(
    split: Split, documents: Iterator[tuple[Document, Extracted]], books: _Books, label: str
) -> Iterator[pa.Table]:
    """The base in pieces of about GROUP_BYTES of text; at least one, which may be empty."""
    written = 0
    for document, extracted in documents:
        _book(split, document, extracted, books, label)
        if books.extract.text_bytes_kept - written >= GROUP_BYTES:
            yield pa.table(books.base, schema=BASE)
            written, books.base = books.extract.text_bytes_kept, {name: [] for name in BASE.names}
    if books.base["id"] or not written:
        yield pa.table(books.base, schema=BASE)


def _extracted(
    split: Split, read: Iterator[Found], settings: ExtractSettings, books: _Books, sample: float
) -> Iterator[tuple[Document, Extracted]]:
    """Documents with what extraction made of them, in the order of the file; bad rows and skips go to the books."""
    waiting: list[tuple[Document, Extracted | None]] = []
    for found in read:
        if isinstance(found, Skip):
            books.skip(found.record_type)
            continue
        identity = document_id(split.source.name, found.offset, found.record)
        if not sampled(identity, sample):
            books.skip("not_sampled")
            continue
        books.read.documents += 1
        if isinstance(found, Bad):
            books.reject(_bad_row(split, found, identity), stage="read", count=books.read)
            continue
        books.read.kept += 1
        if (gone := books.ruled_out.get((found.offset, found.record))) is not None:
            books.extract.documents += 1
            books.nondeterministic += gone["reason"] in LOAD_REASONS
            books.reject({**gone, "end": found.end}, stage=gone["stage"], count=books.extract)
            continue
        extracted = ready_text(found.text, settings) if found.text is not None else books.timed(found, settings)
        if extracted.reason in STOPPED:
            waiting.append((found, None))
        elif waiting:
            waiting.append((_without_content(found), extracted))
        else:
            yield found, extracted
    for document, done in waiting:
        extracted = done or books.timed(document, settings, budget_factor=RETRY_FACTOR)
        if done is None and extracted.reason in LOAD_REASONS:
            books.nondeterministic += 1
        yield document, extracted


def raw_record(document: Document) -> RawRecord:
    return RawRecord(
        content=document.content, media_type=document.media_type, charset=document.charset, url=document.url
    )


def _without_content(document: Document) -> Document:
    """The same document without what is not needed any more, so that waiting costs little memory."""
    return replace(document, content=b"", text=None)


def _bad_row(split: Split, bad: Bad, identity: str) -> dict[str, Any]:
    return {
        "id": identity, "source": split.source.name, "offset": bad.offset, "record": bad.record, "end": bad.end,
        "url": bad.url, "reason": bad.reason, "measured": bad.measured, "threshold": bad.threshold,
        "detail": bad.detail,
    }  # fmt: skip


def _book(split: Split, document: Document, extracted: Extracted, books: _Books, label: str) -> None:
    identity = document_id(split.source.name, document.offset, document.record)
    place = {"id": identity, "source": split.source.name, "offset": document.offset, "record": document.record,
             "url": document.url}  # fmt: skip
    books.extract.documents += 1
    if extracted.reason is not None:
        row = {**place, "end": document.end, "reason": extracted.reason, "measured": extracted.measured,
               "threshold": extracted.threshold, "detail": extracted.detail,
               "excerpt": excerpt(extracted.text)}  # fmt: skip
        books.reject(row, stage=label, count=books.extract)
        return
    assert extracted.text is not None
    books.extract.kept += 1
    books.extract.text_bytes_kept += len(extracted.text.encode())
    row = {**place, "date": document.date, "media_type": extracted.media_type, "title": extracted.title,
           "text": extracted.text, "visible_characters": extracted.visible_characters,
           "text_fraction": extracted.text_fraction, "charset": extracted.charset,
           "mojibake_fraction": extracted.mojibake_fraction, "flags": extracted.flags,
           "source_id": document.source_id, "truncated": document.truncated, "read_note": document.note}  # fmt: skip
    for name, values in books.base.items():
        values.append(row[name])


_CHILD: list[ParserChild] = []


def parser_child() -> ParserChild:
    """This worker's parser child, started when first asked for."""
    if not _CHILD:
        _CHILD.append(ParserChild())
        atexit.register(_CHILD[0].close)
    return _CHILD[0]


def read_all(
    engine: Engine,
    phase: str,
    splits: Sequence[Split],
    arguments: dict[str, Any],
    *,
    function: str = "pipeline.phases.extract:run",
    each: Mapping[str, dict[str, Any]] | None = None,
) -> list[Split]:
    """Driver: run all splits, then mend the chain of each file. Returns the splits whose parts count. `each` holds
    further arguments by unit, of splits whose chain is known to be whole."""
    own, final = each or {}, list(splits)

    def task(split: Split) -> Task:
        given = {"split": split, **arguments, **own.get(split.unit, {})}
        return Task(phase=phase, unit=split.unit, function=function, arguments=given)

    commits = engine.run([task(split) for split in final])
    while wrong := broken_links(final, commits):
        assert not own, "a glance has read the same splits and mended their chain"
        redone = engine.run([task(split) for split in wrong.values()])
        for number, split, commit in zip(wrong, wrong.values(), redone, strict=True):
            final[number], commits[number] = split, commit
    engine.commits[phase] = commits
    return final


def broken_links(splits: Sequence[Split], commits: Sequence[Commit]) -> dict[int, Split]:
    """The first split of each file that did not begin where its predecessor ended, as it must be read instead."""
    wrong: dict[int, Split] = {}
    position, broken = 0, ""
    for number, (split, commit) in enumerate(zip(splits, commits, strict=True)):
        first_of_file = number == 0 or splits[number - 1].source.name != split.source.name
        position = 0 if first_of_file else position
        name = split.source.name
        chain = commit.counts["chain"]
        first = chain["first"]
        right = first == position if position < split.end or first_of_file else first is None or first >= split.end
        if not right and name != broken:
            wrong[number] = split.starting_at(position)
            broken = name
        position = max(position, chain["next"])
    return wrong
