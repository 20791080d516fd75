"""The mixture of experts against a plain loop over experts and tokens, gradients included."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from token_corpus import tokenizer
from torch.nn import functional

from tokenizer.shards import ShardSet
from train.__main__ import main
from train.export import load_model
from train.generate import SampleSettings, generate
from train.loop import train
from train.mixture import Mixture, MixtureSettings, Stacked, grouped
from train.model import ModelSettings, Objective, count_parameters, new_model
from train.presets import preset
from train.settings import TrainSettings
from train.several import Member, train_several

MIXTURE = MixtureSettings(experts=5, active=2, ffn=12, shared_ffn=8, balance=0.05)
TINY = preset("tiny")


def small(**changes) -> ModelSettings:
    return ModelSettings(
        **{
            "vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 1, "head_dim": 8, "intermediate_size": 24, "max_position_embeddings": 32,
            "initializer_range": 0.5, "mixture": MIXTURE, **changes,
        }
    )  # fmt: skip


def mixture(settings: MixtureSettings = MIXTURE) -> Mixture:
    made = Mixture(16, settings).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0.0, 0.5, generator=generator)
    return made


def plain(made: Mixture, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and balance loss, one token and one expert after the other."""
    weights = dict(made.named_parameters())

    def swiglu(prefix: str, y: torch.Tensor, expert: int | None) -> torch.Tensor:
        gate, up, down = (
            weights[f"{prefix}.{kind}_proj.weight"]
            if expert is None
            else weights[f"{prefix}.{kind}_proj.weight"][expert]
            for kind in ("gate", "up", "down")
        )
        return down @ (functional.silu(gate @ y) * (up @ y))

    rows, used, mass = [], [0] * 5, 0.0
    for y in x.flatten(0, -2):
        scores = weights["gate.weight"] @ y
        shares = scores.exp() / scores.exp().sum()
        best = sorted(range(5), key=lambda e: -float(shares[e].detach()))[:2]
        total = sum(shares[e] for e in best)
        row = swiglu("shared_expert", y, None) if made.shared_expert is not None else torch.zeros_like(y)
        for e in best:
            row = row + shares[e] / total * swiglu("experts", y, e)
            used[e] += 1
        rows.append(row)
        mass = mass + shares
    n = len(rows)
    balance = 5 * sum(used[e] / (2 * n) * mass[e] / n for e in range(5))
    return torch.stack(rows).view(x.shape), balance


@pytest.mark.parametrize("shared", [8, 0], ids=["with a shared expert", "without"])
def test_output_balance_and_gradients_are_those_of_a_loop_over_experts(shared: int) -> None:
    made = mixture(replace(MIXTURE, shared_ffn=shared))
    x = torch.randn(3, 7, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    results = []
    for compute in (lambda: _with_balance(made, x), lambda: plain(made, x)):
        y, balance = compute()
        inputs = [x, *made.parameters()]
        grads = torch.autograd.grad((y * torch.arange(y.numel()).view_as(y)).sum() + 100 * balance, inputs)
        results.append((y, balance, grads))
    (y, balance, grads), (expected, wanted, wanted_grads) = results
    assert torch.allclose(y, expected, atol=1e-12)
    assert balance.item() == pytest.approx(wanted.item(), rel=1e-12)
    for one, other in zip(grads, wanted_grads, strict=True):
        assert torch.allclose(one, other, atol=1e-9, rtol=1e-9)
        assert other.abs().max() > 0


def _with_balance(made: Mixture, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    balances: list[torch.Tensor] = []
    y = made(x, balances)
    return y, balances[0]


def test_balance_is_one_where_all_experts_are_used_alike_and_most_where_one_is() -> None:
    made = mixture(replace(MIXTURE, active=1))
    with torch.no_grad():
        made.gate.weight.zero_()
        made.gate.weight[torch.arange(5), torch.arange(5)] = 30.0
    even, one = torch.eye(16, dtype=torch.float64)[:5], torch.eye(16, dtype=torch.float64)[:1].repeat(5, 1)
    assert _with_balance(made, even)[1].item() == pytest.approx(1.0, rel=1e-6)
    assert _with_balance(made, one)[1].item() == pytest.approx(5.0, rel=1e-6)


@pytest.mark.parametrize("counts", [[4, 0, 3, 9], [0, 0, 16, 0]])
def test_the_grouped_product_of_gpus_is_that_of_the_loop(counts: list[int]) -> None:
    stacked = Stacked(4, 16, 8)
    generator = torch.Generator().manual_seed(2)
    rows = torch.randn(16, 16, generator=generator, requires_grad=True)
    with torch.no_grad():
        stacked.weight.normal_(generator=generator)
    direction = torch.randn(16, 8, generator=generator)
    products = (stacked(rows, torch.tensor(counts)), grouped(rows, stacked.weight, torch.tensor(counts)))
    found = [(product, *torch.autograd.grad(product, (rows, stacked.weight), direction)) for product in products]
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_the_objective_holds_the_balance_and_agrees_with_finite_differences() -> None:
    objective = Objective(new_model(small(), seed=0, dtype=torch.float64).double())
    ids = torch.randint(1, 64, (2, 8), generator=torch.Generator().manual_seed(0))
    total, nats = objective(ids, ids.roll(-1, 1))
    balances: list[torch.Tensor] = []
    objective.transformer.hidden(ids, balances=balances)
    assert len(balances) == 2
    assert (total - nats).item() == pytest.approx(0.05 * 16 * torch.stack(balances).mean().item())
    total.backward()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in objective.named_parameters():
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        values = []
        with torch.no_grad():
            for step in (1e-6, -2e-6):
                parameter += step * direction
                values.append(objective(ids, ids.roll(-1, 1))[0].item())
            parameter += 1e-6 * direction
        assert (parameter.grad * direction).sum().item() == pytest.approx(
            (values[0] - values[1]) / 2e-6, rel=1e-4, abs=1e-5
        ), name


def test_parameters_and_flop_count_what_a_token_meets() -> None:
    settings = small()
    matrices = sum(p.numel() for p in new_model(settings, seed=0).parameters() if p.ndim > 1)
    assert settings.matmul_parameters == matrices
    idle = 2 * 3 * 3 * 16 * 12  # layers, experts that a token does not meet, matrices of each
    assert settings.active_matmul_parameters == matrices - idle
    assert settings.flop_per_token(16) == 6 * (matrices - idle) + 12 * 2 * 2 * 8 * 16
    assert small(mixture=None).active_matmul_parameters == small(mixture=None).matmul_parameters


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "soap"])
def test_a_mixture_trains_resumes_to_the_bit_and_generates(shards: ShardSet, tmp_path: Path, optimizer: str) -> None:
    settings = TrainSettings.from_preset(TINY, tokens=12 * 512, optimizer=optimizer, export="own")
    model = replace(TINY.model(shards.metadata.vocab_size), mixture=replace(MIXTURE, ffn=64))
    train(shards, settings, model=model, out=tmp_path / "whole", tokenizer=tokenizer())
    for steps in (5, None):
        train(shards, settings, model=model, out=tmp_path / "cut", max_steps=steps, tokenizer=tokenizer())
    for name in ("metrics.jsonl", "model/model.safetensors", "model/config.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes(), name
    losses = [json.loads(line)["loss"] for line in (tmp_path / "whole/metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0] - 1
    back = load_model(tmp_path / "whole" / "model")
    assert back.settings == model
    greedy = SampleSettings(temperature=0.0, max_new_tokens=8)
    texts = {generate(back, "bottles", replace(greedy, seed=seed), tokenizer=tokenizer()) for seed in (0, 1)}
    assert len(texts) == 1


def test_shapes_without_an_architecture_are_refused_before_any_training(shards: ShardSet, tmp_path: Path) -> None:
    settings = TrainSettings.from_preset(TINY, tokens=512)
    model = TINY.model(shards.metadata.vocab_size)
    with pytest.raises(ValueError, match=r"no architecture for a mixture with a shared expert .* --export own"):
        train(shards, settings, model=replace(model, mixture=MIXTURE), out=tmp_path)
    apart = replace(model, mixture=replace(MIXTURE, shared_ffn=0), qk_norm=False)
    with pytest.raises(ValueError, match="without QK-norm"):
        train(shards, settings, model=apart, out=tmp_path)
    assert not list(tmp_path.iterdir())
    member = Member(shards=shards, seed=0, out=tmp_path / "several")
    with pytest.raises(ValueError, match="neither a mixture of experts nor latent attention"):
        train_several([member], settings, model=replace(model, mixture=MIXTURE))


def test_a_preset_names_it_and_the_estimate_tells_both_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.toml"
    text = "layers = 2\nhidden = 64\nheads = 2\nkv_heads = 1\nffn = 128\nsequence_length = 64\nbatch_tokens = 512\n"
    text += "learning_rate = 0.01\n[mixture]\nexperts = 4\nactive = 1\nffn = 96\n"
    mine.write_text(text)
    assert preset(str(mine)).mixture == MixtureSettings(experts=4, active=1, ffn=96)
    assert main(["estimate", "--preset", str(mine), "--vocab-size", "512", "--tokens", "1e6"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["matmul_parameters"] - found["active_matmul_parameters"] == 2 * 3 * 3 * 64 * 96
    assert found["parameters"] == found["matmul_parameters"]
    model = preset(str(mine)).model(512)
    norms = sum(p.numel() for p in new_model(model, seed=0).parameters() if p.ndim == 1)
    assert count_parameters(new_model(model, seed=0)) == found["parameters"] + norms
    mine.write_text(text.replace("active = 1", "active = 5"))
    with pytest.raises(ValueError, match=r"mine\.toml: mixture: 5 active of 4 experts"):
        preset(str(mine))
    mine.write_text(text.replace("active = 1", "top = 5"))
    with pytest.raises(ValueError, match=r"mine\.toml: MixtureSettings: got an unexpected keyword argument 'top'"):
        preset(str(mine))


def test_four_experts_of_a_token_have_the_same_gradients_each_time_on_two_threads() -> None:
    made = Mixture(64, MixtureSettings(experts=8, active=4, ffn=32)).float()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0.0, 0.1, generator=generator)
    tokens = torch.randn(2048, 64, generator=generator)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = set()
        for _ in range(12):
            x = tokens.clone().requires_grad_()
            made(x).square().sum().backward()
            assert x.grad is not None
            found.add(x.grad.numpy().tobytes())
    finally:
        torch.set_num_threads(threads)
    assert len(found) == 1


def test_a_mixture_goes_on_with_the_micro_batch_that_it_began_with(shards: ShardSet, tmp_path: Path) -> None:
    model = replace(TINY.model(shards.metadata.vocab_size), mixture=MIXTURE)
    settings = TrainSettings.from_preset(TINY, tokens=4 * 512, micro_batch_sequences=4, export="own")
    train(shards, settings, model=model, out=tmp_path, max_steps=2)
    with pytest.raises(ValueError, match="micro_batch_sequences was 4, is 2"):
        train(shards, replace(settings, micro_batch_sequences=2), model=model, out=tmp_path)
