"""The one vocabulary of the document table: every column that more than one part of Tamis names.

A stage adds its own score columns (declared in its `Stage.adds`); what several stages share stands here once.
"""

import pyarrow as pa

#: The columns of a document after extraction, in this order. One row is one document: one WARC response, resource
#: or conversion record, one file, one archive entry, or one row of a JSONL or Parquet file.
DOCUMENT = pa.schema(
    [
        # 32 hex digits, 128 bits: hash of `source` and the record's place in it. Stable across runs, for people.
        pa.field("id", pa.string(), nullable=False),
        # Path of the input file relative to the input as the recipe names it, with forward slashes.
        pa.field("source", pa.string(), nullable=False),
        # Byte position in `source`: of the gzip member that holds the record, of the record or line itself in a plain
        # file, of the Parquet row group, of the zip entry; in a file that is one compressed stream, in what it holds.
        pa.field("offset", pa.int64(), nullable=False),
        # Number of the record within its gzip member (0 for one record a member), of the line in a compressed JSONL
        # file, of the row in a Parquet file, of the file in a tar or zip; from 0.
        pa.field("record", pa.int64(), nullable=False),
        # The address the document was fetched from, as recorded; null where the source has none.
        pa.field("url", pa.string()),
        # WARC-Date or its like, as recorded (ISO 8601); null where the source has none.
        pa.field("date", pa.string()),
        # What the document was extracted as: text/html, application/pdf, text/plain.
        pa.field("media_type", pa.string()),
        # The page's own title; null where it has none.
        pa.field("title", pa.string()),
        # Extracted text, valid Unicode: no lone surrogates, no control characters but \n and \t.
        pa.field("text", pa.large_string(), nullable=False),
    ]
)

#: One row for each document that does not survive. Sorted by (source, offset, record, stage).
LEDGER = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("record", pa.int64(), nullable=False),
        # First byte behind the record or the damaged range in `source`, where it is known.
        pa.field("end", pa.int64()),
        pa.field("url", pa.string()),
        # The stage's `type` in the recipe, or `read`.
        pa.field("stage", pa.string(), nullable=False),
        # Code from stages/reasons.py.
        pa.field("reason", pa.string(), nullable=False),
        # `dropped` (judged) or `quarantined` (could not be read or parsed).
        pa.field("outcome", pa.string(), nullable=False),
        # The value that was judged and the threshold it was held against; null where the reason has neither.
        pa.field("measured", pa.float64()),
        pa.field("threshold", pa.float64()),
        # For a duplicate: `id` of the document that was kept instead.
        pa.field("partner", pa.string()),
        # What a person needs to understand the row: the error, the rule's own words, the offending piece.
        pa.field("detail", pa.string()),
        # The first characters of the document's text (at most 200), for reading the ledger by eye.
        pa.field("excerpt", pa.string()),
    ]
)

#: What `Stage.judge` returns, one row for each document, in order. A null `reason` means: accepted.
VERDICT = pa.schema(
    [
        pa.field("reason", pa.string()),
        pa.field("measured", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("detail", pa.string()),
    ]
)

#: Scores are rounded to this many decimals before anything judges by them (promise 2).
SCORE_DECIMALS = 4
