"""The arithmetic of the extraction benchmark."""

import pytest

from benchmarks.extraction import stands_for, upper_bound


def test_the_upper_bound_is_the_share_at_which_so_few_would_be_seen_once_in_twenty():
    # None of n: (1 - p)^n = 0.05.
    assert upper_bound(0, 1000) == pytest.approx(1 - 0.05 ** (1 / 1000))
    # One of 1,000: (1 - p)^1000 + 1000 p (1 - p)^999 = 0.05.
    bound = upper_bound(1, 1000)
    assert (1 - bound) ** 1000 + 1000 * bound * (1 - bound) ** 999 == pytest.approx(0.05)
    assert upper_bound(3, 3) == 1.0


def test_a_removed_page_stands_for_the_last_of_its_partners_and_a_gated_one_for_none():
    gone = {"copy": {"partner": "near"}, "near": {"partner": "kept"}, "gated": {"partner": None}}
    assert [stands_for(gone, each) for each in ("copy", "near", "gated", "kept")] == ["kept", "kept", None, "kept"]
