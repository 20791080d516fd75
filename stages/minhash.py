"""MinHash signatures and their bands, by compiled kernels over Arrow's text buffers.

Signatures are bit-identical to `datasketch.MinHash(scheme="affine32")` (datasketch 2.0) for the same permutations and
the token hash `shingle hash >> 32`: the hash is mixed once by MurmurHash3's 32-bit finaliser, then permutation k is
a[k] * h + b[k] modulo 2^32 with odd a[k], and the signature keeps each permutation's minimum.

Source: Broder, "On the resemblance and containment of documents" (1997); the scheme is described in datasketch's
documentation. The permutations are drawn as datasketch draws them, so a signature opens there (`lean_minhashes`).
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from stages.compiled import compiled
from stages.normalise import character_table, text_buffers
from stages.shingles import (
    Unit,
    character_elements,
    elements_bound,
    mix64,
    sequence_key,
    shingle_hashes,
    word_elements,
)

#: datasketch's default seed: with it, signatures compare with those that others have stored.
SEED: Final = 1
_32: Final = np.uint64(32)


def permutations(count: int, *, seed: int = SEED) -> tuple[np.ndarray, np.ndarray]:
    """(a, b), uint32[count] each, as `datasketch.MinHash(num_perm=count, seed=seed)` draws them; every a is odd."""
    random = np.random.RandomState(seed)  # the generator is part of the scheme
    a = random.randint(0, 1 << 31, count, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    b = random.randint(0, 1 << 32, count, dtype=np.uint32)
    return a, b


@compiled
def _mix32(value: np.uint32) -> np.uint32:
    value ^= value >> np.uint32(16)
    value = np.uint32(value * np.uint32(0x85EBCA6B))
    value ^= value >> np.uint32(13)
    value = np.uint32(value * np.uint32(0xC2B2AE35))
    return np.uint32(value ^ (value >> np.uint32(16)))


@compiled
def _premixed(shingle: np.uint64) -> np.uint32:
    return _mix32(np.uint32(shingle >> _32))


@compiled
def _sign(shingles: np.ndarray, a: np.ndarray, b: np.ndarray, signature: np.ndarray) -> None:
    """Four shingles at a time: each permutation and minimum is loaded and stored once for four (3.3 ns against 11)."""
    for k in range(len(signature)):
        signature[k] = np.uint32(0xFFFFFFFF)
    fours = len(shingles) // 4 * 4
    for place in range(0, fours, 4):
        h0, h1 = _premixed(shingles[place]), _premixed(shingles[place + 1])
        h2, h3 = _premixed(shingles[place + 2]), _premixed(shingles[place + 3])
        for k in range(len(signature)):
            v0, v1 = np.uint32(np.uint32(a[k] * h0) + b[k]), np.uint32(np.uint32(a[k] * h1) + b[k])
            v2, v3 = np.uint32(np.uint32(a[k] * h2) + b[k]), np.uint32(np.uint32(a[k] * h3) + b[k])
            signature[k] = min(min(min(v0, v1), min(v2, v3)), signature[k])
    for place in range(fours, len(shingles)):
        h = _premixed(shingles[place])
        for k in range(len(signature)):
            signature[k] = min(np.uint32(np.uint32(a[k] * h) + b[k]), signature[k])


@compiled
def _sketch(
    data: np.ndarray,
    offsets: np.ndarray,
    table: np.ndarray,
    words: bool,
    size: np.int64,
    a: np.ndarray,
    b: np.ndarray,
    scratch: np.ndarray,
    signatures: np.ndarray,
    keys: np.ndarray,
    counts: np.ndarray,
) -> None:
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        if words:
            elements = word_elements(data, start, end, table, scratch)
        else:
            elements = character_elements(data, start, end, table, scratch)
        keys[document, 0], keys[document, 1] = sequence_key(scratch, elements)
        shingles = shingle_hashes(scratch, elements, size, scratch)
        counts[document] = shingles
        _sign(scratch[:shingles], a, b, signatures[document])


@dataclass(frozen=True, kw_only=True)
class Sketches:
    """What MinHash keeps of n texts, in order."""

    #: uint32[n, permutations]; meaningless where `shingles` is 0.
    signatures: np.ndarray
    #: uint64[n, 2]: 128 bits that name the text's elements, so that equal keys mean equal shingles.
    keys: np.ndarray
    #: int64[n]: shingles, repeats counted. 0 means that the text is too short to have any: it has no signature.
    shingles: np.ndarray


def sketch(texts: pa.Array | pa.ChunkedArray, *, unit: Unit, size: int, permutation_count: int) -> Sketches:
    """Signatures of texts, in order. Empty texts and those with fewer than `size` elements have none."""
    data, offsets = text_buffers(texts)
    documents = len(offsets) - 1
    longest = int(np.diff(offsets).max()) if documents else 0
    scratch = np.empty(elements_bound(longest, 1, unit) + 1, dtype=np.uint64)
    signatures = np.empty((documents, permutation_count), dtype=np.uint32)
    keys = np.empty((documents, 2), dtype=np.uint64)
    counts = np.empty(documents, dtype=np.int64)
    a, b = permutations(permutation_count)
    _sketch(data, offsets, character_table(), unit == "word", np.int64(size), a, b, scratch, signatures, keys, counts)
    return Sketches(signatures=signatures, keys=keys, shingles=counts)


def lean_minhashes(found: Sketches) -> list[Any]:
    """The signatures as `datasketch.LeanMinHash`, in order, for its indexes and forests; None for a text without."""
    from datasketch import LeanMinHash, MinHash  # a second of imports that no stage needs

    return [
        LeanMinHash(MinHash(hashvalues=values, seed=SEED, scheme="affine32")) if shingles else None
        for values, shingles in zip(found.signatures, found.shingles.tolist(), strict=True)
    ]


@compiled
def _band_hashes(signatures: np.ndarray, rows: int, out: np.ndarray) -> None:
    for document in range(out.shape[0]):
        for band in range(out.shape[1]):
            state = mix64(np.uint64(band + 1))
            for k in range(band * rows, band * rows + rows):
                state = mix64(state ^ np.uint64(signatures[document, k]))
            out[document, band] = state


def band_hashes(signatures: np.ndarray, *, bands: int, rows: int) -> np.ndarray:
    """uint64[n, bands]: documents whose signatures agree in all rows of a band have the same hash there."""
    out = np.empty((len(signatures), bands), dtype=np.uint64)
    _band_hashes(np.ascontiguousarray(signatures), rows, out)
    return out


def proposal_probability(similarity: float, *, bands: int, rows: int) -> float:
    """The S-curve: the probability that two documents of this Jaccard similarity share a band."""
    return float(1.0 - (1.0 - similarity**rows) ** bands)


def bands_for(threshold: float, *, permutation_count: int, recall: float) -> tuple[int, int]:
    """(bands, rows): the most rows, thus the fewest vain proposals, that propose a pair at the threshold this surely.

    Falls back to one row a band where even that proposes less.
    """
    for rows in range(permutation_count, 1, -1):
        bands = permutation_count // rows
        if proposal_probability(threshold, bands=bands, rows=rows) >= recall:
            return bands, rows
    return permutation_count, 1
