"""WARC and ARC bytes to read, made by hand so that a test shows every byte that matters."""

import gzip
import zlib

import pyarrow as pa

from pipeline.sources.listing import Source, Split


def http(body: bytes, *, status: str = "200 OK", headers: str = "Content-Type: text/html\r\n") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}\r\n".encode() + body


def record(block: bytes, *, kind: str = "response", url: str = "http://a.test/", length: str | None = None) -> bytes:
    """One WARC record; `length` overrides the honest Content-Length."""
    content = "application/http; msgtype=response" if kind == "response" else "text/plain"
    claimed = str(len(block)) if length is None else length
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2026-01-02T03:04:05Z\r\n"
        f"Content-Type: {content}\r\nContent-Length: {claimed}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def pages(count: int) -> list[bytes]:
    """Records of distinct pages, number in url and body."""
    return [record(http(f"<p>page {n}</p>".encode() * (n % 7 + 1)), url=f"http://a.test/{n}") for n in range(count)]


def member(data: bytes, *, level: int = 6) -> bytes:
    return gzip.compress(data, compresslevel=level, mtime=0)


def stored_member(data: bytes) -> bytes:
    """A gzip member whose content stands in it byte for byte."""
    return gzip.compress(data, compresslevel=0, mtime=0)


def source_of(data: bytes, folder, kind: str, *, name: str | None = None) -> Source:
    path = folder / (name or f"x.{kind}")
    path.write_bytes(data)
    return Source(
        name=path.name, path=str(path), size_bytes=len(data), fingerprint=f"{zlib.crc32(data):08x}", kind=kind
    )


def whole(source: Source) -> Split:
    return Split(source=source, start=0, end=source.size_bytes, known_start=True)


def native(data: bytes) -> pa.NativeFile:
    return pa.BufferReader(data)
