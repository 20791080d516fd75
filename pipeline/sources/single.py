"""A file that is one document, and a tar of documents."""

import io
import mimetypes
import tarfile
import zlib
from collections.abc import Iterator

import pyarrow as pa

from pipeline.sources.archive import Limits
from pipeline.sources.records import Bad, Document, Found, Skip, clean_url

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


def read_file(source: pa.NativeFile, name: str, *, size: int, limits: Limits) -> Iterator[Found]:
    """The file as one document."""
    if size > limits.max_record_bytes:
        yield Bad(offset=0, record=0, end=size, reason="too_large", measured=size, threshold=limits.max_record_bytes,
                  detail="the file is larger than the reader's limit")  # fmt: skip
        return
    content = bytes(source.read_at(size, 0)) if size else b""
    if content.startswith(b"\x1f\x8b"):
        machine = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            content = machine.decompress(content, limits.max_record_bytes + 1)
        except zlib.error as error:
            yield Bad(offset=0, record=0, end=size, reason="bad_compression", detail=f"gzip: {error}")
            return
        if len(content) > limits.max_record_bytes or not machine.eof:
            reason = "ratio_bomb" if len(content) > limits.max_record_bytes else "truncated"
            yield Bad(offset=0, record=0, end=size, reason=reason, detail="gzip: the stream does not end in its bounds")
            return
        name = name.removesuffix(".gz")
    yield Document(offset=0, record=0, end=size, media_type=media_type_of(name), content=content)


def read_tar(source: pa.NativeFile, *, size: int, limits: Limits) -> Iterator[Found]:
    """Every regular file of a tar (plain, gz, bz2 or xz) as a document whose url is its name in the archive.

    `offset` is the entry's place in the uncompressed stream. A damaged archive yields what stands before the damage
    and one bad row for the rest. Nothing is ever unpacked to disk.
    """
    count = 0
    try:
        with tarfile.open(fileobj=io.BufferedReader(source), mode="r|*") as archive:
            for entry in archive:
                if not entry.isfile():
                    yield Skip(record_type="tar_entry_not_a_file")
                    continue
                yield _entry(archive, entry, record=count, limits=limits)
                count += 1
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        yield Bad(offset=0, record=count, end=size, reason="bad_compression",
                  detail=f"tar, after {count} files: {error}")  # fmt: skip


def _entry(archive: tarfile.TarFile, entry: tarfile.TarInfo, *, record: int, limits: Limits) -> Found:
    url = clean_url(entry.name)
    end = entry.offset_data + entry.size
    if entry.size > limits.max_record_bytes:
        return Bad(offset=entry.offset, record=record, end=end, url=url, reason="too_large", measured=entry.size,
                   threshold=limits.max_record_bytes, detail="the entry is larger than the reader's limit")  # fmt: skip
    handle = archive.extractfile(entry)
    content = handle.read() if handle is not None else b""
    return Document(offset=entry.offset, record=record, end=end, url=url, media_type=media_type_of(entry.name),
                    content=content)  # fmt: skip
