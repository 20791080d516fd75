"""What our documents say that a machine can check: commands, settings, paths.

A fenced block is `console` (run by tests/test_manual.py, a word behind it says when), `yaml` or `python`. Commands also
stand in indented blocks and between backticks. `…` in a command stands for options that are left out.
"""

import functools
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Written by our users and their tools, not by us.
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])

_FENCE = re.compile(r"^```(\w*)[ \t]*([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
#: Programs whose commands are checked.
PROGRAMS = ("tamis", "make", "ray", "pip", "python")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: its language, the word behind it, its text."""

    kind: str
    mark: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command as a document gives it. `whole` where it stands in a block of its own and not within a sentence."""

    document: str
    words: tuple[str, ...]
    whole: bool

    def __str__(self) -> str:
        return f"{self.document}: {' '.join(self.words)}"


@functools.cache
def text_of(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def blocks_of(document: Path) -> list[Block]:
    return [Block(kind=kind, mark=mark.strip(), text=text) for kind, mark, text in _FENCE.findall(text_of(document))]


def lines_of(block: str) -> list[str]:
    """The commands of a console block: `$ ` is taken off, continued lines joined, comments and output left out."""
    joined = re.sub(r"\\\n\s*", " ", block)
    lines = [line.strip() for line in joined.split("\n")]
    if any(line.startswith("$ ") for line in lines):
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [line for line in lines if line and not line.startswith("#")]


def spans_of(document: Path) -> list[str]:
    """What stands between backticks outside of blocks, each on one line."""
    bare = re.sub(r"^    .*$", "", _FENCE.sub("", text_of(document)), flags=re.MULTILINE)
    return [" ".join(span.split()) for span in _SPAN.findall(bare)]


def commands_of(document: Path) -> Iterator[Command]:
    """Every command of our programs that a document gives."""
    name = document.relative_to(ROOT).as_posix()
    blocks = [line for block in blocks_of(document) if block.kind in ("console", "") for line in lines_of(block.text)]
    indented = "\n".join(re.findall(r"^    (\S.*|\s+\S.*)$", _FENCE.sub("", text_of(document)), re.MULTILINE))
    for line in [*blocks, *lines_of(indented)]:
        yield from _parsed(line, document=name, whole=True)
    for span in spans_of(document):
        yield from _parsed(span, document=name, whole=False)


def _parsed(line: str, *, document: str, whole: bool) -> Iterator[Command]:
    if line.split(" ")[0] not in PROGRAMS or "=" in line.split(" ")[0]:
        return
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        raise ValueError(f"{document}: {line}: {error}") from error
    words = [word for word in words if word not in ("…", "...")]
    for mark in ("|", ">", "&&", "&"):
        words = words[: words.index(mark)] if mark in words else words
    if len(words) > 1:
        yield Command(document=document, words=tuple(words), whole=whole)
