"""Masks, windows, the z-loss and the Llama form against plain references; gradients against finite differences."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checks import assert_gradients_agree
from token_corpus import counting_shards, shards_of_texts
from torch.nn import functional

from tokenizer.bpe import BPESettings, learn, load
from tokenizer.shards import ShardSet
from train.__main__ import main
from train.export import load_tokenizer
from train.loop import train
from train.loss import cross_entropy_and_z
from train.model import KeyValueCache, ModelSettings, Objective, new_model
from train.presets import preset
from train.settings import TrainSettings

SMALL = ModelSettings(
    vocab_size=64,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=8,
    intermediate_size=24,
    max_position_embeddings=32,
    # Large, so that attention is far from even.
    initializer_range=0.5,
)
LLAMA = replace(SMALL, qk_norm=False)
TINY = preset("tiny")


def random_ids(*shape: int) -> torch.Tensor:
    return torch.randint(1, 64, shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        (SMALL, {}),
        (LLAMA, {"z_loss": 0.1}),
        (replace(SMALL, sliding_window=3, tie_word_embeddings=False), {"end_of_text_id": 0}),
    ],
    ids=["qwen3", "llama with z-loss", "window and documents"],
)
def test_gradients_agree_with_finite_differences(settings: ModelSettings, options: dict) -> None:
    objective = Objective(new_model(settings, seed=0, dtype=torch.float64).double(), **options)
    ids = random_ids(2, 8)
    ids[0, 4] = 0
    targets = ids.roll(-1, 1)
    targets[1, 3] = -1
    assert_gradients_agree(objective, ids, targets, tolerance=1e-6)


def test_masked_documents_are_computed_as_if_alone() -> None:
    model = new_model(SMALL, seed=0)
    ids = random_ids(1, 12)
    ids[0, 0] = ids[0, 5] = 0
    documents = (ids == 0).cumsum(1)
    with torch.no_grad():
        together = model.hidden(ids, documents=documents)
        # Rotary positions tell distances only, so that the second document's place does not matter.
        assert torch.allclose(together[:, :5], model.hidden(ids[:, :5]), atol=1e-5)
        assert torch.allclose(together[:, 5:], model.hidden(ids[:, 5:]), atol=1e-5)
        assert not torch.allclose(together[:, 5:], model.hidden(ids)[:, 5:], atol=1e-2)


def test_a_window_hides_what_lies_behind_it() -> None:
    one_layer = replace(SMALL, num_hidden_layers=1, sliding_window=4)
    model, ids = new_model(one_layer, seed=0), random_ids(1, 12)
    with torch.no_grad():
        whole = model.hidden(ids)
        for position in (3, 4, 11):
            seen = ids[:, max(0, position - 3) : position + 1]
            assert torch.allclose(whole[:, position], model.hidden(seen)[:, -1], atol=1e-5)
    deep = new_model(replace(SMALL, sliding_window=4), seed=0)
    cache = KeyValueCache(2)
    with torch.no_grad():
        steps = [deep.hidden(ids[:, :6], cache), *(deep.hidden(ids[:, t : t + 1], cache) for t in range(6, 12))]
        assert torch.allclose(torch.cat(steps, 1), deep.hidden(ids), atol=1e-5)


@pytest.mark.parametrize("compiling", [False, True], ids=["eager form", "compiled form"])
def test_the_z_loss_is_the_square_of_the_log_denominator_and_not_part_of_the_record(
    monkeypatch: pytest.MonkeyPatch, compiling: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(9, 16, generator=generator, requires_grad=True)
    weight = torch.randn(40, 16, generator=generator, requires_grad=True)
    targets = torch.randint(0, 40, (9,), generator=generator)
    targets[2] = -1
    logits = hidden @ weight.T
    plain = functional.cross_entropy(logits, targets, ignore_index=-1, reduction="sum")
    squares = (logits.logsumexp(1).square() * (targets >= 0)).sum()
    expected = torch.autograd.grad(plain + 0.01 * squares, (hidden, weight))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    objective, nats = cross_entropy_and_z(hidden, weight, targets, z_loss=0.01)
    assert objective.item() == pytest.approx((plain + 0.01 * squares).item(), rel=1e-6)
    assert nats.item() == pytest.approx(plain.item(), rel=1e-6)
    for mine, theirs in zip(torch.autograd.grad(objective, (hidden, weight)), expected, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)


def test_a_llama_has_no_head_norms_and_takes_no_window() -> None:
    assert not [name for name, _ in new_model(LLAMA, seed=0).named_parameters() if "q_norm" in name]
    with pytest.raises(ValueError, match="sliding_window needs qk_norm"):
        replace(LLAMA, sliding_window=4)
    assert replace(SMALL, sliding_window=4).flop_per_token(32) < SMALL.flop_per_token(32)


@pytest.mark.parametrize(
    "changes",
    [{"optimizer": "muon"}, {"document_mask": True}, {"z_loss": 1e-3}, {"log_every_steps": 4}, {"deterministic": True}],
    ids=lambda changes: next(iter(changes)),
)
def test_each_option_learns_and_resumes_to_the_bit(shards: ShardSet, tmp_path: Path, changes: dict) -> None:
    settings = TrainSettings.from_preset(TINY, tokens=14 * 512, **changes)
    model = TINY.model(shards.metadata.vocab_size)
    train(shards, settings, model=model, out=tmp_path / "whole")
    train(shards, settings, model=model, out=tmp_path / "cut", max_steps=5)
    train(shards, settings, model=model, out=tmp_path / "cut")
    for name in ("metrics.jsonl", "model/model.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes(), name
    losses = [json.loads(line)["loss"] for line in (tmp_path / "whole/metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0] - 1


def test_how_often_metrics_are_fetched_changes_no_byte(shards: ShardSet, tmp_path: Path) -> None:
    model = TINY.model(shards.metadata.vocab_size)
    for every in (1, 5):
        settings = TrainSettings.from_preset(TINY, tokens=12 * 512, log_every_steps=every)
        train(shards, settings, model=model, out=tmp_path / str(every))
    one, five = ((tmp_path / str(every) / "metrics.jsonl").read_bytes() for every in (1, 5))
    assert one == five
    speeds = [json.loads(line) for line in (tmp_path / "5" / "speed.jsonl").read_text().splitlines()]
    assert [line["step"] for line in speeds] == [5, 10, 12]
    assert all(line["tokens_per_second"] > 0 for line in speeds)


def test_a_tokenizer_whose_separator_has_a_name_of_its_own_goes_through_training(tmp_path: Path) -> None:
    texts = ["Take one down, pass it around. "] * 60
    made = load(learn(texts, BPESettings(vocab_size=270, special_tokens=("<|stop|>",))), end_of_text="<|stop|>")
    shards_of_texts(tmp_path / "shards", texts, made=made)
    (tmp_path / "tokenizer.json").write_bytes(made.data)
    places = [
        "--shards",
        str(tmp_path / "shards"),
        "--out",
        str(tmp_path / "out"),
        "--tokenizer",
        str(tmp_path / "tokenizer.json"),
    ]
    assert main(["train", *places, "--preset", "tiny", "--tokens", "512", "--max-steps", "1"]) == 0
    assert load_tokenizer(tmp_path / "out" / "model").end_of_text == "<|stop|>"


def test_a_curriculum_is_trained_in_its_order_and_resumed_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # One token after the other: the window of the first step is the first 1,024 of them, whatever the seed.
    counting_shards(tmp_path / "ordered", [200] * 40, row_group_tokens=300, order="number ascending, limits 4000")
    command = [
        "train",
        "--shards",
        str(tmp_path / "ordered"),
        "--preset",
        "tiny",
        "--tokens",
        "2048",
        "--order",
        "stored",
    ]

    def curve(out: str, *options: str) -> list[float]:
        assert main([*command, "--out", str(tmp_path / out), *options]) == 0
        return [json.loads(line)["loss"] for line in (tmp_path / out / "metrics.jsonl").read_text().splitlines()]

    whole = curve("whole")
    curve("halves", "--max-steps", "1")
    assert curve("halves") == whole
    # With another order it is another run, and shuffled shards have none.
    assert main([*command[:-1], "shuffled", "--out", str(tmp_path / "halves")]) == 2
    assert "order was stored, is shuffled" in capsys.readouterr().err
    counting_shards(tmp_path / "shuffled", [200] * 40)
    command[2] = str(tmp_path / "shuffled")
    assert main([*command, "--out", str(tmp_path / "refused")]) == 2
    assert "make them by a recipe with shards.order" in capsys.readouterr().err


def test_every_part_of_a_schedule_and_the_batch_can_be_asked_for(tmp_path: Path, capsys) -> None:
    shards_of_texts(tmp_path / "shards")
    common = ["train", "--shards", str(tmp_path / "shards"), "--preset", "tiny", "--tokens", "2048"]
    asked = ["--batch-tokens", "256", "--warmup-fraction", "0.25", "--decay-fraction", "0.5", "--final-fraction", "0.1",
             "--weight-decay", "0.01", "--max-gradient-norm", "0.5", "--untied"]  # fmt: skip
    assert main([*common, "--out", str(tmp_path / "model"), *asked]) == 0
    found = json.loads(capsys.readouterr().out)
    names = ("warmup_fraction", "decay_fraction", "final_fraction", "weight_decay", "max_gradient_norm")
    assert [found["settings"][name] for name in names] == [0.25, 0.5, 0.1, 0.01, 0.5]
    assert (found["steps"], found["settings"]["batch_sequences"] * TINY.sequence_length) == (8, 256)
    assert found["model"]["tie_word_embeddings"] is False
    rows = [json.loads(line) for line in (tmp_path / "model" / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["learning_rate"] == pytest.approx(TINY.learning_rate / 2)
    assert rows[-1]["learning_rate"] == pytest.approx(TINY.learning_rate / 10)
    config = json.loads((tmp_path / "model" / "model" / "config.json").read_text())
    assert config["tie_word_embeddings"] is False
    assert main([*common, "--out", str(tmp_path / "other"), "--batch-tokens", "100"]) == 2
    assert "--batch-tokens 100: a step is of whole sequences" in capsys.readouterr().err
