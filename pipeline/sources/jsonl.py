"""JSON lines: one object a line, its text ready to use. A split of a plain file owns the lines that begin in it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pipeline.sources.archive import Chain, Extent, Limits
from pipeline.sources.records import Bad, Document, Fields, Found, Skip, clean_url
from pipeline.sources.streams import StreamError, inflated

_READ_BYTES = 1 << 20
#: A bad line that begins before this byte is told by its number also from a split in the middle of a file, which
#: costs one pass over what stands before; a rule by the line's own place, so that splits change no row.
_NUMBERED_BYTES = 1 << 30
_MARK = b"\xef\xbb\xbf"
#: Longest address, date or id of a row that is kept.
_MAX_SIDE_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    #: First byte behind the line feed.
    end: int
    #: Without the line feed; None for a line over the limit.
    content: bytes | None
    #: Whether a line feed ends it.
    ended: bool = True


def _lines(pieces: Iterator[bytes], *, start: int, max_bytes: int) -> Iterator[_Line]:
    """Lines by line feeds alone: U+2028 and form feeds are text. The last line needs no line feed."""
    position, held, size = start, bytearray(), 0
    for piece in pieces:
        at = 0
        while (found := piece.find(b"\n", at)) >= 0:
            size += found - at
            content = bytes(held) + piece[at:found] if size <= max_bytes else None
            yield _Line(position, position + size + 1, content)
            position, size, at = position + size + 1, 0, found + 1
            held.clear()
        size += len(piece) - at
        if size <= max_bytes:
            held += piece[at:]
        else:
            held.clear()
    if size:
        yield _Line(position, position + size, bytes(held) if size <= max_bytes else None, ended=False)


def read_plain_lines(
    source: Any, chain: Chain, *, start: int, stop: int, known: bool, limits: Limits, fields: Fields
) -> Iterator[Found]:
    """The lines that begin in [start, stop) of an uncompressed file. `known`: a line does begin at `start`."""
    position = start if known or start == 0 else _line_start(source, start, stop)
    chain.first, chain.next = position, max(stop, position or 0)
    if position is None or position >= stop:
        return
    numbers, end = _Numbers(source), position
    for line in _lines(_from(source, position), start=position, max_bytes=limits.max_record_bytes):
        if line.start >= stop:
            break
        end = line.end
        found = _interpret(line, limits, fields)
        place = numbers.place(line.start) if isinstance(found, Bad) else ""
        _extend(chain, line.start, line.end, "damaged" if place else "record")
        yield _placed(found, offset=line.start, record=0, end=line.end, place=place)
    chain.next = max(end, stop)


def read_packed_lines(
    source: Any, compression: str, chain: Chain, *, size: int, limits: Limits, fields: Fields
) -> Iterator[Found]:
    """The lines of a compressed file; `record` is the line's number, from 0. Damage ends the file with one bad row."""
    chain.first, chain.next = 0, size
    failed: list[StreamError] = []

    def pieces() -> Iterator[bytes]:
        try:
            yield from inflated(source, compression, size=size, max_bytes=limits.max_member_bytes,
                                max_ratio=limits.max_ratio, ratio_floor_bytes=limits.max_record_bytes)  # fmt: skip
        except StreamError as error:
            failed.append(error)

    number = 0
    for line in _lines(pieces(), start=0, max_bytes=limits.max_record_bytes):
        if failed and not line.ended:
            break  # what stands before the damage is half a line, and part of the damage
        found = _interpret(line, limits, fields)
        yield _placed(found, offset=0, record=number, end=size, place=f"line {number + 1}")
        number += 1
    if not failed:
        chain.extents.append(Extent(start=0, end=size, kind="record"))
        return
    (error,) = failed
    if error.position:
        chain.extents.append(Extent(start=0, end=error.position, kind="record"))
    chain.extents.append(Extent(start=error.position, end=size, kind="damaged"))
    chain.truncated = error.reason == "truncated"
    yield Bad(offset=error.position, record=number, end=size, reason=error.reason,
              detail=f"behind line {number}: {error}")  # fmt: skip


def _from(source: Any, position: int) -> Iterator[bytes]:
    while piece := bytes(source.read_at(_READ_BYTES, position)):
        position += len(piece)
        yield piece


def _line_start(source: Any, start: int, stop: int) -> int | None:
    """The first position in [start, stop) behind a line feed."""
    position = start - 1
    while position < stop - 1:
        window = bytes(source.read_at(min(_READ_BYTES, stop - 1 - position), position))
        found = window.find(b"\n")
        if found >= 0:
            return position + found + 1
        position += len(window)
    return None


class _Numbers:
    """Line numbers, from 1, counted only when somebody asks."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._position, self._number = 0, 1

    def place(self, start: int) -> str:
        if start >= _NUMBERED_BYTES:
            return f"the line at byte {start}"
        while self._position < start:
            window = bytes(self._source.read_at(min(_READ_BYTES, start - self._position), self._position))
            self._number += window.count(b"\n")
            self._position += len(window)
        return f"line {self._number}"


def _extend(chain: Chain, start: int, end: int, kind: str) -> None:
    """Neighbouring lines of one kind are one extent."""
    if chain.extents and chain.extents[-1].kind == kind and kind == "record":
        start = chain.extents.pop().start
    chain.extents.append(Extent(start=start, end=end, kind=kind))


class _LineError(Exception):
    """A line that is no document; `reason` is the ledger's code."""

    def __init__(self, reason: str, detail: str, *, url: str | None = None) -> None:
        super().__init__(detail)
        self.reason, self.url = reason, url


def _interpret(line: _Line, limits: Limits, fields: Fields) -> Found:
    """What one line is, its place still to be filled in."""
    if line.content is None:
        return Bad(offset=0, record=0, end=0, reason="too_large", measured=line.end - line.start,
                   threshold=limits.max_record_bytes, detail="the line is longer than the reader's limit")  # fmt: skip
    content = line.content.removeprefix(_MARK) if line.start == 0 else line.content
    if not content.strip(b" \t\r"):
        return Skip(record_type="blank_line")
    try:
        return _document(_parsed(content), fields)
    except _LineError as error:
        return Bad(offset=0, record=0, end=0, reason=error.reason, detail=str(error), url=error.url)


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise _LineError("bad_encoding", f"not UTF-8 at byte {error.start} of the line") from error
    except RecursionError as error:
        raise _LineError("bad_json", "nested deeper than the parser goes") from error
    except ValueError as error:  # also for a number of thousands of digits
        raise _LineError("bad_json", str(error)[:300]) from error
    if not isinstance(value, dict):
        raise _LineError("bad_json", f"one JSON value, but no object: {type(value).__name__}")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:80]!r} stands twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _document(row: dict[str, Any], fields: Fields) -> Document:
    url = clean_url(as_text(row.get(fields.url)))
    text = row.get(fields.text)
    if not isinstance(text, str):
        there = ", ".join(list(row)[:20])[:300]
        problem = f"{fields.text!r} is {type(text).__name__}, not text" if fields.text in row else (
            f"no key {fields.text!r}; there are: {there}")  # fmt: skip
        raise _LineError("bad_type", problem, url=url)
    return Document(offset=0, record=0, end=0, url=url, date=as_text(row.get(fields.date)),
                    source_id=as_text(row.get(fields.id)), media_type="text/plain", content=b"", text=text)  # fmt: skip


def as_text(value: Any) -> str | None:
    """A side column as text: what is not text keeps its JSON form, and a lone surrogate becomes a question mark."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text.encode("utf-8", "replace").decode()[:_MAX_SIDE_CHARACTERS]


def _placed(found: Found, *, offset: int, record: int, end: int, place: str) -> Found:
    if isinstance(found, Skip):
        return found
    if isinstance(found, Bad):
        return replace(found, offset=offset, record=record, end=end, detail=f"{place}: {found.detail}")
    return replace(found, offset=offset, record=record, end=end)
