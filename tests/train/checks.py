"""What tests of several models and optimisers ask alike."""

import pytest
import torch
from torch import Tensor, nn


def assert_gradients_agree(objective: nn.Module, ids: Tensor, targets: Tensor, *, tolerance: float) -> None:
    """The gradient of each parameter along a random direction is the difference quotient (float64)."""
    objective(ids, targets)[0].backward()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in objective.named_parameters():
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        values = []
        with torch.no_grad():
            for step in (1e-5, -2e-5):
                parameter += step * direction
                values.append(objective(ids, targets)[0].item())
            parameter += 1e-5 * direction
        numeric = (values[0] - values[1]) / 2e-5
        assert (parameter.grad * direction).sum().item() == pytest.approx(numeric, rel=1e-5, abs=tolerance), name


def assert_an_infinite_step_changes_nothing(
    optimizer: torch.optim.Optimizer, named: dict[str, Tensor], *, but: frozenset[str] = frozenset()
) -> None:
    """Neither parameters nor their state (but for the entries `but`), though every gradient is not a number."""
    before = {key: value.detach().clone() for key, value in named.items()}
    state = {key: {k: v.clone() for k, v in optimizer.state[value].items()} for key, value in named.items()}
    for value in named.values():
        value.grad.fill_(torch.nan)
    optimizer.found_inf = torch.ones(())
    optimizer.step()
    for key, value in named.items():
        assert torch.equal(value, before[key]), key
        for k, v in state[key].items():
            assert k in but or torch.equal(optimizer.state[value][k], v), (key, k)
