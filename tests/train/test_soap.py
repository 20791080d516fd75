"""SOAP is its paper's algorithm, only batched, and turned valleys are no harder for it than straight ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checks import assert_an_infinite_step_changes_nothing

from tokenizer.shards import ShardSet
from train.loop import train
from train.model import new_model
from train.optimizers import make_optimizer
from train.presets import preset
from train.settings import TrainSettings
from train.soap import Soap

TINY = preset("tiny")
SETTINGS = TrainSettings.from_preset(TINY, tokens=5120, optimizer="soap")
OPTIONS = {"lr": 0.02, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}


def soap(matrices: list[torch.Tensor], **changes) -> Soap:
    """With a parameter that stands still for AdamW's part."""
    still = torch.nn.Parameter(torch.zeros(1))
    still.grad = torch.zeros(1)
    return Soap(matrices, [{"params": [still], "weight_decay": 0.0}], **{**OPTIONS, "frequency": 3, **changes})


class Plain:
    """Algorithm 3 for one matrix, in numpy and double precision, without any batching."""

    def __init__(self, weight: np.ndarray) -> None:
        self.weight, self.calls = weight.copy(), 0

    def step(self, g: np.ndarray) -> None:
        (beta1, beta2), rate = OPTIONS["betas"], OPTIONS["lr"]
        if self.calls == 0:
            self.left, self.right = (1 - beta2) * g @ g.T, (1 - beta2) * g.T @ g
            self.ql, self.qr = (np.linalg.eigh(each)[1][:, ::-1] for each in (self.left, self.right))
            self.m, self.v = np.zeros_like(g), np.zeros_like(g)
            self.calls = 1
            return
        t = self.calls
        self.m = beta1 * self.m + (1 - beta1) * g
        self.v = beta2 * self.v + (1 - beta2) * (self.ql.T @ g @ self.qr) ** 2
        size = rate * np.sqrt(1 - beta2**t) / (1 - beta1**t)
        inside = (self.ql.T @ self.m @ self.qr) / (np.sqrt(self.v) + OPTIONS["eps"])
        self.weight *= 1 - rate * OPTIONS["weight_decay"]
        self.weight -= size * self.ql @ inside @ self.qr.T
        self.left = beta2 * self.left + (1 - beta2) * g @ g.T
        self.right = beta2 * self.right + (1 - beta2) * g.T @ g
        if t % 3 == 0:
            rows = np.argsort(-np.diag(self.ql.T @ self.left @ self.ql), kind="stable")
            columns = np.argsort(-np.diag(self.qr.T @ self.right @ self.qr), kind="stable")
            self.v = self.v[rows][:, columns]
            self.ql = np.linalg.qr(self.left @ self.ql[:, rows])[0]
            self.qr = np.linalg.qr(self.right @ self.qr[:, columns])[0]
        self.calls += 1


def adopt_bases(plain: list[Plain], state: dict) -> None:
    """Check that the first bases are eigenvectors in falling order, and go on with them: where a gradient has a null
    space, any basis of that is one."""
    for side, name in (("left", "ql"), ("right", "qr")):
        size = len(getattr(plain[0], name))
        for one, basis in zip(plain, state[f"{side}_basis"].numpy().reshape(-1, size, size), strict=True):
            turned = basis.T @ getattr(one, side) @ basis
            assert np.abs(turned - np.diag(np.diag(turned))).max() < 1e-9
            assert (np.diff(np.diag(turned)) < 1e-9).all()
            setattr(one, name, basis.copy())


def test_steps_are_those_of_the_plain_algorithm() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(6, 4), (4, 6), (6, 4), (5, 5), (2, 6, 4)]
    mine = [torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64)) for shape in shapes]
    # The last one is a stack of two experts' matrices.
    theirs = [[Plain(each) for each in m.detach().numpy().reshape(-1, *m.shape[-2:])] for m in mine]
    optimizer = soap(mine)
    for step in range(11):
        for parameter, plain in zip(mine, theirs, strict=True):
            # Gradients that depend on the weights: a mistake grows.
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.grad = parameter.detach() + noise
            for one, g in zip(plain, parameter.grad.numpy().reshape(-1, *parameter.shape[-2:]), strict=True):
                one.step(g)
        optimizer.step()
        if step == 0:
            for parameter, plain in zip(mine, theirs, strict=True):
                adopt_bases(plain, optimizer.state[parameter])
        for parameter, plain in zip(mine, theirs, strict=True):
            expected = np.stack([one.weight for one in plain]).reshape(parameter.shape)
            assert np.abs(parameter.detach().numpy() - expected).max() < 1e-6


def distance_left(kind: str, *, turned: bool) -> float:
    """From the bottom of a quadratic valley whose walls are ten thousand times as steep as its floor, behind 400 steps
    on noisy gradients. Turned: on both sides of the matrix."""
    generator = torch.Generator().manual_seed(1)
    left, right = (torch.linalg.qr(torch.randn(8, 8, generator=generator))[0] for _ in range(2))
    if not turned:
        left = right = torch.eye(8)
    curvature = torch.logspace(0, -2, 8).unsqueeze(1) * torch.logspace(0, -2, 8)
    weight = torch.nn.Parameter(left @ torch.randn(8, 8, generator=generator) @ right.T)
    options = {**OPTIONS, "lr": 0.01, "weight_decay": 0.0}
    optimizer = soap([weight], **options) if kind == "soap" else torch.optim.AdamW([weight], **options)
    for _ in range(400):
        inside = left.T @ weight.detach() @ right
        noise = 0.1 * curvature.sqrt() * torch.randn(8, 8, generator=generator)
        weight.grad = left @ (curvature * inside + noise) @ right.T
        optimizer.step()
    return float(weight.detach().square().mean())


def test_a_turned_valley_is_as_easy_as_a_straight_one_which_it_is_not_for_adamw() -> None:
    assert distance_left("soap", turned=True) == pytest.approx(distance_left("soap", turned=False), rel=0.02)
    assert distance_left("adamw", turned=True) > 5 * distance_left("adamw", turned=False)
    assert distance_left("soap", turned=True) < 0.6 * distance_left("adamw", turned=True)


@pytest.mark.parametrize("steps_before", [1, 2])
def test_a_step_that_is_not_finite_changes_nothing_even_when_the_bases_would_turn(steps_before: int) -> None:
    model = new_model(TINY.model(128), seed=0)
    optimizer = make_optimizer(model, replace(SETTINGS, soap_frequency=2))
    named = dict(model.named_parameters())
    generator = torch.Generator().manual_seed(2)
    for _ in range(steps_before):
        for value in named.values():
            value.grad = torch.randn(value.shape, generator=generator)
        optimizer.step()
    assert_an_infinite_step_changes_nothing(optimizer, named, but=frozenset({"asked"}))


def test_it_learns_a_tiny_model_no_worse_than_adamw_and_resumes_to_the_bit(shards: ShardSet, tmp_path: Path) -> None:
    model = TINY.model(shards.metadata.vocab_size)
    settings = TrainSettings.from_preset(TINY, tokens=30 * 512, optimizer="soap")
    losses = {
        name: train(shards, replace(settings, optimizer=name), model=model, out=tmp_path / name)["final_loss"]
        for name in ("adamw", "soap")
    }
    # Nearly as good or better: which of the two is ahead after 30 steps hangs on the last bits.
    assert losses["soap"] < 1.02 * losses["adamw"]
    # The second part begins between two turns of the bases, the third at one.
    for steps in (14, 7, None):
        train(shards, settings, model=model, out=tmp_path / "cut", max_steps=steps)
    for name in ("metrics.jsonl", "model/model.safetensors"):
        assert (tmp_path / "soap" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes(), name


def test_the_layers_matrices_are_soaps_and_the_rest_adamws() -> None:
    model = new_model(TINY.model(128), seed=0)
    groups = make_optimizer(model, SETTINGS).param_groups
    names = {id(value): name for name, value in model.named_parameters()}
    mine, plain = ({names[id(p)] for p in group["params"]} for group in groups)
    assert all(".layers." in name and "norm" not in name for name in mine)
    assert plain == {"model.embed_tokens.weight"} | {n for n in names.values() if n.endswith("norm.weight")}
    with pytest.raises(ValueError, match="'sgd' is not one of adamw, muon, soap"):
        replace(SETTINGS, optimizer="sgd")
    with pytest.raises(ValueError, match="soap_frequency is 0"):
        replace(SETTINGS, soap_frequency=0)
