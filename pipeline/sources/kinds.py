"""What kind of file this is: by its first bytes, and by its name only where bytes cannot tell."""

import json

from pipeline.sources.framing import DIALECTS
from pipeline.sources.streams import SUFFIXES, compression_of, first_bytes

#: Bytes that `kind_of` needs to see of a file.
HEAD_BYTES = 4096
#: Kinds of which a split can begin in the middle of the file.
SPLITTABLE = frozenset({"warc.gz", "arc.gz", "warc", "arc", "jsonl", "parquet"})
_TAR_SUFFIXES = (".tar", ".tgz", ".txz", ".tbz2")
_LINES_SUFFIXES = (".jsonl", ".ndjson")
#: A text extraction or metadata file of Common Crawl is a WARC file in everything but its name.
_ARCHIVE_SUFFIXES = {".warc": "warc", ".wet": "warc", ".wat": "warc", ".arc": "arc"}


def plain_name(name: str) -> str:
    """A name in lower case without the ending that says how the file is compressed."""
    lower = name.lower()
    return next((lower.removesuffix(suffix) for suffix in SUFFIXES if lower.endswith(suffix)), lower)


def kind_of(head: bytes, name: str) -> str:
    """`warc`, `arc` or `jsonl`, each also with `.gz`, `.bz2`, `.xz` or `.zst`; `parquet`, `zip`, `tar`, or `file`.

    `head` is the file's first HEAD_BYTES bytes. Names decide for what has no magic of its own (JSON lines, old tars,
    zip archives that are meant to be opened: documents of office programs are zip archives too), and for what is
    damaged or empty where it begins.
    """
    compression = compression_of(head)
    inside = first_bytes(head, compression, 512 if compression == "gz" else HEAD_BYTES) if compression else head
    suffix = f".{compression}" if compression else ""
    stem = plain_name(name)
    promised = next((kind for ending, kind in _ARCHIVE_SUFFIXES.items() if stem.endswith(ending)), None)
    for dialect in DIALECTS.values():
        if inside.startswith(dialect.marks) or (promised == dialect.name and inside.startswith(dialect.prefixes)):
            return dialect.name + suffix
    if not compression and (head.startswith(b"PAR1") or stem.endswith(".parquet")):
        return "parquet"
    if stem.endswith((".zip", ".wacz")):
        return "zip"
    if stem.endswith(_TAR_SUFFIXES) or inside[257:262] == b"ustar":
        return "tar"
    if stem.endswith(_LINES_SUFFIXES) or (stem.endswith(".json") and _holds_lines(inside)):
        return "jsonl" + suffix
    # A damaged or empty first member still stands in a file whose name says what the rest is.
    return promised + suffix if compression and promised else "file"


def _holds_lines(inside: bytes) -> bool:
    """Whether the first line, as far as it is known, is an object of its own."""
    line, ended, _ = inside.lstrip().partition(b"\n")
    if not line.startswith(b"{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return not ended
