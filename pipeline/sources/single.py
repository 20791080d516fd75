"""A file that is one document, compressed or not."""

import mimetypes
from collections.abc import Iterator
from typing import Any

from pipeline.sources.archive import Limits
from pipeline.sources.records import Bad, Document, Found
from pipeline.sources.streams import SUFFIXES, StreamError, compression_of, inflated

#: Types by suffix that Python's table lacks or that a host's table may change: the result must not depend on the host.
_TYPES = {
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "application/xhtml+xml",
    ".pdf": "application/pdf",
    ".txt": "text/plain",
    ".md": "text/plain",
}
_GUESS = mimetypes.MimeTypes(filenames=())


def media_type_of(name: str) -> str | None:
    """The media type that a file's name promises; None if it promises none."""
    dot = name.rfind(".")
    suffix = name[dot:].lower() if dot >= 0 else ""
    return _TYPES.get(suffix) or _GUESS.guess_type(name, strict=True)[0]


def read_file(source: Any, name: str, *, size: int, limits: Limits) -> Iterator[Found]:
    """The file as one document."""
    if size > limits.max_record_bytes:
        yield Bad(offset=0, record=0, end=size, reason="too_large", measured=size, threshold=limits.max_record_bytes,
                  detail="the file is larger than the reader's limit")  # fmt: skip
        return
    content = bytes(source.read_at(size, 0)) if size else b""
    compression = compression_of(content)
    if compression:
        try:
            content = b"".join(inflated(source, compression, size=size, max_bytes=limits.max_record_bytes))
        except StreamError as error:
            yield Bad(offset=0, record=0, end=size, reason=error.reason, detail=str(error))
            return
        ending = "." + name.rpartition(".")[2].lower()
        name = name[: -len(ending)] if ending in SUFFIXES else name
    yield Document(offset=0, record=0, end=size, media_type=media_type_of(name), content=content)
