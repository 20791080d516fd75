"""Each format is read back with a reader of its own, written from the format's description, and holds every token."""

import importlib.util
import json
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tokenizer.bpe import binary_array
from tokenizer.export import FORMATS, PACKAGES, documents, export
from tokenizer.shards import ShardMetadata, ShardSet, write_shard

LENGTHS = [3, 0, 10, 1, 250, 7, 0, 40]
SEPARATOR = 7


@pytest.fixture(params=["uint16", "uint32"])
def shards(request: pytest.FixtureRequest, tmp_path: Path) -> ShardSet:
    """Two shards with row groups of a few documents; the ids of uint32 do not fit in 16 bits."""
    vocabulary, first = (1000, 10) if request.param == "uint16" else (200_000, 150_000)
    for shard, lengths in enumerate((LENGTHS[:4], LENGTHS[4:])):
        counts = np.array(lengths, dtype=np.int64)
        metadata = ShardMetadata(
            tokenizer_sha256="a" * 64, vocab_size=vocabulary, end_of_text_id=SEPARATOR, shard=shard, shards=2
        )
        tokens = np.arange(first, first + counts.sum()).astype(metadata.dtype)
        first += int(counts.sum())
        docs = {
            "doc_id": [f"{shard}-{row}" for row in range(len(lengths))],
            "source": ["crawl/a.warc.gz"] * len(lengths),
            "n_bytes": counts * 4,
            "n_tokens": counts,
            "tokens": binary_array(tokens, counts),
        }
        write_shard(tmp_path / f"{shard}.parquet", pa.table(docs), metadata=metadata, row_group_tokens=12)
    return ShardSet.from_folder(tmp_path)


def expected(shards: ShardSet) -> list[list[int]]:
    return [shards.document(number).tolist() for number in range(shards.documents)]


def separated(shards: ShardSet) -> list[int]:
    return [token for document in expected(shards) for token in (SEPARATOR, *document)]


def test_documents_come_in_order_with_their_columns(shards: ShardSet) -> None:
    found = list(documents(shards))
    assert [document.tokens.tolist() for document in found] == expected(shards)
    assert [(document.doc_id, document.n_bytes) for document in found][3:5] == [("0-3", 4), ("1-0", 1000)]


def read_megatron(folder: Path) -> list[list[int]]:
    """As MMapIndexedDataset reads it."""
    index, data = (folder / "tokens.idx").read_bytes(), (folder / "tokens.bin").read_bytes()
    assert index[:9] == b"MMIDIDX\x00\x00"
    version, code, sequences, bounds = struct.unpack("<QBQQ", index[9:34])
    assert version == 1
    dtype = {8: np.uint16, 4: np.int32}[code]
    sizes = np.frombuffer(index, np.int32, sequences, 34)
    places = np.frombuffer(index, np.int64, sequences, 34 + sizes.nbytes)
    firsts = np.frombuffer(index, np.int64, bounds, 34 + sizes.nbytes + places.nbytes)
    assert len(index) == 34 + sizes.nbytes + places.nbytes + firsts.nbytes
    assert firsts.tolist() == list(range(sequences + 1))
    assert len(data) == sizes.sum() * np.dtype(dtype).itemsize
    return [np.frombuffer(data, dtype, size, place).tolist() for size, place in zip(sizes, places, strict=True)]


def test_megatron_has_every_document_with_its_end(shards: ShardSet, tmp_path: Path) -> None:
    done = export(shards, tmp_path / "out", to="megatron")
    assert read_megatron(tmp_path / "out") == [[*document, SEPARATOR] for document in expected(shards)]
    assert done.tokens == shards.tokens + shards.documents
    assert done.files == ("tokens.bin", "tokens.idx")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["tokens.bin", "tokens.idx"]


def test_nanogpt_is_ids_in_a_row(shards: ShardSet, tmp_path: Path) -> None:
    export(shards, tmp_path / "out", to="nanogpt")
    told = json.loads((tmp_path / "out" / "tokens.json").read_text())
    tokens = np.fromfile(tmp_path / "out" / "tokens.bin", np.dtype(told["dtype"]))
    assert tokens.tolist() == separated(shards)
    assert told["tokens"] == len(tokens)


def test_llmc_has_its_header_of_256_integers(shards: ShardSet, tmp_path: Path) -> None:
    export(shards, tmp_path / "out", to="llmc")
    data = (tmp_path / "out" / "tokens.bin").read_bytes()
    header = np.frombuffer(data, np.int32, 256)
    dtype = {(20240520, 1): np.uint16, (20240801, 7): np.uint32}[(int(header[0]), int(header[1]))]
    tokens = np.frombuffer(data, dtype, offset=1024)
    assert header[2] == len(tokens)
    assert tokens.tolist() == separated(shards)


def test_datasets_loads_the_folder(shards: ShardSet, tmp_path: Path) -> None:
    # Part of the extra `dev`: where it is missing, this fails and is not passed over.
    import datasets

    export(shards, tmp_path / "out", to="datasets")
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"), split="train")
    assert loaded["input_ids"][:] == expected(shards)
    assert loaded["doc_id"][3:5] == ["0-3", "1-0"]
    assert loaded.features["input_ids"].feature.dtype == shards.dtype.name


@pytest.mark.parametrize("to", sorted(PACKAGES))
def test_formats_of_packages_name_the_package_that_is_missing(shards: ShardSet, tmp_path: Path, to: str) -> None:
    module, distribution = PACKAGES[to]
    if importlib.util.find_spec(module) is not None:
        pytest.skip(f"{distribution} is installed")
    with pytest.raises(ValueError, match=f"pip install {distribution}"):
        export(shards, tmp_path / "out", to=to)
    assert not (tmp_path / "out").exists()


def test_litdata_gives_the_documents_back(shards: ShardSet, tmp_path: Path) -> None:
    litdata = pytest.importorskip("litdata", reason="litdata is not installed")
    export(shards, tmp_path / "out", to="litdata")
    found = litdata.StreamingDataset(str(tmp_path / "out"))
    assert [found[n]["tokens"].tolist() for n in range(len(found))] == expected(shards)


# The package leaves its index.json open.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_mds_gives_the_documents_back(shards: ShardSet, tmp_path: Path) -> None:
    streaming = pytest.importorskip("streaming", reason="mosaicml-streaming is not installed")
    export(shards, tmp_path / "out", to="mds")
    found = streaming.LocalDataset(str(tmp_path / "out"))
    assert [found[n]["tokens"].tolist() for n in range(len(found))] == [ids for ids in expected(shards) if ids]


def test_nothing_is_written_over_or_guessed(shards: ShardSet, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("precious")
    with pytest.raises(ValueError, match="is not empty"):
        export(shards, tmp_path / "out", to="nanogpt")
    with pytest.raises(ValueError, match=f"choose {FORMATS[0]}"):
        export(shards, tmp_path / "other", to="parquet")
