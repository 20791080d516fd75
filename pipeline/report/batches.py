"""A run's Parquet parts as they are read for a page: batch by batch, only the columns that are asked for."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

_BATCH_ROWS: Final = 65_536


def parts(out: Path, folder: str) -> list[Path]:
    return sorted(path for path in (out / folder).glob("*.parquet") if not path.name.startswith("."))


def batches(files: Sequence[Path], columns: Sequence[str], *, rows: int = _BATCH_ROWS) -> Iterator[pa.RecordBatch]:
    """The columns that a file has; a file that has none of them is passed over."""
    for path in files:
        with pq.ParquetFile(path) as file:
            present = [name for name in columns if name in file.schema_arrow.names]
            if present:
                yield from file.iter_batches(batch_size=rows, columns=present)
