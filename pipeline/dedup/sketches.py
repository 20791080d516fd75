"""Signatures, and a number for each document that says its place among all: the first half of near deduplication.

    sketch_part   a part a split: key of the text, order of survivors, MinHash signature
    splitters     cuts the order of survivors into ranges of about equal size, from samples
    number_part   a range: documents in order get their numbers
    band_part     a group of splits: (band hash, number) of each document, 16 bytes for each band

A document's *number* is its place in the order of survivors (40 bits) above its split number (24 bits): numbers sort
like survivors, a smaller one goes first, and a message to a document finds its split. Documents with the very same
elements share one number, that of the best (their leader): whatever happens to it happens to them.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipeline.dedup.groups import ORDERED, Grouping
from pipeline.dedup.survivors import ORDER, ordering, ordering_columns, row_of, split_of
from pipeline.exchange import ChunkedRun, by_hash, read_partition, write_run
from pipeline.parts import Output
from pipeline.view import View, read_documents
from stages.minhash import band_hashes, sketch
from stages.near_dedup import NearDedupSettings

SPLIT_BITS: Final = 24
#: Sampled places of one split: with 64 of each, the ranges of a thousand splits differ by a few per cent.
_SAMPLES: Final = 64
#: Samples that are sorted at once, evenly from those of all splits: of 10,000 ranges each then has a hundred.
_MOST_SAMPLES: Final = 1 << 20

NUMBERED: Final = pa.schema([pa.field("doc", pa.uint64()), pa.field("number", pa.uint64())])
#: A document in a bucket: the bucket's hash, whose lowest bit is a mark of this row (buckets.py), and the number.
BANDS: Final = pa.schema([pa.field("hash", pa.uint64()), pa.field("number", pa.uint64())])
MARK: Final = np.uint64(1)


def split_in(numbers: np.ndarray) -> np.ndarray:
    """int64[n]: the split that each document number names."""
    return (numbers & np.uint64((1 << SPLIT_BITS) - 1)).astype(np.int64)


def range_of(numbers: np.ndarray, *, documents: int, ranges: int) -> np.ndarray:
    """int64[n]: which of `ranges` equal stretches of the order each document lies in."""
    places = (numbers >> np.uint64(SPLIT_BITS)).astype(np.int64)
    return np.minimum(places // max(1, -(-documents // ranges)), ranges - 1)


def range_size(number: int, *, documents: int, ranges: int) -> tuple[int, int]:
    """(first place, places) of one of `ranges` stretches, as `range_of` cuts them."""
    stride = max(1, -(-documents // ranges))
    start = number * stride
    return start, max(0, (documents if number == ranges - 1 else min(documents, start + stride)) - start)


def sketch_part(output: Output, *, view: View, unit: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Task: `keys` (row, key, order of survivors), `signatures` (row, signature) and `sample` of the documents that
    have a signature. The others are too short to be compared and stay."""
    chosen = NearDedupSettings(**settings)
    documents = read_documents(output.files, view, unit, ordering_columns(view, chosen))
    found = sketch(
        documents["text"], unit=chosen.shingle.unit, size=chosen.shingle.size, permutation_count=chosen.permutations
    )
    signed = np.flatnonzero(found.shingles)
    documents = documents.take(pa.array(signed))
    order = ordering(documents, chosen)
    keys = {"row": documents["row"], "key0": found.keys[signed, 0], "key1": found.keys[signed, 1], **order}
    output.table("keys", pa.table(keys))
    signatures = found.signatures[signed].tobytes()
    binary = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(4 * chosen.permutations), len(signed), [None, pa.py_buffer(signatures)]
    )
    output.table("signatures", pa.table({"row": documents["row"], "signature": binary}))
    sampled = np.lexsort((order["id0"], order["place"]))[:: max(1, len(signed) // _SAMPLES)]
    output.table("sample", pa.table({"place": order["place"][sampled], "id0": order["id0"][sampled]}))
    return {"documents": len(found.shingles), "signed": len(signed), "shingles": int(found.shingles.sum())}


def splitters(output: Output, *, samples: Sequence[str], ranges: int) -> dict[str, Any]:
    """Task: `cuts`: the ranges - 1 sampled places that part the sampled documents evenly."""
    every = -(-len(samples) * _SAMPLES // _MOST_SAMPLES)
    taken, seen = [], 0
    for name in samples:
        table = output.files.read_table(name)
        taken.append(table.take(pa.array(np.arange(-seen % every, table.num_rows, every))))
        seen += table.num_rows
    table = pa.concat_tables(taken)
    table = table.sort_by([("place", "ascending"), ("id0", "ascending")])
    rows = np.linspace(0, table.num_rows, ranges + 1)[1:-1].astype(np.int64)
    output.table("cuts", table.take(pa.array(rows)))
    return {"samples": table.num_rows}


def number_part(
    output: Output, *, runs: Sequence[str], partition: int, first: int, grouping: Grouping
) -> dict[str, Any]:
    """Task: `numbers` (NUMBERED by group of splits) of one range of the order; its first document is number `first`."""
    rows = read_partition(output.files, runs, partition, schema=ORDERED)
    order = np.lexsort([rows[name].to_numpy() for name in reversed(ORDER)])
    docs = rows["doc"].to_numpy()[order]
    places = np.arange(first, first + len(docs), dtype=np.uint64)
    numbers = places << np.uint64(SPLIT_BITS) | split_of(docs).astype(np.uint64)
    write_run(output, "numbers", pa.table([docs, numbers], schema=NUMBERED), partition=grouping.of(docs), keys=["doc"])
    return {"documents": len(docs)}


def band_part(
    output: Output,
    *,
    runs: Sequence[str],
    group: int,
    signatures: Sequence[tuple[int, str]],
    settings: dict[str, Any],
    partitions: int,
) -> dict[str, Any]:
    """Task: `bands` (BANDS by hash) of the leaders in one group of splits, and `members`: NUMBERED by split, the way
    back from a number to a row."""
    chosen = NearDedupSettings(**settings)
    bands, rows_in_band = chosen.banding()
    table = read_partition(output.files, runs, group, schema=NUMBERED).sort_by("doc")
    docs, numbers = table["doc"].to_numpy(), table["number"].to_numpy()
    splits = split_of(docs)
    write_run(output, "members", table, partition=splits, keys=["number"])
    banded = ChunkedRun(output, "bands", BANDS, keys=["hash", "number"])
    for split, name in signatures:
        mine = slice(*np.searchsorted(splits, [split, split + 1]))
        stored = output.files.read_table(name)
        places = np.searchsorted(stored["row"].to_numpy(), row_of(docs[mine]))
        chosen_rows = stored["signature"].take(pa.array(places)).combine_chunks()
        data = chosen_rows.buffers()[1]
        values = np.frombuffer(data or b"", dtype=np.uint32).reshape(-1, chosen.permutations)[: len(places)]
        hashes = band_hashes(values, bands=bands, rows=rows_in_band).ravel() | MARK
        rows = pa.table([hashes, np.repeat(numbers[mine], bands)], schema=BANDS)
        banded.add(rows, by_hash(hashes, partitions))
    banded.finish()
    return {"documents": len(docs)}
