"""Mixture of experts: in place of a layer's one SwiGLU many small ones, of which each token goes through a few.

    shares  = softmax(router x), the `active` largest kept and made to sum to 1           (Qwen3-MoE)
    y       = Σ share_e · expert_e(x) + shared(x)                                          (DeepSeekMoE's shared expert)
    balance = experts · Σ_e (share of the assignments to e) · (mean router probability of e)
                                                                           (Switch, 2101.03961, section 2.2: least is 1)

No token is dropped: there is no capacity. Every token's rows are sorted by expert, so that an expert's product is one
matrix product. Not on the default path; without the shared expert a model is exactly a `Qwen3MoeForCausalLM`.

Shapes: N tokens, D hidden size, X experts, F an expert's width, k active experts.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.layers import MLP


@dataclass(frozen=True, kw_only=True)
class MixtureSettings:
    """The experts of every layer."""

    experts: int
    #: Experts that each token goes through.
    active: int
    #: Width of one expert.
    ffn: int
    #: Width of the expert that every token goes through besides; 0: there is none.
    shared_ffn: int = 0
    #: Weight of the balance loss, a token. Switch's; published models have 0.001 to 0.01.
    balance: float = 0.01

    def __post_init__(self) -> None:
        if not 1 <= self.active <= self.experts:
            raise ValueError(f"mixture: {self.active} active of {self.experts} experts")
        if self.ffn < 1 or self.shared_ffn < 0 or self.balance < 0:
            raise ValueError("mixture: ffn must be positive, shared_ffn and balance cannot be negative")

    def parameters(self, hidden_size: int, *, of_a_token: bool) -> int:
        """Matrix parameters of one layer's mixture: all of them, or those that one token is multiplied with."""
        routed = self.active if of_a_token else self.experts
        return hidden_size * (self.experts + 3 * self.ffn * routed + 3 * self.shared_ffn)


class Stacked(nn.Module):
    """The same matrix of all experts, [X, n_out, n_in]."""

    def __init__(self, experts: int, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, n_out, n_in))

    def forward(self, rows: Tensor, counts: Tensor) -> Tensor:
        """Rows [n, n_in], sorted by expert, `counts` [X] of them for each, times their expert's matrix."""
        weight = self.weight.to(rows.dtype)
        # In float32 PyTorch's grouped product is neither compiled nor fast: the host learns the counts.
        if rows.dtype == torch.bfloat16 and (rows.device.type == "cuda" or torch.compiler.is_compiling()):
            return grouped(rows, weight, counts)
        parts = torch.split(rows, counts.tolist())
        return torch.cat([functional.linear(part, matrix) for part, matrix in zip(parts, weight, strict=True)])


def grouped(rows: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    """As `Stacked.forward`, without the host knowing the counts."""
    ends = counts.cumsum(0).to(torch.int32)
    product: Tensor = functional.grouped_mm(rows, weight.mT, offs=ends)
    return product


class Experts(nn.Module):
    """The routed experts' matrices."""

    def __init__(self, hidden_size: int, settings: MixtureSettings) -> None:
        super().__init__()
        self.gate_proj = Stacked(settings.experts, hidden_size, settings.ffn)
        self.up_proj = Stacked(settings.experts, hidden_size, settings.ffn)
        self.down_proj = Stacked(settings.experts, settings.ffn, hidden_size)

    def forward(self, rows: Tensor, counts: Tensor) -> Tensor:
        wide = functional.silu(self.gate_proj(rows, counts)) * self.up_proj(rows, counts)
        down: Tensor = self.down_proj(wide, counts)
        return down


class Router(nn.Module):
    """Scores of the experts, in float32 at least: a rounded score would send a token elsewhere."""

    def __init__(self, hidden_size: int, experts: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, hidden_size))

    def forward(self, x: Tensor) -> Tensor:
        wide = x if x.dtype == torch.float64 else x.float()
        return torch.softmax(functional.linear(wide, self.weight), dim=-1)


class Mixture(nn.Module):
    """Stands where a layer's MLP stands."""

    def __init__(self, hidden_size: int, settings: MixtureSettings) -> None:
        super().__init__()
        self.active = settings.active
        self.gate = Router(hidden_size, settings.experts)
        self.experts = Experts(hidden_size, settings)
        self.shared_expert = MLP(hidden_size, settings.shared_ffn) if settings.shared_ffn else None

    def forward(self, x: Tensor, balances: list[Tensor] | None = None) -> Tensor:
        """[..., D] to the same; the balance loss of these tokens is appended to `balances`."""
        tokens = x.flatten(0, -2)
        probabilities = self.gate(tokens)
        shares, chosen = probabilities.topk(self.active, dim=-1)
        shares = shares / shares.sum(dim=-1, keepdim=True)
        experts = probabilities.shape[1]
        counts = (chosen.flatten().unsqueeze(1) == torch.arange(experts, device=x.device)).sum(0)
        if balances is not None:
            used = counts.to(probabilities.dtype) / chosen.numel()
            balances.append(experts * (used * probabilities.mean(0)).sum())
        order = chosen.flatten().argsort(stable=True)
        # By a permutation: the gradient of an index that comes up several times is summed in no fixed order.
        routed = tokens.repeat_interleave(self.active, 0)[order]
        found = self.experts(routed, counts)[order.argsort()]
        mixed: Tensor = (found.view(*chosen.shape, -1) * shares.to(x.dtype).unsqueeze(-1)).sum(1)
        if self.shared_expert is not None:
            mixed = mixed + self.shared_expert(tokens)
        return mixed.view_as(x)
