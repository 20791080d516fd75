"""The policy of a recipe decides who is kept, in exact and near deduplication, and nothing else does."""

import random
from pathlib import Path
from typing import Any

import pytest
from dedup_views import Corpus, make_engine, planted, verdicts, words

from pipeline.dedup.exact import exact_dedup
from pipeline.dedup.near import near_dedup
from stages.exact_dedup import ExactDedupSettings
from stages.near_dedup import NearDedupSettings, Shingle

TEXT = " ".join(words(50, seed=1))
#: Copies of one text: who is earliest, longest, best, of the better source.
COPIES = Corpus(
    [TEXT, TEXT.upper() + "!!!", TEXT + ".", TEXT + ","],
    scores=[0.1, 0.2, 0.9, None],
    dates=["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", None, "2025-12-31T23:59:59Z"],
    sources=["web/1", "web/2", "web/3", "books/1"],
)
POLICIES = [
    ({"survivor": ["quality"]}, 2),
    ({"survivor": ["longest"]}, 1),
    ({"survivor": ["earliest"]}, 3),
    ({"survivor": ["source_priority", "quality"], "sources": ["web/[12]", "books/*"]}, 1),
    ({"survivor": ["source_priority", "earliest"], "sources": ["books/*"]}, 3),
    ({"survivor": ["smallest_id"]}, min(range(4), key=lambda place: COPIES.rows[place]["id"])),
]


def run(kind: str, corpus: Corpus, folder: Path, *, splits: int = 2, **given: Any) -> dict[str, tuple[str, float]]:
    engine = make_engine(folder)
    view = corpus.view(engine, splits=splits)
    if kind == "exact":
        phase = exact_dedup(engine, view, ExactDedupSettings(**given), upstream="test", partition_bytes=10_000)
    else:
        settings = NearDedupSettings(threshold=0.6, shingle=Shingle(size=3), **given)
        phase = near_dedup(engine, view, settings, upstream="test", partition_bytes=10_000)
    return verdicts(engine, view, phase)


@pytest.mark.parametrize("kind", ["exact", "near"])
@pytest.mark.parametrize(("policy", "survivor"), POLICIES)
def test_the_policy_chooses_the_survivor(tmp_path: Path, kind: str, policy: dict[str, Any], survivor: int) -> None:
    found = run(kind, COPIES, tmp_path, **policy)
    kept = {row["id"] for row in COPIES.rows} - set(found)
    assert kept == {COPIES.rows[survivor]["id"]}
    assert {partner for partner, _ in found.values()} == kept


def test_the_same_survivors_whatever_order_splits_and_bands(tmp_path: Path) -> None:
    drawn = random.Random(3)
    texts = planted(10, 6, seed=21)
    corpus = Corpus(
        texts,
        dates=[drawn.choice(["2026-01-01", "2026-02-01", None]) for _ in texts],
        sources=[drawn.choice(["a", "b", "c"]) for _ in texts],
    )
    policy: dict[str, Any] = {"survivor": ["source_priority", "earliest"], "sources": ["b", "a"]}
    # One row a band proposes every pair that shares a shingle or so: with either banding all similar pairs are seen.
    results = [
        run("near", corpus, tmp_path / "0", splits=1, permutations=1024, bands=1024, rows=1, **policy),
        run("near", corpus.shuffled(1), tmp_path / "1", splits=3, permutations=512, bands=512, rows=1, **policy),
        run("near", corpus.shuffled(2), tmp_path / "2", splits=4, permutations=1024, bands=512, rows=2, **policy),
    ]
    assert len(results[0]) > 10
    assert results[0] == results[1] == results[2]
