"""Seeded damage to real WARC records, pages and PDFs, through reader and parser child: nothing hangs, nothing is lost.

    python -m benchmarks.fuzz FOLDER [--inputs 2000] [--seed 0]      FOLDER: holds crawl/ and pdf/ of real files

Of every ten inputs five are four records of a real WARC one of which is damaged, three a damaged page, two a damaged
PDF. For each: every byte lies in one extent, every document ends as text or as a known reason, no document takes longer
than the parser's budget, and what stands beside a damaged record comes out as if nothing had been.
"""

import argparse
import random
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from pipeline.parser_child import ParserChild
from pipeline.sources.archive import Chain, Limits
from pipeline.sources.framing import WARC
from pipeline.sources.listing import Source, Split
from pipeline.sources.member import begins_with, find_member
from pipeline.sources.places import open_source
from pipeline.sources.reader import read_split
from pipeline.sources.records import Bad, Document, Found
from stages.extract import ExtractSettings, RawRecord
from stages.reasons import REASONS

#: A hostile document is stopped after this much CPU time here: 100 times what a page takes, and no hour for the whole.
_SETTINGS = ExtractSettings(cpu_seconds=2.0, wall_seconds=20.0)
#: Larger members and PDFs are left out: what is damaged does not depend on size, the time does.
_MAX_BYTES = 300_000
_RECORDS = 4
_POOL = 400


@dataclass
class Tally:
    """What the inputs led to."""

    inputs: int = 0
    documents: int = 0
    kept: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    slowest_seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


def members_below(folder: Path) -> list[bytes]:
    """Gzip members of real WARC files that hold a response, in the order of the files."""
    found: list[bytes] = []
    for path in sorted(folder.rglob("*.warc.gz")):
        with open_source(str(path)) as source:
            size, position = source.size(), 0
            if not begins_with(source, 0, WARC.prefixes):
                continue
            taken = 0
            while position < size and taken < _POOL // 8:
                after = find_member(source, position + 1, size, WARC.prefixes) or size
                data = bytes(source.read_at(after - position, position))
                if len(data) <= _MAX_BYTES:
                    found.append(data)
                    taken += 1
                position = after
    return found


def pdfs_below(folder: Path) -> list[bytes]:
    found = []
    for path in sorted(folder.rglob("*.tar.xz")):
        with tarfile.open(path) as archive:
            for entry in archive:
                handle = (
                    archive.extractfile(entry) if entry.name.endswith(".pdf") and entry.size <= _MAX_BYTES else None
                )
                if handle is not None:
                    found.append(handle.read())
        if len(found) >= _POOL:
            break
    return found


def mutated(data: bytes, draw: random.Random) -> bytes:
    """One to four of: a flipped bit, bytes overwritten, cut out, doubled or inserted, swapped places, the end cut."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at, count = draw.randrange(max(1, len(changed))), draw.choice([1, 1, 8, 100, 2000])
        kind = draw.randrange(7)
        if kind == 0 and changed:
            changed[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            changed[at : at + count] = draw.randbytes(count)
        elif kind == 2:
            del changed[at : at + count]
        elif kind == 3:
            changed[at:at] = changed[at : at + count] * draw.choice([1, 1, 50])
        elif kind == 4:
            changed[at:at] = draw.choice([b"\0" * count, b"<div>" * count, b"\x1f\x8b\x08", b"<" * count, b"9" * 40])
        elif kind == 5:
            other = draw.randrange(max(1, len(changed)))
            changed[at : at + count], changed[other : other + count] = (
                changed[other : other + count],
                changed[at : at + count],
            )
        else:
            del changed[max(1, len(changed) - draw.randrange(len(changed) // 2 + 1)) :]
    return bytes(changed)


def read(data: bytes, name: str, kind: str, folder: Path, tally: Tally) -> list[Found]:
    path = folder / name
    path.write_bytes(data)
    source = Source(name=name, path=str(path), size_bytes=len(data), fingerprint="", kind=kind)
    chain = Chain()
    found = list(read_split(Split(source=source, start=0, end=len(data), known_start=True), chain, Limits()))
    ends = [0, *(extent.end for extent in chain.extents)]
    if [extent.start for extent in chain.extents] != ends[:-1] or ends[-1] != len(data):
        tally.wrong.append(f"input {tally.inputs}: {name}: bytes that lie in no extent")
    return found


def judge(found: list[Found], child: ParserChild, tally: Tally) -> None:
    """Every document through the parser, every one ending in one place."""
    for item in found:
        if isinstance(item, Bad):
            tally.documents += 1
            tally.reasons[item.reason] += 1
        elif isinstance(item, Document):
            tally.documents += 1
            started = time.monotonic()
            raw = RawRecord(content=item.content, media_type=item.media_type, charset=item.charset, url=item.url)
            result = child.call(raw, _SETTINGS)
            tally.slowest_seconds = max(tally.slowest_seconds, time.monotonic() - started)
            if result.reason is None and result.text:
                tally.kept += 1
            elif result.reason in REASONS:
                tally.reasons[result.reason] += 1
            else:
                tally.wrong.append(f"input {tally.inputs}: neither text nor a reason: {result!r:.200}")


def records_input(pool: list[bytes], draw: random.Random, folder: Path, child: ParserChild, tally: Tally) -> None:
    members = [draw.choice(pool) for _ in range(_RECORDS)]
    victim = draw.randrange(_RECORDS)
    broken = mutated(members[victim], draw)
    found = read(b"".join([*members[:victim], broken, *members[victim + 1 :]]), "x.warc.gz", "warc.gz", folder, tally)
    there = Counter((item.url, item.content) for item in found if isinstance(item, Document))
    for number, data in enumerate(members):
        if number != victim:
            for item in read(data, "y.warc.gz", "warc.gz", folder, tally):
                if isinstance(item, Document) and not there[(item.url, item.content)]:
                    tally.wrong.append(f"input {tally.inputs}: lost the neighbour {item.url}")
    judge(found, child, tally)


def pages_of(pool: list[bytes], folder: Path) -> Iterator[bytes]:
    scratch = Tally()
    for data in pool:
        for item in read(data, "page.warc.gz", "warc.gz", folder, scratch):
            if isinstance(item, Document) and "html" in (item.media_type or ""):
                yield item.content


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--inputs", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    members, tally, started = members_below(chosen.folder / "crawl"), Tally(), time.monotonic()
    pdfs = pdfs_below(chosen.folder / "pdf")
    with tempfile.TemporaryDirectory() as place, ParserChild() as child:
        folder = Path(place)
        pages = list(pages_of(members, folder))
        for number in range(chosen.inputs):
            draw = random.Random(f"{chosen.seed} {number}")
            tally.inputs += 1
            if number % 10 < 5:
                records_input(members, draw, folder, child, tally)
            else:
                pool, name = (pages, "x.html") if number % 10 < 8 else (pdfs, "x.pdf")
                judge(read(mutated(draw.choice(pool), draw), name, "file", folder, tally), child, tally)
        started_children = child.started
    report(tally, started_children, time.monotonic() - started, sys.stdout)
    return 1 if tally.wrong else 0


def report(tally: Tally, children: int, seconds: float, out: TextIO) -> None:
    booked = tally.kept + sum(tally.reasons.values())
    print(f"{tally.inputs} inputs, {tally.documents} documents = {tally.kept} kept + {booked - tally.kept} booked, "
          f"{len(tally.wrong)} wrong; slowest document {tally.slowest_seconds:.1f} s, "
          f"{children} parser children, {seconds:.0f} s", file=out)  # fmt: skip
    print(", ".join(f"{reason} {count}" for reason, count in sorted(tally.reasons.items())), file=out)
    if booked != tally.documents:
        tally.wrong.append(f"{tally.documents} documents, but {booked} booked")
    for line in tally.wrong[:20]:
        print(line, file=out)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
