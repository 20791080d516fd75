"""What training compiles is one graph, and gives what uncompiled code gives."""

from dataclasses import replace

import pytest
import torch

from train.latent import LatentSettings
from train.mixture import MixtureSettings
from train.model import Objective, new_model
from train.presets import Preset, preset

TINY = preset("tiny")
MIXTURE = MixtureSettings(experts=4, active=2, ffn=32, shared_ffn=16)
LATENT = LatentSettings(kv_rank=16, nope_dim=16, rope_dim=8, value_dim=16)


# PyTorch's own tracing makes an instance of the function for the loss.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize(
    ("chosen", "dtype"),
    [
        (TINY, torch.float32),
        (replace(TINY, latent=LATENT), torch.float32),
        # In float32 a mixture's host learns how many tokens each expert has: another graph, and only there.
        (replace(TINY, mixture=MIXTURE), torch.bfloat16),
    ],
    ids=["plain", "latent attention", "mixture"],
)
def test_the_objective_is_one_graph(chosen: Preset, dtype: torch.dtype) -> None:
    objective = Objective(new_model(chosen.model(280), seed=0, dtype=dtype), z_loss=1e-4, end_of_text_id=0)
    ids = torch.randint(0, 280, (2, 64), generator=torch.Generator().manual_seed(0))
    # Everything but the last step, to machine code.
    compiled = torch.compile(objective, backend="aot_eager", fullgraph=True, dynamic=False)
    found = []
    for forward in (compiled, objective):
        total, nats = forward(ids, ids.roll(-1, 1))
        total.backward()
        found.append([total.detach(), nats, *(parameter.grad for parameter in objective.parameters())])
        objective.zero_grad()
    for one, other in zip(*found, strict=True):
        close = 1e-4 if dtype == torch.float32 else 2e-2
        assert (one - other).abs().max() <= close * other.abs().max()
