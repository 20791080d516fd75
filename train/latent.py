"""Multi-head latent attention (DeepSeek-V2, 2405.04434, section 2.1): keys and values from one small latent vector.

    latent, turned key = split(kv_a x)         the latent is normalised; one key of `rope_dim` numbers for all heads
    keys, values       = split(kv_b latent)    `nope_dim` numbers without positions, `value_dim` a head
    scores             = query · [key without positions, turned key] / sqrt(nope_dim + rope_dim)

Generation keeps the latent and the turned key, kv_rank + rope_dim numbers a position and layer in place of
2 K E, and makes keys and values of them anew at every step. Not on the default path; a model is exactly a
`DeepseekV3ForCausalLM` all of whose layers are dense. Shapes as in train/model.py.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.attention import Mask, attend
from train.layers import KeyValueCache, Linear, RMSNorm, rotate

#: Of the norms on latents, whatever the other norms have: so in all published models.
EPSILON = 1e-6


@dataclass(frozen=True, kw_only=True)
class LatentSettings:
    """The sizes of latent attention. Queries come from the hidden state, or from a latent of their own."""

    kv_rank: int
    #: Of each head's query and key, without positions.
    nope_dim: int
    #: Of each head's query, and of the one key of all heads, turned by their positions.
    rope_dim: int
    #: Of each head's value.
    value_dim: int
    #: None: queries are made from the hidden state directly.
    q_rank: int | None = None

    def __post_init__(self) -> None:
        q_rank = 1 if self.q_rank is None else self.q_rank
        if min(self.kv_rank, self.nope_dim, self.rope_dim, self.value_dim, q_rank) < 1:
            raise ValueError("latent: all sizes must be positive")
        if self.rope_dim % 2:
            raise ValueError(f"latent: rope_dim {self.rope_dim} is odd: rotary positions turn pairs")
        if self.value_dim > self.query_dim:
            raise ValueError(f"latent: value_dim {self.value_dim} is more than nope_dim + rope_dim {self.query_dim}")

    @property
    def query_dim(self) -> int:
        return self.nope_dim + self.rope_dim

    def parameters(self, *, hidden_size: int, heads: int) -> int:
        """Matrix parameters of one layer's attention."""
        d, q = hidden_size, heads * self.query_dim
        queries = d * q if self.q_rank is None else self.q_rank * (d + q)
        keys = d * (self.kv_rank + self.rope_dim) + self.kv_rank * heads * (self.nope_dim + self.value_dim)
        return queries + keys + heads * self.value_dim * d


class LatentAttention(nn.Module):
    """Stands where a layer's Attention stands."""

    def __init__(self, settings: LatentSettings, *, hidden_size: int, heads: int, layer: int) -> None:
        super().__init__()
        self.sizes, self.heads, self.layer = settings, heads, layer
        queries = heads * settings.query_dim
        if settings.q_rank is None:
            self.q_proj = Linear(hidden_size, queries)
        else:
            self.q_a_proj = Linear(hidden_size, settings.q_rank)
            self.q_a_layernorm = RMSNorm(settings.q_rank, EPSILON)
            self.q_b_proj = Linear(settings.q_rank, queries)
        self.kv_a_proj_with_mqa = Linear(hidden_size, settings.kv_rank + settings.rope_dim)
        self.kv_a_layernorm = RMSNorm(settings.kv_rank, EPSILON)
        self.kv_b_proj = Linear(settings.kv_rank, heads * (settings.nope_dim + settings.value_dim))
        self.o_proj = Linear(heads * settings.value_dim, hidden_size)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, cache: KeyValueCache | None = None, mask: Mask | None = None
    ) -> Tensor:
        b, t, _ = x.shape
        sizes = self.sizes
        q = self.q_proj(x) if sizes.q_rank is None else self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))
        q = q.view(b, t, self.heads, sizes.query_dim).transpose(1, 2)
        unturned, turned = q.split([sizes.nope_dim, sizes.rope_dim], dim=-1)
        q = torch.cat([unturned, rotate(turned, cos, sin)], dim=-1)
        latent, key = self.kv_a_proj_with_mqa(x).split([sizes.kv_rank, sizes.rope_dim], dim=-1)
        latent, key = self.kv_a_layernorm(latent).unsqueeze(1), rotate(key.unsqueeze(1), cos, sin)
        if cache is not None:
            latent, key = cache.extend(self.layer, latent, key)
        made = self.kv_b_proj(latent.squeeze(1)).view(b, latent.shape[2], self.heads, -1).transpose(1, 2)
        k, v = made.split([sizes.nope_dim, sizes.value_dim], dim=-1)
        k = torch.cat([k, key.expand(-1, self.heads, -1, -1)], dim=-1)
        # The fused kernels want values as wide as keys.
        v = functional.pad(v, (0, sizes.query_dim - sizes.value_dim))
        y = attend(q, k, v, mask=mask, grouped=False)[..., : sizes.value_dim]
        projected: Tensor = self.o_proj(y.transpose(1, 2).reshape(b, t, -1))
        return projected
