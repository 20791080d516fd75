"""The filter's bits: bit-exact, never a false negative, and wrong as often as it says."""

import numpy as np
import pytest

from stages.bloom import Shape, empty, expected_rate, insert, probe, shape_for, strangers


def members(count: int, *, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 63, (count, 2), dtype=np.uint64) << np.uint64(1)


def test_sets_the_bits_of_the_definition() -> None:
    shape = Shape(bits=1024, hashes=5)
    keys = members(20, seed=1)
    bits = empty(shape)
    insert(bits, keys, shape)
    wanted = {(int(a) + i * (int(b) | 1) & (1 << 64) - 1) % 1024 for a, b in keys.tolist() for i in range(5)}
    assert set(np.flatnonzero(np.unpackbits(bits, bitorder="little")).tolist()) == wanted
    assert expected_rate(bits, shape) == pytest.approx((len(wanted) / 1024) ** 5)


def test_the_bits_do_not_depend_on_the_order_of_keys() -> None:
    shape = shape_for(1000, false_positive_rate=0.01)
    one, two = empty(shape), empty(shape)
    keys = members(1000, seed=2)
    insert(one, keys, shape)
    for row in np.random.default_rng(3).permutation(1000):
        insert(two, keys[row : row + 1], shape)
    assert np.array_equal(one, two)


@pytest.mark.parametrize("rate", [0.05, 0.001])
def test_members_are_always_found_and_strangers_as_rarely_as_said(rate: float) -> None:
    count = probes = 1_000_000
    shape = shape_for(count, false_positive_rate=rate)
    bits = empty(shape)
    keys = members(count, seed=4)
    assert not probe(bits, keys, shape).any()
    insert(bits, keys, shape)
    assert probe(bits, keys, shape).all()
    found = probe(bits, strangers(probes, seed=5), shape).mean()
    expected = expected_rate(bits, shape)
    assert expected == pytest.approx(rate, rel=0.02)
    assert abs(found - expected) < 3.3 * np.sqrt(expected * (1 - expected) / probes)  # the 99.9 % band


def test_sizes_follow_from_capacity_and_rate() -> None:
    shape = shape_for(1_000_000, false_positive_rate=0.001)
    assert shape.hashes == 10
    assert shape.bits % 64 == 0
    assert shape.bits / 1_000_000 == pytest.approx(14.38, abs=0.01)


def test_strangers_cannot_be_members() -> None:
    assert (strangers(1000, seed=1)[:, 1] & np.uint64(1)).all()
    assert np.array_equal(strangers(10, seed=1), strangers(10, seed=1))
