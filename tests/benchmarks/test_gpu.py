"""The GPU benchmark runs where there is no GPU, in small shapes, and reports every case."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import CASES, TRAINING, main
from train.model import ModelSettings


def test_all_cases_run_in_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tiny", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())["cases"]
    assert list(found) == CASES
    assert found["resume"] == {"steps": 12, "identical": True}
    for name in TRAINING:
        rate = found[name]["tokens_per_second"]
        assert 0 < rate["low"] <= rate["median"] <= rate["high"], name
        assert len(found[name]["profile"]["longest"]) == 10, name
    table = (tmp_path / "gpu.md").read_text()
    assert table in capsys.readouterr().out
    assert "| four of 20 M at once | 35 % MFU |" in table


def test_shapes_are_what_their_names_say() -> None:
    def parameters(name: str) -> float:
        model: ModelSettings = TRAINING[name].model(tiny=False)
        return model.matmul_parameters / 1e6

    assert parameters("124m") == pytest.approx(124, rel=0.01)
    assert parameters("350m") == pytest.approx(360, rel=0.01)
    assert parameters("20m") == pytest.approx(20, rel=0.03)
    untied = TRAINING["50m-8k"].model(tiny=False)
    assert parameters("50m-8k") + untied.vocab_size * untied.hidden_size / 1e6 == pytest.approx(48, rel=0.01)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path)]) == 2
    assert "--tiny" in capsys.readouterr().err
