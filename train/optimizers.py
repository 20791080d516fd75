"""Which parameter is moved by which optimiser, and with how much weight decay."""

from typing import Any

import torch
from torch import Tensor, nn

from train.muon import Muon
from train.settings import TrainSettings
from train.soap import Soap


def decays(name: str, parameter: Tensor) -> bool:
    """Matrices decay; norms and embeddings do not."""
    return parameter.ndim >= 2 and "embed_tokens" not in name


def make_optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """Fused AdamW, or Muon or SOAP on the matrices of the layers and AdamW on the rest.

    All skip a step on the device where their attribute `found_inf` says so, without the host waiting for it.
    """
    hidden: list[Tensor] = []
    decayed: list[Tensor] = []
    plain: list[Tensor] = []
    for name, parameter in model.named_parameters():
        if settings.optimizer != "adamw" and parameter.ndim >= 2 and ".layers." in name:
            hidden.append(parameter)
        else:
            (decayed if decays(name, parameter) else plain).append(parameter)
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    adamw: dict[str, Any] = {
        "lr": settings.learning_rate, "betas": (settings.beta1, settings.second_beta), "eps": settings.epsilon,
    }  # fmt: skip
    decay = settings.weight_decay
    if settings.optimizer == "muon":
        return Muon(hidden, groups, momentum=settings.muon_momentum, weight_decay=decay, **adamw)
    if settings.optimizer == "soap":
        return Soap(hidden, groups, frequency=settings.soap_frequency, weight_decay=decay, **adamw)
    return torch.optim.AdamW(groups, fused=True, **adamw)
