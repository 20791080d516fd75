"""WARC 1.1 records, written by hand: one gzip member a record, and nothing in them that depends on when or where.

Source: the WARC Format 1.1 (https://iipc.github.io/warc-specifications/), sections 5 and 6.2 to 6.4.
"""

import base64
import hashlib
import uuid
import zlib
from dataclasses import dataclass

#: Stands in every record: the time of the crawl would make each run's bytes different.
WARC_DATE = "2024-01-01T00:00:00Z"
#: zlib's own default; 26 MB of pages take under a second.
_LEVEL = 6
_GZIP_WINDOW = 31  # 15 bits of window, with gzip's header and trailer (RFC 1952)


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One request and its answer, as they went over the wire. `request` and `header` end with an empty line."""

    url: str
    request: bytes
    status: int
    header: bytes
    body: bytes


def warcinfo(filename: str, fields: dict[str, str]) -> bytes:
    """The member that opens a WARC file and says what wrote it."""
    block = "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode()
    return _member("warcinfo", filename, "application/warc-fields", block, {"WARC-Filename": filename})


def exchange_members(exchange: Exchange) -> tuple[bytes, bytes]:
    """The request's and the response's members."""
    target = {"WARC-Target-URI": exchange.url}
    response = {**target, "WARC-Payload-Digest": _digest(exchange.body)}
    request = {**target, "WARC-Concurrent-To": _record_id("response", exchange.url)}
    return (
        _member("request", exchange.url, "application/http; msgtype=request", exchange.request, request),
        _member(
            "response", exchange.url, "application/http; msgtype=response", exchange.header + exchange.body, response
        ),
    )


def damaged(member: bytes) -> bytes:
    """The member with 16 bytes in its middle inverted: it no longer inflates, and the next one is untouched."""
    middle = len(member) // 2
    return member[:middle] + bytes(255 - byte for byte in member[middle : middle + 16]) + member[middle + 16 :]


def _member(kind: str, name: str, content_type: str, block: bytes, more: dict[str, str]) -> bytes:
    fields = {
        "WARC-Type": kind,
        "WARC-Record-ID": _record_id(kind, name),
        "WARC-Date": WARC_DATE,
        **more,
        "WARC-Block-Digest": _digest(block),
        "Content-Type": content_type,
        "Content-Length": str(len(block)),
    }
    header = "WARC/1.1\r\n" + "".join(f"{field}: {value}\r\n" for field, value in fields.items()) + "\r\n"
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    return packer.compress(header.encode() + block + b"\r\n\r\n") + packer.flush()


def _record_id(kind: str, name: str) -> str:
    return f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{kind} {name}')}>"


def _digest(data: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()
