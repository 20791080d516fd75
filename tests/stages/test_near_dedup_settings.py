"""Bands follow from the threshold, presets fill in, and the S-curve is what simulated pairs do."""

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
from pydantic import ValidationError

from stages.minhash import band_hashes, proposal_probability, sketch
from stages.near_dedup import NearDedupSettings

PAIRS = 1500
WORDS = 84
SHINGLES = WORDS - 4


def pairs_at(replaced: int, *, seed: int) -> tuple[list[str], list[str], float]:
    """Pairs of texts of 80 shingles in which single words, far apart, differ, and their Jaccard similarity."""
    drawn = np.random.default_rng(seed).integers(0, 10**9, (PAIRS, WORDS))
    others = drawn.copy()
    places = np.arange(replaced) * 6 + 6
    others[:, places] += 10**9
    both = [[" ".join(map(str, row)) for row in rows.tolist()] for rows in (drawn, others)]
    changed = 5 * replaced
    return both[0], both[1], (SHINGLES - changed) / (SHINGLES + changed)


@pytest.mark.parametrize(
    "settings",
    [NearDedupSettings(), NearDedupSettings(threshold=0.9), NearDedupSettings(preset="fineweb")],
    ids=["default", "0.9", "fineweb"],
)
def test_simulated_pairs_are_proposed_as_the_curve_says(settings):
    bands, rows = settings.banding()
    for replaced in (1, 2, 3, 5):
        one, two, similarity = pairs_at(replaced, seed=replaced)
        hashes = [
            band_hashes(
                sketch(pa.array(texts), unit="word", size=5, permutation_count=settings.permutations).signatures,
                bands=bands,
                rows=rows,
            )
            for texts in (one, two)
        ]
        proposed = int((hashes[0] == hashes[1]).any(axis=1).sum())
        low, high = scipy.stats.binom.interval(0.999, PAIRS, proposal_probability(similarity, bands=bands, rows=rows))
        assert low <= proposed <= high, f"{proposed} of {PAIRS} at {similarity:.3f}"


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95])
def test_bands_and_rows_follow_from_the_threshold(threshold):
    settings = NearDedupSettings(threshold=threshold)
    bands, rows = settings.banding()
    assert bands * rows <= settings.permutations
    assert proposal_probability(threshold, bands=bands, rows=rows) >= 0.9
    assert proposal_probability(threshold - 0.25, bands=bands, rows=rows) < 0.5


def test_the_curve_is_told_from_a_half_to_one():
    curve = NearDedupSettings(preset="fineweb").curve()
    assert [similarity for similarity, _ in curve] == [step / 20 for step in range(10, 21)]
    assert dict(curve)[0.75] == pytest.approx(0.772, abs=0.001)  # FineWeb, section 3.4, gives 56, 77, 92 and 98.8 %
    assert dict(curve)[0.8] == pytest.approx(0.924, abs=0.001)
    assert dict(curve)[1.0] == 1.0


def test_presets_fill_in_what_is_not_named():
    assert NearDedupSettings(preset="fineweb").banding() == (14, 8)
    assert NearDedupSettings(preset="refinedweb").banding() == (450, 20)
    assert NearDedupSettings(preset="gopher").shingle.size == 13
    assert NearDedupSettings(preset="fineweb", threshold=0.9).threshold == 0.9
    assert (
        NearDedupSettings(preset="fineweb", permutations=64).banding()
        == NearDedupSettings(threshold=0.75, permutations=64).banding()
    )
    given = NearDedupSettings(preset="refinedweb", threshold=0.85)
    assert NearDedupSettings(**given.model_dump(mode="json")) == given
    with pytest.raises(ValidationError, match="fineweb"):
        NearDedupSettings(preset="fine")
