"""Estimates against sums that one can do by hand."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from train.__main__ import main
from train.estimate import Device, compute_optimal, estimate, mfu_prior, refined_mfu
from train.presets import preset
from train.settings import TrainSettings

H200 = Device(peak_flops=1e15, number=2, mfu=0.5, price_per_hour=3.0)


def test_seconds_memory_and_cost() -> None:
    model = preset("p110").model(32_768)
    settings = TrainSettings.from_preset(preset("p110"), tokens=10**9)
    found = estimate(model, settings, H200)
    n, tokens = model.matmul_parameters, found["tokens"]
    assert n == 12 * (4 * 768 * 768 + 3 * 768 * 2048) + 768 * 32_768
    assert found["seconds"]["6N"] == pytest.approx(6 * n * tokens / 1e15, rel=1e-3)
    assert found["seconds"]["6N+12LHET"] == pytest.approx((6 * n + 12 * 12 * 768 * 2048) * tokens / 1e15, rel=1e-3)
    assert found["seconds"]["8TP/nX"] == pytest.approx(8 * tokens * n / 1e15, rel=1e-3)
    assert found["cost"] == pytest.approx(found["seconds"]["6N+12LHET"] / 3600 * 2 * 3.0, abs=0.01)
    assert found["memory_bytes"]["weights_and_optimiser"] == 18 * n
    untied = estimate(replace(model, tie_word_embeddings=False), settings, H200)
    assert untied["parameters"] == n + 768 * 32_768
    assert estimate(model, settings, replace(H200, price_per_hour=None))["cost"] is None


def test_the_prior_is_the_published_figures_and_rises_between_them() -> None:
    assert mfu_prior(110e6) == pytest.approx(0.41)
    assert mfu_prior(math.sqrt(110e6 * 350e6)) == pytest.approx((0.41 + 0.46) / 2)
    assert (mfu_prior(1e5), mfu_prior(1e12)) == (0.24, 0.50)


def test_a_runs_first_steps_refine_it() -> None:
    lines = [
        {"step": step, "tokens_per_second": rate}
        for step, rate in ((10, 1.0), (20, 90.0), (30, 110.0), (40, 100.0), (60, 1e9))
    ]
    assert refined_mfu(lines, flop_per_token=10**12, device=replace(H200, number=1)) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="behind step 10"):
        refined_mfu(lines[:1], flop_per_token=1, device=H200)


def test_the_size_for_a_budget() -> None:
    best = compute_optimal(5.76e23)
    # Chinchilla itself: 70 billion parameters and 1.4 trillion tokens.
    assert best["parameters"] == pytest.approx(70e9, rel=0.02)
    assert best["tokens"] == pytest.approx(20 * best["parameters"])
    other = compute_optimal(6e18, tokens_per_parameter=100)
    assert 6 * other["parameters"] * other["tokens"] == pytest.approx(6e18, rel=1e-6)
    with pytest.raises(ValueError, match="positive"):
        compute_optimal(0)


def test_the_command_prints_all_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["estimate", "--preset", "nano", "--vocab-size", "4096", "--tokens", "1e6", "--budget-flop", "6e18"]
    assert main([*command, "--device", "1e11", "--mfu", "0.5"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["mfu_source"] == "given"
    assert found["compute_optimal"]["flop"] == 6e18
    (tmp_path / "speed.jsonl").write_text(json.dumps({"step": 20, "tokens_per_second": 12_000.0}) + "\n")
    assert main([*command, "--device", "1e11", "--like", str(tmp_path)]) == 0
    refined = json.loads(capsys.readouterr().out)
    assert refined["seconds"]["6N+12LHET"] == pytest.approx(found["tokens"] / 12_000, rel=0.01)
    assert main(["estimate", "--device", "abacus"]) == 2
