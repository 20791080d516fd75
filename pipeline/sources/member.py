"""One gzip member, inflated by us: a reader that hands whole files to a library loses all that follows a bad member."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

#: A gzip member begins with this: magic and the only compression method there is (RFC 1952, 2.3.1).
MAGIC = b"\x1f\x8b\x08"
#: Compressed bytes fetched at a time: large enough for few calls, small enough that a member's tail is cheap.
CHUNK_BYTES = 256 << 10
_EXTRA, _NAME, _COMMENT, _HEADER_CRC = 4, 8, 16, 2
_TRAILER_BYTES = 8


class MemberError(Exception):
    """A byte range that is no whole, sound gzip member: says the reason code and where the trouble is."""

    def __init__(self, reason: str, detail: str, *, end: int | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        #: First byte behind the member where that is known (only its checksum was wrong).
        self.end = end


@dataclass
class Member:
    """A gzip member while it is being read. `end` is known once `chunks` is exhausted."""

    start: int
    end: int | None = None


def _header_length(head: bytes) -> int | None:
    """Bytes of the gzip header at the front of `head`; None if that is too short to tell. MemberError if it is none."""
    if len(head) < 10:
        return None
    if not head.startswith(MAGIC) or head[3] & 0xE0:
        raise MemberError("bad_compression", "no gzip header here")
    flags, position = head[3], 10
    if flags & _EXTRA:
        if len(head) < position + 2:
            return None
        position += 2 + struct.unpack_from("<H", head, position)[0]
    for flag in (_NAME, _COMMENT):
        if flags & flag:
            zero = head.find(b"\0", position)
            if zero < 0:
                return None
            position = zero + 1
    position += 2 if flags & _HEADER_CRC else 0
    return position if position <= len(head) else None


def inflate(
    source: pa.NativeFile, member: Member, *, size: int, max_bytes: int, max_ratio: int, ratio_floor_bytes: int
) -> Iterator[bytes]:
    """Yield the inflated bytes of the member at `member.start` in pieces; sets `member.end` when it is through.

    `size` is the file's; `max_bytes` bounds what a member may inflate to, `max_ratio` how much of it for each
    compressed byte, once `ratio_floor_bytes` have come out. Raises MemberError: `truncated` when the
    file ends inside the member, `ratio_bomb` over the bounds, `bad_compression` for everything else; a member of
    which only the checksum or only the length is wrong is told by an error that carries its true end.
    """
    head = source.read_at(CHUNK_BYTES, member.start)
    skip = _header_length(head)
    if skip is None:
        if member.start + len(head) < size:
            raise MemberError("bad_compression", f"a gzip header longer than {CHUNK_BYTES} bytes")
        raise MemberError("truncated", "the file ends inside a gzip header")
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    position, piece = member.start + len(head), head[skip:]
    checksum = produced = 0
    while True:
        try:
            out = machine.decompress(piece, CHUNK_BYTES)
        except zlib.error as error:
            raise MemberError("bad_compression", f"deflate: {error}") from error
        if out:
            checksum, produced = zlib.crc32(out, checksum), produced + len(out)
            if produced > max_bytes:
                raise MemberError("ratio_bomb", f"inflates to more than {max_bytes} bytes")
            if produced > ratio_floor_bytes:
                read = position - member.start - len(machine.unconsumed_tail) - len(machine.unused_data)
                if produced > max_ratio * read:
                    raise MemberError("ratio_bomb", f"{read} bytes inflate to {produced} and more")
            yield out
        if machine.eof:
            break
        piece = machine.unconsumed_tail
        if not piece:
            piece = source.read_at(CHUNK_BYTES, position)
            position += len(piece)
            if not piece:
                raise MemberError("truncated", f"the file ends inside a gzip member, after {produced} inflated bytes")
    end = position - len(machine.unused_data)
    trailer = source.read_at(_TRAILER_BYTES, end)
    if len(trailer) < _TRAILER_BYTES:
        raise MemberError("truncated", "the file ends inside a gzip trailer")
    wanted, length = struct.unpack("<II", trailer)
    member.end = end + _TRAILER_BYTES
    if wanted != checksum or length != produced & 0xFFFFFFFF:
        raise MemberError(
            "bad_compression",
            f"checksum {checksum:08x} over {produced} bytes, the trailer says {wanted:08x} over {length}",
            # A member that was cut runs on into the next one and can end exactly where that ends. If neither half of
            # the trailer fits, the end is not believed.
            end=member.end if wanted == checksum or length == produced & 0xFFFFFFFF else None,
        )


def begins_with(source: pa.NativeFile, start: int, prefixes: tuple[bytes, ...]) -> bool:
    """Whether a gzip member at `start` inflates to something that begins with one of `prefixes`."""
    head = source.read_at(4096, start)
    try:
        skip = _header_length(head)
        if skip is None:
            return False
        out = zlib.decompressobj(-zlib.MAX_WBITS).decompress(head[skip:], max(map(len, prefixes)))
    except (MemberError, zlib.error):
        return False
    return out.startswith(prefixes)


def find_member(source: pa.NativeFile, start: int, stop: int, prefixes: tuple[bytes, ...]) -> int | None:
    """The first position in [start, stop) at which a member begins that inflates to one of `prefixes`."""
    position = start
    while position < stop:
        window = source.read_at(CHUNK_BYTES + len(MAGIC) - 1, position)
        found: int = window.find(MAGIC)
        while 0 <= found < CHUNK_BYTES and position + found < stop:
            if begins_with(source, position + found, prefixes):
                return position + found
            found = window.find(MAGIC, found + 1)
        position += CHUNK_BYTES
    return None
