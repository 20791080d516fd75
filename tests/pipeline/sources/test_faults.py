"""The faults of archives, JSON lines, tables and names, each through a whole run of extraction.

Every test asks the same of the run: the fault is booked with its reason and place, the neighbours are kept, every
document is kept or a ledger row, and `verify` finds each input byte in exactly one place.
"""

import gzip
import json
import os
import random
import resource
import zlib
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from extractions import extracted
from warcs import http, member, record, stored_member


@pytest.fixture
def extraction(tmp_path):
    return partial(extracted, tmp_path)


def page(n: int, **more: Any) -> bytes:
    body = f"<html><body><p>This is page number {n}, and it says a few plain words.</p></body></html>".encode()
    return record(http(body), url=f"http://a.test/{n}", **more)


def pages(count: int) -> list[bytes]:
    return [member(page(n)) for n in range(count)]


def expected(count: int, *without: int) -> list[str]:
    return [f"http://a.test/{n}" for n in range(count) if n not in without]


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


@pytest.mark.parametrize(("place", "at"), [("deflate", 40), ("magic", 0), ("checksum", -6)])
def test_F01_a_damaged_member_in_the_middle_is_one_row(extraction, place, at):
    members = pages(8)
    members[3] = flipped(members[3], at % len(members[3]))
    found = extraction({"a.warc.gz": b"".join(members)})
    assert found.urls == expected(8, 3)
    assert found.reasons == [("bad_compression", sum(map(len, members[:3])))]
    assert found.ledger[0]["end"] == sum(map(len, members[:4]))
    assert found.ledger[0]["outcome"] == "quarantined"


def test_F01_damage_across_a_split_border_is_one_row(extraction):
    members = pages(40)
    members[20] = bytes(len(members[20]))
    found = extraction({"a.warc.gz": b"".join(members)}, split_bytes=1024)
    assert len(found.manifest["splits"]) > 5
    assert found.urls == expected(40, 20)
    assert found.reasons == [("bad_compression", sum(map(len, members[:20])))]


@pytest.mark.parametrize(("place", "kept"), [("body", -40), ("trailer", -3)])
def test_F02_a_cut_file_says_so(extraction, place, kept):
    data = b"".join(pages(4))
    found = extraction({"a.warc.gz": data[:kept]})
    assert found.urls == expected(3)
    assert found.reasons == [("truncated", len(b"".join(pages(3))))]
    assert [source["truncated"] for source in found.manifest["sources"]] == [True]


def test_F02_a_file_cut_in_a_header_says_so(extraction):
    found = extraction({"a.warc.gz": b"".join(pages(3)) + pages(1)[0][:6], "b.warc": page(0) + page(1)[:50]})
    assert found.urls == [*expected(3), *expected(1)]
    assert [reason for reason, _ in found.reasons] == ["truncated", "truncated"]
    assert [source["truncated"] for source in found.manifest["sources"]] == [True, True]


@pytest.mark.parametrize("length", ["5", "900", "1000000000000000", "-5", "abc", "", "99999999999999999999999"])
@pytest.mark.parametrize("packed", [True, False])
def test_F03_a_lying_content_length_never_joins_two_records(extraction, length, packed):
    records = [page(n) for n in range(5)]
    records[2] = page(2, length=length)
    data = b"".join(map(member, records)) if packed else b"".join(records)
    found = extraction({"a.warc.gz" if packed else "a.warc": data})
    assert found.urls == expected(5, 2)
    assert [reason for reason, _ in found.reasons] == ["bad_length"]
    assert found.ledger[0]["url"] == "http://a.test/2"


def test_F04_every_layout_is_read_or_one_row(extraction):
    plain = [page(n) for n in range(3)]
    found = extraction(
        {
            "1-one-member.warc.gz": member(b"".join(plain)),
            "2-plain.warc": b"".join(plain),
            "3-nuls.warc.gz": b"".join(pages(3)) + bytes(512),
            "4-garbage.warc.gz": b"".join(pages(3)) + b"garbage",
            "5-empty.warc.gz": b"",
            "6-nothing.warc.gz": member(b""),
            "7-page.warc.gz": b"<html><body><p>Some words in a page with a wrong name.</p></body></html>",
        }
    )
    assert found.urls == [*expected(3) * 4, None]
    rows = {(row["source"], row["reason"]) for row in found.ledger}
    assert rows == {
        ("4-garbage.warc.gz", "bad_compression"),
        ("5-empty.warc.gz", "empty"),
        ("6-nothing.warc.gz", "empty"),
    }


def test_F05_endless_and_odd_headers_are_bounded(extraction):
    long_line = member(b"WARC/1.0\r\nX: " + random.Random(0).randbytes(20 << 20).replace(b"\n", b"n") + b"\r\n\r\n")
    many = page(1).replace(b"\r\nContent-Type", b"\r\nX-A: b" * 20_000 + b"\r\nContent-Type", 1)
    odd = page(2).replace(b"http://a.test/2", b"http://a.test/\xff\x00\x07caf\xc3\xa9")
    found = extraction({"a.warc.gz": b"".join([long_line, member(many), member(odd), member(page(3))])})
    assert found.reasons == [("bad_header", 0), ("bad_header", len(long_line))]
    assert found.urls[1:] == ["http://a.test/3"]
    assert found.urls[0].isprintable()
    assert found.urls[0].startswith("http://a.test/")


def test_F06_http_encodings_are_undone_or_booked_never_taken_for_text(extraction):
    body = b"<html><body><p>Words that came through an encoding.</p></body></html>"
    packed = gzip.compress(body)
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    blocks = {
        "gzip": http(packed, headers="Content-Type: text/html\r\nContent-Encoding: gzip\r\n"),
        "cut": http(packed[:-20], headers="Content-Type: text/html\r\nContent-Encoding: gzip\r\n"),
        "br-label": http(body, headers="Content-Type: text/html\r\nContent-Encoding: br\r\n"),
        "zstd-label": http(body, headers="Content-Type: text/html\r\nContent-Encoding: zstd\r\n"),
        "chunked": http(chunked, headers="Content-Type: text/html\r\nTransfer-Encoding: chunked\r\n"),
        "bad-chunk": http(b"5\r\n<html\r\nzz\r\n", headers="Content-Type: text/html\r\nTransfer-Encoding: chunked\r\n"),
        "nested": http(gzip.compress(packed), headers="Content-Type: text/html\r\nContent-Encoding: gzip, gzip\r\n"),
        "no-label": http(packed, headers="Content-Type: text/html\r\n"),
    }
    data = b"".join(member(record(block, url=f"http://a.test/{name}")) for name, block in blocks.items())
    found = extraction({"a.warc.gz": data})
    assert {row["text"] for row in found.kept} == {"Words that came through an encoding."}
    assert [url.rpartition("/")[2] for url in found.urls] == ["gzip", "br-label", "zstd-label", "chunked", "nested"]
    notes = {row["url"].rpartition("/")[2]: row["read_note"] for row in found.kept}
    assert notes["br-label"] == "declared br, stored without"
    assert notes["gzip"] is None
    assert {(row["url"].rpartition("/")[2], row["reason"]) for row in found.ledger} == {
        ("cut", "bad_encoding"), ("bad-chunk", "bad_encoding"), ("no-label", "bad_encoding"),
    }  # fmt: skip


def test_F07_bombs_are_stopped_within_the_memory_of_a_worker(extraction):
    def bomb(head: bytes) -> bytes:
        machine, zeros = zlib.compressobj(wbits=31), bytes(1 << 20)
        return b"".join([machine.compress(head), *(machine.compress(zeros) for _ in range(32)), machine.flush()])

    first, last = pages(2)
    extraction({"0.warc.gz": first})
    in_member = bomb(record(http(b""), url="http://a.test/bomb", length=str(1 << 25))[:-4])
    inner = http(bomb(b"<html>"), headers="Content-Type: text/html\r\nContent-Encoding: gzip\r\n")
    in_body = stored_member(record(inner, url="http://a.test/body"))
    lines = bomb(b'{"text": "A line before the bomb."}\n')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = extraction({"a.warc.gz": first + in_member + in_body + last, "b.jsonl.gz": lines}, max_record_bytes=8 << 20)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert found.urls == [*expected(1), *expected(2), None]
    assert [row["reason"] for row in found.ledger] == ["ratio_bomb"] * 3
    assert grown < 64 << 20


def table(**columns: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, row_group_size=2)
    return sink.getvalue().to_pybytes()


def test_F27_tables_that_drift_lack_columns_or_hold_nonsense(extraction):
    unchecked = pa.array([b"Some good text.", None, b"\xff\xfe", b"More good text."], pa.binary())
    found = extraction(
        {
            "1.parquet": table(text=["Text of one shape."], url=["http://a.test/1"]),
            "2.parquet": table(url=[2], text=pa.array(["Text of another."]).cast(pa.large_string()), extra=[[1]]),
            "3.parquet": table(body=["no text column"]),
            "4.parquet": table(text=pa.Array.from_buffers(pa.string(), 4, unchecked.buffers(), unchecked.null_count)),
            "5.parquet": table(text=pa.array([], pa.string())),
            "6.parquet": table(text=["x " * (1 << 20), "A short text behind it."]),
            "7.parquet": table(text=["cut away"])[:-20],
        }
    )
    assert [(row["source"], row["url"], row["text"]) for row in found.kept] == [
        ("1.parquet", "http://a.test/1", "Text of one shape."), ("2.parquet", "2", "Text of another."),
        ("4.parquet", None, "Some good text."), ("4.parquet", None, "More good text."),
        ("6.parquet", None, "A short text behind it."),
    ]  # fmt: skip
    assert [(row["source"], row["reason"]) for row in found.ledger] == [
        ("3.parquet", "bad_type"), ("4.parquet", "bad_type"), ("4.parquet", "bad_encoding"), ("5.parquet", "empty"),
        ("6.parquet", "too_large"), ("7.parquet", "truncated"),
    ]  # fmt: skip


def test_F28_json_lines_with_every_kind_of_wrong_line(extraction):
    good = [json.dumps({"text": f"Line {n} is as it should be."}).encode() for n in range(3)]
    bad = {
        b"{broken": "bad_json",
        b'{"text": "a", "x": NaN}': "bad_json",
        b'{"text": "a", "text": "b"}': "bad_json",
        b'{"text": ' + b"[" * 50_000: "bad_json",
        b'{"text": "a", "n": ' + b"1" * 5_000 + b"}": "bad_json",
        b'{"text": "' + b"x" * (2 << 20) + b'"}': "too_large",
        b'{"text": 7}': "bad_type",
        b'{"text": "\xff\xfe"}': "bad_encoding",
    }
    kept = '{"text": "One line\u2028with a separator."}'.encode()
    data = b"\xef\xbb\xbf" + good[0] + b"\r\n" + b"\n".join(bad) + b"\n" + kept + b"\n\n" + good[1] + b"\n" + good[2]
    surrogate = b'{"text": "A lone \\ud800 surrogate."}\n'
    found = extraction({"a.jsonl": data, "b.jsonl": gzip.compress(surrogate), "c.jsonl.gz": good[0]})
    assert [row["text"] for row in found.kept if row["source"] == "a.jsonl"] == [
        "Line 0 is as it should be.", "One line\u2028with a separator.", "Line 1 is as it should be.",
        "Line 2 is as it should be.",
    ]  # fmt: skip
    assert [row["reason"] for row in found.ledger if row["source"] == "a.jsonl"] == list(bad.values())
    assert [row["detail"].split(":")[0] for row in found.ledger if row["source"] == "a.jsonl"] == [
        f"line {n}" for n in range(2, 10)
    ]
    others = {row["source"]: row for row in [*found.kept, *found.ledger] if row["source"] != "a.jsonl"}
    assert others["c.jsonl.gz"]["text"] == "Line 0 is as it should be."
    assert others["b.jsonl"]["source"] == "b.jsonl"
    assert found.manifest["counts"]["documents"] == len(found.kept) + len(found.ledger) == 14


def test_F37_names_lead_nowhere(extraction, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.html").write_bytes(b"<html><body><p>Nobody asked for this page.</p></body></html>")
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    os.mkfifo(crawl / "pipe.warc.gz")
    (crawl / "loop").symlink_to(crawl / "loop")
    (crawl / "away").symlink_to(outside)
    (crawl / "secret.html").symlink_to(outside / "secret.html")
    long_name = "n" * 250 + ".html"
    body = b"<html><body><p>A page under an odd name.</p></body></html>"
    names = ["new\nline.html", "glob[*]?.html", " space .html", long_name]
    odd_url = record(http(body), url="../../etc/passwd")
    found = extraction({**dict.fromkeys(names, body), "z.warc.gz": member(odd_url)})
    assert [row["source"] for row in found.kept] == sorted([*names, "z.warc.gz"])
    assert found.kept[-1]["url"] == "../../etc/passwd"
    assert not any("Nobody asked" in row["text"] for row in found.kept)
    assert {row["source"]: row["detail"] for row in found.ledger} == {
        "pipe.warc.gz": "neither a file nor a folder",
        "loop": "a link that leads nowhere",
        "away": "a link to a folder",
        "secret.html": "a link that leads out of the input folder",
    }
    assert {path.name for path in tmp_path.iterdir()} == {"outside", "crawl", "faults.yaml", "out", "work"}


def test_truncation_and_digests_are_told_beside_the_text(extraction):
    cut = page(0).replace(b"Content-Length", b"WARC-Truncated: length\r\nContent-Length", 1)
    wrong = page(1).replace(b"Content-Length", b"WARC-Block-Digest: sha1:" + b"A" * 32 + b"\r\nContent-Length", 1)
    revisit = record(http(b""), kind="revisit", url="http://a.test/again")
    found = extraction({"a.warc.gz": b"".join(map(member, [cut, wrong, revisit, page(2)]))})
    assert [row["truncated"] for row in found.kept] == ["length", None, None]
    assert [(row["read_note"] or "")[:23] for row in found.kept] == ["", "block digest is wrong: ", ""]
    assert found.manifest["counts"]["records_skipped"] == {"revisit": 1}
