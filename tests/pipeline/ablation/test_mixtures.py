"""Mixtures: the regression finds a known optimum, and a search leaves the source of nonsense out."""

import codecs
import json
from pathlib import Path

import numpy as np
import pytest
from small_ablation import RECIPE, lines
from typer.testing import CliRunner

from pipeline.ablation.mix_run import load_search
from pipeline.ablation.mixtures import draw_mixtures, fit_mixtures, predict_best
from pipeline.cli import app
from pipeline.yaml_tree import RecipeError

NAMES = ["web", "code", "noise"]


def losses(weights: np.ndarray, *, noise: float = 0.002, dice: int = 0) -> np.ndarray:
    """Two domains: each falls with the log of its own source; the third source helps nobody. Best: half and half."""
    draw = np.random.default_rng(dice)
    own = np.log(np.maximum(weights[:, :2], 1e-3))
    return np.exp(0.3 - 0.05 * own + 0.1 * weights[:, 2:]) + draw.normal(0, noise, (len(weights), 2))


def test_mixtures_are_drawn_within_their_limits_and_the_same_each_time() -> None:
    limits = [1.0, 1.0, 0.1]
    drawn = draw_mixtures(20, sources=3, concentration=1.0, limits=limits)
    assert drawn.shape == (20, 3)
    assert drawn.sum(axis=1) == pytest.approx(np.ones(20), abs=1e-3)
    assert drawn[:, 2].max() <= 0.1
    assert (drawn == draw_mixtures(20, sources=3, concentration=1.0, limits=limits)).all()
    with pytest.raises(ValueError, match="raise max_epochs"):
        draw_mixtures(5, sources=2, concentration=1.0, limits=[0.2, 0.2])


def test_a_known_best_mixture_is_found_with_its_uncertainty() -> None:
    weights = draw_mixtures(40, sources=3, concentration=1.0, limits=[1, 1, 1])
    natural = np.array([0.6, 0.1, 0.3])
    found = predict_best(NAMES, weights, losses(weights), natural, limits=[1, 1, 1], concentration=1.0, confidence=0.95)
    assert found["weights"]["noise"] < 0.05
    assert found["weights"]["web"] == pytest.approx(0.5, abs=0.08)
    low, high = found["intervals"]["web"]
    assert low <= found["weights"]["web"] <= high
    assert found["explained_of_left_out"] > 0.9
    truth = losses(np.stack([np.array(list(found["weights"].values())), natural]), noise=0).mean(axis=1)
    assert found["predicted_gain_over_natural"] == pytest.approx(truth[1] - truth[0], abs=0.01)


def test_what_is_left_out_tells_a_form_that_cannot_follow_from_one_that_can() -> None:
    weights = draw_mixtures(40, sources=3, concentration=1.0, limits=[1, 1, 1])
    each = {
        form: fit_mixtures(weights, losses(weights), form=form).left_out_error for form in ("linear", "logarithmic")
    }
    assert each["logarithmic"] < each["linear"] / 2
    nothing = np.random.default_rng(0).normal(1.0, 0.01, (40, 2))
    blind = fit_mixtures(weights, nothing)
    assert blind.left_out_error > 0.8 * blind.spread


SEARCH = """\
name: sources
base: {folder}/recipe.yaml
sources: {{prose: "*prose*", nonsense: "*nonsense*"}}
held_out: {{prose: {folder}/held.jsonl}}
held_out_bytes: 1000
model: {{preset: {folder}/small.toml}}
tokens: 4096
mixtures: 4
confirm: {{seeds: 2}}
"""


@pytest.mark.slow
def test_a_search_leaves_nonsense_out(tmp_path: Path) -> None:
    (tmp_path / "crawl").mkdir()
    (tmp_path / "crawl" / "prose.jsonl").write_text(lines(0, 8))
    rows = [json.loads(line)["text"] for line in lines(100, 8).splitlines()]
    nonsense = "".join(json.dumps({"text": codecs.encode(text, "rot13")}) + "\n" for text in rows)
    (tmp_path / "crawl" / "nonsense.jsonl").write_text(nonsense)
    (tmp_path / "held.jsonl").write_text(lines(9000, 2))
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(crawl=tmp_path / "crawl"))
    preset = (Path(__file__).parents[3] / "configs" / "train" / "tiny.toml").read_text()
    (tmp_path / "small.toml").write_text(preset.replace("batch_tokens = 512", "batch_tokens = 128"))
    path = tmp_path / "search.yaml"
    path.write_text(SEARCH.format(folder=tmp_path))
    arguments = [
        "--out",
        str(tmp_path / "out"),
        "--work",
        str(tmp_path / "work"),
        "--runner",
        "inline",
        "--workers",
        "1",
    ]
    ended = CliRunner().invoke(app, ["ablate", "mix", str(path), *arguments])
    assert ended.exit_code == 0, ended.output
    found = json.loads((tmp_path / "out" / "mixture.json").read_text())
    assert found["sources"]["prose"]["natural"] == pytest.approx(0.5, abs=0.1)
    assert len(found["mixtures"]) == 4
    assert found["prediction"]["weights"]["prose"] > 0.7
    macro = found["confirmed"]["comparison"][-1]["differences"]
    assert {one["variant"]: one["difference"] < 0 for one in macro}["best"]
    assert "confirmed   In bits per byte" in ended.output
    assert (tmp_path / "out" / "confirm" / "report.html").exists()


def test_a_wrong_search_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(SEARCH.format(folder=tmp_path).replace("mixtures: 4", "mixtrues: 4"))
    with pytest.raises(RecipeError, match="Did you mean 'mixtures'"):
        load_search(path)
    path.write_text(SEARCH.format(folder=tmp_path).replace("nonsense: ", "a: '*a', b: '*b', c: "))
    with pytest.raises(RecipeError, match="say nothing about 4 sources"):
        load_search(path)
