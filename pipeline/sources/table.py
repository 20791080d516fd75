"""A Parquet file of ready texts: row groups are what splits own, rows are documents."""

from collections.abc import Generator, Iterator
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.sources.archive import Chain, Extent, Limits
from pipeline.sources.jsonl import as_text
from pipeline.sources.records import Bad, Document, Fields, Found, clean_url

_MAGIC = b"PAR1"
#: Bytes of texts decoded at a time, by the row group's average, and rows at most.
_BATCH_BYTES = 32 << 20
_BATCH_ROWS = 1024


def read_parquet(
    source: Any, chain: Chain, *, start: int, stop: int, size: int, limits: Limits, fields: Fields
) -> Iterator[Found]:
    """The rows of the row groups that begin in [start, stop); `offset` is the group's, `record` the row's in the file.

    What is wrong with the whole file (no footer, no text column, no rows) is one bad row of the split that owns the
    file's first byte; a row group that does not decode is one bad row; a row without readable text is that row.
    """
    try:
        file = pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True)
    except (OSError, ValueError) as error:
        yield from _refused(chain, start, size, reason=_why(source, size), detail=f"Parquet: {error}")
        return
    with file:
        begins = _group_begins(file.metadata, size)
        columns = _columns(file.schema_arrow, fields)
        if isinstance(columns, str):
            yield from _refused(chain, start, size, reason="bad_type", detail=columns)
            return
        if file.metadata.num_rows == 0:
            yield from _refused(chain, start, size, reason="empty", detail="a table without rows")
            return
        owned = [group for group, begin in enumerate(begins[:-1]) if start <= begin < stop]
        chain.first = begins[owned[0]] if owned else None
        chain.next = begins[owned[-1] + 1] if owned else stop
        rows = [file.metadata.row_group(group).num_rows for group in range(len(begins) - 1)]
        for group in owned:
            # The footer lies behind the last group and belongs to its extent.
            begin, end = begins[group], begins[group + 1]
            damage = yield from _group(
                file, group, columns, begin=begin, end=end, first_row=sum(rows[:group]), limits=limits
            )
            if end > begin:
                chain.extents.append(Extent(start=begin, end=end, kind="damaged" if damage else "record"))


def _why(source: Any, size: int) -> str:
    """A file that begins like Parquet and does not end like it was cut."""
    if bytes(source.read_at(4, 0)) != _MAGIC:
        return "bad_header"
    return "bad_header" if bytes(source.read_at(4, max(0, size - 4))) == _MAGIC else "truncated"


def _refused(chain: Chain, start: int, size: int, *, reason: str, detail: str) -> Iterator[Found]:
    """One row for the whole file, from the split that owns its first byte."""
    chain.next = size
    if start > 0:
        return
    chain.first = 0
    chain.extents.append(Extent(start=0, end=size, kind="damaged"))
    chain.truncated = reason == "truncated"
    yield Bad(offset=0, record=0, end=size, reason=reason, detail=detail[:300])


def _group_begins(metadata: Any, size: int) -> list[int]:
    """Where each row group begins, and the file's end; the first is said to begin at 0. A footer whose places do not
    ascend makes every group begin with the first."""
    begins = [0]
    for group in range(1, metadata.num_row_groups):
        columns = [metadata.row_group(group).column(number) for number in range(metadata.num_columns)]
        begins.append(
            min(min(column.data_page_offset, column.dictionary_page_offset or column.data_page_offset)
                for column in columns)
        )  # fmt: skip
    if all(one < other for one, other in pairwise([*begins, size])):
        return [*begins, size]
    return [0] * metadata.num_row_groups + [size]


def _columns(schema: Any, fields: Fields) -> dict[str, str] | str:
    """Field of a document -> column of the file; a sentence if the file has no text column."""
    there = set(schema.names)
    if fields.text not in there:
        return f"no column {fields.text!r}; there are: {', '.join(schema.names[:20])}"
    kind = schema.field(fields.text).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not _is_text(kind):
        return f"column {fields.text!r} is {kind}, not text"
    wanted = {"text": fields.text, "id": fields.id, "url": fields.url, "date": fields.date}
    return {name: column for name, column in wanted.items() if column in there}


def _is_text(kind: Any) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
        or pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    )  # fmt: skip


def _raw(column: Any) -> list[Any]:
    """Values of a column: text as its bytes, so that one row that is not UTF-8 does not cost the others, numbers and
    times as arrow writes them, lists and structs as Python values."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if not pa.types.is_nested(kind):
        column = column.cast(pa.large_binary() if _is_text(kind) else pa.string())
    values: list[Any] = column.to_pylist()
    return values


def _group(
    file: Any, group: int, columns: dict[str, str], *, begin: int, end: int, first_row: int, limits: Limits
) -> Generator[Found, None, bool]:
    """The rows of one group; returns whether its end could not be decoded, which is then one bad row."""
    row, about = first_row, file.metadata.row_group(group)
    batch_rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES * about.num_rows // max(1, about.total_byte_size)))
    batches = file.iter_batches(batch_size=batch_rows, row_groups=[group], columns=list(columns.values()),
                                use_threads=False)  # fmt: skip
    try:
        for batch in batches:
            sides = {name: _raw(batch.column(column)) for name, column in columns.items()}
            for at in range(batch.num_rows):
                values = {name: side[at] for name, side in sides.items()}
                yield _row(values, offset=begin, record=row, end=end, limits=limits)
                row += 1
    except (OSError, ValueError, OverflowError) as error:
        yield Bad(offset=begin, record=row, end=end, reason="bad_compression",
                  detail=f"row group {group}, behind row {row}: {str(error)[:300]}")  # fmt: skip
        return True
    return False


def _row(values: dict[str, Any], *, offset: int, record: int, end: int, limits: Limits) -> Found:
    url = clean_url(_side(values.get("url")))
    content = values["text"]

    def bad(reason: str, detail: str, measured: float | None = None, threshold: float | None = None) -> Bad:
        return Bad(offset=offset, record=record, end=end, reason=reason, detail=f"row {record + 1}: {detail}", url=url,
                   measured=measured, threshold=threshold)  # fmt: skip

    if content is None:
        return bad("bad_type", "the text is null")
    if len(content) > limits.max_record_bytes:
        return bad("too_large", "the text is larger than the reader's limit", len(content), limits.max_record_bytes)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        return bad("bad_encoding", f"not UTF-8 at byte {error.start} of the text")
    return Document(offset=offset, record=record, end=end, url=url, date=_side(values.get("date")),
                    source_id=_side(values.get("id")), media_type="text/plain", content=b"", text=text)  # fmt: skip


def _side(value: Any) -> str | None:
    """A side column: bytes as UTF-8 as far as they are, lists and structs as JSON."""
    return as_text(value.decode("utf-8", "replace") if isinstance(value, bytes) else value)
