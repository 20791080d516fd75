"""On real pages, pairs share a band as often as the S-curve says for their similarity, bin by bin."""

import gzip
import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats

from stages.minhash import band_hashes, proposal_probability, sketch
from stages.shingles import shingle_sets

DATA = Path(__file__).parents[2] / ".." / "shared" / "data" / "near_dup"
BANDS, ROWS = 14, 8
#: Independent draws of 14 x 8 permutations out of one long signature.
DRAWS = 20
BINS = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


def test_recall_by_similarity_follows_the_curve():
    if not (DATA / "uci_pages.jsonl.gz").exists():
        pytest.skip(f"the data pack is not there ({DATA})")
    with gzip.open(DATA / "uci_pages.jsonl.gz", "rt", encoding="utf-8") as lines:
        pages = {page["id"]: page["text"] for page in map(json.loads, lines)}
    with gzip.open(DATA / "uci_pages_jaccard.tsv.gz", "rt", encoding="utf-8") as lines:
        named = [tuple(map(int, line.split("\t")[:2])) for line in list(lines)[1:]]
    place = {identity: number for number, identity in enumerate(pages)}
    pairs = [(place[one], place[two]) for one, two in named]
    texts = pa.array(list(pages.values()), pa.large_string())
    values, offsets = shingle_sets(texts, unit="word", size=5)
    sets = [set(values[a:b].tolist()) for a, b in itertools.pairwise(offsets.tolist())]
    signatures = sketch(texts, unit="word", size=5, permutation_count=BANDS * ROWS * DRAWS).signatures
    hashes = np.stack([band_hashes(part, bands=BANDS, rows=ROWS) for part in np.split(signatures, DRAWS, axis=1)])
    similarity = np.array([len(sets[a] & sets[b]) / len(sets[a] | sets[b]) for a, b in pairs])
    proposed = np.array([(hashes[:, a] == hashes[:, b]).any(axis=1) for a, b in pairs])
    expected = np.array([proposal_probability(value, bands=BANDS, rows=ROWS) for value in similarity])
    assert len(pairs) == 2644
    for low, high in itertools.pairwise(BINS):
        inside = (similarity >= low) & (similarity < high)
        trials = int(inside.sum()) * DRAWS
        least, most = scipy.stats.binom.interval(0.999, trials, expected[inside].mean())
        assert trials > 1000
        assert least <= proposed[inside].sum() <= most, f"similarity {low} to {high}"
