"""What is broken is refused by name, and the last good checkpoint survives."""

import re
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file
from token_corpus import TEXTS, shards_of_texts, tokenizer

from tokenizer import shard_writer as module
from tokenizer.bpe import BPESettings, binary_array, learn, load
from tokenizer.shards import ShardSet, write_shard
from train.__main__ import main
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


def two_shards(folder: Path, texts: list[str] = TEXTS) -> ShardSet:
    """The texts in two shards of one set."""
    half = len(texts) // 2
    for number, part in enumerate((texts[:half], texts[half:])):
        alone = folder / f"part{number}"
        made = shards_of_texts(alone, part)
        docs = made.read_documents(0)
        for group in range(1, len(made.row_groups)):
            docs = pa.concat_tables([docs, made.read_documents(group)])
        metadata = replace(made.metadata, shard=number, shards=2)
        write_shard(folder / f"{number}.parquet", docs, metadata=metadata, row_group_tokens=1000)
    return ShardSet.from_folder(folder)


def remove_one(folder: Path) -> None:
    (folder / "1.parquet").unlink()


def change_one(folder: Path) -> None:
    two_shards(folder, [*TEXTS[1:], "another ending"])


def of_another_tokenizer(folder: Path) -> None:
    made_by = load(learn([*TEXTS, "zebra " * 50], BPESettings(vocab_size=270)))
    remove_one(folder)
    (folder / "0.parquet").unlink()
    shards_of_texts(folder, made=made_by)


def numbers_that_are_no_numbers(folder: Path) -> None:
    """A well-formed Parquet file with the right footer, whose tokens are floats, NaN among them."""
    path = folder / "1.parquet"
    table = pq.read_table(path)
    nan = pa.array([[float("nan")]] * table.num_rows, pa.list_(pa.float32()))
    table = table.set_column(table.schema.get_field_index("tokens"), "tokens", nan)
    footer = {key: value for key, value in pq.ParquetFile(path).metadata.metadata.items() if key.startswith(b"tamis")}
    pq.write_table(table.replace_schema_metadata(footer), path)


def ids_beyond_the_vocabulary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a writer of one's own may do: ids that the stated vocabulary does not have."""
    made = ShardSet.from_folder(folder)
    docs = pa.concat_tables([made.read_documents(group) for group, (at, _) in enumerate(made.row_groups) if at == 1])
    counts = docs["n_tokens"].to_numpy()
    wrong = binary_array(np.full(counts.sum(), 999, "<u2"), counts)
    docs = docs.set_column(docs.schema.get_field_index("tokens"), "tokens", wrong)
    monkeypatch.setattr(module, "check_documents", lambda *_: None)
    write_shard(folder / "1.parquet", docs, metadata=made.shards[1].metadata, row_group_tokens=1000)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_one, r"1 of 2 shards are missing, the first is number 1"),
        (change_one, r"cannot resume: the fingerprint was"),
        (of_another_tokenizer, r"this is not the tokenizer of these shards"),
        (numbers_that_are_no_numbers, r"1\.parquet: columns or row groups are not those that the footer states"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_bad_shards_are_refused_on_resume_and_the_checkpoint_goes_on_when_they_are_whole_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None], message: str
) -> None:
    folder, out = tmp_path / "shards", tmp_path / "run"
    two_shards(folder)
    (tmp_path / "tokenizer.json").write_bytes(tokenizer().data)
    command = f"train --shards {folder} --preset tiny --tokens 6144 --tokenizer {tmp_path}/tokenizer.json".split()
    assert main([*command, "--out", str(tmp_path / "whole")]) == 0
    assert main([*command, "--out", str(out), "--max-steps", "5"]) == 0
    before = contents(out / "checkpoints")
    saved = contents(folder)
    damage(folder)
    assert main([*command, "--out", str(out)]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert contents(out / "checkpoints") == before
    for path in folder.glob("*.parquet"):
        path.unlink()
    for path, data in saved.items():
        path.write_bytes(data)
    assert main([*command, "--out", str(out)]) == 0
    curves = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "run")]
    assert curves[0] == curves[1]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_ids_beyond_the_vocabulary_are_refused_by_the_shards_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shards"
    two_shards(folder)
    ids_beyond_the_vocabulary(folder, monkeypatch)
    with pytest.raises(ValueError, match=r"1\.parquet: row group . holds token 999, which is not in the vocabulary"):
        run(ShardSet.from_folder(folder), tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("--seed 1", "holds another run (seed was 0, is 1)"),
        ("--optimizer soap", "holds another run (optimizer was adamw, is soap)"),
        ("--preset demo", "holds another run (sequence_length was 64, is 128"),
        ("--llama", "holds another run (qk_norm was True, is False)"),
    ],
)
def test_other_settings_are_refused_and_change_nothing(
    shards: ShardSet, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: str, message: str
) -> None:
    folder = Path(shards.shards[0].path).parent
    command = f"train --shards {folder} --preset tiny --tokens 6144 --out {tmp_path / 'run'}".split()
    assert main([*command, "--max-steps", "2"]) == 0
    before = contents(tmp_path / "run")
    assert main([*command, *changes.split()]) == 2
    assert message in capsys.readouterr().err
    assert contents(tmp_path / "run") == before


def test_a_loss_that_is_not_finite_ends_the_run_and_the_checkpoints_are_finite(
    shards: ShardSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shards.shards[0].path).parent
    command = f"train --shards {folder} --preset tiny --tokens 6144 --out {tmp_path} --checkpoint-every 1".split()
    assert main([*command, "--learning-rate", "1e25"]) == 1
    assert "4th step that is not finite: lower learning_rate" in capsys.readouterr().err
    found = latest(tmp_path / "checkpoints")
    assert found is not None
    assert all(value.isfinite().all() for value in load_file(found[0] / "model.safetensors").values())
    assert all(value.isfinite().all() for value in load_file(found[0] / "optimizer.safetensors").values())


def test_a_vocabulary_that_does_not_fit_is_refused_before_anything_is_written(shards: ShardSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the shards hold ids up to 279, the model has only 256"):
        train(shards, STEPS, model=TINY.model(256), out=tmp_path)
    assert not list(tmp_path.iterdir())


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
