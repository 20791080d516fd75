"""Exact deduplication: one of each text survives, and it is always the same one."""

import json
from pathlib import Path
from typing import Any

import pytest
from dedup_views import Corpus, ledger_rows, make_engine, verdicts, words

from pipeline.dedup.exact import exact_dedup
from pipeline.engine import merged_counts
from stages.exact_dedup import ExactDedupSettings

PEER = Path(__file__).parents[3] / ".." / "shared" / "data" / "peer_cases" / "datatrove_exact_dedup.json"


def run(
    corpus: Corpus, folder: Path, *, splits: int = 2, compare: Any = "normal_form", **options: Any
) -> dict[str, Any]:
    engine = make_engine(folder)
    view = corpus.view(engine, splits=splits)
    phase = exact_dedup(engine, view, ExactDedupSettings(compare=compare), upstream="test", **options)
    return {"removed": verdicts(engine, view, phase), "counts": merged_counts(engine.commits[phase]),
            "rows": ledger_rows(engine, view, phase), "engine": engine, "view": view, "phase": phase}  # fmt: skip


def test_case_space_and_punctuation_do_not_count_but_digits_do(tmp_path: Path) -> None:
    corpus = Corpus(["Price: 5 euro.", "price 5  EURO", "price 6 euro", "prices 5 euro"])
    found = run(corpus, tmp_path)
    assert found["removed"] == {corpus.rows[1]["id"]: (corpus.rows[0]["id"], 1.0)}
    (row,) = found["rows"]
    assert (row["stage"], row["reason"], row["outcome"], row["excerpt"]) == (
        "exact_dedup", "exact_dup", "dropped", "price 5 EURO",
    )  # fmt: skip
    assert run(corpus, tmp_path / "bytes", compare="verbatim")["removed"] == {}


def test_the_survivor_does_not_depend_on_order_splits_or_partitions(tmp_path: Path) -> None:
    texts = [" ".join(words(5, seed=number % 20)) + "." * (number % 3) for number in range(200)]
    corpus = Corpus(texts, scores=[None if number % 7 == 0 else number % 5 / 10 for number in range(200)])
    reference = run(corpus, tmp_path / "0", splits=1)
    assert reference["counts"]["documents"] == 200
    assert reference["counts"]["kept"] == 20
    assert reference["counts"]["rejected"] == {"exact_dup": 180}
    assert reference["counts"]["stages"]["exact_dedup"]["reasons"] == {"exact_dup": 180}
    for number, (splits, partition_bytes) in enumerate([(3, 1 << 28), (5, 1000)], start=1):
        found = run(corpus.shuffled(number), tmp_path / str(number), splits=splits, partition_bytes=partition_bytes)
        assert found["removed"] == reference["removed"]


def test_best_score_then_longest_then_smallest_id(tmp_path: Path) -> None:
    def survivors(name: str, corpus: Corpus) -> set[str]:
        return {row["id"] for row in corpus.rows} - set(run(corpus, tmp_path / name)["removed"])

    by_score = Corpus(["a b!!!", "a b", "A B"], scores=[float("nan"), 0.5, -3.0])
    assert survivors("score", by_score) == {by_score.rows[1]["id"]}
    by_length = Corpus(["a b", "a b!!!", "A B"])
    assert survivors("length", by_length) == {by_length.rows[1]["id"]}
    by_id = Corpus(["a b", "A b", "A B"])
    assert survivors("id", by_id) == {min(row["id"] for row in by_id.rows)}


def test_all_unique_all_equal_and_empty(tmp_path: Path) -> None:
    assert run(Corpus([f"text {number}" for number in range(100)]), tmp_path / "unique")["removed"] == {}
    assert run(Corpus(["text"] * 100), tmp_path / "equal")["counts"]["kept"] == 1
    assert run(Corpus(["", "", "  ", "!?", "\U0001f600", "\x00"]), tmp_path / "empty")["removed"] == {}
    assert run(Corpus([]), tmp_path / "none")["counts"]["documents"] == 0


def test_done_twice_is_done_once(tmp_path: Path) -> None:
    once = run(Corpus([f"text {number % 7}" for number in range(30)]), tmp_path)
    view = once["view"].with_ledger(once["phase"])
    twice = exact_dedup(once["engine"], view, ExactDedupSettings(), upstream="again")
    assert verdicts(once["engine"], view, twice) == {}


def test_documents_that_share_an_id_are_told_apart(tmp_path: Path) -> None:
    corpus = Corpus(["same text", "same text", "other text"])
    for row in corpus.rows:
        row["id"] = "0" * 32
    found = run(corpus, tmp_path)
    assert found["counts"]["kept"] == 2


def test_agrees_with_the_peer(tmp_path: Path) -> None:
    if not PEER.exists():
        pytest.skip(f"the data pack is not there ({PEER})")
    given = json.loads(PEER.read_text(encoding="utf-8"))
    docs, cases = given["docs"], {case["name"]: case for case in given["cases"]}
    corpus = Corpus([doc["url"] for doc in docs])
    kept = [row["text"] for row in corpus.rows if row["id"] not in run(corpus, tmp_path / "a")["removed"]]
    assert sorted(kept) == cases["no priority"]["expected_urls"]
    for name, score in (("priority = id (highest wins)", 1.0), ("priority = 6-id (lowest id wins)", -1.0)):
        corpus = Corpus([doc["url"] for doc in docs], scores=[score * int(doc["id"]) for doc in docs])
        found = run(corpus, tmp_path / name)["removed"]
        kept_ids = [int(doc["id"]) for doc, row in zip(docs, corpus.rows, strict=True) if row["id"] not in found]
        assert kept_ids == cases[name]["expected_kept_ids"]
