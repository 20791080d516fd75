"""Signatures are datasketch's, bands follow the S-curve."""

import numpy as np
import pyarrow as pa
import pytest
from datasketch import LeanMinHash, MinHash, MinHashLSH

from stages.minhash import band_hashes, bands_for, lean_minhashes, permutations, proposal_probability, sketch
from stages.shingles import reference_shingles, shingle_sets

TEXTS = [
    "It is a truth universally acknowledged, that a single man in possession of a good fortune",
    "must be in want of a wife. " * 40,
    "one two three four five",
    "one two three four five six seven eight",
    "日本語のテストは文字ごと",
    "Ünïcode é e\u0301 नमस्ते दुनिया हिन्दी भाषा में",
]


@pytest.mark.parametrize("count", [16, 100, 128])
def test_signatures_are_those_of_datasketch(count: int) -> None:
    found = sketch(pa.array(TEXTS), unit="word", size=5, permutation_count=count)
    for number, text in enumerate(TEXTS):
        reference = MinHash(count, scheme="affine32", hashfunc=lambda shingle: shingle >> 32)
        reference.update_batch(reference_shingles(text, size=5))
        assert np.array_equal(found.signatures[number], reference.hashvalues)


def test_signatures_are_exported_to_datasketch() -> None:
    texts = [TEXTS[0], TEXTS[1], TEXTS[0], ""]
    found = sketch(pa.array(texts), unit="word", size=5, permutation_count=128)
    one, two, again, none = lean_minhashes(found)
    assert isinstance(one, LeanMinHash)
    assert one.jaccard(two) == np.mean(found.signatures[0] == found.signatures[1])
    assert none is None
    index = MinHashLSH(threshold=0.8, num_perm=128)
    index.insert("one", one)
    assert index.query(again) == ["one"]


def test_permutations_are_those_of_datasketch() -> None:
    a, b = permutations(64)
    assert np.array_equal([a, b], MinHash(64, scheme="affine32").permutations)


def test_empty_and_short_texts_have_no_signature() -> None:
    texts = ["", "!!!", "one two three four", "one two three four five", "日本語日", "日本語日本"]
    found = sketch(pa.array(texts), unit="word", size=5, permutation_count=16)
    assert found.shingles.tolist() == [0, 0, 0, 1, 0, 1]


def test_equal_words_give_equal_keys_and_others_do_not() -> None:
    texts = ["a b c", "A, b! c", "a b d", "a c b", "a b c c", ""]
    keys = sketch(pa.array(texts), unit="word", size=1, permutation_count=16).keys
    assert np.array_equal(keys[0], keys[1])
    assert len(np.unique(keys, axis=0)) == 5


def test_estimates_follow_the_true_similarity() -> None:
    drawn = np.random.default_rng(3)
    base = [f"w{number}" for number in drawn.integers(0, 10**6, 400)]
    for share in (0.02, 0.1, 0.3):
        other = [word if drawn.random() > share else f"x{place}" for place, word in enumerate(base)]
        texts = pa.array([" ".join(base), " ".join(other)])
        values, offsets = shingle_sets(texts, unit="word", size=2)
        one, two = set(values[: offsets[1]].tolist()), set(values[offsets[1] :].tolist())
        true = len(one & two) / len(one | two)
        signatures = sketch(texts, unit="word", size=2, permutation_count=1024).signatures
        assert np.mean(signatures[0] == signatures[1]) == pytest.approx(true, abs=4 * np.sqrt(true * (1 - true) / 1024))


def test_bands_are_equal_exactly_where_all_their_rows_are() -> None:
    signatures = np.random.default_rng(1).integers(0, 2, (200, 12)).astype(np.uint32)
    hashes = band_hashes(signatures, bands=3, rows=4)
    for band in range(3):
        rows = signatures[:, 4 * band : 4 * band + 4]
        for one, two in ((0, 5), (3, 90), (17, 18)):
            assert (hashes[one, band] == hashes[two, band]) == bool((rows[one] == rows[two]).all())
    assert len(np.unique(hashes)) == sum(len(np.unique(signatures[:, 4 * b : 4 * b + 4], axis=0)) for b in range(3))


@pytest.mark.parametrize("similarity", [0.5, 0.7, 0.8])
def test_the_s_curve_is_what_simulation_gives(similarity: float) -> None:
    drawn = np.random.default_rng(5)
    agree = drawn.random((20_000, 14, 8)) < similarity
    observed = agree.all(axis=2).any(axis=1).mean()
    assert observed == pytest.approx(proposal_probability(similarity, bands=14, rows=8), abs=0.015)


def test_bands_follow_from_the_threshold() -> None:
    assert bands_for(0.75, permutation_count=128, recall=0.9) == (18, 7)
    for threshold in (0.3, 0.5, 0.7, 0.8, 0.9, 0.95):
        bands, rows = bands_for(threshold, permutation_count=128, recall=0.9)
        assert bands * rows <= 128
        assert proposal_probability(threshold, bands=bands, rows=rows) >= 0.9
    assert bands_for(0.001, permutation_count=16, recall=0.9) == (16, 1)
