"""Texts as a person has them: JSONL, CSV, Parquet or plain text files, grouped by a column or by file."""

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.labels import read_rows

_ROWS = (".jsonl", ".csv", ".parquet")
_PLAIN = (".txt", ".md")
#: Characters of a plain text file handed on at once, cut behind a line; so that a large file is not one text in memory.
PLAIN_CHARACTERS = 100_000


@dataclass(frozen=True, kw_only=True)
class Text:
    """One text and the group (domain, language, source) that it is counted under."""

    group: str
    text: str


def text_files(paths: Sequence[Path]) -> list[Path]:
    """The files named, and those of known kinds below the folders named, each once, sorted. ValueError for a path that
    does not exist, is of an unknown kind, or a folder that holds none."""
    found: set[Path] = set()
    for path in paths:
        if path.is_dir():
            inside = [file for file in path.rglob("*") if file.is_file() and _kind(file) in (*_ROWS, *_PLAIN)]
            if not inside:
                raise ValueError(f"texts {path}: no {', '.join((*_ROWS, *_PLAIN))} (or .gz of them) in this folder")
            found.update(inside)
        elif not path.is_file():
            raise ValueError(f"texts {path}: there is no such file")
        elif _kind(path) not in (*_ROWS, *_PLAIN):
            raise ValueError(
                f"texts {path}: expected a name that ends in {', '.join((*_ROWS, *_PLAIN))}, with or without .gz"
            )
        else:
            found.add(path)
    return sorted(found)


def read_texts(files: Sequence[Path], *, text_column: str = "text", by: str | None = None) -> Iterator[Text]:
    """All texts in the order of the files. A text's group is its value in column `by`; without `by`, and in plain text
    files, the file's name without endings. Rows without text are passed over."""
    for file in files:
        stem = file.name.removesuffix(".gz").rpartition(".")[0]
        if _kind(file) in _PLAIN:
            yield from (Text(group=stem, text=piece) for piece in _pieces(file))
            continue
        for number, row in enumerate(read_rows(file, columns=[text_column, *([by] if by else [])]), start=1):
            text = row.get(text_column)
            if text_column not in row or (by is not None and by not in row):
                raise ValueError(
                    f"{file}, row {number}: needs {text_column!r}{f' and {by!r}' if by else ''}, has {', '.join(row)}"
                )
            if text is None:
                continue
            if not isinstance(text, str):
                raise ValueError(f"{file}, row {number}: column {text_column!r} holds {text!r}, not text")
            yield Text(group=stem if by is None else str(row[by]), text=text)


def _kind(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def _pieces(file: Path) -> Iterator[str]:
    held, size = [], 0
    with (
        gzip.open(file, "rt", encoding="utf-8", errors="replace", newline="\n")
        if file.suffix == ".gz"
        else file.open(encoding="utf-8", errors="replace", newline="\n") as lines
    ):
        for line in lines:
            held.append(line)
            size += len(line)
            if size >= PLAIN_CHARACTERS:
                yield "".join(held)
                held, size = [], 0
    if held:
        yield "".join(held)
