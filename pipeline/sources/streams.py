"""Compressed streams as one sequential reader sees them: gz, bz2, xz and zst, with caps on what comes out.

For whatever cannot be entered midway. An archive in gzip members does not come here: `member.py` reads it, so that one
damaged member costs one record.
"""

import bz2
import io
import lzma
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import pyarrow as pa

#: How a stream of each kind begins. A zstd stream may begin with a skippable frame (its first byte may be 50 to 5f).
_MAGICS = (
    (b"\x1f\x8b", "gz"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zst"),
    (b"\x50\x2a\x4d\x18", "zst"),
)
#: File name endings and the compression that they promise.
SUFFIXES = {".gz": "gz", ".bz2": "bz2", ".xz": "xz", ".zst": "zst", ".zstd": "zst"}
#: Compressed bytes read and plain bytes made at a time.
_CHUNK_BYTES = 256 << 10
#: What a damaged zstd stream makes arrow forget at most: it gives nothing of a read in which an error comes up.
_ZSTD_READ_BYTES = 16 << 10
#: xz dictionaries of real files are at most 64 MB (xz -9); a header may ask for 4 GB.
_XZ_MEMORY_BYTES = 256 << 20


class StreamError(Exception):
    """A stream that does not inflate to its end: reason code, and the first byte of the chunk read last: everything
    before it has come out."""

    def __init__(self, reason: str, detail: str, *, position: int) -> None:
        super().__init__(detail)
        self.reason = reason
        self.position = position


class Machine(Protocol):
    """What bz2 and lzma decompressors have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...


class _Gzip:
    """zlib's decompressor with the manners of the other two."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


_MACHINES: dict[str, Callable[[], Machine]] = {
    "gz": _Gzip,
    "bz2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES),
}


def compression_of(head: bytes) -> str:
    """gz, bz2, xz or zst by a file's first bytes; empty if it is none of them."""
    return next((name for magic, name in _MAGICS if head.startswith(magic)), "")


def first_bytes(head: bytes, compression: str, count: int) -> bytes:
    """Up to `count` plain bytes from the compressed beginning of a file; empty if they cannot be had."""
    source = pa.BufferReader(head)
    out = bytearray()
    try:
        for piece in inflated(source, compression, size=len(head) + 1, max_bytes=1 << 40):
            out += piece
            if len(out) >= count:
                break
    except StreamError:
        pass  # the head is a piece of a file: it ends somewhere in the stream, and what came out before is asked for
    return bytes(out[:count])


def inflated(
    source: Any,
    compression: str,
    *,
    size: int,
    max_bytes: int,
    max_ratio: int | None = None,
    ratio_floor_bytes: int = 64 << 20,
) -> Iterator[bytes]:
    """The plain bytes of a whole source, in pieces; streams that stand one behind the other are one.

    Raises StreamError: `truncated` where the source ends inside a stream, `ratio_bomb` over `max_bytes`, or over
    `max_ratio` times what was read once `ratio_floor_bytes` have come out, `bad_compression` for the rest.
    """
    forward = _Forward(source)
    pieces = _zstd(forward, size) if compression == "zst" else _streams(forward, _MACHINES[compression])
    produced = 0
    for piece in pieces:
        produced += len(piece)
        if produced > max_bytes or (
            max_ratio is not None and produced > ratio_floor_bytes and produced > max_ratio * forward.position
        ):
            raise StreamError(
                "ratio_bomb", f"{forward.position} bytes inflate to {produced} and more", position=forward.last
            )
        yield piece


class _Forward(io.RawIOBase):
    """A source read from its first byte to its last, as a Python file that knows how far it is."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        self._source = source
        self.position = self.last = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        piece = bytes(self._source.read_at(size if size >= 0 else _CHUNK_BYTES, self.position))
        if piece:
            self.last = self.position
            self.position += len(piece)
        return piece


def _streams(forward: _Forward, make: Callable[[], Machine]) -> Iterator[bytes]:
    machine: Machine | None = None
    data = b""
    while True:
        if not data and (machine is None or machine.needs_input):
            data = forward.read(_CHUNK_BYTES)
            if not data and machine is None:
                return
            if not data:
                raise StreamError("truncated", "the file ends inside a compressed stream", position=forward.last)
        if machine is None:
            # Some writers pad the end of a file with zeros.
            data = data.lstrip(b"\0")
            if not data:
                continue
            machine = make()
        try:
            out = machine.decompress(data, _CHUNK_BYTES)
        except (zlib.error, OSError, lzma.LZMAError, ValueError) as error:
            raise StreamError("bad_compression", f"compressed stream: {error}", position=forward.last) from error
        data = b""
        if out:
            yield out
        if machine.eof:
            data, machine = machine.unused_data, None


def _zstd(forward: _Forward, size: int) -> Iterator[bytes]:
    try:
        with pa.CompressedInputStream(pa.PythonFile(forward, mode="r"), "zstd") as stream:
            while piece := stream.read(_ZSTD_READ_BYTES):
                yield bytes(piece)
    except OSError as error:
        reason = "truncated" if forward.position >= size and "runcated" in str(error) else "bad_compression"
        raise StreamError(reason, f"zstd: {str(error)[:300]}", position=forward.last) from error


class Slice(io.RawIOBase):
    """A range of a source as a source of its own: random access for our readers, a Python file for libraries."""

    def __init__(self, source: Any, start: int, size: int) -> None:
        super().__init__()
        self._source, self._start, self._size = source, start, size
        self._position = 0

    def size(self) -> int:
        return self._size

    def read_at(self, nbytes: int, offset: int) -> bytes:
        count = max(0, min(nbytes, self._size - offset))
        return bytes(self._source.read_at(count, self._start + offset)) if count else b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        piece = self.read_at(len(buffer), self._position)
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)


@contextmanager
def spooled(pieces: Iterator[bytes], *, max_bytes: int) -> Iterator[tuple[pa.NativeFile, StreamError | None]]:
    """What a stream holds, in a temporary file with random access, and the error that ended it early."""
    error, written = None, 0
    with tempfile.NamedTemporaryFile(prefix="tamis-") as file:
        try:
            for piece in pieces:
                written += len(piece)
                if written > max_bytes:
                    raise StreamError("ratio_bomb", f"inflates to more than {max_bytes} bytes", position=0)
                file.write(piece)
        except StreamError as caught:
            error = caught
        file.flush()
        with pa.OSFile(file.name, "rb") as source:
            yield source, error
