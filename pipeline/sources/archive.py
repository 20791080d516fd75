"""One split of a WARC or ARC file: the chain of records from the first boundary in it to the first one behind it.

The result is defined as that of one sequential reader. A reader that starts in the middle of a file looks for a
boundary, and a stored deflate block or a page can show it a decoy; so every split reports where its chain began and
ended, `pipeline/phases/extract.py` compares neighbours, and a split that began elsewhere than its predecessor ended is
read again from there.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from pipeline.sources.framing import Dialect, Frame, Pull, frames
from pipeline.sources.member import MAGIC, Member, MemberError, begins_with, find_member, inflate

_READ_BYTES = 1 << 20
#: Beginning of a WARC record in a plain file; searched for only at the start of a split and after damage.
_PLAIN_WARC = re.compile(rb"(?:\A|\n)((?:WARC|warc)/[01]\.\d+\r?\n)")
_PLAIN_ARC = re.compile(rb"(?:\A|\n)([a-z]+:[^\r\n]+ [^\s]+ \d{14} [^\s]+ \d+\r?\n)")
#: No real header line before a resynchronisation mark is longer than this.
_OVERLAP_BYTES = 16 << 10


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one record or member may cost."""

    #: Largest record body that is handed on.
    max_record_bytes: int = 64 << 20
    #: What a gzip member may inflate to: a WARC that is one single member passes, an endless bomb does not.
    max_member_bytes: int = 64 << 30
    #: Plain bytes for each compressed one, once more than `max_record_bytes` have come out. Deflate reaches 1,032 and
    #: zstd far more, on one repeated byte; logs and templates reach 100.
    max_ratio: int = 1000


@dataclass(frozen=True, kw_only=True)
class Extent:
    """A range of the input's bytes and what lies in it: `record`, `damaged` or `padding`."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A record with its place in the file: `offset` is the member's (or the plain record's), `record` counts within."""

    offset: int
    record: int
    end: int
    frame: Frame


@dataclass
class Chain:
    """What a split's reader reports besides the records."""

    #: First boundary at or behind the split's start; None if there is none before the split's end.
    first: int | None = None
    #: The position at or behind the split's end at which the next split must begin.
    next: int = 0
    extents: list[Extent] = field(default_factory=list)
    truncated: bool = False


def read_gzip(
    source: pa.NativeFile,
    dialect: Dialect,
    chain: Chain,
    *,
    start: int,
    stop: int,
    size: int,
    known: bool,
    limits: Limits,
) -> Iterator[Placed]:
    """Records of the members that begin in [start, stop) of a gzip archive. `known`: a member does begin at `start`."""
    position = start if known else find_member(source, start, stop, dialect.prefixes)
    chain.first, chain.next = position, max(stop, position or 0)
    while position is not None and position < stop:
        end = position
        for placed in _member(source, dialect, chain, start=position, size=size, limits=limits):
            end = max(end, placed.end)
            yield placed
        end = max(end, chain.extents[-1].end)
        position = chain.next = end
    if position is not None:
        chain.next = max(position, stop) if position >= size else position


def _member(
    source: pa.NativeFile, dialect: Dialect, chain: Chain, *, start: int, size: int, limits: Limits
) -> Iterator[Placed]:
    """The records of one member and its extent; after damage, the damaged range up to the next member."""
    member = Member(start)
    pull = Pull(inflate(source, member, size=size, max_bytes=limits.max_member_bytes,
                        max_ratio=limits.max_ratio, ratio_floor_bytes=limits.max_record_bytes))  # fmt: skip
    count, held = 0, None
    try:
        for frame in frames(pull, dialect, max_record_bytes=limits.max_record_bytes):
            # A record counts once the member's own checksum has spoken or another record begins behind it.
            if held is not None:
                yield Placed(offset=start, record=count, end=start, frame=held)
                count += 1
            held = frame
        pull.skip(limits.max_member_bytes)
    except MemberError as caught:
        error = caught
        if error.reason == "ratio_bomb" and held is not None and held.reason not in (None, "too_large"):
            # The record was refused before what stands behind it turned out to inflate without end.
            error = MemberError(held.reason or "", f"{held.detail}; behind it {caught}")
        yield _damage(source, dialect, chain, start=start, size=size, record=count, error=error)
        return
    assert member.end is not None
    chain.extents.append(Extent(start=start, end=member.end, kind="padding" if held is None else "record"))
    if held is not None:
        yield Placed(offset=start, record=count, end=member.end, frame=held)


def _damage(
    source: pa.NativeFile, dialect: Dialect, chain: Chain, *, start: int, size: int, record: int, error: MemberError
) -> Placed:
    """Book a damaged range: up to its true end if only the checksum is wrong, else up to the next sound member.

    A member that was cut short can run on into the next one and end there by chance, so an end counts as true only
    where the file ends or another member begins.
    """
    sound_end = error.end is not None and (error.end == size or begins_with(source, error.end, dialect.prefixes))
    if error.end is not None and sound_end:
        end = error.end
    else:
        after = find_member(source, start + 1, size, dialect.prefixes)
        end = size if after is None else after
    reason, kind = error.reason, "damaged"
    if end == size and not sound_end:
        rest = source.read_at(_READ_BYTES, start)
        if not rest.strip(b"\0") and not _anything_but_zeros(source, start, size):
            kind = "padding"
        elif reason == "truncated" and rest[: len(MAGIC)] == MAGIC[: len(rest)]:
            chain.truncated = True
        elif reason == "truncated":
            reason = "bad_compression"  # too short for a gzip header, but it does not begin like one
    elif reason == "truncated":
        reason = "bad_compression"
    chain.extents.append(Extent(start=start, end=end, kind=kind))
    frame = Frame(start=0, end=0, header=b"", reason=None if kind == "padding" else reason, detail=str(error))
    return Placed(offset=start, record=record, end=end, frame=frame)


def _anything_but_zeros(source: pa.NativeFile, start: int, size: int) -> bool:
    return any(source.read_at(_READ_BYTES, position).strip(b"\0") for position in range(start, size, _READ_BYTES))


def read_plain(
    source: pa.NativeFile,
    dialect: Dialect,
    chain: Chain,
    *,
    start: int,
    stop: int,
    size: int,
    known: bool,
    limits: Limits,
) -> Iterator[Placed]:
    """Records that begin in [start, stop) of an archive without compression."""
    position = start if known else _find_plain(source, dialect, start, stop)
    chain.first, chain.next = position, max(stop, position or 0)
    while position is not None and position < stop:
        pull = Pull(_pieces(source, position))
        end = size
        for frame in frames(pull, dialect, max_record_bytes=limits.max_record_bytes):
            begin = position + frame.start
            if begin > position and begin >= stop:
                end = begin
                break
            end = position + frame.end
            if frame.reason is not None and frame.reason != "too_large":
                after = _find_plain(source, dialect, begin + max(1, len(frame.header)), size)
                end = size if after is None else after
                frame = _plain_damage(frame, cut=after is None)
                chain.truncated |= frame.reason == "truncated"
            kind = "record" if frame.reason is None else "damaged"
            chain.extents.append(Extent(start=begin, end=end, kind=kind))
            yield Placed(offset=begin, record=0, end=end, frame=frame)
            if kind == "damaged" and frame.reason != "too_large":
                break
        else:
            end = size
        position = chain.next = _close_gap(chain, begin=position, end=end)


def _close_gap(chain: Chain, *, begin: int, end: int) -> int:
    """Line ends and NULs between records belong to the record before them, so that extents tile the file."""
    tiled: list[Extent] = []
    for extent in chain.extents:
        if tiled and tiled[-1].end != extent.start:
            tiled[-1] = Extent(start=tiled[-1].start, end=extent.start, kind=tiled[-1].kind)
        tiled.append(extent)
    if tiled and tiled[-1].end < end:
        tiled[-1] = Extent(start=tiled[-1].start, end=end, kind=tiled[-1].kind)
    elif not tiled:
        tiled = [Extent(start=begin, end=end, kind="padding")]
    chain.extents[:] = tiled
    return end


def _plain_damage(frame: Frame, *, cut: bool) -> Frame:
    """Without a member's end: a record that runs to the file's end is truncated, one before another record lied."""
    short = frame.measured is not None and frame.limit is not None and frame.measured < frame.limit
    reason = "truncated" if cut and (short or frame.reason == "truncated") else frame.reason
    if reason == "truncated" and not cut:
        reason = "bad_header"
    return Frame(start=frame.start, end=frame.end, header=frame.header, reason=reason, detail=frame.detail,
                 measured=frame.measured, limit=frame.limit)  # fmt: skip


def _pieces(source: pa.NativeFile, start: int) -> Iterator[bytes]:
    while piece := source.read_at(_READ_BYTES, start):
        start += len(piece)
        yield piece


def _find_plain(source: pa.NativeFile, dialect: Dialect, start: int, stop: int) -> int | None:
    """First position in [start, stop) at which a line begins that looks like a record's first line."""
    pattern = _PLAIN_WARC if dialect.name == "warc" else _PLAIN_ARC
    position = start
    while position < stop:
        before = 1 if position else 0
        window = source.read_at(_READ_BYTES + _OVERLAP_BYTES + before, position - before)
        for found in pattern.finditer(window):
            # \A matches the window's first byte, which is the file's first byte only at position 0.
            if found.group(0)[:1] != b"\n" and position:
                continue
            place = position - before + found.start(1)
            if start <= place < stop:
                return place
        position += _READ_BYTES
    return None


def begins(source: pa.NativeFile, dialect: Dialect, *, compressed: bool) -> bool:
    """Whether the file's first bytes are a record of the dialect."""
    if compressed:
        return begins_with(source, 0, dialect.prefixes)
    return bool(source.read_at(16, 0).startswith(dialect.prefixes))
