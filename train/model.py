"""A decoder-only transformer of exactly Qwen3's shape, or Llama's, with Hugging Face's parameter names.

RMSNorm before each block, rotary positions (half-split), SwiGLU, grouped-query attention with a learned RMSNorm on
every head of queries and keys (Llama: without it), no biases, embeddings tied or untied. Exporting is therefore
saving.

Shapes: B sequences, T positions, D hidden size, H query heads, K key/value heads, E head size, V vocabulary.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.attention import Mask, attend, mask
from train.latent import LatentAttention, LatentSettings
from train.layers import MLP, KeyValueCache, Linear, RMSNorm, rotary_angles, rotate
from train.loss import cross_entropy_and_z, summed_cross_entropy
from train.mixture import Mixture, MixtureSettings

#: Vocabularies are padded to a multiple of this: matrix kernels are fastest on multiples of 64.
VOCABULARY_MULTIPLE = 64


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The shape of a model. Names are those of Hugging Face's config.json."""

    #: Rows of the embedding: the tokenizer's size, padded (see `padded`).
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    #: Width of the SwiGLU layer; 8/3 of the hidden size keeps the parameters of a plain 4x layer.
    intermediate_size: int
    #: Longest sequence, in tokens.
    max_position_embeddings: int
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-6
    #: Below about 150 M parameters an embedding of its own for the output would dominate the model.
    tie_word_embeddings: bool = True
    #: Standard deviation of the initial weights; matrices that write to the residual stream get 1/sqrt(2 layers) of it.
    initializer_range: float = 0.02
    #: A learned RMSNorm on every head of queries and keys: with it the model is a Qwen3, without it a Llama.
    qk_norm: bool = True
    #: A position sees at most so many, itself included; None: all before it.
    sliding_window: int | None = None
    #: Experts in place of the SwiGLU layers, whose `intermediate_size` is then not used: train/mixture.py.
    mixture: MixtureSettings | None = None
    #: Latent attention in place of grouped-query attention: train/latent.py. `head_dim` is then its rope_dim.
    latent: LatentSettings | None = None

    def __post_init__(self) -> None:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of num_key_value_heads "
                f"{self.num_key_value_heads}"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} is odd: rotary positions turn pairs")
        if self.sliding_window is not None and self.sliding_window < 1:
            raise ValueError(f"sliding_window {self.sliding_window} is not positive")
        if self.sliding_window is not None and not self.qk_norm:
            raise ValueError("sliding_window needs qk_norm: a Llama has no window, so it could not be exported")
        if self.latent is not None and (self.sliding_window is not None or not self.qk_norm):
            raise ValueError("latent attention has norms of its own and no window: leave qk_norm and sliding_window")
        if self.latent is not None and (self.num_key_value_heads, self.head_dim) != (
            self.num_attention_heads,
            self.latent.rope_dim,
        ):
            raise ValueError("with latent attention num_key_value_heads is num_attention_heads and head_dim rope_dim")

    @property
    def matmul_parameters(self) -> int:
        """Parameters that take part in matrix products, the output layer included, the embedding lookup not."""
        return self._matmul_parameters(of_a_token=False)

    @property
    def active_matmul_parameters(self) -> int:
        """Those that one token is multiplied with: of a mixture the router, the active and the shared experts."""
        return self._matmul_parameters(of_a_token=True)

    def _matmul_parameters(self, *, of_a_token: bool) -> int:
        d, e = self.hidden_size, self.head_dim
        attention = 2 * d * e * (self.num_attention_heads + self.num_key_value_heads)
        if self.latent is not None:
            attention = self.latent.parameters(hidden_size=d, heads=self.num_attention_heads)
        mlp = 3 * d * self.intermediate_size
        if self.mixture is not None:
            mlp = self.mixture.parameters(d, of_a_token=of_a_token)
        return self.num_hidden_layers * (attention + mlp) + d * self.vocab_size

    def flop_per_token(self, sequence_length: int) -> int:
        """Of training, forward and backward: 6 N_matmul + 12 L H E T (PaLM's formula, attention not halved; T at most
        the sliding window, N of a mixture the active ones, E of latent attention the mean of keys and values)."""
        seen = min(sequence_length, self.sliding_window or sequence_length)
        both = 2 * self.head_dim if self.latent is None else self.latent.query_dim + self.latent.value_dim
        attention = self.num_hidden_layers * self.num_attention_heads * both * seen
        return 6 * self.active_matmul_parameters + 6 * attention


def padded(vocab_size: int) -> int:
    """The number of embedding rows for a vocabulary."""
    return -(-vocab_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE


def rotary_table(settings: ModelSettings) -> tuple[Tensor, Tensor]:
    """Cosines and sines of all positions, [T, E] each."""
    positions, theta = settings.max_position_embeddings, settings.rope_theta
    return rotary_angles(size=settings.head_dim, positions=positions, theta=theta)


class Attention(nn.Module):
    """Causal self-attention with per-head normalised queries and keys."""

    def __init__(self, settings: ModelSettings, layer: int) -> None:
        super().__init__()
        d, e = settings.hidden_size, settings.head_dim
        self.layer, self.head_dim, self.window = layer, e, settings.sliding_window
        self.grouped = settings.num_key_value_heads != settings.num_attention_heads
        self.q_proj = Linear(d, settings.num_attention_heads * e)
        self.k_proj = Linear(d, settings.num_key_value_heads * e)
        self.v_proj = Linear(d, settings.num_key_value_heads * e)
        self.o_proj = Linear(settings.num_attention_heads * e, d)
        self.qk_norm = settings.qk_norm
        if settings.qk_norm:
            self.q_norm = RMSNorm(e, settings.rms_norm_eps)
            self.k_norm = RMSNorm(e, settings.rms_norm_eps)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, cache: KeyValueCache | None = None, mask: Mask | None = None
    ) -> Tensor:
        b, t, _ = x.shape
        q, k, v = (project(x).view(b, t, -1, self.head_dim) for project in (self.q_proj, self.k_proj, self.v_proj))
        if self.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = rotate(q.transpose(1, 2), cos, sin), rotate(k.transpose(1, 2), cos, sin), v.transpose(1, 2)
        if cache is not None:
            k, v = cache.extend(self.layer, k, v)
            if t == 1 and self.window is not None:
                k, v = k[:, :, -self.window :], v[:, :, -self.window :]
        y = attend(q, k, v, mask=mask, grouped=self.grouped)
        projected: Tensor = self.o_proj(y.transpose(1, 2).reshape(b, t, -1))
        return projected


class Layer(nn.Module):
    def __init__(self, settings: ModelSettings, layer: int) -> None:
        super().__init__()
        d, heads = settings.hidden_size, settings.num_attention_heads
        self.self_attn: Attention | LatentAttention
        if settings.latent is None:
            self.self_attn = Attention(settings, layer)
        else:
            self.self_attn = LatentAttention(settings.latent, hidden_size=d, heads=heads, layer=layer)
        self.mixed = settings.mixture is not None
        self.mlp = MLP(d, settings.intermediate_size) if settings.mixture is None else Mixture(d, settings.mixture)
        self.input_layernorm = RMSNorm(settings.hidden_size, settings.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(settings.hidden_size, settings.rms_norm_eps)

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        cache: KeyValueCache | None = None,
        mask: Mask | None = None,
        balances: list[Tensor] | None = None,
    ) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, cache, mask)
        normed = self.post_attention_layernorm(x)
        y: Tensor = x + (self.mlp(normed, balances) if self.mixed else self.mlp(normed))
        return y


class Decoder(nn.Module):
    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(settings.vocab_size, settings.hidden_size)
        self.layers = nn.ModuleList(Layer(settings, layer) for layer in range(settings.num_hidden_layers))
        self.norm = RMSNorm(settings.hidden_size, settings.rms_norm_eps)


class Transformer(nn.Module):
    """The model. `forward` gives the summed loss that training needs, `hidden` and `logits` everything else.

    `dtype` is the type of the activations (bfloat16 on a GPU); parameters, norms' statistics and the loss are float32.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, settings: ModelSettings, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.settings = settings
        self.dtype = dtype
        self.model = Decoder(settings)
        if not settings.tie_word_embeddings:
            self.lm_head = Linear(settings.hidden_size, settings.vocab_size)
        cos, sin = rotary_table(settings)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    @property
    def output_weight(self) -> Tensor:
        """[V, D]"""
        tied = self.settings.tie_word_embeddings
        weight: Tensor = self.model.embed_tokens.weight if tied else self.lm_head.weight
        return weight

    def hidden(
        self,
        ids: Tensor,
        cache: KeyValueCache | None = None,
        *,
        documents: Tensor | None = None,
        balances: list[Tensor] | None = None,
    ) -> Tensor:
        """Normalised final states [B, T, D] of ids [B, T]; with a cache, of the positions that follow it. With
        `documents` [B, T] a position sees only those that have its number. Every mixture of experts appends its
        balance loss to `balances`.

        Raises ValueError where the sequence is longer than `max_position_embeddings`, and where more than one position
        is added to a cache that is not empty.
        """
        start = cache.length if cache is not None else 0
        stop = start + ids.shape[1]
        if stop > self.settings.max_position_embeddings:
            most = self.settings.max_position_embeddings
            raise ValueError(f"{stop} tokens are more than the model's {most} positions")
        if start and ids.shape[1] > 1:
            raise ValueError("a cache that is not empty takes one new position at a time")
        x = self.model.embed_tokens(ids).to(self.dtype)
        cos, sin = self.cos[start:stop].to(x.dtype), self.sin[start:stop].to(x.dtype)
        # One new position sees its whole past, of which the cache gives what the window leaves.
        window = self.settings.sliding_window if stop - start > 1 else None
        allowed = mask(stop - start, window=window, documents=documents, device=x.device)
        for layer in self.model.layers:
            x = layer(x, cos, sin, cache, allowed, balances)
        normed: Tensor = self.model.norm(x)
        return normed

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., V] in float32."""
        return functional.linear(hidden, self.output_weight.to(hidden.dtype)).float()

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Summed cross-entropy in nats of the targets [B, T] that are not negative."""
        hidden = self.hidden(ids)
        return summed_cross_entropy(hidden.flatten(0, 1), self.output_weight, targets.flatten())


class Objective(nn.Module):
    """What a step of training differentiates: the model's summed loss with the options of the loop."""

    def __init__(self, model: Transformer, *, z_loss: float = 0.0, end_of_text_id: int | None = None) -> None:
        super().__init__()
        self.transformer, self.z_loss, self.end_of_text_id = model, z_loss, end_of_text_id

    def forward(self, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """(nats + z_loss · Σ log² of the softmax's denominator, nats): the sum to differentiate, and without gradient
        the sum to report; a mixture of experts adds its balance loss to the first. With `end_of_text_id` every position
        sees its own document only."""
        documents = None if self.end_of_text_id is None else (ids == self.end_of_text_id).cumsum(1)
        balances: list[Tensor] = []
        hidden = self.transformer.hidden(ids, documents=documents, balances=balances)
        weight = self.transformer.output_weight
        objective, nats = cross_entropy_and_z(hidden.flatten(0, 1), weight, targets.flatten(), z_loss=self.z_loss)
        mixture = self.transformer.settings.mixture
        if mixture is not None:
            # A mean over layers and tokens, like the loss: times the tokens, of which this is the sum.
            objective = objective + mixture.balance * ids.numel() * torch.stack(balances).mean()
        return objective, nats


def new_model(settings: ModelSettings, *, seed: int, dtype: torch.dtype = torch.float32) -> Transformer:
    """A model with initial weights that depend on the settings and the seed only, made on the CPU."""
    model = Transformer(settings, dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    residual = settings.initializer_range / math.sqrt(2 * settings.num_hidden_layers)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            continue
        writes = name.endswith(("o_proj.weight", "down_proj.weight"))
        with torch.no_grad():
            parameter.normal_(0.0, residual if writes else settings.initializer_range, generator=generator)
    return model


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def state(model: Transformer) -> dict[str, Any]:
    """Parameters by Hugging Face name; `lm_head.weight` is absent where it is tied."""
    return {name: value.detach() for name, value in model.state_dict().items()}
