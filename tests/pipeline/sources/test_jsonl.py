"""JSON lines: every line is a document or a row, whatever the compression, and splits change nothing."""

import bz2
import gzip
import json
import lzma

import pyarrow as pa
import pytest
from test_archive import assert_tiled, bad, chained, read
from warcs import source_of

from pipeline.sources.archive import Limits
from pipeline.sources.records import Bad, Document, Skip

PACKERS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}


def line(n: int, **more) -> bytes:
    row = {"text": f"Text number {n}. " * (n % 5 + 1), "id": n, "url": f"http://a.test/{n}", "date": "2026-01-02"}
    return json.dumps({**row, **more}).encode() + b"\n"


def texts(found) -> list[str]:
    return [item.text for item in found if isinstance(item, Document)]


def test_a_line_becomes_a_document_with_its_side_columns(tmp_path):
    found, chain = read(source_of(line(0) + line(1), tmp_path, "jsonl"))
    assert [(item.offset, item.record, item.end) for item in found] == [
        (0, 0, len(line(0))),
        (len(line(0)), 0, len(line(0) + line(1))),
    ]
    assert (found[1].source_id, found[1].url, found[1].date) == ("1", "http://a.test/1", "2026-01-02")
    assert (found[1].media_type, found[1].content) == ("text/plain", b"")
    assert_tiled(chain, len(line(0) + line(1)))


@pytest.mark.parametrize("packer", PACKERS)
def test_a_compressed_file_holds_the_same_lines_numbered(tmp_path, packer):
    data = b"".join(map(line, range(50)))
    packed = PACKERS[packer](data[:900]) + PACKERS[packer](data[900:])
    found, chain = read(source_of(packed, tmp_path, f"jsonl.{packer}"))
    plain, _ = read(source_of(data, tmp_path, "jsonl"))
    assert texts(found) == texts(plain)
    assert [(item.offset, item.record) for item in found] == [(0, n) for n in range(50)]
    assert_tiled(chain, len(packed))


@pytest.mark.parametrize("packer", PACKERS)
def test_a_cut_file_gives_its_whole_lines_and_one_row(tmp_path, packer):
    data = b"".join(line(n, noise=gzip.compress(str(n).encode(), mtime=0).hex()) for n in range(3000))
    packed = PACKERS[packer](data)[:-20]
    found, chain = read(source_of(packed, tmp_path, f"jsonl.{packer}"))
    *lines, last = found
    assert all(isinstance(item, Document) for item in lines)
    assert texts(found) == [json.loads(line(n))["text"] for n in range(len(lines))]
    assert last.reason == "truncated"
    assert last.record == len(lines)
    assert chain.truncated
    assert_tiled(chain, len(packed))


def test_every_split_size_gives_what_one_reader_gives(tmp_path):
    rows = [line(n) for n in range(40)]
    rows[7] = b"no json\n"
    rows[8] = b"\n"
    rows[9] = line(9, text="long " * 500)
    rows[-1] = rows[-1].rstrip(b"\n")
    data = b"".join(rows)
    source = source_of(data, tmp_path, "jsonl")
    expected, chain = read(source)
    assert len(expected) == 40
    assert bad(expected) == [("bad_json", len(b"".join(rows[:7])))]
    assert_tiled(chain, len(data))
    for split_bytes in [*range(1, 200, 7), 211, 500, 1024, 3000, len(data) + 5]:
        found, tiles = chained(source, split_bytes)
        assert found == expected, split_bytes
        assert_tiled(tiles, len(data))


@pytest.mark.parametrize(
    ("content", "reason", "words"),
    [
        (b'{"text": "cut', "bad_json", "line 2: Unterminated string"),
        (b'{"text": "a", "score": NaN}', "bad_json", "NaN is no JSON value"),
        (b'{"text": "a", "text": "b"}', "bad_json", "'text' stands twice"),
        (b'{"text": ' + b"[" * 100_000 + b"}", "bad_json", "nested deeper"),
        (b'{"text": "a", "n": ' + b"9" * 5000 + b"}", "bad_json", "4300"),
        (b'["text"]', "bad_json", "no object: list"),
        (b'{"text": 7}', "bad_type", "'text' is int, not text"),
        (b'{"text": null}', "bad_type", "NoneType"),
        (b'{"body": "a"}', "bad_type", "no key 'text'; there are: body"),
        (b'{"text": "\xff"}', "bad_encoding", "not UTF-8 at byte 10"),
    ],
)
def test_a_bad_line_is_a_row_with_its_number_and_its_neighbours_are_documents(tmp_path, content, reason, words):
    found, chain = read(source_of(line(0) + content + b"\n" + line(2), tmp_path, "jsonl"))
    assert texts(found) == [json.loads(line(n))["text"] for n in (0, 2)]
    (row,) = (item for item in found if isinstance(item, Bad))
    assert (row.reason, row.offset) == (reason, len(line(0)))
    assert row.detail.startswith("line 2: ")
    assert words in row.detail
    assert_tiled(chain, len(line(0) + content + line(2)) + 1)


def test_byte_order_mark_crlf_line_separator_and_a_missing_last_line_feed_are_read(tmp_path):
    data = b"\xef\xbb\xbf" + line(0)[:-1] + b"\r\n" + '{"text": "a\u2028b\u0085c"}\n'.encode() + line(2)[:-1]
    found, _ = read(source_of(data, tmp_path, "jsonl"))
    assert texts(found) == [json.loads(line(0))["text"], "a\u2028b\u0085c", json.loads(line(2))["text"]]


def test_a_line_over_the_limit_is_booked_without_being_held(tmp_path):
    data = line(0) + line(1, text="x" * 5000) + line(2)
    found, _ = read(source_of(data, tmp_path, "jsonl"), Limits(max_record_bytes=1000))
    assert len(texts(found)) == 2
    assert [(item.reason, item.threshold) for item in found if isinstance(item, Bad)] == [("too_large", 1000)]


@pytest.mark.parametrize("packer", PACKERS)
def test_a_bomb_is_stopped(tmp_path, packer):
    data = line(0) + bytes(12 << 20)
    limits = Limits(max_record_bytes=1 << 20, max_member_bytes=4 << 20)
    found, chain = read(source_of(PACKERS[packer](data), tmp_path, f"jsonl.{packer}"), limits)
    assert texts(found)[:1] == [json.loads(line(0))["text"]]
    assert [item.reason for item in found if isinstance(item, Bad)] == ["ratio_bomb"]
    assert all(isinstance(item, Document | Bad | Skip) for item in found)
    assert_tiled(chain, chain.extents[-1].end)


def test_a_file_without_lines_is_one_row(tmp_path):
    for data in (b"", b"\n\n"):
        found, _ = read(source_of(data, tmp_path, "jsonl"))
        assert [item for item in found if isinstance(item, Document)] == []
    found, _ = read(source_of(b"", tmp_path, "jsonl"))
    assert bad(found) == [("empty", 0)]
