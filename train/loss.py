"""Cross-entropy over a large vocabulary without holding all logits at once.

The logits of a batch are the largest thing in small-model training (64 x 1024 tokens x 32,768 entries are 8.6 GB in
float32). Here they exist for a few rows at a time, and the gradients are taken while they do, so that nothing is
computed twice.
"""

from typing import Any

import torch
from torch import Tensor

#: Logits that exist at once. On a CPU 2**20 (4 MB in float32) stay in the cache: within 2 % of the best of 2**17 to
#: 2**24 measured.
CPU_CHUNK_LOGITS = 2**20
#: On a GPU chunks must be large enough to fill it: 2**28 are 1 GB in float32.
GPU_CHUNK_LOGITS = 2**28


def _chunk_rows(weight: Tensor) -> int:
    budget = CPU_CHUNK_LOGITS if weight.device.type == "cpu" else GPU_CHUNK_LOGITS
    return max(1, budget // weight.shape[0])


class _SummedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        wants = any(ctx.needs_input_grad)
        cast = weight.to(hidden.dtype)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if wants else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if wants else None
        rows = _chunk_rows(weight)
        for start in range(0, hidden.shape[0], rows):
            h, y = hidden[start : start + rows], targets[start : start + rows]
            valid = y >= 0
            index = y.clamp(min=0).unsqueeze(1)
            logits = (h @ cast.T).float()
            top = logits.amax(dim=1, keepdim=True)
            found = logits.gather(1, index)
            powers = logits.sub_(top).exp_()
            mass = powers.sum(dim=1, keepdim=True)
            total += ((mass.log() + top - found).squeeze(1) * valid).sum()
            if grad_hidden is None or grad_weight is None:
                continue
            # d loss / d logits = softmax - one-hot, zero for rows that do not count.
            slope = powers.mul_(valid.unsqueeze(1) / mass)
            slope.scatter_add_(1, index, -valid.unsqueeze(1).float())
            slope = slope.to(hidden.dtype)
            grad_hidden[start : start + rows] = slope @ cast
            if hidden.dtype == torch.float32:
                grad_weight.addmm_(slope.T, h)
            else:
                grad_weight += slope.T @ h
        ctx.save_for_backward(grad_hidden, grad_weight)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,) = grads
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden * grad.to(grad_hidden.dtype), grad_weight * grad, None


def summed_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Σ -log softmax(hidden · weightᵀ)[target] in nats, float32, over the rows whose target is not negative.

    hidden [N, D] in float32 or bfloat16, weight [V, D] in float32, targets int64 [N]. Products are computed in hidden's
    type, softmax and sums in float32. Differentiable once, with respect to hidden and weight.
    """
    apply: Any = _SummedCrossEntropy.apply
    total: Tensor = apply(hidden, weight, targets)
    return total


@torch.no_grad()
def token_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """-log softmax(hidden · weightᵀ)[target] of each row in nats, float32 [N]; 0 where the target is negative."""
    cast = weight.to(hidden.dtype)
    losses = torch.zeros(hidden.shape[0], device=hidden.device)
    counting = (targets >= 0).nonzero().squeeze(1)
    size = _chunk_rows(weight)
    for start in range(0, len(counting), size):
        rows = counting[start : start + size]
        logits = (hidden[rows] @ cast.T).float()
        found = logits.gather(1, targets[rows].unsqueeze(1)).squeeze(1)
        top = logits.amax(dim=1)
        losses[rows] = logits.sub_(top.unsqueeze(1)).exp_().sum(dim=1).log() + top - found
    return losses
