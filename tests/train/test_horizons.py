"""A branch of a longer run is the run of its own length, to the bit."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tokenizer.shards import ShardSet
from train.__main__ import main
from train.horizons import train_horizons
from train.loop import train
from train.presets import preset
from train.settings import TrainSettings

TINY = preset("tiny")
SETTINGS = TrainSettings.from_preset(TINY, tokens=16 * 512, warmup_steps=2, decay_fraction=0.4)


def test_each_horizon_is_the_run_of_its_length(shards: ShardSet, tmp_path: Path) -> None:
    model = TINY.model(shards.metadata.vocab_size)
    steps: list[int] = []
    found = train_horizons(
        shards,
        SETTINGS,
        horizons=[16 * 512, 8 * 512],
        model=model,
        out=tmp_path / "many",
        progress=lambda row: steps.append(row["step"]),
    )
    # The trunk to the shorter decay, that decay, the rest of the trunk, the longer decay: no step of it twice.
    assert steps == [1, 2, 3, 4, *range(5, 9), 5, 6, 7, 8, 9, *range(10, 17)]
    for tokens in (8 * 512, 16 * 512):
        train(shards, replace(SETTINGS, tokens=tokens), model=model, out=tmp_path / str(tokens))
        for name in ("metrics.jsonl", "model/model.safetensors"):
            alone, branch = (
                (out / name).read_bytes() for out in (tmp_path / str(tokens), tmp_path / f"many/tokens-{tokens}")
            )
            assert alone == branch, (tokens, name)
        assert found[tokens]["finished"]


def test_a_horizon_shorter_than_the_trunk_that_is_there_is_refused(shards: ShardSet, tmp_path: Path) -> None:
    model, settings = TINY.model(shards.metadata.vocab_size), replace(SETTINGS, tokens=16 * 512)
    train_horizons(shards, settings, horizons=[16 * 512], model=model, out=tmp_path)
    with pytest.raises(ValueError, match="trunk is at step 9, and a horizon of 8 steps branches at 4"):
        train_horizons(shards, settings, horizons=[8 * 512, 16 * 512], model=model, out=tmp_path)


def test_one_command_gives_the_models_of_all_lengths(
    shards: ShardSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shards.shards[0].path).parent
    command = f"train --shards {folder} --preset tiny --horizons 4e3,1e4 --out {tmp_path / 'many'}".split()
    assert main(command) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert list(found) == ["4000", "10000"]
    assert "tokens/s" in said.err
    for tokens, one in found.items():
        assert one["finished"]
        assert json.loads((tmp_path / "many" / f"tokens-{tokens}" / "results.json").read_text()) == one
        assert (tmp_path / "many" / f"tokens-{tokens}" / "model" / "model.safetensors").exists()
    assert main([*command, "--max-steps", "2"]) == 2
    assert main([*command, "--schedule", "cosine"]) == 2
    assert "schedule wsd" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "--tokens", "1e4"])


def test_schedules_without_a_stable_part_are_refused(shards: ShardSet, tmp_path: Path) -> None:
    model = TINY.model(shards.metadata.vocab_size)
    with pytest.raises(ValueError, match="schedule wsd"):
        train_horizons(shards, replace(SETTINGS, schedule="cosine"), horizons=[512], model=model, out=tmp_path)
    with pytest.raises(ValueError, match="within the 2 of warm-up"):
        train_horizons(shards, SETTINGS, horizons=[2 * 512, 9 * 512], model=model, out=tmp_path)
