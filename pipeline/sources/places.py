"""Where input lies: local files, s3:// and other stores that arrow knows, https:// by range requests."""

from typing import Any
from urllib.parse import urlsplit

import fsspec
import pyarrow as pa
import pyarrow.fs as pafs

#: Bytes of one range request: 64 MB splits then cost about twenty, and what is read ahead for nothing stays small.
_HTTP_BLOCK_BYTES = 4 << 20


def is_http(path: str) -> bool:
    """Whether a place is told by http:// or https://."""
    return path.startswith(("http://", "https://"))


def _web(path: str) -> Any:
    """The file system of web servers. No listings are kept: a file may change between two runs of one process."""
    return fsspec.filesystem(urlsplit(path).scheme, block_size=_HTTP_BLOCK_BYTES, use_listings_cache=False)


def open_source(path: str) -> pa.NativeFile:
    """A source for random access. OSError if a server does not answer range requests, which random access needs."""
    if is_http(path):
        # Not through arrow's handler for fsspec: to see whether this is a file, it asks for all of it.
        file = _web(path).open(path)
        if not file.seekable():
            raise OSError(f"{without_secrets(path)}: the server does not say that it answers range requests")
        return pa.PythonFile(file, mode="r")
    if "://" not in path:
        return pa.OSFile(path, "rb")
    filesystem, place = pafs.FileSystem.from_uri(path)
    return filesystem.open_input_file(place)


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
    tag = str(_web(path).info(path).get("ETag") or "")
    return None if not tag or tag.startswith("W/") else tag
