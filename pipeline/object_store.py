"""Object stores (s3:// and what else fsspec knows) behind the few calls that `Files` and the readers make.

There is no rename in an object store, and none is needed: an object appears whole when its upload is completed. What a
store can do and a disk cannot is tear an upload on its way, so an object counts as written only when its size and its
checksum are those of the bytes that were sent.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa

#: Objects up to this are fetched whole by one request: commit records and small parts. 500 open runs of an exchange
#: then hold at most 128 MB.
_WHOLE_BYTES = 256 << 10
#: Bytes read ahead of a reader that goes through an object: the same, for the same reason.
_AHEAD_BYTES = 256 << 10
#: Bytes of a request that hashes or copies a whole object: few requests, little memory.
_STREAM_BYTES = 8 << 20
#: Parts of an upload. S3 takes 10,000 of them, so an object can have 320 GB; objects below two parts go in one request.
_PART_BYTES = 32 << 20
#: Times that an upload is sent before it counts as failed, beside the client's own retries of a single request.
_UPLOADS = 3
#: How often a request is repeated that failed for the server's reasons (500, 503, a cut connection). "standard" waits
#: up to 20 s between two tries, so that a store which is overloaded for a minute does not stop a run.
_RETRIES = {"mode": "standard", "max_attempts": 8}
#: Seconds without a byte after which a request is given up and tried again.
_SILENCE_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Upload:
    """An upload in parts that nobody completed."""

    key: str
    identity: str
    begun: datetime


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    """Client libraries raise errors of their own: all leave here as OSError that names the place, and what is an
    OSError already (no such object, no permission) stays what it is."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: there is no such object") from error
    except OSError as error:
        raise type(error)(f"{path}: {error}") from error
    except Exception as error:
        raise OSError(f"{path}: {type(error).__name__}: {error}") from error


class ObjectStore:
    """One store, with paths as BUCKET/KEY. Nothing is cached: other processes write here too."""

    def __init__(self, uri: str) -> None:
        scheme = uri.partition("://")[0]
        options: dict[str, Any] = {"use_listings_cache": False}
        if scheme in ("s3", "s3a"):
            options["config_kwargs"] = {
                "retries": _RETRIES, "read_timeout": _SILENCE_SECONDS, "connect_timeout": _SILENCE_SECONDS
            }  # fmt: skip
        try:
            self.filesystem, base = fsspec.core.url_to_fs(uri, **options)
        except (ImportError, ValueError) as error:
            raise OSError(f"{uri}: {error}. For s3:// install the extra: pip install 'tamis[s3]'") from error
        self.base = base.rstrip("/")

    def size(self, path: str) -> int | None:
        """Bytes of an object; None if there is none."""
        about = self.about(path)
        return None if about is None else int(about["size"])

    def about(self, path: str) -> dict[str, Any] | None:
        """What the store says of an object: size, ETag, …; None if there is none."""
        try:
            with _named(path):
                if hasattr(self.filesystem, "call_s3"):  # `info` would list the folder too when there is no object
                    bucket, _, key = path.partition("/")
                    head = self.filesystem.call_s3("head_object", Bucket=bucket, Key=key)
                    return {**head, "size": head["ContentLength"]}
                about: dict[str, Any] = self.filesystem.info(path)
        except FileNotFoundError:
            return None
        return about if about["type"] == "file" else None

    def open(self, path: str, *, ahead_bytes: int = _AHEAD_BYTES) -> pa.NativeFile:
        """An object for random access. FileNotFoundError if it is not there."""
        size = self.size(path)
        if size is None:
            raise FileNotFoundError(f"{path}: there is no such object")
        with _named(path):
            if size <= _WHOLE_BYTES:
                return pa.BufferReader(self.filesystem.cat_file(path))
            return pa.PythonFile(
                self.filesystem.open(path, "rb", block_size=ahead_bytes, cache_type="readahead"), mode="r"
            )

    def read(self, path: str) -> bytes:
        with _named(path):
            return bytes(self.filesystem.cat_file(path))

    def pieces(self, path: str) -> Iterator[bytes]:
        """All of an object, in large pieces. FileNotFoundError if it is not there."""
        size = self.size(path)
        if size is None:
            raise FileNotFoundError(f"{path}: there is no such object")
        for start in range(0, size, _STREAM_BYTES):
            with _named(path):
                yield self.filesystem.cat_file(path, start=start, end=min(start + _STREAM_BYTES, size))

    def listing(self, folder: str) -> list[dict[str, Any]]:
        """Objects and folders directly in a folder; empty if there is none."""
        try:
            with _named(folder):
                found: list[dict[str, Any]] = self.filesystem.ls(folder, detail=True)
        except FileNotFoundError:
            return []
        return [entry for entry in found if entry["name"].rstrip("/") != folder]

    def below(self, folder: str) -> dict[str, int]:
        """Size of every object below a folder, by path."""
        with _named(folder):
            found = self.filesystem.find(folder, detail=True)
        return {path: int(entry["size"]) for path, entry in sorted(found.items())}

    def matching(self, pattern: str) -> list[str]:
        """Paths of the objects that match a pattern, sorted."""
        with _named(pattern):
            found = self.filesystem.glob(pattern, detail=True)
        return sorted(path for path, entry in found.items() if entry["type"] == "file")

    def put(self, path: str, file: Path) -> None:
        """Upload a local file, in parts if it is large. The object is compared with the file before this returns; one
        that was torn on its way is sent again, and removed if that does not help: OSError."""
        refused: OSError | None = None
        for _ in range(_UPLOADS):
            try:
                with _named(path):
                    self.filesystem.put_file(str(file), path, chunksize=_PART_BYTES)
            except (FileNotFoundError, PermissionError):
                raise
            except OSError as error:  # a store that checks what arrives (BadDigest), or one that is not well
                refused = error
                continue
            if self._arrived(path, file):
                return
            refused = None
            self.delete(path)
        if refused is not None:
            raise refused
        raise OSError(f"{path}: what the store holds is not what was sent, {_UPLOADS} times. Nothing was kept of it.")

    def _arrived(self, path: str, file: Path) -> bool:
        about = self.about(path)
        if about is None or int(about["size"]) != file.stat().st_size:
            return False
        if str(about.get("ETag", "")).strip('"') == _etag(file):
            return True
        # Encrypted objects and stores of other makes have ETags that are no MD5: then the bytes are compared.
        found, sent = hashlib.sha256(), hashlib.sha256()
        with file.open("rb") as source:
            while piece := source.read(_STREAM_BYTES):
                sent.update(piece)
        try:
            for piece in self.pieces(path):
                found.update(piece)
        except OSError:  # the client compares it with a checksum of its own: then it cannot be what was sent either
            return False
        return found.digest() == sent.digest()

    def put_new(self, path: str, data: bytes) -> bool:
        """Write an object if there is none (`If-None-Match: *`): of several writers exactly one gets True.

        A writer whose answer was lost on its way, and who asked again, gets False for its own object: look what is
        there.
        """
        try:
            with _named(path):
                self.filesystem.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        return True

    def copy(self, path: str, new_path: str) -> None:
        """Within the store: the bytes do not travel."""
        with _named(path):
            self.filesystem.cp_file(path, new_path)

    def delete(self, path: str) -> None:
        with _named(path):
            self.filesystem.rm_file(path)

    def uploads(self, folder: str, *, older_than: timedelta) -> list[Upload]:
        """Uploads in parts below a folder that were begun before then and never completed: what killed workers leave.
        They cost storage until they are aborted. Empty for a store without such uploads."""
        if not hasattr(self.filesystem, "list_multipart_uploads"):
            return []
        bucket, _, prefix = folder.partition("/")
        before = datetime.now(UTC) - older_than
        with _named(folder):
            found = self.filesystem.list_multipart_uploads(bucket)
        uploads = [Upload(key=one["Key"], identity=one["UploadId"], begun=one["Initiated"]) for one in found]
        return [one for one in uploads if one.key.startswith(f"{prefix}/") and one.begun < before]

    def abort(self, folder: str, uploads: Sequence[Upload]) -> None:
        """Give up these uploads and free their parts; one that is gone meanwhile is none to free."""
        bucket = folder.partition("/")[0]
        for upload in uploads:
            with contextlib.suppress(FileNotFoundError), _named(f"{bucket}/{upload.key}"):
                self.filesystem.abort_mpu(bucket, upload.key, upload.identity)


def _etag(file: Path) -> str:
    """What S3 calls an unencrypted object of these bytes: their MD5, or the MD5 of the MD5s of the parts."""
    size = file.stat().st_size
    parts = []
    with file.open("rb") as source:
        while piece := source.read(_PART_BYTES if size >= 2 * _PART_BYTES else max(1, size)):
            parts.append(hashlib.md5(piece, usedforsecurity=False))
    if size < 2 * _PART_BYTES:
        return (parts[0] if parts else hashlib.md5(b"", usedforsecurity=False)).hexdigest()
    whole = hashlib.md5(b"".join(part.digest() for part in parts), usedforsecurity=False).hexdigest()
    return f"{whole}-{len(parts)}"


def is_remote(place: str | os.PathLike[str]) -> bool:
    """Whether a place lies in an object store and not on a disk."""
    text = os.fspath(place)
    return "://" in text and not text.startswith("file://")
