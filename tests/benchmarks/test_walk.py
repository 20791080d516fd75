"""A training that is killed on the way ends as the undisturbed one, and its model opens in transformers."""

import importlib.util
from pathlib import Path

import pytest
from token_corpus import shards_of_texts, tokenizer

from benchmarks.walk import walk


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
def test_from_shards_over_two_kills_to_transformers(tmp_path: Path) -> None:
    shards_of_texts(tmp_path / "shards")
    (tmp_path / "tokenizer.json").write_bytes(tokenizer().data)
    found = walk(
        tmp_path / "shards", tmp_path / "tokenizer.json", tmp_path, preset="tiny", tokens=60 * 512, prompt="3 bottles"
    )
    assert found["same_bytes"] == dict.fromkeys(found["same_bytes"], True)
    first, second = found["continued_from_steps"]
    assert 0 < first < second <= 60
    assert found["largest_difference_of_a_logit"] <= 1e-5
    assert found["same_greedy_text"]
    assert "bottle" in found["greedy_text"] or "beer" in found["greedy_text"]
