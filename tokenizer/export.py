"""Token shards in the formats of other people's training code, document by document.

    export(shards, folder, to="megatron")   tokens.bin, tokens.idx    Megatron-LM, NeMo, GPT-NeoX: MMapIndexedDataset
                              "nanogpt"     tokens.bin, tokens.json   nanoGPT: ids in a row, nothing else
                              "llmc"        tokens.bin                llm.c, modded-nanogpt: ids in a row with a header
                              "datasets"    data/SPLIT-*.parquet      Hugging Face: load_dataset(folder)
                              "mds"         MosaicML Streaming        needs the package mosaicml-streaming
                              "litdata"     Lightning's LitData       needs the package litdata

Documents keep their order, and all are written but those without tokens in mds, which cannot hold them. One row group
is in memory at a time. Formats without document boundaries of their own get the end-of-text token before each document,
as the loader puts it; Megatron gets it behind each, as its own tool does.
"""

import json
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tokenizer.shards import ShardSet

Format = Literal["megatron", "nanogpt", "llmc", "datasets", "mds", "litdata"]
FORMATS: tuple[Format, ...] = get_args(Format)
#: Formats that only their own package writes: format -> (module, distribution).
PACKAGES = {"mds": ("streaming", "mosaicml-streaming"), "litdata": ("litdata", "litdata")}

#: Megatron-LM, megatron/core/datasets/indexed_dataset.py: magic, version 1, and its codes for types of ids.
MEGATRON_MAGIC = b"MMIDIDX\x00\x00"
MEGATRON_DTYPES = {"uint16": 8, "int32": 4}
#: llm.c, dev/data/data_common.py write_datafile: 256 int32, of which three are used; uint16 ids are "gpt-2", uint32
#: "llama-3".
LLMC_HEADER_INTS = 256
LLMC_KINDS = {"uint16": (20240520, 1), "uint32": (20240801, 7)}
#: The header counts tokens in 32 bits.
LLMC_MAX_TOKENS = 2**31 - 1
#: Read at once of the documents' sizes, which wait in a file until the index is written: they are not held in memory.
_COPY_BYTES = 1 << 20
#: Bytes after which the streaming packages begin a new file: their own usual size.
_PACKAGE_FILE_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written: the files' names in the folder, and how many ids they hold, separators included."""

    format: str
    files: tuple[str, ...]
    documents: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Document:
    """One document of a set, in its order."""

    doc_id: str
    source: str
    n_bytes: int
    tokens: np.ndarray


def documents(shards: ShardSet) -> Iterator[Document]:
    """All documents in the order of the set. Holds one row group."""
    for group in range(len(shards.row_groups)):
        yield from _rows(shards, group)


def export(shards: ShardSet, folder: Path, *, to: Format) -> Exported:
    """Write the set to `folder`, which is made and must hold nothing yet. ValueError where the format cannot hold the
    set, its package is not installed, or the folder is not empty. After an error there is no folder."""
    if to not in FORMATS:
        raise ValueError(f"cannot export to {to!r}: choose {', '.join(FORMATS)}")
    if to in PACKAGES and find_spec(PACKAGES[to][0]) is None:
        raise ValueError(f"exporting to {to} needs the package {PACKAGES[to][1]}: pip install {PACKAGES[to][1]}")
    if to == "llmc" and shards.tokens + shards.documents > LLMC_MAX_TOKENS:
        raise ValueError(
            f"an llm.c file holds at most {LLMC_MAX_TOKENS:,} tokens, the set has {shards.tokens:,}: export its shards "
            "one by one"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is not empty: name a new folder")
    writers: dict[str, Callable[[ShardSet, Path], Exported]] = {
        "megatron": _megatron, "nanogpt": _nanogpt, "llmc": _llmc, "datasets": _datasets, "mds": _mds,
        "litdata": _litdata,
    }  # fmt: skip
    # Written beside and renamed, so that a folder of this name is a whole export.
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as beside:
        done = writers[to](shards, Path(beside) / "export")
        (Path(beside) / "export").rename(folder)
    return done


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _rows(shards: ShardSet, group: int) -> Iterator[Document]:
    table = shards.read_documents(group)
    names = zip(*(table[name].to_pylist() for name in ("doc_id", "source", "n_bytes")), strict=True)
    for (doc_id, source, n_bytes), tokens in zip(names, table["tokens"], strict=True):
        yield Document(
            doc_id=doc_id, source=source, n_bytes=n_bytes, tokens=np.frombuffer(tokens.as_buffer(), shards.dtype)
        )


def _separated(shards: ShardSet, group: int) -> np.ndarray:
    """The ids of a row group with the end-of-text token before each document."""
    tokens, ends = shards.read_row_group(group)
    starts = np.concatenate([np.zeros(1, np.int64), ends])[: len(ends)]
    return np.insert(tokens, starts, shards.metadata.end_of_text_id)


def _nanogpt(shards: ShardSet, folder: Path) -> Exported:
    path = _made(folder) / "tokens.bin"
    with path.open("wb") as sink:
        written = _write_separated(shards, sink)
    meta = folder / "tokens.json"
    meta.write_text(json.dumps(_meta(shards), indent=1) + "\n")
    return _exported("nanogpt", folder, shards, written)


def _llmc(shards: ShardSet, folder: Path) -> Exported:
    path = _made(folder) / "tokens.bin"
    header = np.zeros(LLMC_HEADER_INTS, "<i4")
    header[:2] = LLMC_KINDS[shards.dtype.name]
    header[2] = shards.tokens + shards.documents
    with path.open("wb") as sink:
        sink.write(header.tobytes())
        written = _write_separated(shards, sink)
    return _exported("llmc", folder, shards, written)


def _write_separated(shards: ShardSet, sink: BinaryIO) -> int:
    written = 0
    for group in range(len(shards.row_groups)):
        tokens = _separated(shards, group)
        sink.write(tokens.tobytes())
        written += len(tokens)
    return written


def _megatron(shards: ShardSet, folder: Path) -> Exported:
    """tokens.bin: ids of each document and end-of-text behind it. tokens.idx: sizes (int32) and places (int64) of the
    sequences, one a document, and for each document its first sequence (int64, one more at the end)."""
    data, index, waiting = _made(folder) / "tokens.bin", folder / "tokens.idx", folder / "sizes.tmp"
    dtype = np.dtype("<u2") if shards.dtype.itemsize == 2 else np.dtype("<i4")
    written = 0
    with data.open("wb") as sink, waiting.open("wb") as lengths:
        for group in range(len(shards.row_groups)):
            tokens, ends = shards.read_row_group(group)
            closed = np.insert(tokens, ends, shards.metadata.end_of_text_id)
            sink.write(closed.astype(dtype).tobytes())
            lengths.write((np.diff(ends, prepend=0) + 1).astype("<i4").tobytes())
            written += len(closed)
    count = shards.documents
    with index.open("wb") as sink:
        sink.write(MEGATRON_MAGIC + struct.pack("<QBQQ", 1, MEGATRON_DTYPES[dtype.name], count, count + 1))
        for block in _blocks(waiting, "<i4"):
            sink.write(block.tobytes())
        place = 0
        for block in _blocks(waiting, "<i4"):
            ends = place + np.cumsum(block.astype("<i8") * dtype.itemsize)
            sink.write(np.concatenate([[place], ends[:-1]]).astype("<i8").tobytes())
            place = int(ends[-1])
        for first in range(0, count + 1, _COPY_BYTES):
            sink.write(np.arange(first, min(first + _COPY_BYTES, count + 1), dtype="<i8").tobytes())
    waiting.unlink()
    return _exported("megatron", folder, shards, written)


def _blocks(path: Path, dtype: str) -> Iterator[np.ndarray]:
    with path.open("rb") as source:
        while block := source.read(_COPY_BYTES):
            yield np.frombuffer(block, dtype)


def _datasets(shards: ShardSet, folder: Path) -> Exported:
    """One Parquet file a shard, with the ids as a list: what `load_dataset(folder)` finds by its names."""
    split = shards.metadata.split
    element = pa.uint16() if shards.dtype.itemsize == 2 else pa.uint32()
    # pyarrow's name for a list's element differs between versions; this one is what the Parquet format asks for.
    ids = pa.list_(pa.field("element", element, nullable=False))
    schema = pa.schema([("doc_id", pa.string()), ("source", pa.string()), ("n_bytes", pa.int64()), ("input_ids", ids)])
    (_made(folder) / "data").mkdir()
    writer: Any = None
    opened = -1
    try:
        for number, (shard, _) in enumerate(shards.row_groups):
            if shard != opened:
                if writer is not None:
                    writer.close()
                name = f"{split}-{shard:05d}-of-{len(shards.shards):05d}.parquet"
                writer, opened = pq.ParquetWriter(folder / "data" / name, schema, compression="zstd"), shard
            writer.write_table(_listed(shards, number, schema))
    finally:
        if writer is not None:
            writer.close()
    card = folder / "README.md"
    card.write_text(
        f"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: {split}\n    path: data/{split}-*.parquet\n"
        "---\n"
        f"\n{shards.documents:,} documents, {shards.tokens:,} tokens. `input_ids` holds no separator; the tokenizer's "
        f"sha256 is {shards.metadata.tokenizer_sha256}, its end-of-text id {shards.metadata.end_of_text_id}.\n"
    )
    return _exported("datasets", folder, shards, shards.tokens)


def _listed(shards: ShardSet, group: int, schema: pa.Schema) -> pa.Table:
    table = shards.read_documents(group)
    tokens, ends = shards.read_row_group(group)
    offsets = pa.array(np.concatenate([[0], ends]), pa.int32())
    ids = pa.ListArray.from_arrays(offsets, pa.array(tokens), type=schema.field("input_ids").type)
    return pa.table([*(table[name] for name in ("doc_id", "source", "n_bytes")), ids], schema=schema)


def _mds(shards: ShardSet, folder: Path) -> Exported:
    from streaming import MDSWriter  # an optional package

    columns = {"doc_id": "str", "source": "str", "n_bytes": "int", "tokens": f"ndarray:{shards.dtype.name}"}
    with MDSWriter(out=str(folder), columns=columns, size_limit=_PACKAGE_FILE_BYTES) as writer:
        written = 0
        for document in documents(shards):
            if len(document.tokens):  # its arrays cannot be empty
                writer.write({**vars(document), "tokens": document.tokens})
                written += 1
    return replace(_exported("mds", folder, shards, shards.tokens), documents=written)


def _litdata(shards: ShardSet, folder: Path) -> Exported:
    """Through litdata's own chunk writer: its `optimize` would start processes and reorder."""
    from litdata.streaming.cache import Cache  # an optional package

    cache = Cache(str(folder), chunk_bytes=_PACKAGE_FILE_BYTES)
    for number, document in enumerate(documents(shards)):
        cache[number] = {**vars(document), "tokens": document.tokens}
    cache.done()
    cache.merge(1)
    return _exported("litdata", folder, shards, shards.tokens)


def _meta(shards: ShardSet) -> dict[str, Any]:
    return {
        "dtype": shards.dtype.name,
        "end_of_text_id": shards.metadata.end_of_text_id,
        "tokenizer_sha256": shards.metadata.tokenizer_sha256,
        "vocab_size": shards.metadata.vocab_size,
        "documents": shards.documents,
        "tokens": shards.tokens + shards.documents,
    }


def _exported(to: str, folder: Path, shards: ShardSet, tokens: int) -> Exported:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return Exported(format=to, files=tuple(names), documents=shards.documents, tokens=tokens)
