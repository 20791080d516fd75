"""Which runs of tokens of given samples stand in the raw pool: the text as it was extracted, before any rule."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.parts import Output
from stages.shingles import contained
from tokenizer.bpe import encode, load

#: Documents encoded at once: bounds memory, changes nothing.
_ROWS = 1_000
#: Odd, so that no power of it is 0 modulo 2^64; the multiplier of Knuth's MMIX generator.
_BASE = np.uint64(6364136223846793005)
#: From splitmix64: spreads small token ids over 64 bits.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


def windows(tokens: np.ndarray, width: int) -> np.ndarray:
    """uint64[n - width + 1]: a hash of each run of `width` tokens, polynomial modulo 2^64; empty if there are fewer."""
    if len(tokens) < width:
        return np.zeros(0, np.uint64)
    with np.errstate(over="ignore"):
        power = tokens.astype(np.uint64) * _SPREAD
        power ^= power >> np.uint64(29)
        # Runs of 1, 2, 4, … tokens, and from them the run that `width` is made of in binary.
        factor, length, at = _BASE, 1, 0
        found = np.zeros(len(tokens) - width + 1, np.uint64)
        while length <= width:
            if width & length:
                found = found * factor + power[at : at + len(found)]
                at += length
            if 2 * length <= width:
                power = power[:-length] * factor + power[length:]
            factor, length = factor * factor, 2 * length
    return found


def windows_of(samples: Sequence[Sequence[int]], width: int) -> np.ndarray:
    """The hashes of all samples, each once, in ascending order."""
    each = [windows(np.array(sample, np.int64), width) for sample in samples]
    return np.unique(np.concatenate([np.zeros(0, np.uint64), *each]))


def covered(sample: Sequence[int], index: np.ndarray, width: int) -> int:
    """Tokens of a sample that lie inside a run of `width` whose hash stands in `index` (ascending)."""
    hits = contained(windows(np.array(sample, np.int64), width), index)
    edges = np.zeros(len(sample) + 1, np.int64)
    edges[: len(hits)] += hits
    edges[width : width + len(hits)] -= hits
    return int((np.cumsum(edges)[:-1] > 0).sum())


def found(output: Output, *, base: str, unit: str, samples: str, tokenizer: str, width: int) -> dict[str, Any]:
    """Task: `found`: the hashes of the samples' runs of `width` tokens that occur in one split's extracted text.

    `samples` is a JSON file, a list of lists of token ids; `tokenizer` the tokenizer.json that made them.
    """
    wanted = windows_of(json.loads(Path(samples).read_text()), width)
    encoder = load(Path(tokenizer).read_bytes())
    texts = output.files.read_table(f"{base}/{unit}.docs.parquet", ["text"])["text"].combine_chunks()
    there = [np.zeros(0, np.uint64)]
    for start in range(0, len(texts), _ROWS):
        rows, _ = encode(texts[start : start + _ROWS].cast(pa.large_string()), encoder)
        for row in rows:
            hashes = windows(np.frombuffer(row.as_buffer(), encoder.dtype), width)
            there.append(np.unique(hashes[contained(hashes, wanted)]))
    hashes = np.unique(np.concatenate(there))
    output.table("found", pa.table({"hash": pa.array(hashes, pa.uint64())}))
    return {"windows": len(hashes)}
