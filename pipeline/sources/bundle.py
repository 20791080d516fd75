"""Archives of files: zip (and WACZ, a zip of WARC files) and tar. Nothing is ever unpacked under an entry's own name.

An entry that is itself a WARC, ARC, JSONL or Parquet file is read as one; any other entry is one document. `Inner` is
how the reader does that; an archive within an archive stays one document, which extraction refuses by its type.
"""

import io
import itertools
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, Any, Protocol

import pyarrow as pa

from pipeline.sources.archive import Chain, Extent, Limits
from pipeline.sources.kinds import HEAD_BYTES, kind_of
from pipeline.sources.records import Bad, Found, Skip, clean_url
from pipeline.sources.single import read_file
from pipeline.sources.streams import Slice, StreamError, compression_of, inflated, spooled

#: Kinds of entry that hold records of their own.
_HOLDERS = ("warc", "arc", "jsonl", "parquet")
_LOCAL_HEADER_BYTES = 30
_COPY_BYTES = 1 << 20
_ENCRYPTED = 1
#: What zipfile raises on a damaged or hostile archive.
_ZIP_ERRORS = (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError)


class Inner(Protocol):
    """Reads a whole source of a known kind; its chain is told of extents within that source."""

    def __call__(self, source: Any, chain: Chain, *, kind: str, size: int) -> Iterator[Found]: ...


def read_tar(source: Any, chain: Chain, *, size: int, limits: Limits, inner: Inner) -> Iterator[Found]:
    """Every regular file of a tar, plain or compressed. `offset` is the entry's place in the uncompressed stream.

    A damaged archive yields what stands before the damage and one bad row for the rest.
    """
    chain.first, chain.next = 0, size
    chain.extents.append(Extent(start=0, end=size, kind="record"))
    compression = compression_of(bytes(source.read_at(16, 0)))
    pieces = (
        inflated(source, compression, size=size, max_bytes=limits.max_member_bytes, max_ratio=limits.max_ratio)
        if compression
        else _plain(source)
    )
    count, stream = 0, _Pieces(pieces)
    try:
        with tarfile.open(fileobj=io.BufferedReader(stream, _COPY_BYTES), mode="r|") as archive:
            for entry in archive:
                if not entry.isfile():
                    yield Skip(record_type="tar_entry_not_a_file")
                    continue
                handle = archive.extractfile(entry)
                assert handle is not None
                place = {"offset": entry.offset, "record": count, "end": entry.offset_data + entry.size}
                yield from _entry(_read(handle), entry.name, entry.size, place, limits=limits, inner=inner)
                count += 1
        while stream.read(_COPY_BYTES):
            pass  # the compressed stream's own checksum stands at its end
        if stream.tail.strip(b"\0"):
            # tarfile takes an end between two entries for the archive's.
            raise StreamError("truncated", "the archive ends without its end mark", position=0)
    except (tarfile.TarError, OSError, EOFError, StreamError) as error:
        reason = error.reason if isinstance(error, StreamError) else "bad_compression"
        yield Bad(offset=0, record=count, end=size, reason=reason, detail=f"tar, after {count} files: {error}")


def read_zip(source: Any, chain: Chain, *, size: int, limits: Limits, inner: Inner) -> Iterator[Found]:
    """Every file of a zip in the order of their places; `offset` is the entry's.

    Of a WACZ only `archive/` holds what was crawled; its indexes, page lists and logs are counted. Entries that lie
    over one another (how a zip bomb is folded) are refused, as are encrypted ones.
    """
    chain.first, chain.next = 0, size
    try:
        archive = zipfile.ZipFile(io.BufferedReader(Slice(source, 0, size)))
        entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
    except _ZIP_ERRORS as error:
        chain.extents.append(Extent(start=0, end=size, kind="damaged"))
        yield Bad(offset=0, record=0, end=size, reason="bad_header", detail=f"zip: {str(error)[:300]}")
        return
    names = {entry.filename for entry in entries}
    is_wacz = "datapackage.json" in names and any(name.startswith("archive/") for name in names)
    # A damaged directory may name places outside the file.
    begins = [min(max(0, place), size) for place in (*(entry.header_offset for entry in entries), archive.start_dir)]
    position, before = 0, -1
    for number, (entry, begin, end) in enumerate(zip(entries, begins, begins[1:], strict=False)):
        if begin > position:
            chain.extents.append(Extent(start=position, end=begin, kind="padding"))
        place = {"offset": begin, "record": number, "end": max(begin, end)}
        refused = _refusal(entry, place, before)
        before, position = begin, place["end"]
        if refused is not None:
            yield Bad(**place, url=clean_url(entry.filename), reason=refused[0], detail=refused[1])
            if position > before:
                chain.extents.append(Extent(start=before, end=position, kind="damaged"))
        elif entry.is_dir() or (is_wacz and not entry.filename.startswith("archive/")):
            yield Skip(record_type="zip_folder" if entry.is_dir() else "wacz_index")
            if position > before:
                chain.extents.append(Extent(start=before, end=position, kind="index"))
        else:
            yield from _zip_entry(archive, source, entry, chain, place, limits=limits, inner=inner)
    if position < size:
        chain.extents.append(Extent(start=position, end=size, kind="index"))


def _refusal(entry: zipfile.ZipInfo, place: dict[str, int], before: int) -> tuple[str, str] | None:
    """Why an entry is not read: reason and words. `before` is where the entry before it begins."""
    if entry.flag_bits & _ENCRYPTED:
        return "encrypted", "a zip entry that needs a password"
    if entry.header_offset != place["offset"]:
        return "bad_header", "a zip entry that lies outside of the file"
    if place["offset"] == before or place["offset"] + _LOCAL_HEADER_BYTES + entry.compress_size > place["end"]:
        return "bad_header", "a zip entry that lies over another one"
    return None


def _zip_entry(
    archive: zipfile.ZipFile, source: Any, entry: zipfile.ZipInfo, chain: Chain, place: dict[str, int], *,
    limits: Limits, inner: Inner,
) -> Iterator[Found]:  # fmt: skip
    """One entry's documents, and extents from its header to the next entry's."""
    begin = _stored(source, entry, place["end"]) if entry.compress_type == zipfile.ZIP_STORED else None
    if begin is not None:
        window = Slice(source, begin, entry.file_size)
        kind = kind_of(window.read_at(HEAD_BYTES, 0), entry.filename)
        if kind.partition(".")[0] in _HOLDERS:
            yield from _stored_holder(window, begin, kind, chain, place, inner=inner)
            return
    damaged = False
    for found in _entry(_inflated_entry(archive, entry), entry.filename, entry.file_size, place, limits=limits,
                        inner=inner):  # fmt: skip
        damaged |= isinstance(found, Bad) and found.reason == "bad_compression"
        yield found
    chain.extents.append(Extent(start=place["offset"], end=place["end"], kind="damaged" if damaged else "record"))


def _stored(source: Any, entry: zipfile.ZipInfo, end: int) -> int | None:
    """Where a stored entry's bytes begin; None if its local header does not say so."""
    head = bytes(source.read_at(_LOCAL_HEADER_BYTES, entry.header_offset))
    if len(head) < _LOCAL_HEADER_BYTES or not head.startswith(b"PK\x03\x04"):
        return None
    begin = entry.header_offset + _LOCAL_HEADER_BYTES
    begin += int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
    return begin if begin + entry.file_size <= end else None


def _stored_holder(
    window: Slice, begin: int, kind: str, chain: Chain, place: dict[str, int], *, inner: Inner
) -> Iterator[Found]:
    """An archive that lies in the zip as it is: no copy, and its records are told by their place in the zip."""
    within = Chain()
    for found in inner(window, within, kind=kind, size=window.size()):
        yield found if isinstance(found, Skip) else replace(found, offset=found.offset + begin, end=found.end + begin)
    chain.truncated |= within.truncated
    chain.extents.append(Extent(start=place["offset"], end=begin, kind="padding"))
    chain.extents += [replace(part, start=part.start + begin, end=part.end + begin) for part in within.extents]
    if begin + window.size() < place["end"]:
        chain.extents.append(Extent(start=begin + window.size(), end=place["end"], kind="padding"))


def _entry(
    pieces: Iterator[bytes], name: str, size: int, place: dict[str, int], *, limits: Limits, inner: Inner
) -> Iterator[Found]:
    """The documents of an entry whose bytes come as a stream. Records in it are numbered, at the entry's place."""
    url = clean_url(name)
    try:
        head = next(pieces, b"")
        kind = kind_of(head[:HEAD_BYTES], name)
        if kind.partition(".")[0] in _HOLDERS:
            yield from _holder(itertools.chain((head,), pieces), kind, url, place, limits=limits, inner=inner)
            return
        if size > limits.max_record_bytes:
            yield Bad(**place, url=url, reason="too_large", measured=size, threshold=limits.max_record_bytes,
                      detail="the entry is larger than the reader's limit")  # fmt: skip
            return
        content = b"".join(itertools.chain((head,), pieces))
    except StreamError as error:
        yield Bad(**place, url=url, reason=error.reason, detail=str(error))
        return
    for found in read_file(pa.BufferReader(content), name, size=len(content), limits=limits):
        yield _at(found, place, name)


def _holder(
    pieces: Iterator[bytes], kind: str, url: str | None, place: dict[str, int], *, limits: Limits, inner: Inner
) -> Iterator[Found]:
    number = 0
    with spooled(pieces, max_bytes=limits.max_member_bytes) as (source, error):
        for found in inner(source, Chain(), kind=kind, size=source.size()):
            if isinstance(found, Skip):
                yield found
                continue
            yield replace(found, offset=place["offset"], end=place["end"], record=number)
            number += 1
    if error is not None:
        yield Bad(offset=place["offset"], end=place["end"], record=number, url=url, reason=error.reason,
                  detail=str(error))  # fmt: skip


def _at(found: Found, place: dict[str, int], name: str) -> Found:
    return found if isinstance(found, Skip) else replace(found, **place, url=clean_url(name))  # type: ignore[arg-type]


def _inflated_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """An entry's bytes, at most as many as its header claims, its checksum checked at the end."""
    try:
        with archive.open(entry) as handle:
            yield from _read(handle)
    except (*_ZIP_ERRORS, zlib.error, lzma.LZMAError) as error:
        raise StreamError("bad_compression", f"zip: {str(error)[:300]}", position=entry.header_offset) from error


def _read(handle: IO[bytes]) -> Iterator[bytes]:
    while piece := handle.read(_COPY_BYTES):
        yield piece


def _plain(source: Any) -> Iterator[bytes]:
    position = 0
    while piece := bytes(source.read_at(_COPY_BYTES, position)):
        position += len(piece)
        yield piece


class _Pieces(io.RawIOBase):
    """Pieces of bytes as a Python file that is read forward."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces, self._rest = pieces, b""
        #: The last bytes that came out.
        self.tail = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if not self._rest:
            self._rest = next(self._pieces, b"")
            self.tail = (self.tail + self._rest)[-tarfile.BLOCKSIZE :]
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
