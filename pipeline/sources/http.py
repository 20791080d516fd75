"""The body of an HTTP response as archived: transfer and content encodings undone, with a cap on what comes out."""

import zlib
from dataclasses import dataclass

import pyarrow as pa

#: Encodings of one body are undone this many deep; real servers use one, seldom two.
_MAX_ENCODINGS = 4
_STREAMS = {"br": "brotli", "zstd": "zstd"}
_PLAIN = frozenset({"", "identity", "none", "utf-8", "8bit", "binary"})


class BodyError(Exception):
    """A body that cannot be decoded; `reason` is the ledger's code."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Body:
    """The decoded bytes, and what had to be forgiven to get them."""

    content: bytes
    notes: tuple[str, ...] = ()


def decode_body(raw: bytes, *, transfer: str, encoding: str, max_bytes: int) -> Body:
    """Undo `Transfer-Encoding` and `Content-Encoding` (in the header's order) from `raw`.

    Archives often store bodies that a crawler decoded already and left the header as it was: a body that does not
    begin like its label says is taken as it is, with a note. Raises BodyError: `bad_encoding` for a body that begins
    like its label but does not decode, `ratio_bomb` when more than `max_bytes` come out.
    """
    notes: list[str] = []
    content = raw
    for label in reversed([*_labels(encoding), *_labels(transfer)][:_MAX_ENCODINGS]):
        decoded = _undo(content, label, max_bytes)
        if decoded is None:
            notes.append(f"declared {label}, stored without")
        else:
            content = decoded
    return Body(content=content, notes=tuple(notes))


def _labels(header: str) -> list[str]:
    return [label for part in header.lower().split(",") if (label := part.strip()) not in _PLAIN]


def _undo(content: bytes, label: str, max_bytes: int) -> bytes | None:
    """The bytes without one encoding; None if they do not begin like it."""
    if label == "chunked":
        return _unchunk(content)
    if label in ("gzip", "x-gzip"):
        return _inflate(content, zlib.MAX_WBITS | 16, max_bytes) if content[:2] == b"\x1f\x8b" else None
    if label == "deflate":
        if len(content) >= 2 and content[0] & 0x0F == 8 and int.from_bytes(content[:2], "big") % 31 == 0:
            return _inflate(content, zlib.MAX_WBITS, max_bytes)
        if _looks_like_text(content):
            return None
        return _inflate(content, -zlib.MAX_WBITS, max_bytes)
    if label in _STREAMS:
        return None if _looks_like_text(content) else _stream(content, _STREAMS[label], max_bytes)
    raise BodyError("bad_encoding", f"unknown encoding {label[:40]!r}")


def _looks_like_text(content: bytes) -> bool:
    """Whether the first bytes are markup or ASCII prose, which no compressed stream begins with for this long."""
    head = content[:64]
    return bool(head) and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)


def _inflate(content: bytes, window: int, max_bytes: int) -> bytes:
    """The stream, and any further gzip members behind it: one after the other is one body (RFC 1952, 2.2)."""
    out = bytearray()
    rest = content
    while rest:
        machine = zlib.decompressobj(window)
        try:
            out += machine.decompress(rest, max_bytes + 1 - len(out))
        except zlib.error as error:
            raise BodyError("bad_encoding", f"compressed body: {error}") from error
        if len(out) > max_bytes:
            raise BodyError("ratio_bomb", f"the body inflates to more than {max_bytes} bytes")
        if not machine.eof:
            raise BodyError("bad_encoding", "the compressed body ends too early")
        rest = machine.unused_data.lstrip(b"\0")
        if rest and not (window > zlib.MAX_WBITS and rest.startswith(b"\x1f\x8b")):
            raise BodyError("bad_encoding", f"{len(rest)} bytes of something else behind the compressed body")
    return bytes(out)


def _stream(content: bytes, codec: str, max_bytes: int) -> bytes:
    try:
        with pa.CompressedInputStream(pa.BufferReader(content), codec) as stream:
            out = bytes(stream.read(max_bytes + 1))
    except OSError as error:
        raise BodyError("bad_encoding", f"compressed body: {error}") from error
    if len(out) > max_bytes:
        raise BodyError("ratio_bomb", f"the body inflates to more than {max_bytes} bytes")
    return out


def _unchunk(content: bytes) -> bytes | None:
    """The chunks joined; None if the body does not begin with a chunk size. BodyError if a later chunk is wrong."""
    out = bytearray()
    position = 0
    while True:
        line_end = content.find(b"\n", position, position + 1024)
        size_text = content[position:line_end].split(b";")[0].strip() if line_end >= 0 else b""
        try:
            size = int(size_text, 16) if size_text and len(size_text) <= 16 else -1
        except ValueError:
            size = -1
        if size < 0:
            if position == 0:
                return None
            raise BodyError("bad_encoding", f"bad chunk size at byte {position} of the body")
        position = line_end + 1
        if size == 0:
            return bytes(out)
        if position + size > len(content):
            raise BodyError("bad_encoding", "the body ends inside a chunk")
        out += content[position : position + size]
        position += size
        position += 2 if content[position : position + 2] == b"\r\n" else content[position : position + 1] == b"\n"
