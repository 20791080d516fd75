"""The one place that reads and writes: local folders and object stores behind the same few calls.

Every call that can fail is a method of `Files`, so that a test can hand in a double whose n-th call fails.
A file appears under its final name complete or not at all: it is written under an attempt name, synced, reopened and
checked, and only then renamed. For an object store the attempt lies on the local disk; what is renamed on a disk is
uploaded there (pipeline/object_store.py).
"""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from pipeline.object_store import ObjectStore, is_remote

#: zstd level 3 is the codec's own default: higher levels cost more CPU than the disk they save on text.
ZSTD_LEVEL = 3
#: Rows of a row group in document parts: keeps a group of ordinary pages (4 kB of text) at about 64 MB.
ROWS_PER_GROUP = 16_384
#: Attempt files begin with this, so that a glob for *.parquet or *.json never meets one.
ATTEMPT_PREFIX = ".attempt-"
_READ_BYTES = 1 << 20
#: What a file system without hard links says.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_LOCAL: Any = pafs.LocalFileSystem()


#: Folders of attempts for object stores: this and the number of the process that fills them.
_STAGING_PREFIX = "tamis-upload-"


@dataclass(frozen=True, kw_only=True)
class Written:
    """One finished file: name relative to the store's root, sha256 of its bytes, size, and rows of a table."""

    name: str
    sha256: str
    size_bytes: int
    rows: int | None = None

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "sha256": self.sha256, "size_bytes": self.size_bytes, "rows": self.rows}


@contextlib.contextmanager
def _staging() -> Iterator[str]:
    """A folder on the local disk (TMPDIR) for one attempt. Those of processes that were killed are removed."""
    with tempfile.TemporaryDirectory(prefix=f"{_STAGING_PREFIX}{os.getpid()}-") as folder:
        for other in Path(folder).parent.glob(f"{_STAGING_PREFIX}*"):
            owner = other.name.removeprefix(_STAGING_PREFIX).partition("-")[0]
            if owner.isdigit() and not Path("/proc", owner).exists() and Path("/proc/self").exists():
                shutil.rmtree(other, ignore_errors=True)  # somebody else's on a shared machine, or gone already
        yield folder


def _unfenced() -> None:
    """Nothing forbids a file to get its name."""


class Files:
    """Files below one root, which is a local folder or a URI that fsspec knows (s3://bucket/prefix)."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        text = os.fspath(root)
        self.store = ObjectStore(text) if is_remote(text) else None
        self.local = self.store is None
        self.base = str(Path(text.removeprefix("file://")).absolute()) if self.store is None else self.store.base
        self.root = text
        #: Called before a file gets its name; raises where it must not have it any more.
        self.fence: Callable[[], None] = _unfenced

    def path(self, name: str) -> str:
        return f"{self.base}/{name}" if name else self.base

    @property
    def arrow(self) -> Any:
        """What pyarrow opens our paths with; None for local ones."""
        return None if self.store is None else pafs.PyFileSystem(pafs.FSSpecHandler(self.store.filesystem))

    # Each of these is one call to the file system or store.

    def open(self, name: str) -> pa.NativeFile:
        """The file for random access. FileNotFoundError if it is not there."""
        if self.store is not None:
            return self.store.open(self.path(name))
        return _LOCAL.open_input_file(self.path(name))

    def create(self, name: str) -> pa.NativeFile:
        assert self.local, "attempts lie on the local disk"
        return _LOCAL.open_output_stream(self.path(name))

    def make_folder(self, name: str) -> None:
        if self.local:  # a store has no folders
            _LOCAL.create_dir(self.path(name), recursive=True)

    def sync(self, name: str) -> None:
        """Make a file's or folder's content survive a power cut; a store does that by itself."""
        if not self.local:
            return
        handle = os.open(self.path(name), os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, old: str, new: str) -> None:
        assert self.local, "a store has no rename"
        Path(self.path(old)).replace(self.path(new))

    def link(self, old: str, new: str) -> None:
        """A second name for a file. FileExistsError if the name is taken; another OSError where there are no links."""
        assert self.local, "a store has no links"
        Path(self.path(new)).hardlink_to(self.path(old))

    def delete(self, name: str) -> None:
        if self.store is not None:
            self.store.delete(self.path(name))
        else:
            _LOCAL.delete_file(self.path(name))

    def exists(self, name: str) -> bool:
        if self.store is not None:
            return self.store.size(self.path(name)) is not None
        return bool(_LOCAL.get_file_info(self.path(name)).type != pafs.FileType.NotFound)

    def names(self, folder: str) -> list[str]:
        """Sorted names of the files directly in `folder`, attempts left out; empty if there is no such folder."""
        return sorted(name for name, kind in self._listing(folder) if kind and not name.startswith(ATTEMPT_PREFIX))

    def folders(self) -> list[str]:
        """Sorted names of the folders directly in the root; empty if there is no root."""
        return sorted(name for name, is_file in self._listing("") if not is_file)

    def _listing(self, folder: str) -> list[tuple[str, bool]]:
        """(name, whether it is a file) of everything directly in a folder."""
        if self.store is not None:
            found = self.store.listing(self.path(folder))
            return [(entry["name"].rstrip("/").rpartition("/")[2], entry["type"] == "file") for entry in found]
        infos = _LOCAL.get_file_info(pafs.FileSelector(self.path(folder), allow_not_found=True))
        kinds = {pafs.FileType.File: True, pafs.FileType.Directory: False}
        return [(info.base_name, kinds[info.type]) for info in infos if info.type in kinds]

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of every file below `folder`, attempts and all, by its name from the root on."""
        if self.store is not None:
            return {
                path.removeprefix(f"{self.base}/"): size for path, size in self.store.below(self.path(folder)).items()
            }
        selector = pafs.FileSelector(self.path(folder), recursive=True, allow_not_found=True)
        infos = [info for info in _LOCAL.get_file_info(selector) if info.type == pafs.FileType.File]
        return {info.path.removeprefix(f"{self.base}/"): info.size for info in infos}

    # Built on the calls above.

    def read(self, name: str) -> bytes:
        if self.store is not None:
            return self.store.read(self.path(name))
        with self.open(name) as source:
            return bytes(source.read())

    def pieces(self, name: str) -> Iterator[bytes]:
        """All of a file, in pieces."""
        if self.store is not None:
            yield from self.store.pieces(self.path(name))
            return
        with self.open(name) as source:
            while piece := source.read(_READ_BYTES):
                yield piece

    def sha256(self, name: str) -> tuple[str, int]:
        """sha256 and size of a file, read in pieces."""
        digest, size = hashlib.sha256(), 0
        for piece in self.pieces(name):
            digest.update(piece)
            size += len(piece)
        return digest.hexdigest(), size

    def write(
        self, name: str, fill: Callable[[pa.NativeFile], None], *, check: Callable[["Files", str], None] | None = None
    ) -> Written:
        """Write one file so that it appears complete or not at all.

        `fill` writes to the open sink; `check` gets where the attempt lies and its name before it is made public, and
        raises if the file is not what was meant. The attempt is deleted when anything raises, and the error goes on.
        """
        if self.store is not None:
            return self._upload(self.store, name, fill, check)
        folder, _, base = name.rpartition("/")
        attempt = f"{folder}/{ATTEMPT_PREFIX}{uuid.uuid4().hex}-{base}".lstrip("/")
        self.make_folder(folder)
        try:
            with self.create(attempt) as sink:
                fill(sink)
            self.sync(attempt)
            if check is not None:
                check(self, attempt)
            digest, size = self.sha256(attempt)
            self.fence()
            self.rename(attempt, name)
        except BaseException:
            with contextlib.suppress(OSError):  # the attempt may never have been created; the error that counts goes on
                self.delete(attempt)
            raise
        self.sync(folder)
        return Written(name=name, sha256=digest, size_bytes=size)

    def _upload(
        self,
        store: ObjectStore,
        name: str,
        fill: Callable[[pa.NativeFile], None],
        check: Callable[["Files", str], None] | None,
    ) -> Written:
        """The same for a store: written and checked on the local disk, then uploaded."""
        with _staging() as folder:
            beside = Files(folder)
            written = beside.write("attempt", fill, check=check)
            self.fence()
            store.put(self.path(name), Path(beside.path("attempt")))
        return Written(name=name, sha256=written.sha256, size_bytes=written.size_bytes)

    def write_once(self, name: str, data: bytes) -> bool:
        """Write a small file unless there is one: of several writers exactly one gets True, and its bytes stay."""
        if self.store is not None:
            return self.store.put_new(self.path(name), data)
        folder, _, base = name.rpartition("/")
        attempt = f"{folder}/{ATTEMPT_PREFIX}{uuid.uuid4().hex}-{base}".lstrip("/")
        self.make_folder(folder)
        try:
            with self.create(attempt) as sink:
                sink.write(data)
            self.sync(attempt)
            try:
                self.link(attempt, name)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                if self.exists(name):
                    return False
                self.rename(attempt, name)
        finally:
            with contextlib.suppress(OSError):  # never created, or renamed
                self.delete(attempt)
        self.sync(folder)
        return True

    def copy_here(self, other: "Files", name: str, new_name: str) -> None:
        """A file of another root under a name of this one; within one store its bytes do not travel."""
        if self.store and other.store and self.store.filesystem is other.store.filesystem:
            self.store.copy(other.path(name), self.path(new_name))
            return

        def fill(sink: pa.NativeFile) -> None:
            for piece in other.pieces(name):
                sink.write(piece)

        self.write(new_name, fill)

    def write_bytes(self, name: str, data: bytes) -> Written:
        return self.write(name, lambda sink: sink.write(data))

    def write_table(self, name: str, table: pa.Table, *, rows_per_group: int = ROWS_PER_GROUP) -> Written:
        """One Parquet file with page checksums; reopened, its rows and checksums verified, before it gets its name."""
        groups = (table.slice(start, rows_per_group) for start in range(0, max(1, table.num_rows), rows_per_group))
        return self.write_tables(name, table.schema, groups)

    def write_tables(self, name: str, schema: pa.Schema, tables: Iterable[pa.Table]) -> Written:
        """The same from tables as they come, a row group each: only one of them is in memory."""
        rows = 0

        def fill(sink: pa.NativeFile) -> None:
            nonlocal rows
            with pq.ParquetWriter(
                sink, schema, compression="zstd", compression_level=ZSTD_LEVEL, write_page_checksum=True
            ) as writer:
                for table in tables:
                    writer.write_table(table, row_group_size=max(1, table.num_rows))
                    rows += table.num_rows

        def check(beside: Files, attempt: str) -> None:
            found = beside.verify_table(attempt)
            if found != rows:
                raise OSError(f"{beside.path(attempt)}: wrote {rows} rows, {found} came back")

        written = self.write(name, fill, check=check)
        return Written(name=name, sha256=written.sha256, size_bytes=written.size_bytes, rows=rows)

    def verify_table(self, name: str) -> int:
        """Read every page of a Parquet file against its checksum and return the number of rows."""
        rows = 0
        with self.open(name) as source, pq.ParquetFile(source, page_checksum_verification=True) as parquet:
            for group in range(parquet.num_row_groups):
                rows += parquet.read_row_group(group).num_rows
        return rows

    def schema(self, name: str) -> pa.Schema:
        """The columns of a Parquet file, by its footer alone."""
        with self.open(name) as source, pq.ParquetFile(source) as parquet:
            return parquet.schema_arrow

    def count_rows(self, name: str) -> int:
        """Rows of a Parquet file, by its footer alone."""
        with self.open(name) as source, pq.ParquetFile(source) as parquet:
            return int(parquet.metadata.num_rows)

    def read_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """A Parquet file's columns, page checksums verified. Raises OSError naming the file if a page is damaged."""
        with self.open(name) as source:
            try:
                return pq.read_table(source, columns=columns, page_checksum_verification=True)
            except (OSError, pa.ArrowInvalid) as error:
                raise OSError(f"{self.path(name)} is damaged: {error}. Delete it and run again.") from error
