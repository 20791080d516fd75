"""Where input lies: local files, s3:// and other stores that fsspec knows, https:// by range requests."""

import functools
from typing import Any
from urllib.parse import urlsplit

import fsspec
import pyarrow as pa
import xxhash

from pipeline.object_store import ObjectStore, is_remote

#: Bytes of one range request: 64 MB splits then cost about twenty, and what is read ahead for nothing stays small.
_BLOCK_BYTES = 4 << 20


def is_http(path: str) -> bool:
    """Whether a place is told by http:// or https://."""
    return path.startswith(("http://", "https://"))


def _web(path: str) -> Any:
    """The file system of web servers. No listings are kept: a file may change between two runs of one process."""
    return fsspec.filesystem(urlsplit(path).scheme, block_size=_BLOCK_BYTES, use_listings_cache=False)


@functools.cache
def _store(root: str) -> ObjectStore:
    return ObjectStore(root)


def store_of(path: str) -> tuple[ObjectStore, str]:
    """The object store of an address, and the path in it."""
    parts = urlsplit(path)
    return _store(f"{parts.scheme}://{parts.netloc}"), path.partition("://")[2]


def open_source(path: str) -> pa.NativeFile:
    """A source for random access. OSError if a server does not answer range requests, which random access needs."""
    if is_http(path):
        # Not through arrow's handler for fsspec: to see whether this is a file, it asks for all of it.
        file = _web(path).open(path)
        if not file.seekable():
            raise OSError(f"{without_secrets(path)}: the server does not say that it answers range requests")
        return pa.PythonFile(file, mode="r")
    if not is_remote(path):
        return pa.OSFile(path.removeprefix("file://"), "rb")
    store, place = store_of(path)
    return store.open(place, ahead_bytes=_BLOCK_BYTES)


def without_secrets(path: str) -> str:
    """A place without user, password and query, which may hold a signature."""
    if "://" not in path:
        return path
    parts = urlsplit(path)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def remote_mark(path: str) -> str | None:
    """What a web server or an object store says that identifies a file's content: a strong ETag. None if nothing."""
    if is_http(path):
        tag = str(_web(path).info(path).get("ETag") or "")
    elif is_remote(path):
        store, place = store_of(path)
        about = store.about(place)
        tag = str((about or {}).get("ETag") or "")
    else:
        return None
    return None if not tag or tag.startswith("W/") else tag


def marked(size: int, mark: str) -> str:
    """The fingerprint of a file that is known by its size and mark."""
    return xxhash.xxh3_128_hexdigest(f"{size}\0{mark}".encode())
