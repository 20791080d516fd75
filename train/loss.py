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
    if weight.device.type == "cpu":
        return max(1, CPU_CHUNK_LOGITS // weight.shape[0])
    # Whole tiles of the matrix kernels.
    return max(1, GPU_CHUNK_LOGITS // weight.shape[0] // 1024) * 1024


def _wide(logits: Tensor) -> Tensor:
    """At least float32."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _chunk(h: Tensor, cast: Tensor, y: Tensor, z_loss: float) -> tuple[Tensor, Tensor, Tensor]:
    """Σ nats, Σ log² of the denominators, and d(nats + z_loss · log²) / d logits, of some rows."""
    valid = y >= 0
    index = y.clamp(min=0).unsqueeze(1)
    logits = _wide(h @ cast.T)
    if torch.compiler.is_compiling():
        # Free of writes in place and of scattering, so that it becomes one reduction and one pass over the logits.
        mass = torch.logsumexp(logits, dim=1, keepdim=True)
        nats = ((mass - logits.gather(1, index)).squeeze(1) * valid).sum()
        one_hot = torch.arange(logits.shape[1], device=y.device) == index
        slope = torch.exp(logits - mass) * (1.0 + 2.0 * z_loss * mass) - one_hot.to(logits.dtype)
        slope = slope * valid.unsqueeze(1)
    else:
        top = logits.amax(dim=1, keepdim=True)
        found = logits.gather(1, index)
        powers = logits.sub_(top).exp_()
        total = powers.sum(dim=1, keepdim=True)
        mass = total.log() + top
        nats = ((mass - found).squeeze(1) * valid).sum()
        # d loss / d logits = softmax - one-hot, zero for rows that do not count.
        slope = powers.mul_(valid.unsqueeze(1) * (1.0 + 2.0 * z_loss * mass) / total)
        slope.scatter_add_(1, index, -valid.unsqueeze(1).to(slope.dtype))
    return nats, (mass.squeeze(1).square() * valid).sum(), slope


class _SummedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, z_loss: float) -> tuple[Tensor, Tensor]:
        cast = weight.to(hidden.dtype)
        wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        nats = torch.zeros((), dtype=wide, device=hidden.device)
        squares = torch.zeros_like(nats)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight, dtype=wide)
        rows = _chunk_rows(weight)
        for start in range(0, hidden.shape[0], rows):
            h, y = hidden[start : start + rows], targets[start : start + rows]
            some, square, slope = _chunk(h, cast, y, z_loss)
            nats += some
            squares += square
            slope = slope.to(hidden.dtype)
            grad_hidden[start : start + rows] = slope @ cast
            if hidden.dtype == wide:
                grad_weight.addmm_(slope.T, h)
            else:
                grad_weight += slope.T @ h
        ctx.save_for_backward(grad_hidden, grad_weight)
        reported = nats.clone()
        ctx.mark_non_differentiable(reported)
        return nats + z_loss * squares, reported

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        grad, _ = grads
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden * grad.to(grad_hidden.dtype), grad_weight * grad, None, None


def summed_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Σ -log softmax(hidden · weightᵀ)[target] in nats, float32, over the rows whose target is not negative.

    hidden [N, D] in float32 or bfloat16, weight [V, D] in float32, targets int64 [N]. Products are computed in hidden's
    type, softmax and sums in float32 (all in float64 where hidden is). Differentiable once, with respect to hidden and
    weight.
    """
    if not torch.is_grad_enabled():
        return token_cross_entropy(hidden, weight, targets).sum()
    return cross_entropy_and_z(hidden, weight, targets, z_loss=0.0)[0]


def cross_entropy_and_z(hidden: Tensor, weight: Tensor, targets: Tensor, *, z_loss: float) -> tuple[Tensor, Tensor]:
    """(nats + z_loss · Σ log² of the softmax's denominator, nats): the second is for the record, without gradient.

    The z-loss keeps logits from drifting (https://arxiv.org/abs/2204.02311, section 5: 1e-4).
    """
    apply: Any = _SummedCrossEntropy.apply
    objective: Tensor
    nats: Tensor
    objective, nats = apply(hidden, weight, targets, z_loss)
    return objective, nats


@torch.no_grad()
def token_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """-log softmax(hidden · weightᵀ)[target] of each row in nats, float32 [N] (float64 where hidden is); 0 where the
    target is negative."""
    cast = weight.to(hidden.dtype)
    losses = torch.zeros(hidden.shape[0], dtype=_wide(hidden[:0]).dtype, device=hidden.device)
    counting = (targets >= 0).nonzero().squeeze(1)
    size = _chunk_rows(weight)
    for start in range(0, len(counting), size):
        rows = counting[start : start + size]
        logits = _wide(hidden[rows] @ cast.T)
        found = logits.gather(1, targets[rows].unsqueeze(1)).squeeze(1)
        top = logits.amax(dim=1)
        losses[rows] = logits.sub_(top.unsqueeze(1)).exp_().sum(dim=1).log() + top - found
    return losses
