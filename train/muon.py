"""Muon: hidden matrices are moved along their orthogonalised momentum, everything else by AdamW.

The Newton-Schulz iteration runs on all matrices of one shape at once (stacked, batched products), which
`torch.optim.Muon` does one by one; constants, momentum and step sizes are the same
(https://kellerjordan.github.io/posts/muon/). A matrix's step is scaled by 0.2 sqrt(longer side), so that its root mean
square is that of an AdamW step and AdamW's learning rate serves both (https://arxiv.org/abs/2502.16982, section 2.2).
"""

import math
from typing import Any

import torch
from torch import Tensor

from train.stacks import StackOptimizer, gradients_of

#: Of the quintic iteration: chosen by its author for a steep slope at zero; singular values end within 0.7 and 1.2.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
EPSILON = 1e-7


def orthogonalised(matrices: Tensor) -> Tensor:
    """[n, A, B] to bfloat16 of the same shape: near U Vᵀ of each matrix's singular value decomposition."""
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    # The spectral norm must be at most 1.
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=EPSILON)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(StackOptimizer):
    """Muon with Nesterov momentum for `matrices`; see `StackOptimizer`."""

    def __init__(
        self, matrices: list[Tensor], rest: list[dict[str, Any]], *, momentum: float, weight_decay: float, **adamw: Any
    ) -> None:
        super().__init__(matrices, rest, own={"momentum": momentum, "weight_decay": weight_decay}, **adamw)

    def step_stack(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients = gradients_of(parameters)
        buffers = [self._momentum(parameter) for parameter in parameters]
        keep = torch.ones((), device=gradients.device)
        if self.found_inf is not None:
            keep = 1.0 - self.found_inf
            gradients = torch.where(self.found_inf != 0, 0.0, gradients)
        momentum, rate = group["momentum"], group["lr"]
        moved = torch.stack(buffers).lerp_(gradients, (1.0 - momentum) * keep)
        # Experts of a mixture are stacks of matrices themselves.
        stack = gradients.lerp(moved, momentum).flatten(0, -3)
        step = orthogonalised(stack).float().view_as(gradients) * keep
        longer = max(gradients.shape[-2:])
        for parameter, buffer, new, change in zip(parameters, buffers, moved, step, strict=True):
            buffer.copy_(new)
            parameter.mul_(1.0 - rate * group["weight_decay"] * keep)
            parameter.add_(change, alpha=-rate * 0.2 * math.sqrt(longer))

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        return buffer
