"""What is broken is refused by name, and the last good checkpoint survives."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from token_corpus import TEXTS, shards_of_texts, tokenizer

from tokenizer.bpe import BPESettings, learn, load
from tokenizer.shards import ShardSet
from train.checkpoint import latest
from train.loop import train
from train.presets import preset
from train.settings import TrainSettings

TINY = preset("tiny")
STEPS = TrainSettings.from_preset(TINY, tokens=12 * 512)


def run(shards: ShardSet, out: Path, **options) -> dict:
    return train(shards, STEPS, model=TINY.model(shards.metadata.vocab_size), out=out, **options)


def test_shards_that_vanish_or_change_under_a_run_are_named(tmp_path: Path) -> None:
    shards = shards_of_texts(tmp_path / "shards")
    path = Path(shards.shards[0].path)
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"train-00000\.parquet"):
        run(shards, tmp_path / "a")
    shards_of_texts(tmp_path / "other", TEXTS[1:])
    path.write_bytes((tmp_path / "other" / path.name).read_bytes())
    with pytest.raises(ValueError, match="was replaced since it was opened"):
        run(shards, tmp_path / "b")
    path.unlink()
    with pytest.raises(ValueError, match=r"train-00000\.parquet: there is no such shard"):
        run(shards, tmp_path / "c")


def test_shards_of_another_tokenizer_are_refused(shards: ShardSet, tmp_path: Path) -> None:
    other = load(learn(["entirely other words"], BPESettings(vocab_size=257)))
    with pytest.raises(ValueError, match=f"made by the tokenizer {tokenizer().sha256}, not by {other.sha256}"):
        run(shards, tmp_path, tokenizer=other)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_checkpoint_cut_in_half_is_refused_and_the_one_before_goes_on(
    shards: ShardSet, tmp_path: Path, name: str
) -> None:
    run(shards, tmp_path / "whole")
    for steps in (4, 4):
        run(shards, tmp_path / "cut", max_steps=steps)
    found = latest(tmp_path / "cut" / "checkpoints")
    assert found is not None
    file = found[0] / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"step-00000008 is damaged .* remove it"):
        run(shards, tmp_path / "cut")
    found[0].rename(tmp_path / "removed")
    run(shards, tmp_path / "cut")
    curves = [(tmp_path / out / "metrics.jsonl").read_bytes() for out in ("whole", "cut")]
    assert curves[0] == curves[1]


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow beyond 100 KB: writing more fails with an error, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_the_last_good_checkpoint(shards: ShardSet, tmp_path: Path) -> None:
    run(shards, tmp_path / "whole")
    run(shards, tmp_path / "cut", max_steps=5)
    with full_disk(), pytest.raises(OSError, match="the checkpoints before it are untouched"):
        run(shards, tmp_path / "cut")
    assert [path.name for path in (tmp_path / "cut" / "checkpoints").iterdir()] == ["step-00000005"]
    run(shards, tmp_path / "cut")
    curves = [(tmp_path / out / "metrics.jsonl").read_bytes() for out in ("whole", "cut")]
    assert curves[0] == curves[1]
