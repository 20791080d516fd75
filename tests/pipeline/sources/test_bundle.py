"""Zip, WACZ and tar: entries are documents or archives of their own, nothing is unpacked by its name."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile

import pyarrow as pa
import pytest
from test_archive import all_urls, assert_tiled, bad, read, urls
from test_jsonl import PACKERS, line
from warcs import http, member, pages, record, source_of

from pipeline.sources.archive import Limits
from pipeline.sources.listing import list_sources
from pipeline.sources.records import Bad, Document, Skip


def zipped(entries: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=method)
    return sink.getvalue()


def tarred(entries: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, data in entries.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return sink.getvalue()


WARC = b"".join(map(member, pages(5)))
MIXED = {"page.html": b"<p>page</p>", "more/x.warc.gz": WARC, "lines.jsonl": line(0) + line(1), "n.txt": b"words"}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_of_pages_archives_and_lines(tmp_path, method):
    data = zipped(MIXED, method=method)
    found, chain = read(source_of(data, tmp_path, "zip"))
    assert urls(found) == ["page.html", *all_urls(5), "http://a.test/0", "http://a.test/1", "n.txt"]
    assert [item.media_type for item in found] == ["text/html"] * 6 + ["text/plain"] * 3
    assert len({(item.offset, item.record) for item in found}) == 9
    assert_tiled(chain, len(data))


def test_a_stored_archive_is_told_by_its_place_in_the_zip(tmp_path):
    data = zipped({"a.warc.gz": WARC}, method=zipfile.ZIP_STORED)
    found, chain = read(source_of(data, tmp_path, "zip"))
    assert [item.offset for item in found] == [data.index(member(page)) for page in pages(5)]
    assert_tiled(chain, len(data))


def test_of_a_wacz_only_the_archive_is_read_and_the_rest_is_counted(tmp_path):
    entries = {
        "datapackage.json": b"{}", "pages/pages.jsonl": line(0), "indexes/index.cdx": b"x", "archive/a.warc.gz": WARC,
    }  # fmt: skip
    found, chain = read(source_of(zipped(entries, method=zipfile.ZIP_STORED), tmp_path, "zip", name="c.wacz"))
    assert urls(found) == all_urls(5)
    assert [item.record_type for item in found if isinstance(item, Skip)] == ["wacz_index"] * 3
    assert_tiled(chain, chain.extents[-1].end)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_entry_costs_that_entry(tmp_path, method):
    data = bytearray(
        zipped({"a.html": b"<p>one</p>" * 50, "b.html": b"<p>two</p>" * 50, "c.html": b"3"}, method=method)
    )
    data[data.index(b"b.html") + 12] ^= 0xFF
    found, chain = read(source_of(bytes(data), tmp_path, "zip"))
    assert urls(found) == ["a.html", "c.html"]
    assert [(item.reason, item.url) for item in found if isinstance(item, Bad)] == [("bad_compression", "b.html")]
    assert_tiled(chain, len(data))


def test_a_zip_without_its_directory_is_one_row(tmp_path):
    data = zipped(MIXED)
    assert bad(read(source_of(data[:-40], tmp_path, "zip"))[0]) == [("bad_header", 0)]


def test_entries_that_lie_over_one_another_are_refused(tmp_path):
    data = bytearray(zipped({"a.txt": b"x" * 4000, "b.txt": b"y", "c.txt": b"z"}, method=zipfile.ZIP_STORED))
    directory = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    data[directory + 42 : directory + 46] = (20).to_bytes(4, "little")
    found, chain = read(source_of(bytes(data), tmp_path, "zip"))
    assert {item.reason for item in found if isinstance(item, Bad)} == {"bad_header", "bad_compression"}
    assert urls(found) == ["c.txt"]
    assert_tiled(chain, len(data))


def test_an_entry_over_the_limit_is_booked_and_not_inflated(tmp_path):
    found, _ = read(source_of(zipped({"bomb.txt": bytes(8 << 20), "b.txt": b"y"}), tmp_path, "zip"))
    assert [(item.reason, item.url) for item in found if isinstance(item, Bad)] == [("too_large", "bomb.txt")]
    assert urls(found) == ["b.txt"]


@pytest.mark.parametrize("packer", ["", *PACKERS])
def test_a_tar_of_the_same_things(tmp_path, packer):
    data = tarred(MIXED)
    packed = PACKERS[packer](data) if packer else data
    found, chain = read(source_of(packed, tmp_path, "tar", name=f"x.tar.{packer}"))
    assert urls(found) == ["page.html", *all_urls(5), "http://a.test/0", "http://a.test/1", "n.txt"]
    assert len({(item.offset, item.record) for item in found}) == 9
    assert_tiled(chain, len(packed))
    cut, chain = read(source_of(packed[: len(packed) // 3], tmp_path, "tar", name=f"cut.tar.{packer}"))
    assert [item.reason for item in cut if isinstance(item, Bad)][-1] in ("truncated", "bad_compression")
    assert [item for item in cut if isinstance(item, Document)] == found[: sum(isinstance(i, Document) for i in cut)]


@pytest.mark.parametrize("packer", ["bz2", "xz", "zst"])
def test_an_archive_in_one_stream_is_read_like_a_plain_one(tmp_path, packer):
    records = pages(12)
    records[4] = record(http(b"short"), url="http://a.test/4", length="900")
    data = PACKERS[packer](b"".join(records))
    found, chain = read(source_of(data, tmp_path, f"warc.{packer}"))
    assert urls(found) == all_urls(12, 4)
    assert [reason for reason, _ in bad(found)] == ["bad_length"]
    assert_tiled(chain, len(data))
    found, chain = read(source_of(data[:-9], tmp_path, f"warc.{packer}", name=f"cut.warc.{packer}"))
    assert bad(found)[-1][0] in ("truncated", "bad_compression")
    assert chain.truncated
    assert_tiled(chain, len(data) - 9)


@pytest.mark.parametrize("packer", PACKERS)
def test_a_compressed_page_is_one_page(tmp_path, packer):
    found, _ = read(source_of(PACKERS[packer](b"<p>words</p>"), tmp_path, "file", name=f"a.html.{packer}"))
    assert [(item.media_type, item.content) for item in found] == [("text/html", b"<p>words</p>")]


def test_kinds_are_told_by_content_first(tmp_path):
    lines = line(0) + line(1)
    table = pa.BufferOutputStream()
    pa.parquet.write_table(pa.table({"text": ["a"]}), table)
    files = {
        "a.warc.gz": WARC, "wrong.jsonl": WARC, "a.warc.bz2": bz2.compress(b"".join(pages(2))),
        "a.jsonl": gzip.compress(lines), "b.jsonl.gz": lines, "c4.json.gz": gzip.compress(lines),
        "pretty.json": json.dumps({"a": 1, "b": [1, 2]}, indent=2).encode(), "d.ndjson.xz": lzma.compress(lines),
        "t.parquet": table.getvalue().to_pybytes(), "noname": table.getvalue().to_pybytes(),
        "cut.parquet": b"nothing", "z.zip": zipped({"a": b""}), "w.wacz": zipped({"a": b""}),
        "office.docx": zipped({"a": b""}), "t.tgz": gzip.compress(tarred({"a": b"b"})), "page.html": b"<p>",
        "html.warc.gz": b"<html>",
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    kinds = {source.name: source.kind for source in list_sources([str(tmp_path)], cache={})}
    assert kinds == {
        "a.warc.gz": "warc.gz", "wrong.jsonl": "warc.gz", "a.warc.bz2": "warc.bz2", "a.jsonl": "jsonl.gz",
        "b.jsonl.gz": "jsonl", "c4.json.gz": "jsonl.gz", "pretty.json": "file", "d.ndjson.xz": "jsonl.xz",
        "t.parquet": "parquet", "noname": "parquet", "cut.parquet": "parquet", "z.zip": "zip", "w.wacz": "zip",
        "office.docx": "file", "t.tgz": "tar", "page.html": "file", "html.warc.gz": "file",
    }  # fmt: skip


def test_limits_hold_inside_a_bundle(tmp_path):
    large = member(record(http(b"x" * 5000), url="http://a.test/large"))
    found, _ = read(source_of(zipped({"a.warc.gz": large + WARC}), tmp_path, "zip"), Limits(max_record_bytes=1000))
    assert urls(found) == all_urls(5)
    assert [item.reason for item in found if isinstance(item, Bad)] == ["too_large"]
