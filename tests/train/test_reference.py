"""The model against Qwen3's equations, written down a second time in plain numpy, one position at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from train.model import ModelSettings, new_model

SETTINGS = ModelSettings(
    vocab_size=64,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=6,
    intermediate_size=40,
    max_position_embeddings=16,
    rope_theta=1000.0,
    rms_norm_eps=1e-5,
    initializer_range=0.5,
)


def norm(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x) + SETTINGS.rms_norm_eps) * gain


def turn(x: np.ndarray, position: int) -> np.ndarray:
    """Dimension i and i + E/2 are one complex number, turned by position / theta^(2i/E)."""
    half = len(x) // 2
    angle = position * SETTINGS.rope_theta ** (-2 * np.arange(half) / len(x))
    z = (x[:half] + 1j * x[half:]) * np.exp(1j * angle)
    return np.concatenate([z.real, z.imag])


def reference(weights: dict[str, np.ndarray], ids: list[int], *, tied: bool) -> np.ndarray:
    """Logits [T, V] in double precision."""
    states = [weights["model.embed_tokens.weight"][i] for i in ids]
    heads, groups = SETTINGS.num_attention_heads, SETTINGS.num_attention_heads // SETTINGS.num_key_value_heads
    for layer in range(SETTINGS.num_hidden_layers):
        w = {name.removeprefix(f"model.layers.{layer}."): value for name, value in weights.items()}
        normed = [norm(x, w["input_layernorm.weight"]) for x in states]

        def split(kind: str, xs: list[np.ndarray], w: dict[str, np.ndarray] = w) -> list[np.ndarray]:
            return [(w[f"self_attn.{kind}_proj.weight"] @ x).reshape(-1, SETTINGS.head_dim) for x in xs]

        q, k, v = split("q", normed), split("k", normed), split("v", normed)
        mixed = []
        for now in range(len(ids)):
            parts = []
            for head in range(heads):
                query = turn(norm(q[now][head], w["self_attn.q_norm.weight"]), now)
                past = range(now + 1)
                keys = [turn(norm(k[t][head // groups], w["self_attn.k_norm.weight"]), t) for t in past]
                scores = np.exp(np.array([query @ key for key in keys]) / np.sqrt(SETTINGS.head_dim))
                parts.append(sum(s * v[t][head // groups] for s, t in zip(scores / scores.sum(), past, strict=True)))
            mixed.append(w["self_attn.o_proj.weight"] @ np.concatenate(parts))
        states = [x + y for x, y in zip(states, mixed, strict=True)]
        for position, x in enumerate(states):
            y = norm(x, w["post_attention_layernorm.weight"])
            gate, up = w["mlp.gate_proj.weight"] @ y, w["mlp.up_proj.weight"] @ y
            states[position] = x + w["mlp.down_proj.weight"] @ (gate / (1 + np.exp(-gate)) * up)
    output = weights["model.embed_tokens.weight" if tied else "lm_head.weight"]
    return np.stack([output @ norm(x, weights["model.norm.weight"]) for x in states])


@pytest.mark.parametrize("tied", [True, False])
def test_logits_are_those_of_the_equations(tied: bool) -> None:
    model = new_model(replace(SETTINGS, tie_word_embeddings=tied), seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5, generator=generator)
        ids = torch.randint(0, 64, (1, 11), generator=generator)
        found = model.logits(model.hidden(ids))[0].double().numpy()
    weights = {name: value.detach().double().numpy() for name, value in model.named_parameters()}
    expected = reference(weights, ids[0].tolist(), tied=tied)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
