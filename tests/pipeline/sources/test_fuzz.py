"""Seeded damage to small files of every kind: reading never raises, tiles every byte, keeps what was not touched."""

import bz2
import gzip
import io
import random
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_archive import assert_tiled, chained
from test_jsonl import line
from warcs import http, member, pages, record, source_of, whole

from pipeline.sources.archive import Chain, Limits
from pipeline.sources.reader import read_split
from pipeline.sources.records import Bad, Document
from stages.reasons import REASONS

LIMITS = Limits(max_record_bytes=1 << 16, max_member_bytes=1 << 20)
LINES = b"".join(map(line, range(40)))


def _zip() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.warc.gz"), b"".join(map(member, pages(4))))
        archive.writestr(zipfile.ZipInfo("b.html"), b"<p>b</p>" * 40, compress_type=zipfile.ZIP_DEFLATED)
    return sink.getvalue()


def _parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": [f"row {n} " * 9 for n in range(40)]}), sink, row_group_size=10,
                   write_page_checksum=True)  # fmt: skip
    return sink.getvalue().to_pybytes()


PACKED = [member(record(http(gzip.compress(b"<p>page</p>" * n, mtime=0)), url=f"http://a.test/{n}")) for n in range(20)]
SEEDS = {
    "warc.gz": b"".join(PACKED),
    "warc": b"".join(pages(20)),
    "warc.bz2": bz2.compress(b"".join(pages(20))),
    "jsonl": LINES,
    "jsonl.gz": gzip.compress(LINES, mtime=0),
    "parquet": _parquet(),
    "zip": _zip(),
}


def mutated(data: bytes, draw: random.Random) -> bytes:
    """One to three of: flipped bits, bytes overwritten, cut out, doubled, inserted, swapped; or the end cut off."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 3)):
        at, count = draw.randrange(len(changed)), draw.choice([1, 1, 4, 64, 500])
        kind = draw.randrange(6)
        if kind == 0:
            changed[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            changed[at : at + count] = draw.randbytes(count)[: len(changed) - at]
        elif kind == 2:
            del changed[at : at + count]
        elif kind == 3:
            changed[at:at] = changed[at : at + count]
        elif kind == 4:
            changed[at:at] = draw.choice([b"\0" * count, b"\x1f\x8b\x08\0", b"WARC/1.0\r\n", b"\n", b"9" * 30])
        else:
            del changed[-count:]
        if not changed:
            return b"\n"
    return bytes(changed)


@pytest.mark.parametrize("kind", SEEDS)
def test_mutated_files_are_read_to_the_end_and_tiled(tmp_path, kind):
    for seed in range(60):
        data = mutated(SEEDS[kind], random.Random(f"{kind} {seed}"))
        source, chain = source_of(data, tmp_path, kind), Chain()
        found = list(read_split(whole(source), chain, LIMITS))
        assert_tiled(chain, len(data))
        places = [(item.offset, item.record) for item in found if isinstance(item, Document | Bad)]
        assert len(places) == len(set(places)), seed
        assert all(item.reason in REASONS for item in found if isinstance(item, Bad))


@pytest.mark.parametrize("kind", ["warc.gz", "warc", "jsonl", "parquet"])
def test_splits_of_mutated_files_give_what_one_reader_gives(tmp_path, kind):
    for seed in range(25):
        draw = random.Random(f"split {kind} {seed}")
        data = mutated(SEEDS[kind], draw)
        source = source_of(data, tmp_path, kind)
        expected, chain = list(read_split(whole(source), (whole_chain := Chain()), LIMITS)), whole_chain
        found, tiles = chained(source, draw.choice([97, 256, 1000, 3000]), limits=LIMITS)
        assert found == expected, seed
        assert tiles.extents[-1].end == chain.extents[-1].end == len(data)


def test_one_damaged_member_never_costs_a_neighbour(tmp_path):
    for seed in range(60):
        draw = random.Random(seed)
        victim = draw.randrange(len(PACKED))
        broken = mutated(PACKED[victim], draw)
        data = b"".join([*PACKED[:victim], broken, *PACKED[victim + 1 :]])
        found = list(read_split(whole(source_of(data, tmp_path, "warc.gz")), Chain(), LIMITS))
        urls = {item.url for item in found if isinstance(item, Document)}
        assert {f"http://a.test/{n}" for n in range(20) if n != victim} <= urls, seed
