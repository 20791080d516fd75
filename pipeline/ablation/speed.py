"""How fast this machine trains a model of some shape: measured once, on made-up tokens, and remembered."""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from pipeline.ablation.experiment import Model
from pipeline.engine import key_of
from tokenizer.shards import ShardMetadata, ShardSet, write_shard
from train.loop import train
from train.presets import preset
from train.settings import TrainSettings

#: Steps that are timed, behind one that warms up (and compiles). A CPU's steps take seconds.
_STEPS = 3


def measured_speed(model: Model, *, vocab_size: int, folder: Path) -> float:
    """Tokens a second of one model on one core, or one GPU. `folder` remembers it: a call that is repeated, or an
    ablation that goes on after it was stopped, counts on the same figure."""
    asked = [model.model_dump(mode="json"), asdict(preset(model.preset)), vocab_size, os.uname().nodename]
    place = folder / f"speed-{key_of(asked)}.json"
    if place.exists():
        return float(json.loads(place.read_text())["tokens_per_second"])
    if model.device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            "model.device is cuda, and how fast it trains has to be measured where a GPU is: call this there, or ask "
            "for equal: flops"
        )
    chosen = preset(model.preset)
    ends: list[float] = []
    with TemporaryDirectory() as temporary:
        shards = _made_up(Path(temporary) / "shards", chosen.batch_tokens * (_STEPS + 2), vocab_size)
        settings = TrainSettings.from_preset(
            chosen, tokens=chosen.batch_tokens * (_STEPS + 1), threads=1, device=model.device, compile=model.compile,
            optimizer=model.optimizer, log_every_steps=1,
        )  # fmt: skip

        def ended(_: dict[str, Any]) -> None:
            ends.append(time.perf_counter())

        train(shards, settings, model=chosen.model(vocab_size), out=Path(temporary) / "model", progress=ended)
    found = chosen.batch_tokens * _STEPS / (ends[-1] - ends[0])
    folder.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps({"tokens_per_second": round(found, 1), "preset": model.preset}))
    return round(found, 1)


def _made_up(folder: Path, tokens: int, vocab_size: int) -> ShardSet:
    """One document of `tokens` random ids: the speed of a step does not depend on what the ids are."""
    metadata = ShardMetadata(tokenizer_sha256="0" * 64, vocab_size=vocab_size, end_of_text_id=0)
    ids = np.random.default_rng(0).integers(0, vocab_size, tokens).astype(metadata.dtype)
    row = pa.table({
        "doc_id": pa.array(["made-up"]), "source": pa.array(["made-up"]), "n_bytes": pa.array([tokens], pa.int64()),
        "n_tokens": pa.array([tokens], pa.int64()), "tokens": pa.array([ids.tobytes()], pa.large_binary()),
    })  # fmt: skip
    folder.mkdir(parents=True)
    write_shard(str(folder / "train-00000.parquet"), row, metadata=metadata)
    return ShardSet.from_folder(folder)
