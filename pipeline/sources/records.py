"""From a framed WARC or ARC record to a document, a bad row, or a record that is no document and is counted."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace

from fastwarc.warc import ArchiveIterator, WarcRecordType

from pipeline.sources.archive import Limits, Placed
from pipeline.sources.digest import digest_note
from pipeline.sources.framing import ARC_HEADER, WARC, Dialect, unfold
from pipeline.sources.http import BodyError, decode_body

#: Longest address that is kept; what is longer is cut and marked, not refused.
_MAX_URL_CHARACTERS = 2_000


@dataclass(frozen=True, kw_only=True)
class Document:
    """One response, resource or conversion record, file or archive entry, as read."""

    offset: int
    record: int
    end: int
    url: str | None = None
    date: str | None = None
    media_type: str | None = None
    charset: str | None = None
    content: bytes
    #: The text itself, where the source holds it ready and no parser is asked; `content` is empty then.
    text: str | None = None
    #: The source's own name for the document: a JSON line's or Parquet row's id.
    source_id: str | None = None
    #: Why the crawler cut the record short, as its WARC-Truncated says: length, time, disconnect, unspecified.
    truncated: str | None = None
    #: What had to be forgiven to read it, and whether its digest is wrong.
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Fields:
    """The keys of a JSON line, or columns of a Parquet file, that a document is made of."""

    text: str = "text"
    id: str = "id"
    url: str = "url"
    date: str = "date"


@dataclass(frozen=True, kw_only=True)
class Bad:
    """A document that reading already ends: a damaged range, a wrong header, a status that is not 200."""

    offset: int
    record: int
    end: int
    reason: str
    detail: str | None = None
    url: str | None = None
    measured: float | None = None
    threshold: float | None = None


@dataclass(frozen=True, kw_only=True)
class Skip:
    """A record that is no document, by its type: request, warcinfo, metadata, revisit, filedesc…"""

    record_type: str


Found = Document | Bad | Skip

_DOCUMENTS = WarcRecordType.response | WarcRecordType.resource | WarcRecordType.conversion


def interpret(placed: Placed, dialect: Dialect, limits: Limits) -> Iterator[Found]:
    """What one framed record is. Yields nothing for padding, else exactly one item."""
    frame = placed.frame
    if frame.reason is not None:
        yield _bad(placed, frame.reason, frame.detail, measured=frame.measured, threshold=frame.limit,
                   url=_declared_url(frame.header, dialect))  # fmt: skip
    elif frame.header:
        yield _arc(placed, limits) if dialect.name == "arc" else _warc(placed, frame.header, limits)


def _bad(
    placed: Placed,
    reason: str,
    detail: str | None,
    *,
    url: str | None = None,
    measured: float | None = None,
    threshold: float | None = None,
) -> Bad:
    return Bad(offset=placed.offset, record=placed.record, end=placed.end, reason=reason, detail=detail, url=url,
               measured=measured, threshold=threshold)  # fmt: skip


def clean_url(text: str | None) -> str | None:
    """An address without the brackets of old WARCs, control characters escaped, cut at 2,000 characters."""
    if not text:
        return None
    text = text.strip().removeprefix("<").removesuffix(">")
    if not text.isprintable():
        text = "".join(character if character.isprintable() else f"%{ord(character) & 0xFF:02X}" for character in text)
    return text.encode("utf-8", "replace").decode()[:_MAX_URL_CHARACTERS] or None


def _declared_url(header: bytes, dialect: Dialect) -> str | None:
    if dialect.name == "arc":
        found = ARC_HEADER.match(header.rstrip(b"\r\n"))
        return clean_url(found["url"].decode("utf-8", "replace")) if found else None
    for line in unfold(header).splitlines():
        if line.lower().startswith(b"warc-target-uri:"):
            return clean_url(line.partition(b":")[2].decode("utf-8", "replace"))
    return None


def _warc(placed: Placed, header: bytes, limits: Limits) -> Found:
    """fastwarc parses one record that we framed: its header says the length that we found to be true."""
    body = placed.frame.body
    version, _, fields = unfold(header).partition(b"\n")
    clean = version.upper().rstrip() + b"\r\n" + fields.strip() + b"\r\n\r\n"
    try:
        (record,) = ArchiveIterator(io.BytesIO(clean + body), parse_http=False, max_header_len=len(clean) + 1024)
    except (OSError, ValueError) as error:
        return _bad(placed, "bad_header", f"WARC header: {error}", url=_declared_url(header, WARC))
    url = clean_url(record.headers.get("WARC-Target-URI"))
    if not record.record_type & _DOCUMENTS:
        return Skip(record_type=(record.headers.get("WARC-Type") or "unknown").strip().lower()[:40] or "unknown")
    date = record.headers.get("WARC-Date")
    declared = record.headers.get("Content-Type") or ""
    if record.record_type != WarcRecordType.response or not declared.lower().startswith("application/http"):
        if record.record_type == WarcRecordType.response and (url or "").startswith("dns:"):
            declared = "text/dns"
        found: Document | Bad = _document(placed, url=url, date=date, declared=declared, content=body)
    else:
        found = _response(placed, body, url=url, date=date, limits=limits)
    truncated = record.headers.get("WARC-Truncated")
    wrong = digest_note(record.headers.get("WARC-Block-Digest"), body)
    if isinstance(found, Bad) or not (truncated or wrong):
        return found
    note = "; ".join(part for part in (wrong, found.note) if part) or None
    return replace(found, truncated=(truncated or "").strip().lower()[:40] or None, note=note)


def _arc(placed: Placed, limits: Limits) -> Found:
    found = ARC_HEADER.match(placed.frame.header.rstrip(b"\r\n"))
    assert found is not None
    url = clean_url(found["url"].decode("utf-8", "replace"))
    stamp = found["date"].decode()
    date = f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}T{stamp[8:10]}:{stamp[10:12]}:{stamp[12:14]}Z"
    declared = found["type"].decode("utf-8", "replace")
    if found["url"].startswith(b"filedesc:"):
        return Skip(record_type="filedesc")
    if placed.frame.body[:5] == b"HTTP/":
        return _response(placed, placed.frame.body, url=url, date=date, limits=limits)
    return _document(placed, url=url, date=date, declared=declared.split(" ")[0], content=placed.frame.body)


def _document(
    placed: Placed, *, url: str | None, date: str | None, declared: str, content: bytes, note: str | None = None
) -> Document:
    media_type, charset = content_type(declared)
    return Document(offset=placed.offset, record=placed.record, end=placed.end, url=url, date=date,
                    media_type=media_type, charset=charset, content=content, note=note)  # fmt: skip


def content_type(declared: str) -> tuple[str | None, str | None]:
    """(media type, charset) of a Content-Type header, lower case; None for what it does not say."""
    media_type, _, parameters = declared.partition(";")
    charset = None
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip().strip("\"'").lower() or None
    return media_type.strip().lower() or None, charset


def _response(placed: Placed, block: bytes, *, url: str | None, date: str | None, limits: Limits) -> Document | Bad:
    """An HTTP response: status line, headers, body with its encodings undone."""
    head, body = _split_http(block)
    status, headers = _http_headers(head)
    if status is None:
        return _bad(placed, "bad_header", f"no HTTP status line: {block[:60]!r}", url=url)
    if status != 200:
        return _bad(placed, "http_status", f"HTTP status {status}", url=url, measured=status, threshold=200)
    try:
        decoded = decode_body(
            body,
            transfer=headers.get("transfer-encoding", ""),
            encoding=headers.get("content-encoding", ""),
            max_bytes=limits.max_record_bytes,
        )
    except BodyError as error:
        return _bad(placed, error.reason, str(error), url=url)
    return _document(placed, url=url, date=date, declared=headers.get("content-type", ""), content=decoded.content,
                     note="; ".join(decoded.notes) or None)  # fmt: skip


def _split_http(block: bytes) -> tuple[bytes, bytes]:
    for separator in (b"\r\n\r\n", b"\n\n"):
        head, found, body = block.partition(separator)
        if found and (separator == b"\r\n\r\n" or b"\r\n\r\n" not in block[: len(head) + 4]):
            return head, body
    return block, b""


def _http_headers(head: bytes) -> tuple[int | None, dict[str, str]]:
    """Status code (None if the block is no HTTP response) and headers, names in lower case, the first of each kept."""
    lines = head.decode("latin-1").split("\n")
    parts = lines[0].split()
    if not parts or not parts[0].upper().startswith("HTTP/") or len(parts) < 2 or not parts[1].isdigit():
        return None, {}
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, found, value = line.partition(":")
        if found:
            headers.setdefault(name.strip().lower(), value.strip())
    return int(parts[1][:9]), headers
