"""One split of any kind of source, as documents, bad rows and skips, with the extents that tile its bytes."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.object_store import is_remote
from pipeline.sources.archive import Chain, Extent, Limits, read_gzip, read_plain
from pipeline.sources.bundle import read_tar, read_zip
from pipeline.sources.framing import DIALECTS, Dialect
from pipeline.sources.jsonl import read_packed_lines, read_plain_lines
from pipeline.sources.listing import REFUSED, Split
from pipeline.sources.places import marked, open_source, remote_mark
from pipeline.sources.records import Bad, Fields, Found, interpret
from pipeline.sources.single import read_file
from pipeline.sources.streams import inflated, spooled
from pipeline.sources.table import read_parquet

_DEFAULT_FIELDS = Fields()


def read_split(split: Split, chain: Chain, limits: Limits, fields: Fields = _DEFAULT_FIELDS) -> Iterator[Found]:
    """Everything that begins in the split, in the order of the file; `chain` is complete when it is through.

    `fields` says what JSON lines and Parquet rows call a document's parts.
    """
    size, kind = split.source.size_bytes, split.source.kind
    if kind == "refused":
        chain.first, chain.next = 0, 0
        yield Bad(offset=0, record=0, end=0, reason="io_error", detail=split.source.path.removeprefix(REFUSED))
        return
    with open_source(split.source.path) as source:
        found = source.size()
        if found != size:
            raise OSError(f"{split.source.name} has {found} bytes now, {size} when the run was planned. Plan again.")
        items = 0
        for item in _read(
            source, chain, kind=kind, name=split.source.name, start=split.start, stop=split.end, size=size,
            known=split.known_start, limits=limits, fields=fields,
        ):  # fmt: skip
            items += 1
            yield item
        if not items and split.start == 0 and split.end == size:
            yield Bad(offset=0, record=0, end=size, reason="empty", detail=f"no {kind} record in the file")
    if split.source.modified_ns is not None and Path(split.source.path).stat().st_mtime_ns != split.source.modified_ns:
        raise _changed(split)
    mark = remote_mark(split.source.path) if is_remote(split.source.path) else None
    if mark is not None and marked(size, mark) != split.source.fingerprint:
        raise _changed(split)


def _changed(split: Split) -> OSError:
    return OSError(f"{split.source.name} was changed since the run was planned. Run again, and leave it as it is.")


def _read(
    source: Any, chain: Chain, *, kind: str, name: str, start: int, stop: int, size: int, known: bool, limits: Limits,
    fields: Fields,
) -> Iterator[Found]:  # fmt: skip
    """A range of a source, or all of one that cannot be entered midway."""
    base, _, compression = kind.partition(".")
    if base in DIALECTS and compression in ("", "gz"):
        read = read_gzip if compression else read_plain
        for placed in read(
            source, DIALECTS[base], chain, start=start, stop=stop, size=size, known=known, limits=limits
        ):
            yield from interpret(placed, DIALECTS[base], limits)
    elif base in DIALECTS:
        yield from _packed_records(source, chain, DIALECTS[base], compression, size=size, limits=limits)
    elif base == "jsonl" and compression:
        yield from read_packed_lines(source, compression, chain, size=size, limits=limits, fields=fields)
    elif base == "jsonl":
        yield from read_plain_lines(source, chain, start=start, stop=stop, known=known, limits=limits, fields=fields)
    elif base == "parquet":
        yield from read_parquet(source, chain, start=start, stop=stop, size=size, limits=limits, fields=fields)
    elif base in ("tar", "zip"):
        read_entries = read_tar if base == "tar" else read_zip
        inner = partial(_read_inner, limits=limits, fields=fields)
        yield from read_entries(source, chain, size=size, limits=limits, inner=inner)
    else:
        chain.first, chain.next = 0, size
        chain.extents.append(Extent(start=0, end=size, kind="record"))
        yield from read_file(source, name, size=size, limits=limits)


def _read_inner(source: Any, chain: Chain, *, kind: str, size: int, limits: Limits, fields: Fields) -> Iterator[Found]:
    """A source that lies in another one."""
    return _read(source, chain, kind=kind, name="", start=0, stop=size, size=size, known=True, limits=limits,
                 fields=fields)  # fmt: skip


def _packed_records(
    source: Any, chain: Chain, dialect: Dialect, compression: str, *, size: int, limits: Limits
) -> Iterator[Found]:
    """An archive in one bz2, xz or zst stream: unpacked to a temporary file, then read as a plain one. `offset` is the
    record's place in the plain file. Damage of the stream is one bad row behind the records before it."""
    chain.first, chain.next = 0, size
    pieces = inflated(source, compression, size=size, max_bytes=limits.max_member_bytes, max_ratio=limits.max_ratio,
                      ratio_floor_bytes=limits.max_record_bytes)  # fmt: skip
    with spooled(pieces, max_bytes=limits.max_member_bytes) as (plain, error):
        within, length = Chain(), plain.size()
        for placed in read_plain(plain, dialect, within, start=0, stop=length, size=length, known=True, limits=limits):
            # The record that the damage cut is part of the damage.
            if error is None or placed.frame.reason is None or placed.end < length:
                yield from interpret(placed, dialect, limits)
    position = size if error is None else error.position
    if position:
        chain.extents.append(Extent(start=0, end=position, kind="record"))
    if error is not None:
        chain.extents.append(Extent(start=position, end=size, kind="damaged"))
        chain.truncated = error.reason == "truncated"
        yield Bad(offset=length, record=0, end=size, reason=error.reason, detail=str(error))
    chain.truncated |= within.truncated
