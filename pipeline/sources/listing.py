"""Which files a recipe names, of what kind they are, and how they are cut into splits."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import xxhash

from pipeline.keys import source_key
from pipeline.object_store import is_remote
from pipeline.sources.kinds import HEAD_BYTES, SPLITTABLE, kind_of
from pipeline.sources.places import is_http, marked, open_source, remote_mark, store_of, without_secrets

_HASH_BYTES = 4 << 20
#: What makes a path a pattern.
_PATTERN = "*?["


@dataclass(frozen=True, kw_only=True)
class Source:
    """One input file. `name` is its path relative to the input as named; `path` is where to open it."""

    name: str
    path: str
    size_bytes: int
    #: xxh3-128 of the content; of size and ETag for a file on a web server or in a
    #: store that gives one.
    fingerprint: str
    #: As `kind_of` says it: warc.gz, jsonl, parquet, zip, file…
    kind: str
    #: When a local file was last changed, as the plan saw it: tells a reader that the file is still that one. In no
    #: key and no name. None for what lies elsewhere.
    modified_ns: int | None = None


@dataclass(frozen=True, kw_only=True)
class Split:
    """A byte range of one source: the unit of work. `known_start`: the chain rule says that a record begins there."""

    source: Source
    start: int
    end: int
    known_start: bool
    #: Names what was ruled out of the split before its extraction; empty if nothing looked.
    verdicts: str = ""

    @property
    def unit(self) -> str:
        """What names the split's parts: its place, and the verdicts on it if there are any."""
        return f"{self.place}-{self.verdicts}" if self.verdicts else self.place

    @property
    def place(self) -> str:
        """24 hex digits: source name, content and range, never where the file lies."""
        place = f"{self.start}\0{self.end}\0{self.known_start:d}"
        text = f"{self.source.name}\0{self.source.fingerprint}\0{self.source.kind}\0{place}"
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def starting_at(self, position: int) -> "Split":
        """The same split with its start moved to where its predecessor's chain ended."""
        return Split(source=self.source, start=position, end=max(self.end, position), known_start=True)


#: Stands in place of a path that is not opened; the reason follows.
REFUSED = "refused: "


class InputError(ValueError):
    """The recipe's input cannot be used: the message says which path and why."""


def list_sources(paths: Sequence[str], *, cache: dict[str, Any]) -> list[Source]:
    """The files that the paths name (files, folders, globs), sorted by name, each once.

    A file's name is its path relative to the folder, or to the glob's fixed part, that named it. `cache` maps path,
    size and modification time to a content hash, so that a second plan does not read the input again; it is updated.
    Raises InputError for a path that names nothing, and for two files with one name.
    """
    found: dict[str, str] = {}
    for path in paths:
        matches = list(_expand(path))
        if not matches:
            raise InputError(f"input.paths: {path!r} names no file. Check the path, or the pattern if it is one.")
        for name, place in matches:
            if found.setdefault(name, place) != place:
                raise InputError(
                    f"input.paths: {found[name]} and {place} would both be called {name!r}. "
                    "Name a folder above both, so that their relative paths differ."
                )
    return [_describe(name, found[name], cache) for name in sorted(found)]


def _expand(path: str) -> Iterator[tuple[str, str]]:
    if is_http(path):
        # The web has no folders and no patterns: an address is one file, named as the server names it.
        place = unquote(urlsplit(path).path)
        yield place.rstrip("/").rpartition("/")[2] or urlsplit(path).hostname or "index", path
        return
    if is_remote(path):
        yield from _stored(path)
        return
    # Workers stand in another folder, so the place where a file lies is told from the root.
    local = Path(path.removeprefix("file://")).resolve()
    if local.is_dir():
        for file in _regular_files(local):
            why = why_refused(file, local)
            name = os.fsencode(file.relative_to(local).as_posix()).decode("utf-8", "backslashreplace")
            yield name, str(file) if why is None else REFUSED + why
    elif local.is_file():
        yield local.name, str(local)
    else:
        fixed = Path(*_fixed_part(local.parts))
        pattern = str(local.relative_to(fixed))
        for file in sorted(fixed.glob(pattern)) if pattern != "." else ():
            if file.is_file():
                yield str(file.relative_to(fixed).as_posix()), str(file)


def _stored(path: str) -> Iterator[tuple[str, str]]:
    """The objects that an address of a store names: one, all below a folder, or those that match a pattern."""
    store, place = store_of(path)
    scheme, place = path.partition("://")[0], place.rstrip("/")
    try:
        if any(mark in place for mark in _PATTERN):
            base = "/".join(_fixed_part(tuple(place.split("/"))))
            found = store.matching(place)
        elif store.size(place) is not None:
            base, found = place.rpartition("/")[0], [place]
        else:
            base, found = place, list(store.below(place))
    except OSError as error:
        raise InputError(f"input.paths: {without_secrets(path)} cannot be read: {error}") from error
    for item in found:
        name = item.removeprefix(base).lstrip("/")
        # As in a local folder, names that begin with a dot are no data; markers of folders end in a slash.
        if not item.endswith("/") and not any(part.startswith(".") for part in name.split("/")):
            yield name, f"{scheme}://{item}"


def _fixed_part(parts: tuple[str, ...]) -> list[str]:
    fixed: list[str] = []
    for part in parts:
        if any(mark in part for mark in _PATTERN):
            break
        fixed.append(part)
    return fixed


def _regular_files(folder: Path) -> Iterator[Path]:
    """Everything below a folder that is no folder, but for names that begin with a dot. Links to folders are not
    followed. InputError for a folder that cannot be read."""

    def refuse(error: OSError) -> None:
        raise InputError(f"input.paths: {error.filename} cannot be read: {error.strerror}")

    for parent, folders, files in os.walk(folder, followlinks=False, onerror=refuse):
        folders.sort()
        yield from (Path(parent) / name for name in folders if (Path(parent) / name).is_symlink())
        yield from (Path(parent) / name for name in sorted(files) if not name.startswith("."))


def why_refused(path: Path, folder: Path | None = None) -> str | None:
    """Why a file is not opened: an input folder is data, and data must not lead the reader elsewhere or make it wait.
    None if it is."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return "the file's name is not UTF-8: rename it"
    if path.is_symlink():
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError):
            return "a link that leads nowhere"
        if target.is_dir():
            return "a link to a folder"
        if folder is not None and not target.is_relative_to(folder.resolve()):
            return "a link that leads out of the input folder"
    return None if path.is_file() else "neither a file nor a folder"


def _describe(name: str, path: str, cache: dict[str, Any]) -> Source:
    if path.startswith(REFUSED):
        fingerprint = xxhash.xxh3_128_hexdigest(path.encode())
        return Source(name=name, path=path, size_bytes=0, fingerprint=fingerprint, kind="refused")
    stat = None if "://" in path else Path(path).stat()
    # How kinds are told apart is part of the mark: a cache from before a change would name kinds of then.
    mark = f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\0{source_key([kind_of.__module__])}" if stat else None
    if mark is not None and mark in cache:
        size, fingerprint, kind = cache[mark]
    else:
        try:
            tag = remote_mark(path)
            with open_source(path) as source:
                size, kind = source.size(), kind_of(bytes(source.read_at(HEAD_BYTES, 0)), name)
                fingerprint = _content_hash(source) if tag is None else marked(size, tag)
        except OSError as error:
            raise InputError(f"input.paths: {without_secrets(path)} cannot be read: {error}") from error
        if mark is not None:
            cache[mark] = [size, fingerprint, kind]
    modified_ns = stat.st_mtime_ns if stat else None
    return Source(name=name, path=path, size_bytes=size, fingerprint=fingerprint, kind=kind, modified_ns=modified_ns)


def _content_hash(source: pa.NativeFile) -> str:
    digest = xxhash.xxh3_128()
    source.seek(0)
    while piece := source.read(_HASH_BYTES):
        digest.update(piece)
    return digest.hexdigest()


def cut(sources: Sequence[Source], *, split_bytes: int) -> list[Split]:
    """Splits of all sources in the order of (source, start). A file that cannot be entered midway is one split."""
    splits: list[Split] = []
    for source in sources:
        step = split_bytes if source.kind in SPLITTABLE else max(1, source.size_bytes)
        starts = range(0, max(1, source.size_bytes), step)
        splits.extend(
            Split(source=source, start=start, end=min(start + step, source.size_bytes), known_start=start == 0)
            for start in starts
        )
    return splits
