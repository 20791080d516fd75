"""Parquet files of ready texts: a wrong row costs that row, a damaged group that group, a wrong file is one row."""

import datetime as dt

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_archive import assert_tiled, bad, chained, read
from warcs import source_of, whole

from pipeline.sources.archive import Chain, Limits
from pipeline.sources.reader import read_split
from pipeline.sources.records import Bad, Document, Fields


def parquet(table: pa.Table, *, group: int = 7, **options) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=group, **options)
    return sink.getvalue().to_pybytes()


def rows(count: int) -> pa.Table:
    return pa.table(
        {
            "text": [f"Text number {n}." for n in range(count)],
            "id": pa.array(range(count)),
            "url": [f"http://a.test/{n}" for n in range(count)],
            "date": pa.array([dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)] * count),
        }
    )


def texts(found) -> list[str]:
    return [item.text for item in found if isinstance(item, Document)]


def test_rows_become_documents_with_their_side_columns(tmp_path):
    data = parquet(rows(20))
    found, chain = read(source_of(data, tmp_path, "parquet"))
    assert texts(found) == [f"Text number {n}." for n in range(20)]
    assert (found[9].source_id, found[9].url, found[9].record) == ("9", "http://a.test/9", 9)
    assert found[9].date.startswith("2026-01-02 03:04:05")
    assert len({item.offset for item in found}) == 3
    assert_tiled(chain, len(data))


def test_every_split_size_gives_what_one_reader_gives(tmp_path):
    data = parquet(rows(40), group=5)
    source = source_of(data, tmp_path, "parquet")
    expected, chain = read(source)
    assert_tiled(chain, len(data))
    for split_bytes in (16, 100, 333, 700, 1024, 5000, len(data)):
        found, tiles = chained(source, split_bytes)
        assert found == expected, split_bytes
        assert_tiled(tiles, len(data))


@pytest.mark.parametrize("kind", ["string", "large_string", "string_view", "binary", "dictionary"])
def test_text_of_any_type_that_holds_text(tmp_path, kind):
    column = pa.array(["one", "two", "one"])
    made = column.dictionary_encode() if kind == "dictionary" else column.cast(getattr(pa, kind)())
    found, _ = read(source_of(parquet(pa.table({"text": made})), tmp_path, "parquet"))
    assert texts(found) == ["one", "two", "one"]


def test_a_null_and_bytes_that_are_not_utf8_cost_their_row(tmp_path):
    broken = pa.array([b"fine", None, b"\xff\xfe\xfd", b"also fine"], pa.binary())
    unchecked = pa.Array.from_buffers(pa.string(), 4, broken.buffers(), broken.null_count)
    found, chain = read(source_of(parquet(pa.table({"text": unchecked})), tmp_path, "parquet"))
    assert texts(found) == ["fine", "also fine"]
    assert [(item.reason, item.record) for item in found if isinstance(item, Bad)] == [
        ("bad_type", 1),
        ("bad_encoding", 2),
    ]
    assert_tiled(chain, chain.extents[-1].end)


def test_a_cell_over_the_limit_costs_its_row(tmp_path):
    data = parquet(pa.table({"text": ["a", "b" * 3_000_000, "c"]}))
    found, _ = read(source_of(data, tmp_path, "parquet"), Limits(max_record_bytes=1 << 20))
    assert texts(found) == ["a", "c"]
    assert [(item.reason, item.measured) for item in found if isinstance(item, Bad)] == [("too_large", 3_000_000)]


@pytest.mark.parametrize(
    ("table", "reason", "words"),
    [
        (pa.table({"body": ["a"]}), "bad_type", "no column 'text'; there are: body"),
        (pa.table({"text": [1, 2]}), "bad_type", "is int64, not text"),
        (pa.table({"text": pa.array([], pa.string())}), "empty", "without rows"),
    ],
)
def test_a_file_that_cannot_hold_documents_is_one_row_whatever_the_splits(tmp_path, table, reason, words):
    data = parquet(table)
    source = source_of(data, tmp_path, "parquet")
    expected, _ = read(source)
    assert bad(expected) == [(reason, 0)]
    assert words in expected[0].detail
    for split_bytes in (50, 200):
        found, tiles = chained(source, split_bytes)
        assert found == expected
        assert_tiled(tiles, len(data))


def test_a_cut_file_and_a_file_of_another_kind_are_told_apart(tmp_path):
    data = parquet(rows(20))
    assert bad(read(source_of(data[:-30], tmp_path, "parquet"))[0]) == [("truncated", 0)]
    assert bad(read(source_of(b"not a table" * 9, tmp_path, "parquet"))[0]) == [("bad_header", 0)]


def test_a_damaged_group_costs_that_group(tmp_path):
    data = bytearray(parquet(rows(28), write_page_checksum=True, compression="zstd"))
    metadata = pq.ParquetFile(pa.BufferReader(bytes(data))).metadata
    place = metadata.row_group(1).column(0).data_page_offset + 60
    data[place] ^= 0xFF
    found, chain = read(source_of(bytes(data), tmp_path, "parquet"))
    assert texts(found) == [f"Text number {n}." for n in range(28) if n not in range(7, 14)]
    assert [item.reason for item in found if isinstance(item, Bad)] == ["bad_compression"]
    assert [extent.kind for extent in chain.extents] == ["record", "damaged", "record", "record"]
    assert_tiled(chain, len(data))


def test_columns_can_be_named(tmp_path):
    data = parquet(pa.table({"content": ["one"], "name": ["n1"]}))
    found = list(
        read_split(whole(source_of(data, tmp_path, "parquet")), Chain(), Limits(), Fields(text="content", id="name"))
    )
    assert [(item.text, item.source_id) for item in found] == [("one", "n1")]
