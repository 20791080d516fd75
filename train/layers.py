"""The parts that every kind of layer is made of: matrices, norms, rotary positions, the cache of generation.

Shapes: B sequences, T positions, D hidden size, H query heads, K key/value heads, E head size.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Linear(nn.Linear):
    """A matrix without bias that computes in the type of its input: weights stay float32 while activations may be
    bfloat16, without autocast."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight.to(x.dtype))


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps) · gain over the last dimension."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.eps)


class MLP(nn.Module):
    """SwiGLU: down(silu(gate x) · up x)."""

    def __init__(self, hidden_size: int, width: int) -> None:
        super().__init__()
        self.gate_proj = Linear(hidden_size, width)
        self.up_proj = Linear(hidden_size, width)
        self.down_proj = Linear(width, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        down: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return down


def rotary_angles(*, size: int, positions: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of all positions, [positions, size] each, half-split: dimension i turns with i + size/2.

    In float32 throughout, as transformers computes them: in double precision they are truer, and an exported model's
    logits differ from ours by up to 1.3e-5 for it; so they differ by nothing.
    """
    frequencies = 1.0 / theta ** (torch.arange(0, size, 2).float() / size)
    angles = torch.outer(torch.arange(positions).float(), frequencies)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the heads [B, heads, T, E] by their positions' angles [T, E]."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-high, low], dim=-1) * sin


class KeyValueCache:
    """Keys and values of the positions seen so far, one pair a layer, for generation. Latent attention keeps what both
    are made of instead."""

    def __init__(self, layers: int) -> None:
        self.pairs: list[tuple[Tensor, Tensor] | None] = [None] * layers

    @property
    def length(self) -> int:
        return 0 if self.pairs[0] is None else self.pairs[0][0].shape[2]

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append [B, K, new, E] and return everything so far."""
        before = self.pairs[layer]
        if before is not None:
            keys, values = torch.cat([before[0], keys], dim=2), torch.cat([before[1], values], dim=2)
        self.pairs[layer] = (keys, values)
        return keys, values

    def select(self, rows: list[int]) -> None:
        """Keep these rows of the batch, in this order; a row may be named more than once."""
        self.pairs = [None if pair is None else (pair[0][rows], pair[1][rows]) for pair in self.pairs]
