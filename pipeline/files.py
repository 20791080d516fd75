"""The one place that reads and writes: local folders and object stores behind the same few calls.

Every call that can fail is a method of `Files`, so that a test can hand in a double whose n-th call fails.
A file appears under its final name complete or not at all: it is written under an attempt name, synced, reopened and
checked, and only then renamed.
"""

import contextlib
import hashlib
import os
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

#: zstd level 3 is the codec's own default: higher levels cost more CPU than the disk they save on text.
ZSTD_LEVEL = 3
#: Rows of a row group in document parts: keeps a group of ordinary pages (4 kB of text) at about 64 MB.
ROWS_PER_GROUP = 16_384
#: Attempt files begin with this, so that a glob for *.parquet or *.json never meets one.
ATTEMPT_PREFIX = ".attempt-"
_READ_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Written:
    """One finished file: name relative to the store's root, sha256 of its bytes, size, and rows of a table."""

    name: str
    sha256: str
    size_bytes: int
    rows: int | None = None

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "sha256": self.sha256, "size_bytes": self.size_bytes, "rows": self.rows}


class Files:
    """Files below one root, which is a local folder or a URI that pyarrow.fs knows (s3://bucket/prefix)."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        text = os.fspath(root)
        if "://" in text:
            self.filesystem, self.base = pafs.FileSystem.from_uri(text)
            self.local = isinstance(self.filesystem, pafs.LocalFileSystem)
        else:
            self.filesystem, self.base, self.local = pafs.LocalFileSystem(), str(Path(text).absolute()), True
        self.root = text

    def path(self, name: str) -> str:
        return f"{self.base}/{name}" if name else self.base

    # Each of these is one call to the file system.

    def open(self, name: str) -> pa.NativeFile:
        """The file for random access. FileNotFoundError if it is not there."""
        return self.filesystem.open_input_file(self.path(name))

    def create(self, name: str) -> pa.NativeFile:
        return self.filesystem.open_output_stream(self.path(name))

    def make_folder(self, name: str) -> None:
        self.filesystem.create_dir(self.path(name), recursive=True)

    def sync(self, name: str) -> None:
        """Make a file's or folder's content survive a power cut; object stores do that on close."""
        if not self.local:
            return
        handle = os.open(self.path(name), os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, old: str, new: str) -> None:
        if self.local:
            Path(self.path(old)).replace(self.path(new))
        else:
            self.filesystem.move(self.path(old), self.path(new))

    def delete(self, name: str) -> None:
        self.filesystem.delete_file(self.path(name))

    def exists(self, name: str) -> bool:
        return bool(self.filesystem.get_file_info(self.path(name)).type != pafs.FileType.NotFound)

    def names(self, folder: str) -> list[str]:
        """Sorted names of the files directly in `folder`, attempts left out; empty if there is no such folder."""
        selector = pafs.FileSelector(self.path(folder), allow_not_found=True)
        infos = self.filesystem.get_file_info(selector)
        return sorted(
            info.base_name
            for info in infos
            if info.type == pafs.FileType.File and not info.base_name.startswith(ATTEMPT_PREFIX)
        )

    def folders(self) -> list[str]:
        """Sorted names of the folders directly in the root; empty if there is no root."""
        infos = self.filesystem.get_file_info(pafs.FileSelector(self.path(""), allow_not_found=True))
        return sorted(info.base_name for info in infos if info.type == pafs.FileType.Directory)

    # Built on the calls above.

    def read(self, name: str) -> bytes:
        with self.open(name) as source:
            return bytes(source.read())

    def sha256(self, name: str) -> tuple[str, int]:
        """sha256 and size of a file, read in pieces."""
        digest, size = hashlib.sha256(), 0
        with self.open(name) as source:
            while piece := source.read(_READ_BYTES):
                digest.update(piece)
                size += len(piece)
        return digest.hexdigest(), size

    def write(
        self, name: str, fill: Callable[[pa.NativeFile], None], *, check: Callable[[str], None] | None = None
    ) -> Written:
        """Write one file so that it appears complete or not at all.

        `fill` writes to the open sink; `check` gets the attempt's name before the rename and raises if the file is
        not what was meant. The attempt is deleted when anything raises, and the error goes on.
        """
        folder, _, base = name.rpartition("/")
        attempt = f"{folder}/{ATTEMPT_PREFIX}{uuid.uuid4().hex}-{base}".lstrip("/")
        self.make_folder(folder)
        try:
            with self.create(attempt) as sink:
                fill(sink)
            self.sync(attempt)
            if check is not None:
                check(attempt)
            digest, size = self.sha256(attempt)
            self.rename(attempt, name)
        except BaseException:
            with contextlib.suppress(OSError):  # the attempt may never have been created; the error that counts goes on
                self.delete(attempt)
            raise
        self.sync(folder)
        return Written(name=name, sha256=digest, size_bytes=size)

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

        def check(attempt: str) -> None:
            found = self.verify_table(attempt)
            if found != rows:
                raise OSError(f"{self.path(attempt)}: wrote {rows} rows, {found} came back")

        written = self.write(name, fill, check=check)
        return Written(name=name, sha256=written.sha256, size_bytes=written.size_bytes, rows=rows)

    def verify_table(self, name: str) -> int:
        """Read every page of a Parquet file against its checksum and return the number of rows."""
        rows = 0
        with self.open(name) as source, pq.ParquetFile(source, page_checksum_verification=True) as parquet:
            for group in range(parquet.num_row_groups):
                rows += parquet.read_row_group(group).num_rows
        return rows

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
