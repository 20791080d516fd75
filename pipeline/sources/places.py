"""Where input lies: local files, s3:// and other stores that arrow knows, https:// by range requests."""

from urllib.parse import urlsplit

import fsspec
import pyarrow as pa
import pyarrow.fs as pafs

#: Bytes of one range request: 64 MB splits then cost about twenty, and what is read ahead for nothing stays small.
_HTTP_BLOCK_BYTES = 4 << 20


def is_http(path: str) -> bool:
    """Whether a place is told by http:// or https://."""
    return path.startswith(("http://", "https://"))


def filesystem_of(path: str) -> tuple[pafs.FileSystem, str]:
    """The file system that a URI names, and the path within it."""
    if is_http(path):
        # No listings are kept and no instance is shared: a server's file may change between two runs of one process.
        remote = fsspec.filesystem(
            urlsplit(path).scheme, block_size=_HTTP_BLOCK_BYTES, use_listings_cache=False, skip_instance_cache=True
        )
        return pafs.PyFileSystem(pafs.FSSpecHandler(remote)), path
    found: tuple[pafs.FileSystem, str] = pafs.FileSystem.from_uri(path)
    return found


def open_source(path: str) -> pa.NativeFile:
    """A source for random access. OSError if a server does not answer range requests, which random access needs."""
    if "://" not in path:
        return pa.OSFile(path, "rb")
    filesystem, place = filesystem_of(path)
    try:
        return filesystem.open_input_file(place)
    except ValueError as error:
        raise OSError(f"{without_secrets(path)} cannot be read at random: {error}") from error


def without_secrets(path: str) -> str:
    """A place without user, password and query, which may hold a signature."""
    if "://" not in path:
        return path
    parts = urlsplit(path)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def remote_mark(path: str) -> str | None:
    """What a web server says that identifies a file's content: a strong ETag. None if it says nothing."""
    if not is_http(path):
        return None
    filesystem, place = filesystem_of(path)
    tag = str(filesystem.handler.fs.info(place).get("ETag") or "")
    return None if not tag or tag.startswith("W/") else tag
