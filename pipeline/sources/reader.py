"""One split of any kind of source, as documents, bad rows and skips, with the extents that tile its bytes."""

from collections.abc import Iterator

from pipeline.sources.archive import Chain, Extent, Limits, read_gzip, read_plain
from pipeline.sources.framing import DIALECTS
from pipeline.sources.listing import Split, open_source
from pipeline.sources.records import Bad, Found, interpret
from pipeline.sources.single import read_file, read_tar


def read_split(split: Split, chain: Chain, limits: Limits) -> Iterator[Found]:
    """Everything that begins in the split, in the order of the file; `chain` is complete when it is through."""
    size = split.source.size_bytes
    with open_source(split.source.path) as source:
        found = source.size()
        if found != size:
            raise OSError(f"{split.source.name} has {found} bytes now, {size} when the run was planned. Plan again.")
        if split.source.kind in ("file", "tar"):
            chain.first, chain.next = 0, size
            chain.extents.append(Extent(start=0, end=size, kind="record"))
            if split.source.kind == "tar":
                yield from read_tar(source, size=size, limits=limits)
            else:
                yield from read_file(source, split.source.name, size=size, limits=limits)
            return
        name, _, compression = split.source.kind.partition(".")
        dialect = DIALECTS[name]
        read = read_gzip if compression else read_plain
        items = 0
        for placed in read(
            source, dialect, chain, start=split.start, stop=split.end, size=size, known=split.known_start, limits=limits
        ):
            for item in interpret(placed, dialect, limits):
                items += 1
                yield item
        if not items and split.start == 0 and split.end == size:
            yield Bad(offset=0, record=0, end=size, reason="empty", detail=f"no {name} record in the file")
