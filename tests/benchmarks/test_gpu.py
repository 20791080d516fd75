"""The GPU benchmark runs where there is no GPU, in small shapes, and reports every case."""

import json
import time
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, gpu_ablation
from benchmarks.gpu import CASES, TRAINING, main
from benchmarks.gpu_ablation import resolved
from train.model import ModelSettings


def test_all_cases_run_in_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tiny", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())["cases"]
    assert list(found) == CASES
    assert found["resume"] == {"steps": 12, "identical": True}
    ablation = found["9m-4x3"]
    assert ablation["models"] == 12
    assert [len(each) for each in ablation["bits_per_byte"].values()] == [3, 3, 3, 3]
    assert ablation["sigma"] > 0
    assert ablation["minutes_for_12_runs_of_176_M_tokens"] > 0
    for name in TRAINING:
        rate = found[name]["tokens_per_second"]
        assert 0 < rate["low"] <= rate["median"] <= rate["high"], name
        assert len(found[name]["profile"]["longest"]) == 10, name
    table = (tmp_path / "gpu.md").read_text()
    assert table in capsys.readouterr().out
    assert "| four of 20 M at once | 35 % MFU |" in table


def test_noise_is_pooled_over_the_variants_and_differences_are_from_the_first() -> None:
    found = resolved([1.0, 1.1, 1.2, 2.0, 2.0, 2.0, 1.5, 1.6, 1.7, 1.1, 1.1, 1.1], ["a", "b", "c", "d"])
    # Variances .01, 0, .01, 0.
    assert found["sigma"] == pytest.approx(0.005**0.5, abs=1e-5)
    assert found["half_width_of_a_difference"] == pytest.approx(2.306 * (0.005 * 2 / 3) ** 0.5, abs=1e-5)
    assert found["differences"] == {"b": 0.9, "c": 0.5, "d": 0.0}


def test_a_case_that_fails_costs_its_own_row_and_is_tried_with_another_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def apart(name: str, work: Path, seconds: float, *options: str) -> dict:
        asked.append((name, *options))
        return {"tokens_per_second": 1} if options else {"failed": "no kernel"}

    monkeypatch.setattr(gpu, "run_apart", apart)
    end = time.monotonic() + 1000
    assert gpu.run_with_fallback("124m", tmp_path, end) == {"tokens_per_second": 1, "first_attempt": "no kernel"}
    assert gpu.run_with_fallback("resume", tmp_path, end) == {"failed": "no kernel"}
    assert asked == [("124m",), ("124m", "--attention", "flash"), ("resume",)]


def test_a_case_in_a_process_of_its_own_says_why_it_has_no_result(tmp_path: Path) -> None:
    assert "timed_out" in gpu.run_apart("124m", tmp_path, 0.01)


def test_shapes_are_what_their_names_say() -> None:
    def parameters(name: str) -> float:
        model: ModelSettings = TRAINING[name].model(tiny=False)
        return model.matmul_parameters / 1e6

    assert parameters("124m") == pytest.approx(124, rel=0.01)
    assert gpu_ablation.shape(tiny=False)[0].matmul_parameters == pytest.approx(8.8e6, rel=0.01)
    assert parameters("350m") == pytest.approx(360, rel=0.01)
    assert parameters("20m") == pytest.approx(20, rel=0.03)
    untied = TRAINING["50m-8k"].model(tiny=False)
    assert parameters("50m-8k") + untied.vocab_size * untied.hidden_size / 1e6 == pytest.approx(48, rel=0.01)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path)]) == 2
    assert "--tiny" in capsys.readouterr().err
