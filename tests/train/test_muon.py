"""Muon is torch's Muon, only batched; and both optimisers can leave out a step on the device."""

from dataclasses import replace

import pytest
import torch
from checks import assert_an_infinite_step_changes_nothing

from train.model import new_model
from train.muon import Muon, orthogonalised
from train.optimizers import make_optimizer
from train.presets import preset
from train.settings import TrainSettings

SHAPES = [(24, 16), (16, 24), (24, 16), (16, 16)]
SETTINGS = TrainSettings.from_preset(preset("tiny"), tokens=5120)


def parameters() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def set_gradients(some: list[torch.Tensor], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in some:
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def muon(matrices: list[torch.Tensor]) -> Muon:
    rest = [{"params": [torch.nn.Parameter(torch.zeros(1))], "weight_decay": 0.0}]
    rest[0]["params"][0].grad = torch.zeros(1)
    return Muon(matrices, rest, momentum=0.95, weight_decay=0.1, lr=0.02)


def test_steps_are_those_of_torchs_muon() -> None:
    mine, theirs = parameters(), parameters()
    ours = muon(mine)
    reference = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for seed in range(5):
        for some, optimizer in ((mine, ours), (theirs, reference)):
            set_gradients(some, seed)
            optimizer.step()
    for one, other in zip(mine, theirs, strict=True):
        # Both iterate in bfloat16, in another order of sums.
        assert torch.allclose(one, other, atol=0.02 * 0.2 * 24**0.5 * 0.05)
    assert not torch.allclose(mine[0], parameters()[0], atol=0.02)


def test_singular_values_come_near_one() -> None:
    values = torch.linalg.svdvals(orthogonalised(torch.stack(parameters()[0:3:2])).float())
    assert values.min() > 0.6
    assert values.max() < 1.3


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_step_that_is_not_finite_changes_nothing(name: str) -> None:
    model = new_model(preset("tiny").model(128), seed=0)
    optimizer = make_optimizer(model, replace(SETTINGS, optimizer=name))
    named = dict(model.named_parameters())
    set_gradients(list(named.values()), 1)
    optimizer.step()
    assert_an_infinite_step_changes_nothing(optimizer, named)


def test_each_parameter_has_one_optimiser_and_its_decay() -> None:
    model = new_model(preset("tiny").model(128), seed=0)
    groups = make_optimizer(model, replace(SETTINGS, optimizer="muon")).param_groups
    names = {id(value): name for name, value in model.named_parameters()}
    muons, plain = ({names[id(p)] for p in group["params"]} for group in groups)
    assert {name.split(".")[-2] for name in muons} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip
    assert plain == {"model.embed_tokens.weight"} | {n for n in names.values() if n.endswith("norm.weight")}
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert len(muons) + len(plain) == len(names)
