"""The shard format: what is written comes back, and nothing damaged, missing or mixed is read."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tokenizer.bpe import BPESettings, binary_array, learn, load
from tokenizer.shards import SCHEMA, VERSION, ShardError, ShardMetadata, ShardSet, write_shard

LENGTHS = [3, 0, 10, 1, 250, 7, 0, 40]


def made_by(tokenizer: str = "a" * 64, **changes) -> ShardMetadata:
    return ShardMetadata(**{"tokenizer_sha256": tokenizer, "vocab_size": 1000, "end_of_text_id": 0, **changes})


def documents(lengths: list[int] = LENGTHS, *, first: int = 1, dtype: str = "<u2") -> pa.Table:
    """Documents whose tokens count on: the first one holds 1, 2, 3, the next one goes on from there."""
    counts = np.array(lengths, dtype=np.int64)
    tokens = np.arange(first, first + counts.sum()).astype(dtype)
    return pa.table(
        {
            "doc_id": [f"{first + row:032x}" for row in range(len(lengths))],
            "source": ["crawl/a.warc.gz"] * len(lengths),
            "n_bytes": counts * 4,
            "n_tokens": counts,
            "tokens": binary_array(tokens, counts),
        }
    )


def write(path: Path, docs: pa.Table, metadata: ShardMetadata, **options) -> Path:
    write_shard(path, docs, metadata=metadata, **options)
    return path


def test_documents_and_token_ranges_come_back_at_random(tmp_path: Path) -> None:
    shards = ShardSet([write(tmp_path / "a.parquet", documents(), made_by(), row_group_tokens=12)])
    assert (shards.documents, shards.tokens, shards.bytes) == (8, 311, 1244)
    # A row group ends with the document that brings it to 12 tokens; no document is cut.
    assert (shards.row_group_documents, shards.row_group_tokens) == ([3, 2, 3], [13, 251, 47])
    starts = np.cumsum([0, *LENGTHS])
    for number, length in enumerate(LENGTHS):
        expected = np.arange(1 + starts[number], 1 + starts[number] + length)
        assert shards.document(number).tolist() == expected.tolist()
    for start, stop in [(0, 311), (0, 0), (12, 14), (13, 264), (300, 311), (311, 311)]:
        assert shards.token_range(start, stop).tolist() == list(range(1 + start, 1 + stop))
    for call in (lambda: shards.document(8), lambda: shards.token_range(0, 312)):
        with pytest.raises(IndexError):
            call()
    shards.verify()


def test_columns_and_layout_are_those_of_the_specification(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", documents(), made_by())
    file = pq.ParquetFile(path)
    assert file.schema_arrow.equals(SCHEMA)
    tokens = file.metadata.row_group(0).column(4)
    assert tokens.compression == "ZSTD"
    assert not tokens.has_dictionary_page
    assert {b"tamis.shard", b"tamis.shard.sha256"} <= set(file.metadata.metadata)


def test_the_bytes_do_not_depend_on_how_documents_are_cut_into_tables() -> None:
    whole, pieces = io.BytesIO(), io.BytesIO()
    write_shard(whole, documents(), metadata=made_by(), row_group_tokens=12)
    cut = (documents().slice(start, 3) for start in (0, 3, 6))
    write_shard(pieces, cut, metadata=made_by(), row_group_tokens=12)
    assert whole.getvalue() == pieces.getvalue()


def test_the_content_hash_does_not_depend_on_row_groups() -> None:
    totals = [write_shard(io.BytesIO(), documents(), metadata=made_by(), row_group_tokens=n) for n in (1, 12, 10**6)]
    assert len({total.content_sha256 for total in totals}) == 1


def test_ids_beyond_16_bits_are_kept_whole(tmp_path: Path) -> None:
    docs = documents([5], first=70_000, dtype="<u4")
    shards = ShardSet([write(tmp_path / "a.parquet", docs, made_by(vocab_size=100_000))])
    assert shards.dtype.name == "uint32"
    assert shards.document(0).tolist() == [70_000, 70_001, 70_002, 70_003, 70_004]
    # The same ids wrapped to 16 bits have other sizes than stated, and are refused.
    with pytest.raises(ValueError, match="states 5 tokens of uint32 and brings 10 bytes"):
        write_shard(io.BytesIO(), documents([5]), metadata=made_by(vocab_size=100_000))


def test_wrong_documents_are_not_written() -> None:
    with pytest.raises(ValueError, match="token id 311 is not in a vocabulary of 100"):
        write_shard(io.BytesIO(), documents(), metadata=made_by(vocab_size=100))
    docs = documents([4])
    for name, value in (("n_tokens", [5]), ("source", [None])):
        column = pa.array(value, SCHEMA.field(name).type)
        wrong = docs.set_column(docs.schema.get_field_index(name), name, column)
        with pytest.raises(ValueError, match=r"states 5|null"):
            write_shard(io.BytesIO(), wrong, metadata=made_by())


@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0]])
def test_shards_without_tokens_are_shards(tmp_path: Path, lengths: list[int]) -> None:
    shards = ShardSet([write(tmp_path / "a.parquet", documents(lengths), made_by())])
    assert (shards.documents, shards.tokens) == (len(lengths), 0)
    shards.verify()


def test_any_flipped_bit_is_refused_or_changes_nothing_that_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", documents(), made_by(), row_group_tokens=100)
    data, before = path.read_bytes(), ShardSet([path])
    content = before.token_range(0, before.tokens).tolist()
    refused = 0
    for position in range(0, len(data), 3):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        try:
            shards = ShardSet([path])
            shards.verify()
            assert shards.metadata == before.metadata
            assert shards.shards[0].totals == before.shards[0].totals
            assert shards.token_range(0, shards.tokens).tolist() == content
        except ShardError:
            refused += 1
    # What is left are names of the writing library, unused hints and the like.
    assert refused > len(data) / 3 * 0.6


def test_a_flipped_bit_among_the_tokens_is_refused_on_reading(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", documents(), made_by())
    data = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(0).column(4)
    data[column.data_page_offset + column.total_compressed_size - 5] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(ShardError, match="row group 0 is damaged"):
        ShardSet([path]).document(0)


def test_interrupted_writes_and_strangers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    docs = documents()

    def killed():
        yield docs
        raise RuntimeError("worker killed")

    with pytest.raises(RuntimeError, match="worker killed"):
        write_shard(path, killed(), metadata=made_by())
    with pytest.raises(ShardError, match=r"not a whole Parquet file|not a token shard"):
        ShardSet([path])
    whole = write(tmp_path / "b.parquet", documents(), made_by()).read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(ShardError, match="not a whole Parquet file"):
        ShardSet([path])
    pq.write_table(documents(), path)
    with pytest.raises(ShardError, match="not a token shard"):
        ShardSet([path])
    with pytest.raises(ShardError, match="no such shard"):
        ShardSet([tmp_path / "missing.parquet"])
    with pytest.raises(ShardError, match="empty"):
        ShardSet([])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"tokenizer": "b" * 64}, "tokenizer_sha256"),
        ({"vocab_size": 2000}, "vocab_size"),
        ({"end_of_text_id": 1}, "end_of_text_id"),
        ({"split": "validation"}, "split"),
        ({"phase_key": "other run"}, "phase_key"),
        ({"shards": 3}, "shards"),
        ({"order": "length ascending"}, "order"),
    ],
)
def test_shards_of_different_making_are_not_mixed(tmp_path: Path, changes: dict, named: str) -> None:
    one = write(tmp_path / "a.parquet", documents(), made_by(shards=2))
    other = write(tmp_path / "b.parquet", documents(), made_by(**{"shard": 1, "shards": 2, **changes}))
    with pytest.raises(ShardError, match=f"cannot be read together: {named} is"):
        ShardSet([one, other])


def test_missing_and_doubled_shards_are_refused_and_the_order_is_the_sets_own(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / f"{n}.parquet", documents(first=1 + 311 * n), made_by(vocab_size=5000, shard=n, shards=3))
        for n in range(3)
    ]
    shards = ShardSet(paths[::-1])
    assert shards.token_range(0, 933).tolist() == list(range(1, 934))
    assert shards.fingerprint == ShardSet(paths).fingerprint
    with pytest.raises(ShardError, match="1 of 3 shards are missing, the first is number 1"):
        ShardSet([paths[0], paths[2]])
    with pytest.raises(ShardError, match="are both shard 0"):
        ShardSet([paths[0], paths[0]])
    assert ShardSet([paths[2]], complete=False).document(0).tolist() == [623, 624, 625]


def test_a_set_of_version_1_is_read_as_shuffled_and_later_ones_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", documents(), made_by())
    table, stated = pq.read_table(path), json.loads(pq.ParquetFile(path).metadata.metadata[b"tamis.shard"])
    for version, readable in ((1, True), (3, False)):
        value = json.dumps({**{k: v for k, v in stated.items() if k not in ("order", "bucket")}, "version": version})
        with pq.ParquetWriter(path, SCHEMA, write_page_checksum=True) as writer:
            writer.write_table(table)
            check = hashlib.sha256(value.encode()).hexdigest()
            writer.add_key_value_metadata({"tamis.shard": value, "tamis.shard.sha256": check})
        if readable:
            old = ShardSet([path])
            old.verify()
            assert (old.metadata.order, old.metadata.bucket, old.tokens) == ("", 0, 311)
        else:
            with pytest.raises(ShardError, match="format version 3; this reader knows 1 and 2"):
                ShardSet([path])


def test_parts_of_an_order_stand_in_their_order(tmp_path: Path) -> None:
    parts = [made_by(shard=n, shards=2, order="length ascending", bucket=bucket) for n, bucket in ((0, 1), (1, 0))]
    paths = [write(tmp_path / f"{part.shard}.parquet", documents(), part) for part in parts]
    with pytest.raises(ShardError, match="belongs before"):
        ShardSet(paths)
    with pytest.raises(ValueError, match="there is no such part"):
        made_by(bucket=1)


def test_a_folder_gives_the_shards_of_one_split(tmp_path: Path) -> None:
    write(tmp_path / "train-00000.parquet", documents(), made_by())
    write(tmp_path / "validation-00000.parquet", documents([2]), made_by(split="validation"))
    assert ShardSet.from_folder(tmp_path).documents == 8
    assert ShardSet.from_folder(tmp_path, split="validation").documents == 1
    with pytest.raises(ShardError, match="no token shards of the split 'test' among 2"):
        ShardSet.from_folder(tmp_path, split="test")


def test_a_shard_replaced_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", documents(), made_by())
    shards = ShardSet([path])
    write(path, documents(first=2), made_by())
    with pytest.raises(ShardError, match="was replaced"):
        shards.document(0)


def test_the_specifications_example_reads_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "train-00000.parquet", documents([3]), made_by())
    text = (Path(__file__).parents[2] / "docs" / "format.md").read_text()
    example = text.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(example, names)
    assert names["ids"].tolist() == [1, 2, 3]
    assert f"Format version **{VERSION}**" in text
    for key in names["stated"]:
        assert f"`{key}`" in text


def test_the_tokenizer_of_a_set_has_the_separator_that_the_set_states(tmp_path: Path) -> None:
    data = learn(["the lazy dog"] * 9, BPESettings(vocab_size=259, special_tokens=("<|stop|>", "<|pad|>")))
    with pytest.raises(ValueError, match="name the one that ends a document"):
        load(data)
    named = load(data, end_of_text="<|stop|>")
    metadata = made_by(named.sha256, vocab_size=named.vocab_size, end_of_text_id=named.end_of_text_id)
    shards = ShardSet([write(tmp_path / "a.parquet", documents([3]), metadata)])
    assert shards.made_by(data) == named
    with pytest.raises(ShardError, match="not the tokenizer of these shards"):
        shards.made_by(data + b" ")
    with pytest.raises(ValueError, match="no token of id 300"):
        load(data, end_of_text=300)
