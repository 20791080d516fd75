"""Known answers of the model: its first loss, its gradients, its shape, and that nothing sees the future."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from train import loss
from train.model import KeyValueCache, ModelSettings, count_parameters, new_model, padded
from train.presets import ladder_batch_tokens, ladder_learning_rate, names, preset

SMALL = ModelSettings(
    vocab_size=128,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    intermediate_size=64,
    max_position_embeddings=32,
)


def random_ids(*shape: int, vocab_size: int = 128) -> torch.Tensor:
    return torch.randint(0, vocab_size, shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["tiny", "demo", "nano", "micro", "mini", "p26", "p44"])
@pytest.mark.parametrize("vocab_size", [4096])
def test_the_first_loss_is_that_of_guessing(name: str, vocab_size: int) -> None:
    model = new_model(preset(name).model(vocab_size), seed=0)
    ids = random_ids(4, 33, vocab_size=vocab_size)
    with torch.no_grad():
        mean = model(ids[:, :-1], ids[:, 1:]).item() / 128
    assert mean == pytest.approx(math.log(vocab_size), rel=0.02)


@pytest.mark.parametrize("tied", [True, False])
def test_names_and_shapes_are_those_of_qwen3(tied: bool) -> None:
    shapes = {
        name: tuple(p.shape)
        for name, p in new_model(replace(SMALL, tie_word_embeddings=tied), seed=0).named_parameters()
    }
    layer = {
        "self_attn.q_proj.weight": (32, 32),
        "self_attn.k_proj.weight": (16, 32),
        "self_attn.v_proj.weight": (16, 32),
        "self_attn.o_proj.weight": (32, 32),
        "self_attn.q_norm.weight": (8,),
        "self_attn.k_norm.weight": (8,),
        "mlp.gate_proj.weight": (64, 32),
        "mlp.up_proj.weight": (64, 32),
        "mlp.down_proj.weight": (32, 64),
        "input_layernorm.weight": (32,),
        "post_attention_layernorm.weight": (32,),
    }
    expected = {f"model.layers.{n}.{name}": shape for n in range(2) for name, shape in layer.items()}
    expected |= {"model.embed_tokens.weight": (128, 32), "model.norm.weight": (32,)}
    assert shapes == (expected if tied else {**expected, "lm_head.weight": (128, 32)})


def test_flop_counts_the_matrices_that_are_there() -> None:
    model = new_model(SMALL, seed=0)
    matrices = sum(p.numel() for p in model.parameters() if p.ndim == 2)
    assert SMALL.matmul_parameters == matrices
    assert SMALL.flop_per_token(16) == 6 * matrices + 12 * 2 * 4 * 8 * 16
    nano = preset("nano").model(4096)
    assert count_parameters(new_model(nano, seed=0)) == pytest.approx(1.3e6, rel=0.05)


def test_no_position_sees_the_future() -> None:
    model = new_model(SMALL, seed=0)
    ids = random_ids(1, 16)
    changed = ids.clone()
    changed[0, 10:] = 5
    with torch.no_grad():
        before, after = model.hidden(ids), model.hidden(changed)
    assert torch.allclose(before[:, :10], after[:, :10], atol=1e-6)
    assert not torch.allclose(before[:, 10:], after[:, 10:], atol=1e-2)


def test_attention_depends_on_distance_only() -> None:
    """Rotary positions: shifting all positions changes no score."""
    from train.model import rotary_table, rotate

    cos, sin = rotary_table(SMALL)
    q, k = torch.randn(2, 1, 1, 4, 8, generator=torch.Generator().manual_seed(1)).unbind(0)
    here = rotate(q, cos[0:4], sin[0:4]) @ rotate(k, cos[0:4], sin[0:4]).mT
    there = rotate(q, cos[9:13], sin[9:13]) @ rotate(k, cos[9:13], sin[9:13]).mT
    assert torch.allclose(here, there, atol=1e-5)


def test_cached_positions_give_the_states_of_a_whole_pass() -> None:
    model = new_model(SMALL, seed=0)
    ids = random_ids(1, 12)
    cache = KeyValueCache(SMALL.num_hidden_layers)
    with torch.no_grad():
        whole = model.hidden(ids)
        steps = [model.hidden(ids[:, :5], cache), *(model.hidden(ids[:, t : t + 1], cache) for t in range(5, 12))]
    assert cache.length == 12
    assert torch.allclose(whole, torch.cat(steps, dim=1), atol=1e-5)
    with pytest.raises(ValueError, match="one new position at a time"):
        model.hidden(ids[:, :2], cache)


def test_sequences_beyond_the_models_positions_are_refused() -> None:
    with pytest.raises(ValueError, match="33 tokens are more than the model's 32 positions"):
        new_model(SMALL, seed=0).hidden(random_ids(1, 33))


@pytest.mark.parametrize("chunk_logits", [1, 300, 1 << 20])
def test_chunked_loss_and_gradients_are_those_of_the_plain_one(
    monkeypatch: pytest.MonkeyPatch, chunk_logits: int
) -> None:
    monkeypatch.setattr(loss, "CPU_CHUNK_LOGITS", chunk_logits)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(37, 16, generator=generator, requires_grad=True)
    weight = torch.randn(100, 16, generator=generator, requires_grad=True)
    targets = torch.randint(0, 100, (37,), generator=generator)
    targets[::5] = -1
    plain = functional.cross_entropy(hidden @ weight.T, targets, ignore_index=-1, reduction="sum")
    expected = torch.autograd.grad(plain * 0.25, (hidden, weight))
    ours = loss.summed_cross_entropy(hidden, weight, targets)
    found = torch.autograd.grad(ours * 0.25, (hidden, weight))
    assert ours.item() == pytest.approx(plain.item(), rel=1e-6)
    for mine, theirs in zip(found, expected, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)
    single = loss.token_cross_entropy(hidden, weight, targets)
    assert single.sum().item() == pytest.approx(plain.item(), rel=1e-6)
    assert not single[::5].any()


def test_bfloat16_activations_stay_near_float32() -> None:
    ids = random_ids(2, 17)
    values, gradients = [], []
    for dtype in (torch.float32, torch.bfloat16):
        model = new_model(SMALL, seed=0, dtype=dtype)
        total = model(ids[:, :-1], ids[:, 1:])
        total.backward()
        values.append(total.item())
        gradients.append(model.model.layers[0].mlp.up_proj.weight.grad)
    assert gradients[1].dtype == torch.float32
    assert values[1] == pytest.approx(values[0], rel=0.01)
    assert functional.cosine_similarity(gradients[0].flatten(), gradients[1].flatten(), dim=0) > 0.99


def test_initial_weights_are_a_function_of_the_seed() -> None:
    one, same, other = (new_model(SMALL, seed=seed).model.layers[1].mlp.up_proj.weight for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_presets_make_valid_models_with_padded_vocabularies() -> None:
    assert (padded(4096), padded(4097)) == (4096, 4160)
    assert names()[0] == "tiny"
    assert names()[-1] == "p1b"
    for name in names():
        chosen = preset(name)
        assert chosen.model(5000).vocab_size == 5056, name
        assert chosen.batch_tokens % chosen.sequence_length == 0, name
    assert 0.9e9 < preset("p1b").model(32_768).matmul_parameters < 1.1e9
    with pytest.raises(ValueError, match="there is no preset 'huge'; there are tiny"):
        preset("huge")
    with pytest.raises(ValueError, match="not a multiple of num_key_value_heads"):
        replace(SMALL, num_key_value_heads=3)


def test_a_preset_of_ones_own_is_a_toml_file(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    text = "layers = 2\nhidden = 64\nheads = 2\nkv_heads = 1\nffn = 128\nsequence_length = 64\nbatch_tokens = 512\n"
    mine.write_text(text + "learning_rate = 0.01\n")
    assert preset(str(mine)).model(256).hidden_size == 64
    mine.write_text(text.replace("ffn = 128\n", ""))
    with pytest.raises(ValueError, match=r"mine\.toml: missing 1 required keyword-only argument: 'ffn'"):
        preset(str(mine))
    mine.write_text(text + "learning_rate = 0.01\nlayer = 3\n")
    with pytest.raises(ValueError, match="unknown key 'layer'"):
        preset(str(mine))
    with pytest.raises(ValueError, match="there is no such file"):
        preset(str(tmp_path / "nothing.toml"))


def test_rate_and_batch_come_from_the_published_rule_where_they_are_not_given(tmp_path: Path) -> None:
    for name in ("p26", "p44", "p110", "p342", "p1b"):
        given = preset(name)
        parameters = given.model(32_768).matmul_parameters
        assert given.learning_rate == pytest.approx(ladder_learning_rate(parameters), rel=0.03), name
        batch = ladder_batch_tokens(parameters, sequence_length=given.sequence_length)
        assert given.batch_tokens == pytest.approx(batch, rel=0.1), name
    # By hand: at the rule's own size its constants, at an eighth of it twice the rate and a quarter of the batch.
    assert ladder_learning_rate(108_000_000) == pytest.approx(0.0047 / 2, abs=1e-4)
    assert ladder_learning_rate(13_500_000) == pytest.approx(0.0047)
    assert ladder_batch_tokens(13_500_000, sequence_length=1000) == 82_000
    mine = tmp_path / "mine.toml"
    mine.write_text("layers = 8\nhidden = 384\nheads = 6\nkv_heads = 6\nffn = 1024\nsequence_length = 1024\n")
    assert (preset(str(mine)).learning_rate, preset(str(mine)).batch_tokens) == (0.0037, 129_024)
    mine.write_text(mine.read_text() + "learning_rate = 0.002\n")
    assert (preset(str(mine)).learning_rate, preset(str(mine)).batch_tokens) == (0.002, 129_024)


def test_the_table_of_presets_in_the_docs_is_that_of_the_files() -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    rows = {cells[1].strip("` "): cells for line in page.splitlines() if len(cells := line.split("|")) == 9}
    assert set(names()) <= set(rows)
    for name in names():
        chosen, (_, _, shape, context, size, rate, batch, _, _) = preset(name), rows[name]
        assert shape.strip() == f"{chosen.layers} x {chosen.hidden}", name
        assert int(context.replace(",", "")) == chosen.sequence_length, name
        assert (float(rate), int(batch.replace(",", ""))) == (chosen.learning_rate, chosen.batch_tokens), name
        vocabulary = int(size.split("(")[1].strip(") ").replace(",", ""))
        stated = float(size.split(" M")[0])
        assert chosen.model(vocabulary).matmul_parameters / 1e6 == pytest.approx(stated, rel=0.05), name
