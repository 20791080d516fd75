"""Models and lists: found, identified by sha256, and loaded once per worker."""

import functools
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import py3langid.langid
import pyarrow.parquet as pq

from pipeline.models import builtin_path, load_fasttext
from pipeline.shared_lists import shared_list
from stages.decontaminate import build_benchmark
from stages.fasttext_text import FOLDER_PREFIX
from stages.held_out import build_index
from stages.stage import Resource
from stages.url_filter import build_list
from stages.word_list import build_words

_READ_BYTES = 1 << 20
#: The one model that lies in another package.
_PY3LANGID = "builtin/py3langid"
#: Resources that a worker keeps; decontamination has one for each benchmark.
_LOADED = 64
#: Endings of what a sequence classifier is loaded from.
_MODEL_FILES = (".json", ".txt", ".model", ".safetensors")


class ResourceError(ValueError):
    """A model or list that a recipe names is missing, damaged or not the one it was."""


def locate(reference: str) -> Path:
    """The file behind `builtin/NAME` or a path. ResourceError if there is none."""
    if reference == _PY3LANGID:
        return Path(py3langid.langid.MODEL_DIR, py3langid.langid.MODEL_FILE)
    if reference.startswith(FOLDER_PREFIX):
        folder = Path(reference.removeprefix(FOLDER_PREFIX))
        if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
            raise ResourceError(f"{reference}: no folder with a config.json and .safetensors weights")
        return folder
    path = Path(builtin_path(reference)) if reference.startswith("builtin/") else Path(reference)
    if not path.is_file():
        raise ResourceError(f"{reference}: there is no such file ({path.absolute()})")
    return path


@functools.cache
def _sha256(path: str, size: int, modified_ns: int) -> str:
    del size, modified_ns  # part of the cache's key: a file that changed is hashed again
    digest = hashlib.sha256()
    with Path(path).open("rb") as source:
        while piece := source.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _file_sha256(path: Path) -> str:
    stat = path.stat()
    return _sha256(str(path), stat.st_size, stat.st_mtime_ns)


def _folder_sha256(folder: Path) -> str:
    """sha256 over the names and sha256s of what a model is loaded from: what `sha256sum FILES | sha256sum` prints for
    the .json, .txt, .model and .safetensors files in the order of their names."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.suffix in _MODEL_FILES)
    lines = "".join(f"{_file_sha256(file)}  {file.name}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def identify(resource: Resource) -> str:
    """The resource's sha256. ResourceError if the recipe expects another."""
    path = locate(resource.reference)
    found = _folder_sha256(path) if path.is_dir() else _file_sha256(path)
    if resource.sha256 is not None and resource.sha256.lower() != found:
        raise ResourceError(
            f"{resource.reference}: its sha256 is {found}, the recipe expects {resource.sha256}. "
            "Name the right file, or set sha256 to this value if the file is the one you mean."
        )
    return found


def identify_all(resources: Sequence[Resource]) -> dict[str, str]:
    return {resource.name: identify(resource) for resource in resources}


def load_resources(resources: Sequence[Resource], *, expected: Mapping[str, str]) -> dict[str, Any]:
    """Loaded resources by name; each must still be the file that the plan saw."""
    loaded = {}
    for resource in resources:
        found = identify(resource)
        if found != expected[resource.name]:
            raise ResourceError(f"{resource.reference} changed during the run ({expected[resource.name]} -> {found})")
        parameters = json.dumps(dict(resource.parameters), sort_keys=True)
        loaded[resource.name] = _load(resource.kind, str(locate(resource.reference)), found, parameters)
    return loaded


@functools.lru_cache(maxsize=_LOADED)
def _load(kind: str, path: str, sha256: str, parameters: str) -> Any:
    if kind == "fasttext":
        return load_fasttext(Path(path), sha256)
    if kind == "sequence_classifier":
        # Here and not above: it needs torch, and transformers, which is an extra.
        from train.sequence_classifier import SequenceClassifier

        return SequenceClassifier(Path(path))
    if kind == "kenlm":
        # Here and not above: the package is an extra.
        import kenlm

        try:
            return kenlm.Model(path)
        except (OSError, RuntimeError, ValueError) as error:
            raise ResourceError(f"{path}: kenlm cannot read this model: {error}") from error
    if kind == "py3langid":
        return py3langid.langid.LanguageIdentifier.from_model_file(path, norm_probs=True)
    if kind == "held_out":
        return build_index(read_texts(Path(path)), **json.loads(parameters))
    if kind == "url_list":
        return shared_list(build_list, lambda: read_lines(Path(path)), sha256=sha256)
    if kind == "word_list":
        return build_words(read_lines(Path(path)))
    if kind == "benchmark":
        try:
            return build_benchmark(read_objects(Path(path)), **json.loads(parameters))
        except ValueError as error:
            raise ResourceError(f"{path}: {error}") from error
    raise ResourceError(f"no loader for resources of kind {kind!r}")


def read_objects(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL(.gz) file, or the rows of a Parquet file as such."""
    if path.name.lower().endswith(".parquet"):
        for batch in pq.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
        return
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise ResourceError(f"{path}:{number}: not JSON: {error}") from error
        if not isinstance(value, dict):
            raise ResourceError(f"{path}:{number}: not a JSON object")
        yield value


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 text file, plain or .gz; bytes that are not UTF-8 become U+FFFD."""
    opener: Any = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8", errors="replace", newline="\n") as lines:
        try:
            yield from lines
        except (OSError, EOFError, zlib.error) as error:
            raise ResourceError(f"{path}: damaged: {error}") from error


def read_texts(path: Path) -> Iterator[str]:
    """The texts of a JSONL(.gz) or Parquet file with a `text` column, or of a plain text file as one text."""
    name = path.name.lower()
    if name.endswith(".parquet"):
        for batch in pq.ParquetFile(path).iter_batches(columns=["text"]):
            yield from (text for text in batch["text"].to_pylist() if text)
        return
    opener: Any = gzip.open if name.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8", newline="\n") as lines:
        if ".jsonl" not in name:
            yield lines.read()
            return
        for number, line in enumerate(lines, start=1):
            try:
                text = json.loads(line)["text"]
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise ResourceError(f"{path}:{number}: not a JSON object with a 'text': {error}") from error
            if text:
                yield text
