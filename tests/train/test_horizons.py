"""A branch of a longer run is the run of its own length, to the bit."""

from dataclasses import replace
from pathlib import Path

import pytest

from tokenizer.shards import ShardSet
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


def test_schedules_without_a_stable_part_are_refused(shards: ShardSet, tmp_path: Path) -> None:
    model = TINY.model(shards.metadata.vocab_size)
    with pytest.raises(ValueError, match="schedule wsd"):
        train_horizons(shards, replace(SETTINGS, schedule="cosine"), horizons=[512], model=model, out=tmp_path)
    with pytest.raises(ValueError, match="within the 2 of warm-up"):
        train_horizons(shards, SETTINGS, horizons=[2 * 512, 9 * 512], model=model, out=tmp_path)
