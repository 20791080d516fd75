"""What models give back: planted texts are found where nothing removes their copies, and not where something does."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_ablation import call, lines, make

from pipeline.ablation.experiment import Memorisation
from pipeline.ablation.memorisation import plant
from pipeline.phases.overlap import covered, windows, windows_of

# 20 texts of 24 sentences, and 2 short ones 64 times: most of what models without deduplication see. Small steps, so
# that few tokens are enough to learn two texts by heart.
PRESET = "batch_tokens = 128"
ASKED = (
    "memorisation={canaries: CANARIES, copies: [1, 64], texts: 2, tokens: 49152, samples: 24, sample_tokens: 60, "
    "match_tokens: 10}"
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("memorisation")
    path = make(folder)
    (folder / "canaries.jsonl").write_text(lines(5000, 8, sentences=8))
    preset = (Path(__file__).parents[3] / "configs" / "train" / "tiny.toml").read_text()
    (folder / "small.toml").write_text(preset.replace("batch_tokens = 512", PRESET))
    asked = ASKED.replace("CANARIES", str(folder / "canaries.jsonl"))
    found = call(path, asked, f"model.preset={folder / 'small.toml'}")
    return {**found, "html": (folder / "out" / "report.html").read_text()}


def test_deduplication_leaves_one_copy(results: dict[str, Any]) -> None:
    variants = results["memorisation"]["variants"]
    assert variants["none"]["written"] == {"copies-001": 1, "copies-064": 64}
    assert variants["dedup"]["written"] == {"copies-001": 1, "copies-064": 1}


def test_deduplication_lowers_what_is_given_back(results: dict[str, Any]) -> None:
    none, dedup = (results["memorisation"]["variants"][name] for name in ("none", "dedup"))
    many = {name: found["texts"]["copies-064"]["gap"]["bits_per_byte"] for name, found in (("n", none), ("d", dedup))}
    assert many["n"] > 0.5 + many["d"]
    assert none["texts"]["copies-064"]["exact"] > dedup["texts"]["copies-064"]["exact"]
    assert none["overlap"] > dedup["overlap"]
    # A text that was planted once tells both models alike.
    assert abs(none["texts"]["copies-001"]["gap"]["bits_per_byte"]) < many["n"] / 2


def test_it_is_told(results: dict[str, Any]) -> None:
    assert results["memorisation"]["controls_in_raw_pool"] == 0
    assert any("continued exactly" in line for line in results["memorisation"]["sentences"])
    assert "What models give back" in results["html"]


def test_verdicts_are_of_models_that_saw_no_planted_text(results: dict[str, Any]) -> None:
    sources = {
        row["source"]
        for variant in results["variants"].values()
        for row in variant["counts"]["stages"]
        if "source" in row
    }
    assert not any("copies-" in source for source in sources)
    assert results["variants"]["none"]["counts"]["stages"][0]["documents"] == 20


def test_texts_are_drawn_once_and_never_twice(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text(lines(0, 6))
    asked = Memorisation(canaries=str(tmp_path / "c.jsonl"), copies=(1, 3), texts=2)
    files = plant(asked, tmp_path / "out")
    texts = [json.loads(line)["text"] for path in files.values() for line in path.read_text().splitlines()]
    assert len(texts) == len(set(texts)) == 6
    assert len((tmp_path / "out" / "planted" / "copies-003.jsonl").read_text().splitlines()) == 6
    with pytest.raises(ValueError, match="9 are needed: 3 for each of 2 numbers of copies and as controls"):
        plant(asked.model_copy(update={"texts": 3}), tmp_path / "out")


@pytest.mark.parametrize("width", [2, 7, 50])
def test_a_run_of_tokens_is_found_wherever_it_stands(width: int) -> None:
    draw = np.random.default_rng(0)
    pool = draw.integers(0, 300, 500)
    assert len(windows(pool, width)) == 500 - width + 1
    assert len(np.unique(windows(pool, width))) > 0.99 * (500 - width + 1) or width == 2
    sample = [*draw.integers(300, 400, 60), *pool[100 : 100 + width + 3], *draw.integers(300, 400, 60)]
    assert covered(sample, windows_of([pool], width), width) == width + 3
    # One token less is none.
    short = [*draw.integers(300, 400, 60), *pool[100 : 100 + width - 1], *draw.integers(300, 400, 60)]
    assert covered(short, windows_of([pool], width), width) == 0
    assert covered([], windows_of([pool], width), width) == 0
