"""Labelled texts, as a person has them: JSONL, CSV or Parquet files with a column of text and one of labels."""

import csv
import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


@dataclass(frozen=True, kw_only=True)
class Label:
    """One labelled text. Texts of one `group` (an article, a site) fall on the same side of the held-out split."""

    text: str
    label: str
    group: str


def read_labels(path: Path, *, text_column: str, label_column: str, group_column: str | None = None) -> Iterator[Label]:
    """The labelled texts of a JSONL (.gz), CSV (.gz) or Parquet file, in order. Without a group column each text is
    its own group. ValueError names the file and row of a missing column, an empty label or a text that is none.
    """
    columns = [text_column, label_column, *([group_column] if group_column else [])]
    for number, row in enumerate(read_rows(path, columns=columns), start=1):
        values = [row.get(column) for column in columns]
        for column, value in zip(columns, values, strict=True):
            if value is None or (column != text_column and not str(value).strip()):
                have = ", ".join(map(str, row))
                raise ValueError(f"{path}, row {number}: no value in column {column!r} (the row has: {have})")
        if not isinstance(values[0], str):
            raise ValueError(f"{path}, row {number}: column {text_column!r} holds {values[0]!r}, not text")
        yield Label(text=values[0], label=str(values[1]), group=str(values[-1]) if group_column else values[0])


def read_rows(path: Path, *, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a JSONL, CSV or Parquet file, as its name says."""
    suffixes = path.name.removesuffix(".gz").rsplit(".", 1)
    kind = suffixes[-1].lower()
    if not path.is_file():
        raise ValueError(f"labels {path}: there is no such file")
    if kind == "parquet":
        file = pq.ParquetFile(path)
        if missing := [column for column in columns if column not in file.schema_arrow.names]:
            raise ValueError(f"{path}: no column {missing[0]!r}; it has {', '.join(file.schema_arrow.names)}")
        for batch in file.iter_batches(columns=list(dict.fromkeys(columns))):
            yield from batch.to_pylist()
        return
    if kind not in ("jsonl", "csv"):
        raise ValueError(f"labels {path}: expected a name that ends in .jsonl, .csv (either with .gz) or .parquet")
    opener: Any = gzip.open if path.name.endswith(".gz") else open
    if kind == "csv":
        csv.field_size_limit(sys.maxsize)  # the module's own limit is 131,072 characters
        with opener(path, "rt", encoding="utf-8", newline="") as lines:
            yield from csv.DictReader(lines)
        return
    with opener(path, "rb") as lines:  # bytes: only \n ends a line
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: not JSON ({error})") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}, line {number}: not a JSON object")
            yield row
