"""Two ranks are one rank with twice the accumulation."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tokenizer.shards import ShardSet
from train.loop import train
from train.presets import preset
from train.settings import TrainSettings

ROOT = Path(__file__).parents[2]
TINY = preset("tiny")
#: As the command line below says it.
SETTINGS = TrainSettings.from_preset(TINY, tokens=8 * 512, seed=3)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def ranks(number: int, shards: ShardSet, out: Path, *options: str) -> None:
    """The command line on this many processes over loopback, as torchrun would start it."""
    folder = Path(shards.shards[0].path).parent
    command = [sys.executable, "-m", "train", "train", "--shards", str(folder), "--preset", "tiny"]
    command += ["--tokens", str(8 * 512), "--seed", "3", "--out", str(out), *options]
    shared = {"WORLD_SIZE": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    started = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "GLOO_SOCKET_IFNAME": "lo"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for rank in range(number)
    ]
    for process in started:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said.decode()


def curve(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_two_ranks_are_one_rank_with_twice_the_accumulation(shards: ShardSet, tmp_path: Path) -> None:
    # Four micro-batches of two sequences alone; two ranks have two each.
    ranks(2, shards, tmp_path / "two", "--micro-batch", "2")
    alone = train(
        shards,
        replace(SETTINGS, micro_batch_sequences=2),
        model=TINY.model(shards.metadata.vocab_size),
        out=tmp_path / "one",
    )
    both = json.loads((tmp_path / "two" / "results.json").read_text())
    assert (both["environment"]["ranks"], both["tokens"]) == (2, alone["tokens"])
    for one, two in zip(curve(tmp_path / "one"), curve(tmp_path / "two"), strict=True):
        assert (two["step"], two["tokens"], two["learning_rate"]) == (one["step"], one["tokens"], one["learning_rate"])
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert two["gradient_norm"] == pytest.approx(one["gradient_norm"], rel=1e-3)
