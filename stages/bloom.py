"""A Bloom filter's bits: setting, probing, and how often it is wrong.

A filter of m bits sets for each 128-bit key the k bits (first + i * second mod 2^64) mod m, i = 0…k-1, where the two
words of the key are `first` and `second` (made odd). Bit j is bit j % 8 of byte j // 8. Setting bits commutes, so a
filter's bytes are a function of the set of its keys, whatever their order.

Sources: Bloom, "Space/time trade-offs in hash coding with allowable errors" (1970); Kirsch and Mitzenmacher, "Less
hashing, same performance" (2006), for two words in place of k hashes.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from stages.compiled import compiled

_ONE: Final = np.uint64(1)
_SEVEN: Final = np.uint64(7)
_THREE: Final = np.uint64(3)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A filter's size: `bits` (a multiple of 64) and bits set for each key."""

    bits: int
    hashes: int


def shape_for(capacity: int, *, false_positive_rate: float) -> Shape:
    """The smallest filter that holds `capacity` keys at this rate: m = -n ln p / (ln 2)^2, k = m/n ln 2."""
    bits = math.ceil(-capacity * math.log(false_positive_rate) / math.log(2) ** 2 / 64) * 64
    return Shape(bits=bits, hashes=max(1, round(bits / capacity * math.log(2))))


def expected_rate(bits: np.ndarray, shape: Shape) -> float:
    """The false positive rate of these very bits (uint8): the share of set bits to the power of `hashes`."""
    return float((int(np.bitwise_count(bits).sum(dtype=np.int64)) / shape.bits) ** shape.hashes)


@compiled
def _insert(bits: np.ndarray, keys: np.ndarray, size: int, hashes: int) -> None:
    modulus = np.uint64(size)
    for row in range(len(keys)):
        place, step = keys[row, 0], keys[row, 1] | _ONE
        for _ in range(hashes):
            bit = place % modulus
            bits[bit >> _THREE] |= np.uint8(_ONE << (bit & _SEVEN))
            place += step


@compiled
def _probe(bits: np.ndarray, keys: np.ndarray, size: int, hashes: int, found: np.ndarray) -> None:
    modulus = np.uint64(size)
    for row in range(len(keys)):
        place, step = keys[row, 0], keys[row, 1] | _ONE
        hit = True
        for _ in range(hashes):
            bit = place % modulus
            if not bits[bit >> _THREE] & np.uint8(_ONE << (bit & _SEVEN)):
                hit = False
                break
            place += step
        found[row] = hit


def empty(shape: Shape) -> np.ndarray:
    """The bits of a filter without keys: uint8[bits / 8]."""
    return np.zeros(shape.bits // 8, dtype=np.uint8)


def insert(bits: np.ndarray, keys: np.ndarray, shape: Shape) -> None:
    """Set the bits of keys (uint64[n, 2]) in place."""
    _insert(bits, keys, shape.bits, shape.hashes)


def probe(bits: np.ndarray, keys: np.ndarray, shape: Shape) -> np.ndarray:
    """bool[n]: which keys (uint64[n, 2]) the filter holds. Never False for one that was inserted."""
    found = np.empty(len(keys), dtype=np.bool_)
    _probe(bits, keys, shape.bits, shape.hashes, found)
    return found


def strangers(count: int, *, seed: int) -> np.ndarray:
    """uint64[count, 2]: keys that no text has, since the lowest bit of the second word is set (see `text_keys`)."""
    keys = np.random.default_rng(seed).integers(0, 1 << 64, size=(count, 2), dtype=np.uint64)
    keys[:, 1] |= _ONE
    return keys
