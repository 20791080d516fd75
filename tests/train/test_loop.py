"""Training learns, repeats itself to the bit, survives interruption, and refuses what it cannot continue."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from token_corpus import TEXTS, shards_of_texts, tokenizer

from tokenizer.shards import ShardSet
from train.__main__ import main
from train.checkpoint import latest
from train.evaluate import evaluate, prepare
from train.export import load_model
from train.loop import DivergedError, train
from train.presets import preset
from train.schedule import learning_rate_factor
from train.settings import TrainSettings

TINY = preset("tiny")
STEPS = TrainSettings.from_preset(TINY, tokens=12 * 512, checkpoint_every_steps=5)


def run(shards: ShardSet, out: Path, settings: TrainSettings = STEPS, **options) -> dict:
    return train(shards, settings, model=TINY.model(shards.metadata.vocab_size), out=out, **options)


def curve(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def files(out: Path) -> dict[str, bytes]:
    names = ("metrics.jsonl", "model/model.safetensors", "model/config.json")
    return {name: (out / name).read_bytes() for name in names}


def test_the_same_seed_gives_the_same_bytes_and_another_one_another_curve(shards: ShardSet, tmp_path: Path) -> None:
    results = [run(shards, tmp_path / name) for name in ("a", "b")]
    assert files(tmp_path / "a") == files(tmp_path / "b")
    run(shards, tmp_path / "c", replace(STEPS, seed=1))
    assert curve(tmp_path / "a")[0]["loss"] != curve(tmp_path / "c")[0]["loss"]
    assert (results[0]["steps"], results[0]["tokens"], results[0]["finished"]) == (12, 6144, True)
    assert results[0]["final_loss"] == curve(tmp_path / "a")[-1]["loss"]
    rows = TINY.model(shards.metadata.vocab_size).vocab_size
    assert curve(tmp_path / "a")[0]["loss"] == pytest.approx(math.log(rows), rel=0.02)
    assert results[0]["data"]["tokenizer_sha256"] == tokenizer().sha256
    assert json.loads((tmp_path / "a" / "results.json").read_text()) == results[0]


@pytest.mark.parametrize("stops", [(7,), (1, 4, 2), (5, 5)])
def test_a_resumed_run_equals_the_undisturbed_one_to_the_bit(shards: ShardSet, tmp_path: Path, stops: tuple) -> None:
    run(shards, tmp_path / "whole")
    for steps in stops:
        assert not run(shards, tmp_path / "cut", max_steps=steps)["finished"]
    assert run(shards, tmp_path / "cut")["finished"]
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_a_killed_run_goes_on_from_its_last_checkpoint(shards: ShardSet, tmp_path: Path) -> None:
    def killed(row: dict) -> None:
        if row["step"] == 8:
            raise KeyboardInterrupt

    run(shards, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(shards, tmp_path / "cut", progress=killed)
    # Eight steps are on the curve, five in the checkpoint; a half-written one is in the way.
    (tmp_path / "cut" / "checkpoints" / ".partial-00000010-1").mkdir()
    run(shards, tmp_path / "cut")
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    assert [path.name for path in sorted((tmp_path / "cut" / "checkpoints").glob("step-*"))] == [
        "step-00000010",
        "step-00000012",
    ]


def test_damaged_checkpoints_other_settings_and_other_data_are_refused(shards: ShardSet, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(shards, out, max_steps=6)
    with pytest.raises(ValueError, match=r"holds another run \(learning_rate was 0.01, is 0.02\)"):
        run(shards, out, replace(STEPS, learning_rate=0.02))
    with pytest.raises(ValueError, match="cannot resume: the fingerprint was"):
        run(shards_of_texts(tmp_path / "other", TEXTS[1:]), out)
    found = latest(out / "checkpoints")
    assert found is not None
    weights = found[0] / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"is damaged \(model.safetensors\): remove it"):
        run(shards, out)


def test_operational_settings_may_change_on_resume(shards: ShardSet, tmp_path: Path) -> None:
    run(shards, tmp_path, max_steps=3)
    assert run(shards, tmp_path, replace(STEPS, micro_batch_sequences=4, checkpoint_every_steps=0))["finished"]


def test_micro_batches_change_nothing_but_rounding(shards: ShardSet, tmp_path: Path) -> None:
    run(shards, tmp_path / "one")
    run(shards, tmp_path / "many", replace(STEPS, micro_batch_sequences=3))
    for one, many in zip(curve(tmp_path / "one"), curve(tmp_path / "many"), strict=True):
        assert many["loss"] == pytest.approx(one["loss"], rel=1e-3)


def test_a_tiny_model_learns_ten_documents_by_heart(tmp_path: Path) -> None:
    texts = TEXTS[10:20]
    shards = shards_of_texts(tmp_path / "shards", texts)
    settings = TrainSettings.from_preset(
        TINY, tokens=200_000, sequence_length=64, batch_sequences=16, learning_rate=1e-2, weight_decay=0.0
    )
    results = run(shards, tmp_path, settings, tokenizer=tokenizer())
    assert results["final_loss"] < 0.1
    model, made_by = load_model(tmp_path / "model"), tokenizer()
    score = evaluate(model, prepare({"seen": texts}, made_by), end_of_text_id=made_by.end_of_text_id)["seen"]
    assert score.bits_per_byte < 0.05


def test_steps_that_are_not_finite_are_skipped_and_then_end_the_run(
    shards: ShardSet, tmp_path: Path, monkeypatch
) -> None:
    real = torch.nn.utils.clip_grad_norm_
    calls = []

    def broken(parameters, norm):
        calls.append(1)
        found = real(parameters, norm)
        return found if len(calls) not in broken_steps else torch.tensor(math.nan)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", broken)
    broken_steps = [2, 5]
    assert run(shards, tmp_path / "two")["skipped_steps"] == 2
    assert curve(tmp_path / "two")[1]["gradient_norm"] is None
    calls.clear()
    broken_steps = [2, 3, 4, 5]
    with pytest.raises(DivergedError, match=r"step 5: .* lower learning_rate"):
        run(shards, tmp_path / "four")


def test_models_and_tokenizers_that_do_not_fit_the_shards_are_refused(shards: ShardSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the shards hold ids up to 279, the model has only 64"):
        train(shards, STEPS, model=TINY.model(64), out=tmp_path)
    with pytest.raises(ValueError, match="sequence_length 128 is more than the model's 64"):
        run(shards, tmp_path, replace(STEPS, sequence_length=128))


def factors(schedule: str, **changes: float) -> list[float]:
    shape = {"warmup_fraction": 0.2, "decay_fraction": 0.4, "final_fraction": 0.0, **changes}
    return [round(learning_rate_factor(step, steps=10, schedule=schedule, **shape), 3) for step in range(10)]


def test_schedules() -> None:
    assert factors("wsd") == [0.5, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0]
    assert factors("wsd", final_fraction=0.5)[-4:] == [0.875, 0.75, 0.625, 0.5]
    assert factors("constant") == [0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    assert factors("cosine")[:2] + factors("cosine")[5:6] + factors("cosine")[-1:] == [0.5, 1, 0.5, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": 0}, "tokens is 0"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"schedule": "step"}, "not one of wsd, cosine, constant"),
        ({"warmup_fraction": -0.1}, "negative"),
        ({"warmup_fraction": 0.7}, "more than the whole run"),
    ],
)
def test_wrong_settings_say_what_is_wrong(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(STEPS, **changes)


def test_the_command_line_trains_scores_and_generates(shards: ShardSet, tmp_path: Path, capsys) -> None:
    folder = Path(shards.shards[0].path).parent
    (tmp_path / "tokenizer.json").write_bytes(tokenizer().data)
    (tmp_path / "held.jsonl").write_text(json.dumps({"text": TEXTS[0]}) + "\n")
    command = (
        f"train --shards {folder} --preset tiny --tokens 2e3 --out {tmp_path} --tokenizer {tmp_path}/tokenizer.json"
    )
    assert main(command.split()) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 4
    assert main(f"eval --model {tmp_path}/model --domain songs={tmp_path}/held.jsonl --json".split()) == 0
    assert json.loads(capsys.readouterr().out)["domains"]["songs"]["bytes"] == len(TEXTS[0])
    assert main(f"generate --model {tmp_path}/model --prompt beer --max-new-tokens 5".split()) == 0
    assert capsys.readouterr().out.startswith("beer")
    assert main(f"eval --model {tmp_path}/none --domain songs={tmp_path}/held.jsonl".split()) == 2
    assert "none" in capsys.readouterr().err


def test_tensorboard_shows_what_the_files_hold(shards: ShardSet, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(shards, tmp_path / "run", replace(STEPS, tensorboard=True), max_steps=5)
    run(shards, tmp_path / "run", replace(STEPS, tensorboard=True))
    shown = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert {"loss", "gradient_norm", "learning_rate", "tokens_per_second"} <= set(shown.Tags()["scalars"])
    losses = {point.step: point.value for point in shown.Scalars("loss")}
    assert losses == pytest.approx({row["step"]: row["loss"] for row in curve(tmp_path / "run")}, rel=1e-6)
