"""Where a WARC or ARC record begins and ends within a stream of bytes.

The stream is one gzip member's content or a plain file. A record's own Content-Length is a claim: what stands behind
the record must be the stream's end or the next record, else the claim is wrong and the record is booked `bad_length`.
In a member the member's end is the truth.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

#: A record header longer than this is refused: real ones are under 10 kB; a 20 MB header line is an attack.
MAX_HEADER_BYTES = 1 << 20
#: Separator bytes that may stand between records. NULs are padding that some writers leave at the end of a file.
_BETWEEN = b"\r\n\0"
_WARC_END = re.compile(rb"\r?\n\r?\n")
_WARC_LENGTH = re.compile(rb"(?im)^content-length:[ \t]*([^\r\n]*)")
#: A header line that begins with white space goes on with the line before it (WARC 1.0, section 4).
_FOLDED = re.compile(rb"[ \t]*\r?\n[ \t]+")
#: Address, IP, date, type, length. Real addresses hold unescaped spaces, so the fields are counted from the right.
ARC_HEADER = re.compile(rb"(?P<url>[^\r\n]+) (?P<ip>[^\s]+) (?P<date>\d{8,17}) (?P<type>[^\r\n]*) (?P<length>\d+)$")
#: Anything longer than 18 digits does not fit into 64 bits and is no length.
_LENGTH = re.compile(rb"\d{1,18}")


@dataclass(frozen=True)
class Dialect:
    """How a record of this kind begins and what its header says."""

    name: str
    #: What the first bytes of a file of the dialect are, and of no other kind of file.
    marks: tuple[bytes, ...]
    #: What the first bytes of any record of the dialect may be.
    prefixes: tuple[bytes, ...]
    #: (header length including its end, or None if the end is not in these bytes)
    header_length: Callable[[bytes], int | None]
    #: The body's claimed length; None if the header claims none that makes sense.
    body_length: Callable[[bytes], int | None]


def unfold(header: bytes) -> bytes:
    """A header with its continuation lines joined to the lines that they continue."""
    return _FOLDED.sub(b" ", header)


def _warc_header_length(data: bytes) -> int | None:
    end = _WARC_END.search(data)
    return end.end() if end else None


def _warc_body_length(header: bytes) -> int | None:
    found = _WARC_LENGTH.search(unfold(header))
    text = found.group(1).strip() if found else b""
    return int(text) if _LENGTH.fullmatch(text) else None


def _arc_header_length(data: bytes) -> int | None:
    end = data.find(b"\n")
    return end + 1 if end >= 0 else None


def _arc_body_length(header: bytes) -> int | None:
    found = ARC_HEADER.match(header.rstrip(b"\r\n"))
    return int(found["length"]) if found and _LENGTH.fullmatch(found["length"]) else None


WARC = Dialect("warc", (b"WARC/", b"warc/"), (b"WARC/", b"warc/"), _warc_header_length, _warc_body_length)
ARC = Dialect(
    "arc", (b"filedesc:",), (b"filedesc:", b"http:", b"https:", b"dns:", b"ftp:"), _arc_header_length, _arc_body_length
)
DIALECTS = {"warc": WARC, "arc": ARC}


class Pull:
    """A forward reader over pieces of bytes that knows its position."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._buffer = bytearray()
        self.position = 0

    def peek(self, count: int) -> bytes:
        """Up to `count` bytes from here; fewer only at the stream's end."""
        while len(self._buffer) < count and (piece := next(self._pieces, None)) is not None:
            self._buffer += piece
        return bytes(self._buffer[:count])

    def take(self, count: int) -> bytes:
        """Up to `count` bytes, and move behind them."""
        data = self.peek(count)
        del self._buffer[: len(data)]
        self.position += len(data)
        return data

    def skip(self, count: int) -> int:
        """Move on by up to `count` bytes without keeping them; how many there were."""
        left = count
        while left and (data := self.take(min(left, 1 << 20))):
            left -= len(data)
        return count - left

    def skip_between(self) -> None:
        """Move behind line ends and NULs."""
        while head := self.peek(4096):
            rest = head.lstrip(_BETWEEN)
            self.take(len(head) - len(rest))
            if rest:
                return


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One record as cut out of its stream: positions are the stream's."""

    start: int
    end: int
    header: bytes
    #: The body; empty when `reason` is set.
    body: bytes = b""
    reason: str | None = None
    detail: str | None = None
    measured: float | None = None
    limit: float | None = None


def frames(pull: Pull, dialect: Dialect, *, max_record_bytes: int) -> Iterator[Frame]:
    """Cut a stream into records. A record whose header or length is wrong is a Frame with a reason.

    What follows a wrong record can only be trusted where the caller knows a boundary, so such a Frame is the last.
    Errors of the stream itself (MemberError) pass through.
    """
    while True:
        pull.skip_between()
        start = pull.position
        first = pull.peek(16)
        if not first:
            return
        if not first.startswith(dialect.prefixes):
            yield Frame(start=start, end=start, header=first, reason="bad_header",
                        detail=f"no {dialect.name} record begins here: {first!r}")  # fmt: skip
            return
        length = dialect.header_length(pull.peek(16 << 10)) or dialect.header_length(pull.peek(MAX_HEADER_BYTES))
        if length is None:
            whole = len(pull.peek(MAX_HEADER_BYTES)) < MAX_HEADER_BYTES
            detail = "the stream ends inside a record header" if whole else f"header over {MAX_HEADER_BYTES} bytes"
            yield Frame(start=start, end=start, header=first, reason="truncated" if whole else "bad_header",
                        detail=detail)  # fmt: skip
            return
        header = pull.take(length)
        frame = _body(pull, dialect, start=start, header=header, max_record_bytes=max_record_bytes)
        yield frame
        if frame.reason is not None and frame.reason != "too_large":
            return


def _body(pull: Pull, dialect: Dialect, *, start: int, header: bytes, max_record_bytes: int) -> Frame:
    claimed = dialect.body_length(header)
    if claimed is None:
        return Frame(start=start, end=pull.position, header=header, reason="bad_length",
                     detail="the header claims no Content-Length that is a number")  # fmt: skip
    too_large = claimed > max_record_bytes
    body = b"" if too_large else pull.take(claimed)
    got = pull.skip(claimed) if too_large else len(body)
    if got < claimed:
        return Frame(start=start, end=pull.position, header=header, reason="bad_length", measured=got, limit=claimed,
                     detail=f"Content-Length {claimed}, but the record ends after {got} bytes")  # fmt: skip
    end = pull.position
    pull.skip_between()
    behind = pull.peek(16)
    if behind and not behind.startswith(dialect.prefixes):
        return Frame(start=start, end=end, header=header, reason="bad_length", measured=claimed,
                     detail=f"Content-Length {claimed}, but no record begins behind it: {behind!r}")  # fmt: skip
    if too_large:
        return Frame(start=start, end=end, header=header, reason="too_large", measured=claimed,
                     limit=max_record_bytes, detail="the record is larger than the reader's limit")  # fmt: skip
    return Frame(start=start, end=end, header=header, body=body)
