"""Reading archives: damage costs one record, lies are found out, and splits change nothing."""

import struct
from collections import Counter
from pathlib import Path

import pytest
from warcs import http, member, pages, record, source_of, stored_member, whole

from pipeline.parts import Commit
from pipeline.phases.extract import broken_links
from pipeline.sources.archive import Chain, Limits
from pipeline.sources.listing import Source, cut
from pipeline.sources.reader import read_split
from pipeline.sources.records import Bad, Document, Skip

LIMITS = Limits(max_record_bytes=1 << 20, max_member_bytes=4 << 20)


def read(source: Source, limits: Limits = LIMITS):
    chain = Chain()
    return list(read_split(whole(source), chain, limits)), chain


def urls(found) -> list[str]:
    return [item.url for item in found if isinstance(item, Document)]


def bad(found) -> list[tuple[str, int]]:
    return [(item.reason, item.offset) for item in found if isinstance(item, Bad)]


def assert_tiled(chain: Chain, size: int) -> None:
    position = 0
    for extent in chain.extents:
        assert extent.start == position
        position = extent.end
    assert position == size


def all_urls(count: int, *without: int) -> list[str]:
    return [f"http://a.test/{n}" for n in range(count) if n not in without]


def test_records_come_out_in_order_with_their_bytes(tmp_path):
    source = source_of(b"".join(map(member, pages(8))), tmp_path, "warc.gz")
    found, chain = read(source)
    assert urls(found) == all_urls(8)
    assert found[3].content == b"<p>page 3</p>" * 4
    assert found[3].media_type == "text/html"
    assert found[3].date == "2026-01-02T03:04:05Z"
    assert_tiled(chain, source.size_bytes)


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


@pytest.mark.parametrize("damage", ["deflate", "magic", "zeros", "cut_short"])
def test_a_damaged_member_costs_one_record(tmp_path, damage):
    members = [member(page) for page in pages(8)]
    start = sum(map(len, members[:3]))
    broken = {
        "deflate": _flip(members[3], 30),
        "magic": _flip(members[3], 0),
        "zeros": bytes(len(members[3])),
        "cut_short": members[3][: len(members[3]) // 2],
    }[damage]
    data = b"".join([*members[:3], broken, *members[4:]])
    found, chain = read(source_of(data, tmp_path, "warc.gz"))
    assert urls(found) == all_urls(8, 3)
    assert bad(found) == [("bad_compression", start)]
    assert next(item for item in found if isinstance(item, Bad)).end == start + len(broken)
    assert_tiled(chain, len(data))


def test_a_wrong_checksum_costs_one_record_and_is_not_searched_for_decoys(tmp_path):
    decoy = member(record(http(b"smuggled"), url="http://evil.test/"))
    carrier = bytearray(stored_member(record(http(decoy), url="http://a.test/carrier")))
    carrier[-5] ^= 0xFF
    members = [member(page) for page in pages(2)]
    data = members[0] + bytes(carrier) + members[1]
    found, chain = read(source_of(data, tmp_path, "warc.gz"))
    assert urls(found) == all_urls(2)
    assert bad(found) == [("bad_compression", len(members[0]))]
    assert_tiled(chain, len(data))


@pytest.mark.parametrize("level", range(10))
def test_a_payload_that_is_an_archive_stays_one_document(tmp_path, level):
    inner = b"".join(member(page, level=level) for page in pages(3))
    carrier = record(http(inner, headers="Content-Type: application/warc\r\n"), url="http://a.test/inner")
    data = member(carrier, level=level) + member(pages(1)[0])
    found, _ = read(source_of(data, tmp_path, "warc.gz"))
    assert urls(found) == ["http://a.test/inner", "http://a.test/0"]
    assert found[0].content == inner


@pytest.mark.parametrize("kept", [-4, -9, -40])
def test_a_file_cut_anywhere_in_its_last_record_says_so(tmp_path, kept):
    data = b"".join(map(member, pages(4)))[:kept]
    found, chain = read(source_of(data, tmp_path, "warc.gz"))
    assert urls(found) == all_urls(3)
    assert [reason for reason, _ in bad(found)] == ["truncated"]
    assert chain.truncated
    assert_tiled(chain, len(data))


@pytest.mark.parametrize("length", ["5", "1000000000000000", "99999999999999999999999", "-5", "abc", "", "0"])
@pytest.mark.parametrize("kind", ["warc.gz", "warc"])
def test_a_lying_content_length_never_joins_or_hides_records(tmp_path, length, kind):
    records = pages(6)
    records[2] = record(http(b"<p>liar</p>"), url="http://a.test/liar", length=length)
    data = b"".join(map(member, records)) if kind == "warc.gz" else b"".join(records)
    found, chain = read(source_of(data, tmp_path, kind))
    assert urls(found) == all_urls(6, 2)
    assert [reason for reason, _ in bad(found)] == ["bad_length"]
    assert_tiled(chain, len(data))


def test_one_member_for_the_whole_file(tmp_path):
    data = member(b"".join(pages(8)))
    found, chain = read(source_of(data, tmp_path, "warc.gz"))
    assert urls(found) == all_urls(8)
    assert [(item.offset, item.record) for item in found] == [(0, n) for n in range(8)]
    assert_tiled(chain, len(data))


def test_trailing_nuls_are_padding_and_trailing_garbage_is_booked(tmp_path):
    data = b"".join(map(member, pages(3)))
    found, chain = read(source_of(data + bytes(700), tmp_path, "warc.gz"))
    assert urls(found) == all_urls(3)
    assert not bad(found)
    assert chain.extents[-1].kind == "padding"
    found, chain = read(source_of(data + b"garbage" * 9, tmp_path, "warc.gz", name="y.warc.gz"))
    assert bad(found) == [("bad_compression", len(data))]
    assert_tiled(chain, len(data) + 63)


def test_line_feeds_alone_end_headers_too(tmp_path):
    data = b"".join(page.replace(b"\r\n", b"\n") for page in pages(3))
    found, _ = read(source_of(data, tmp_path, "warc"))
    # The bodies hold no line ends, only the HTTP header shrank: its lengths are wrong by what was taken out.
    assert {reason for reason, _ in bad(found)} <= {"bad_length", "truncated"}
    honest = [record(http(b"x", headers="A: b\n").replace(b"\r\n", b"\n"), url=f"http://a.test/{n}") for n in range(3)]
    found, _ = read(source_of(b"".join(honest), tmp_path, "warc", name="z.warc"))
    assert urls(found) == all_urls(3)


def test_a_bomb_is_stopped_at_the_cap_and_its_neighbours_come_through(tmp_path):
    bomb = member(record(http(bytes(8 << 20)), url="http://a.test/bomb"))
    first, last = map(member, pages(2))
    found, chain = read(source_of(first + bomb + last, tmp_path, "warc.gz"))
    assert urls(found) == all_urls(2)
    assert bad(found) == [("ratio_bomb", len(first))]
    assert_tiled(chain, len(first + bomb + last))


def test_a_large_record_is_booked_and_skipped(tmp_path):
    large = record(http(b"x" * 2000), url="http://a.test/large")
    source = source_of(b"".join(map(member, [pages(1)[0], large, pages(2)[1]])), tmp_path, "warc.gz")
    found, _ = read(source, Limits(max_record_bytes=1000))
    assert urls(found) == all_urls(2)
    assert [(item.reason, item.url) for item in found if isinstance(item, Bad)] == [
        ("too_large", "http://a.test/large")
    ]


def test_endless_header_is_refused(tmp_path):
    # Numbers, so that the member is no bomb by its ratio.
    evil = member(b"WARC/1.0\r\nX: " + b" ".join(b"%d" % n for n in range(300_000)) + b"\r\n\r\n")
    found, _ = read(source_of(evil + member(pages(1)[0]), tmp_path, "warc.gz"))
    assert bad(found) == [("bad_header", 0)]
    assert urls(found) == all_urls(1)


def test_other_records_are_counted_by_type_and_statuses_booked(tmp_path):
    records = [
        record(b"x", kind="warcinfo"),
        record(b"GET /", kind="request"),
        record(http(b"moved", status="301 Moved"), url="http://a.test/moved"),
        record(b"plain words", kind="conversion"),
    ]
    found, _ = read(source_of(b"".join(map(member, records)), tmp_path, "warc.gz"))
    assert Counter(item.record_type for item in found if isinstance(item, Skip)) == {"warcinfo": 1, "request": 1}
    assert [(item.reason, item.measured) for item in found if isinstance(item, Bad)] == [("http_status", 301.0)]
    assert [item.content for item in found if isinstance(item, Document)] == [b"plain words"]


def test_arc_records_are_read_with_spaces_in_addresses(tmp_path):
    blocks = [
        (b"filedesc://a.arc 0.0.0.0 20260102030405 text/plain", b"1 0 Test\n"),
        (b"http://a.test/a b 1.2.3.4 20260102030405 text/html", http(b"<p>one</p>")),
        (b"http://a.test/2 1.2.3.4 20260102030405 text/html", http(b"<p>two</p>")),
    ]
    data = b"".join(head + b" %d\n" % len(body) + body + b"\n" for head, body in blocks)
    for kind, content in (("arc", data), ("arc.gz", member(data))):
        found, chain = read(source_of(content, tmp_path, kind))
        assert urls(found) == ["http://a.test/a b", "http://a.test/2"]
        assert [item.date for item in found if isinstance(item, Document)] == ["2026-01-02T03:04:05Z"] * 2
        assert_tiled(chain, len(content))


def chained(source: Source, split_bytes: int, limits: Limits = LIMITS):
    """What the driver does: read all splits, mend the chain, until it holds."""
    splits = cut([source], split_bytes=split_bytes)

    def one(split):
        chain = Chain()
        found = list(read_split(split, chain, limits))
        counts = {"chain": {"first": chain.first, "next": chain.next}}
        return found, chain, Commit(phase="p", unit=split.unit, files={}, counts=counts, observed={})

    results = [one(split) for split in splits]
    rounds = 0
    while wrong := broken_links(splits, [commit for _, _, commit in results]):
        rounds += 1
        assert rounds <= len(splits) + 1
        for number, split in wrong.items():
            splits[number], results[number] = split, one(split)
    found = [item for items, _, _ in results for item in items]
    extents = Chain(extents=[extent for _, chain, _ in results for extent in chain.extents])
    return found, extents


def _corpus(name: str) -> bytes:
    members = [member(page) for page in pages(40)]
    decoy = stored_member(record(http(b"".join(members[:6])), url="http://a.test/carrier"))
    big = member(b"".join(pages(30)))
    return {
        "plain members": b"".join(members),
        "decoys in stored blocks": b"".join([*members[:5], decoy, *members[5:9], decoy, *members[9:20]]),
        "one member over many splits": b"".join([*members[:4], big, *members[4:8]]),
        "damage": b"".join([*members[:7], bytes(900), *members[7:15], _flip(members[15], 25), *members[16:]]),
        "garbage at the end": b"".join(members[:9]) + b"\x1f\x8b\x08 no member" * 90,
    }[name]


@pytest.mark.parametrize(
    "name",
    ["plain members", "decoys in stored blocks", "one member over many splits", "damage", "garbage at the end"],
)
def test_every_split_size_gives_what_one_sequential_reader_gives(tmp_path, name):
    data = _corpus(name)
    source = source_of(data, tmp_path, "warc.gz")
    expected, chain = read(source)
    assert_tiled(chain, len(data))
    for split_bytes in (64, 100, 173, 256, 400, 777, 1024, 2048, 5000, len(data) // 2 + 1):
        found, tiles = chained(source, split_bytes)
        assert found == expected, split_bytes
        assert_tiled(tiles, len(data))


@pytest.mark.parametrize("level", range(10))
def test_a_payload_that_is_an_archive_stays_one_document_at_every_split_size(tmp_path, level):
    """A split that begins inside the payload is shown its members; the chain rule must undo that."""
    inner = b"".join(member(page, level=level) for page in pages(12))
    carrier = record(http(inner, headers="Content-Type: application/warc\r\n"), url="http://a.test/inner")
    data = b"".join([member(pages(1)[0]), member(carrier, level=level), *map(member, pages(3)[1:])])
    source = source_of(data, tmp_path, "warc.gz")
    expected, _ = read(source)
    assert urls(expected) == ["http://a.test/0", "http://a.test/inner", "http://a.test/1", "http://a.test/2"]
    for split_bytes in (50, 128, 300, 600, 1024, 1500, len(data) // 2):
        found, tiles = chained(source, split_bytes)
        assert found == expected, split_bytes
        assert_tiled(tiles, len(data))


def test_every_split_size_of_a_plain_file(tmp_path):
    records = pages(40)
    records[9] = record(
        http(b"\r\n\r\nWARC/1.0\r\nWARC-Type: response\r\nContent-Length: 3\r\n\r\nabc"), url="http://a.test/9"
    )
    records[20] = record(http(b"short"), url="http://a.test/20", length="900")
    data = b"".join(records)
    source = source_of(data, tmp_path, "warc")
    expected, chain = read(source)
    assert_tiled(chain, len(data))
    assert urls(expected) == all_urls(40, 20)
    for split_bytes in (64, 211, 500, 1024, 3000):
        found, tiles = chained(source, split_bytes)
        assert found == expected, split_bytes
        assert_tiled(tiles, len(data))


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b", member(b""), bytes(100)])
def test_an_archive_without_records_is_one_bad_row(tmp_path, data):
    found, chain = read(source_of(data, tmp_path, "warc.gz"))
    assert len(bad(found)) == 1
    assert not urls(found)
    assert_tiled(chain, len(data))


def test_a_member_with_all_header_fields_is_read(tmp_path):
    plain = member(pages(1)[0])
    extra = struct.pack("<H", 6) + b"abcdef"
    fields = b"\x1f\x8b\x08" + bytes([4 | 8 | 16]) + plain[4:10] + extra + b"name\0comment\0" + plain[10:]
    found, _ = read(source_of(fields, tmp_path, "warc.gz"))
    assert urls(found) == all_urls(1)


SHARED = Path(__file__).parents[3] / ".." / "shared" / "data" / "crawl"


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared crawl beside the repository")
@pytest.mark.parametrize(
    "name", ["native/pywb-iana.warc.gz", "native/ia-blackbook-2008.warc.gz", "native/wget-urls.warc"]
)
def test_as_many_documents_as_another_library_finds(name):
    from warcio.archiveiterator import ArchiveIterator

    path = SHARED / name
    with path.open("rb") as stream:
        expected = Counter(record.rec_type for record in ArchiveIterator(stream))
    kind = "warc.gz" if name.endswith("gz") else "warc"
    source = Source(name=path.name, path=str(path), size_bytes=path.stat().st_size, fingerprint="", kind=kind)
    found, chain = read(source, Limits())
    documents = sum(not isinstance(item, Skip) for item in found)
    assert documents == sum(expected[kind] for kind in ("response", "resource", "conversion"))
    skipped = Counter(item.record_type for item in found if isinstance(item, Skip))
    assert skipped == {kind: n for kind, n in expected.items() if kind not in ("response", "resource", "conversion")}
    assert_tiled(chain, source.size_bytes)


def test_a_cut_member_that_ends_where_its_successor_ends_does_not_swallow_it(tmp_path):
    """A stored block whose length covers the next member up to that member's own last block is such a cut member."""
    successor = member(pages(2)[1])
    block = pages(1)[0]
    # The deflate stream of the first member: a stored block that runs over the successor's gzip header, and from there
    # on the successor's own deflate data, so that both end at the same byte.
    covered = block + successor[:10]
    lengths = struct.pack("<HH", len(covered), len(covered) ^ 0xFFFF)
    cut = b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"\0" + lengths + block
    for rest in (b"", member(pages(3)[2])):
        data = cut + successor + rest
        found, chain = read(source_of(data, tmp_path, "warc.gz"))
        assert bad(found) == [("bad_compression", 0)]
        assert urls(found) == all_urls(3 if rest else 2, 0)
        assert_tiled(chain, len(data))
