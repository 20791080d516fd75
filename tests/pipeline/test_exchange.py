"""The exchange: what goes in by any route comes out by key, once, in order, and damage is noticed."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline import exchange
from pipeline.engine import Engine
from pipeline.exchange import (
    by_hash,
    equal_stretches,
    level,
    merge_partition,
    partitions_for,
    read_partition,
    run_names,
    sorted_pieces,
    write_run,
)
from pipeline.files import Files
from pipeline.parts import Output
from pipeline.run_file import BATCH_BYTES, BLOCK, Run
from pipeline.runners.inline import InlineRunner

SCHEMA = pa.schema([pa.field("key", pa.uint64()), pa.field("doc", pa.uint64()), pa.field("payload", pa.large_binary())])


def rows(count: int, *, seed: int, payload_bytes: int = 8) -> pa.Table:
    drawn = np.random.default_rng(seed)
    keys = drawn.integers(0, 1 << 64, count, dtype=np.uint64)
    docs = drawn.permutation(count).astype(np.uint64) + np.uint64(seed * 1_000_000)
    return pa.table([keys, docs, [bytes([seed % 256]) * payload_bytes] * count], schema=SCHEMA)


def write(folder: Path, tables: list[pa.Table], *, partitions: int = 3, **options: Any) -> list[str]:
    names = []
    for number, table in enumerate(tables):
        output = Output(Files(folder), "map-0", f"m{number}")
        write_run(
            output,
            "rows",
            table,
            partition=by_hash(table["key"].to_numpy(), partitions),
            keys=["key", "doc"],
            **options,
        )
        names.append(output.written["rows"].name)
    return names


def by_key(table: pa.Table) -> pa.Table:
    return table.sort_by([("key", "ascending"), ("doc", "ascending")]).combine_chunks()


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_a_merge_gives_every_row_once_in_key_order(tmp_path: Path, compression: str | None) -> None:
    tables = [rows(count, seed=count) for count in (1, 50_000, 0, 20_000, 3)]
    names = write(tmp_path, tables, compression=compression)
    pieces = [
        piece
        for partition in range(3)
        for piece in merge_partition(Files(tmp_path), names, partition, keys=["key", "doc"])
    ]
    assert len(pieces) > 6, "streamed, not read whole"
    assert pa.concat_tables(pieces).combine_chunks().equals(by_key(pa.concat_tables(tables)))


def test_a_merge_holds_a_batch_of_each_run(tmp_path: Path) -> None:
    names = write(tmp_path, [rows(2000, seed=seed, payload_bytes=1000) for seed in range(5)], partitions=1)
    pieces = list(merge_partition(Files(tmp_path), names, 0, keys=["key", "doc"]))
    assert max(piece.nbytes for piece in pieces) <= 5 * BATCH_BYTES


def test_rows_with_one_hot_key_come_in_order(tmp_path: Path) -> None:
    tables = []
    for seed in range(3):
        table = rows(40_000, seed=seed)
        tables.append(table.set_column(0, SCHEMA.field("key"), pa.array(np.full(40_000, 7, dtype=np.uint64))))
    names = write(tmp_path, tables)
    merged = pa.concat_tables(merge_partition(Files(tmp_path), names, 0, keys=["key", "doc"]))
    assert merged["doc"].to_pylist() == sorted(doc for table in tables for doc in table["doc"].to_pylist())


def test_read_partition_gives_the_rows_of_one_range(tmp_path: Path) -> None:
    tables = [rows(1000, seed=seed) for seed in range(4)]
    names = write(tmp_path, tables, partitions=5)
    found = [read_partition(Files(tmp_path), names, partition, schema=SCHEMA) for partition in range(5)]
    assert by_key(pa.concat_tables(found)).equals(by_key(pa.concat_tables(tables)))
    assert all(set(by_hash(table["key"].to_numpy(), 5)) == {number} for number, table in enumerate(found))
    assert read_partition(Files(tmp_path), names, 9, schema=SCHEMA).equals(SCHEMA.empty_table())
    assert read_partition(Files(tmp_path), [], 0, schema=SCHEMA).equals(SCHEMA.empty_table())


def test_an_index_of_many_blocks_gives_each_partition_its_rows(tmp_path: Path) -> None:
    tables = [rows(3000, seed=seed) for seed in range(2)]
    names = write(tmp_path, tables, partitions=2000)
    with Run(Files(tmp_path), names[0]) as opened:
        assert len(opened.partitions()) > 2 * BLOCK
        assert (
            sum(opened.read(batch).num_rows for part in opened.partitions() for batch in opened.batches(part)) == 3000
        )
    everything = by_key(pa.concat_tables(tables))
    of_row = by_hash(everything["key"].to_numpy(), 2000)
    for partition in (0, 1, BLOCK - 1, BLOCK, 1000, 1999):
        wanted = everything.filter(pa.array(of_row == partition))
        found = [
            SCHEMA.empty_table(),
            *sorted_pieces(Files(tmp_path), names, partition, keys=["key", "doc"], schema=SCHEMA),
        ]
        assert pa.concat_tables(found).combine_chunks().equals(wanted.combine_chunks())


def test_a_partition_larger_than_planned_is_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = write(tmp_path, [rows(30_000, seed=seed) for seed in range(2)], partitions=1)
    arguments = {"keys": ["key", "doc"], "schema": SCHEMA}
    (whole,) = sorted_pieces(Files(tmp_path), names, 0, **arguments)
    monkeypatch.setattr(exchange, "AT_ONCE_BYTES", 1 << 20)
    pieces = list(sorted_pieces(Files(tmp_path), names, 0, **arguments))
    assert len(pieces) > 2
    assert pa.concat_tables(pieces).combine_chunks().equals(whole)


def test_the_bytes_depend_on_the_rows_alone(tmp_path: Path) -> None:
    table = rows(5000, seed=1)
    mixed = table.take(pa.array(np.random.default_rng(2).permutation(5000)))
    (one,), (two,) = write(tmp_path / "one", [table]), write(tmp_path / "two", [mixed])
    assert Files(tmp_path / "one").read(one) == Files(tmp_path / "two").read(two)


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_levels_merge_many_runs_into_few_with_the_same_rows(tmp_path: Path, compression: str | None) -> None:
    engine = Engine(str(tmp_path), InlineRunner())
    tables = [rows(100, seed=seed) for seed in range(23)]
    names = write(tmp_path, tables, compression=compression)
    few = level(engine, names, phase="map-0", suffix="rows", keys=["key", "doc"], fan_in=4)
    assert len(few) <= 4
    assert sorted(engine.commits) == ["map.rows.level1-0", "map.rows.level2-0"]
    merged = [
        pa.concat_tables(merge_partition(Files(tmp_path), few, number, keys=["key", "doc"])) for number in range(3)
    ]
    assert pa.concat_tables(merged).combine_chunks().equals(by_key(pa.concat_tables(tables)))
    assert level(engine, names, phase="map-0", suffix="rows", keys=["key", "doc"], fan_in=23) == names
    assert run_names(engine.commits["map.rows.level2-0"], "rows") == few


@pytest.mark.parametrize("place", [10, -10, -1])
def test_a_changed_byte_is_noticed(tmp_path: Path, place: int) -> None:
    (name,) = write(tmp_path, [rows(1000, seed=1)])
    data = bytearray((tmp_path / name).read_bytes())
    data[place] ^= 0xFF
    (tmp_path / name).write_bytes(data)
    with pytest.raises((OSError, ValueError), match=r"damaged|JSON|Expecting|codec"):
        list(merge_partition(Files(tmp_path), [name], 0, keys=["key", "doc"]))


@pytest.mark.parametrize("kept", [0, 5, 1000])
def test_a_cut_file_is_noticed(tmp_path: Path, kept: int) -> None:
    (name,) = write(tmp_path, [rows(1000, seed=1)])
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:kept])
    with pytest.raises(OSError, match="damaged"):
        Run(Files(tmp_path), name)


def test_partitions_are_ranges_of_keys_in_order() -> None:
    keys = np.array([0, 1 << 62, 1 << 63, (1 << 64) - 1], dtype=np.uint64)
    assert by_hash(keys, 4).tolist() == [0, 1, 2, 3]
    assert by_hash(keys, 1).tolist() == [0, 0, 0, 0]
    assert [partitions_for(size, 100) for size in (0, 100, 101, 1000)] == [1, 1, 2, 10]


def test_stretches_of_equal_values() -> None:
    starts, ends = equal_stretches(np.array([3, 3, 5, 7, 7]))
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == [(0, 2), (2, 3), (3, 5)]
    assert [len(found) for found in equal_stretches(np.zeros(0))] == [0, 0]
