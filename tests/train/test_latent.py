"""Latent attention against its equations, written down a second time one position and one head at a time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checks import assert_gradients_agree
from token_corpus import tokenizer

from tokenizer.shards import ShardSet
from train.export import load_model
from train.generate import SampleSettings, generate
from train.latent import LatentAttention, LatentSettings
from train.layers import KeyValueCache, rotary_angles
from train.loop import train
from train.model import ModelSettings, Objective, new_model
from train.presets import preset
from train.settings import TrainSettings

LATENT = LatentSettings(kv_rank=10, nope_dim=6, rope_dim=4, value_dim=8, q_rank=12)
SMALL = ModelSettings(
    vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=3, head_dim=4,
    intermediate_size=24, max_position_embeddings=32, initializer_range=0.5, latent=LATENT,
)  # fmt: skip
TINY = preset("tiny")


def norm(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x) + 1e-6) * gain


def turn(x: np.ndarray, position: int) -> np.ndarray:
    half = len(x) // 2
    z = (x[:half] + 1j * x[half:]) * np.exp(1j * position * 10_000.0 ** (-2 * np.arange(half) / len(x)))
    return np.concatenate([z.real, z.imag])


def reference(weights: dict[str, np.ndarray], xs: np.ndarray, sizes: LatentSettings, heads: int) -> np.ndarray:
    queries, keys, values = [], [], []
    for place, x in enumerate(xs):
        if sizes.q_rank is None:
            q = weights["q_proj.weight"] @ x
        else:
            q = weights["q_b_proj.weight"] @ norm(weights["q_a_proj.weight"] @ x, weights["q_a_layernorm.weight"])
        low = weights["kv_a_proj_with_mqa.weight"] @ x
        latent = norm(low[: sizes.kv_rank], weights["kv_a_layernorm.weight"])
        common = turn(low[sizes.kv_rank :], place)
        made = (weights["kv_b_proj.weight"] @ latent).reshape(heads, -1)
        q = q.reshape(heads, -1)
        queries.append(
            [np.concatenate([q[h][: sizes.nope_dim], turn(q[h][sizes.nope_dim :], place)]) for h in range(heads)]
        )
        keys.append([np.concatenate([made[h][: sizes.nope_dim], common]) for h in range(heads)])
        values.append([made[h][sizes.nope_dim :] for h in range(heads)])
    rows = []
    for now in range(len(xs)):
        parts = []
        for h in range(heads):
            scores = np.array([queries[now][h] @ keys[t][h] for t in range(now + 1)])
            shares = np.exp(scores / np.sqrt(sizes.nope_dim + sizes.rope_dim))
            parts.append(sum(s * values[t][h] for t, s in enumerate(shares / shares.sum())))
        rows.append(weights["o_proj.weight"] @ np.concatenate(parts))
    return np.stack(rows)


@pytest.mark.parametrize("q_rank", [None, 12])
def test_it_computes_the_equations(q_rank: int | None) -> None:
    sizes = replace(LATENT, q_rank=q_rank)
    made = LatentAttention(sizes, hidden_size=16, heads=3, layer=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.5, generator=generator)
        x = torch.randn(1, 9, 16, generator=generator)
        cos, sin = rotary_angles(size=4, positions=9, theta=10_000.0)
        found = made(x, cos, sin)[0].numpy()
    weights = {name: value.detach().double().numpy() for name, value in made.named_parameters()}
    assert np.abs(found - reference(weights, x[0].double().numpy(), sizes, 3)).max() < 1e-5


def test_cached_positions_give_the_states_of_a_whole_pass_and_only_the_latent_is_kept() -> None:
    model = new_model(SMALL, seed=0)
    ids = torch.randint(0, 64, (2, 12), generator=torch.Generator().manual_seed(0))
    cache = KeyValueCache(2)
    with torch.no_grad():
        steps = [model.hidden(ids[:, :5], cache), *(model.hidden(ids[:, t : t + 1], cache) for t in range(5, 12))]
        assert torch.allclose(torch.cat(steps, 1), model.hidden(ids), atol=1e-5)
    kept = cache.pairs[1]
    assert kept is not None
    assert [tuple(each.shape) for each in kept] == [(2, 1, 12, 10), (2, 1, 12, 4)]


def test_gradients_agree_with_finite_differences() -> None:
    objective = Objective(new_model(SMALL, seed=0, dtype=torch.float64).double(), end_of_text_id=0)
    ids = torch.randint(1, 64, (2, 8), generator=torch.Generator().manual_seed(0))
    ids[0, 4] = 0
    assert_gradients_agree(objective, ids, ids.roll(-1, 1), tolerance=1e-5)


@pytest.mark.parametrize("q_rank", [None, 12])
def test_parameters_and_flop_are_counted(q_rank: int | None) -> None:
    settings = replace(SMALL, latent=replace(LATENT, q_rank=q_rank))
    matrices = sum(p.numel() for p in new_model(settings, seed=0).parameters() if p.ndim == 2)
    assert settings.matmul_parameters == settings.active_matmul_parameters == matrices
    # Products of queries with keys of 10 numbers, and of shares with values of 8.
    assert settings.flop_per_token(16) == 6 * matrices + 6 * 2 * 3 * (10 + 8) * 16


def test_a_model_trains_resumes_to_the_bit_comes_back_and_generates(shards: ShardSet, tmp_path: Path) -> None:
    model = replace(TINY, latent=replace(LATENT, kv_rank=16)).model(shards.metadata.vocab_size)
    settings = TrainSettings.from_preset(TINY, tokens=10 * 512)
    train(shards, settings, model=model, out=tmp_path / "whole", tokenizer=tokenizer())
    for steps in (4, None):
        train(shards, settings, model=model, out=tmp_path / "cut", max_steps=steps, tokenizer=tokenizer())
    for name in ("metrics.jsonl", "model/model.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes(), name
    back = load_model(tmp_path / "whole" / "model")
    assert back.settings.latent == model.latent
    made_by = tokenizer()
    greedy = SampleSettings(temperature=0.0, max_new_tokens=6)
    assert generate(back, "beer", greedy, tokenizer=made_by) == generate(
        back, "beer", replace(greedy, seed=1), tokenizer=made_by
    )
    # Beams reorder the cache.
    generate(back, "beer", replace(greedy, beams=3), tokenizer=made_by)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kv_rank": 0}, "positive"),
        ({"q_rank": 0}, "positive"),
        ({"rope_dim": 3}, "odd"),
        ({"value_dim": 11}, "more than nope_dim"),
    ],
)
def test_impossible_sizes_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(LATENT, **changes)


def test_windows_llamas_and_other_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="head_dim rope_dim"):
        replace(SMALL, head_dim=8)
    for changes in ({"sliding_window": 4}, {"qk_norm": False}):
        with pytest.raises(ValueError, match="no window"):
            replace(SMALL, **changes)
