"""An exported folder is what transformers expects, and comes back as the same model."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from token_corpus import tokenizer

from train.export import export, load_model, load_tokenizer
from train.latent import LatentSettings
from train.mixture import MixtureSettings
from train.model import new_model
from train.presets import preset

TOKENIZER = tokenizer()
SETTINGS = preset("tiny").model(TOKENIZER.vocab_size)
MIXTURE = MixtureSettings(experts=4, active=2, ffn=32)
LATENT = LatentSettings(kv_rank=16, nope_dim=16, rope_dim=8, value_dim=16)
#: What latent attention asks of the other settings.
HEADS = {"num_key_value_heads": 2, "head_dim": 8}
IDS = torch.tensor([[0, 5, 17, 200, 3, 90]])


@pytest.mark.parametrize("tied", [True, False])
def test_the_folder_holds_names_shapes_and_keys_of_both_versions(tmp_path: Path, tied: bool) -> None:
    model = new_model(replace(SETTINGS, tie_word_embeddings=tied), seed=0)
    export(model, tmp_path, tokenizer=TOKENIZER)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert ("lm_head.weight" in list(file.keys())) is not tied
        assert file.get_slice("model.layers.0.self_attn.k_proj.weight").get_shape() == [32, 64]
        assert file.get_slice("model.layers.1.self_attn.q_norm.weight").get_shape() == [32]
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert config["rope_parameters"] == {"rope_type": "default", "rope_theta": config["rope_theta"]}
    assert config["dtype"] == config["torch_dtype"] == "float32"
    assert (config["head_dim"], config["attention_bias"], config["tie_word_embeddings"]) == (32, False, tied)
    assert config["bos_token_id"] == config["eos_token_id"] == TOKENIZER.end_of_text_id
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["eos_token"] == "<|endoftext|>"


def test_an_exported_model_comes_back(tmp_path: Path) -> None:
    model = new_model(SETTINGS, seed=0)
    export(model, tmp_path, tokenizer=TOKENIZER)
    back = load_model(tmp_path)
    assert back.settings == SETTINGS
    with torch.no_grad():
        assert torch.equal(back.hidden(IDS), model.hidden(IDS))
    assert load_tokenizer(tmp_path) == TOKENIZER


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"qk_norm": False}, "LlamaForCausalLM"),
        ({"sliding_window": 7}, "Qwen3ForCausalLM"),
        ({"mixture": MIXTURE}, "Qwen3MoeForCausalLM"),
        ({"latent": LATENT, **HEADS}, "DeepseekV3ForCausalLM"),
    ],
    ids=["llama", "window", "mixture", "latent"],
)
def test_the_other_shapes_come_back_too(tmp_path: Path, changes: dict, kind: str) -> None:
    model = new_model(replace(SETTINGS, **changes), seed=0)
    export(model, tmp_path, tokenizer=TOKENIZER)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == [kind]
    back = load_model(tmp_path)
    assert back.settings == model.settings
    with torch.no_grad():
        assert torch.equal(back.hidden(IDS), model.hidden(IDS))


def test_other_architectures_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no model here"):
        load_model(tmp_path)
    export(new_model(SETTINGS, seed=0), tmp_path)
    with pytest.raises(ValueError, match="exported without its tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(ValueError, match="a model of type 'gpt2'"):
        load_model(tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
@pytest.mark.parametrize(
    "changes",
    [
        {"tie_word_embeddings": True},
        {"tie_word_embeddings": False},
        {"qk_norm": False, "tie_word_embeddings": True},
        {"qk_norm": False, "tie_word_embeddings": False},
        {"sliding_window": 3},
        {"mixture": MIXTURE},
        {"latent": LATENT, **HEADS, "tie_word_embeddings": False},
        {"latent": replace(LATENT, q_rank=24), **HEADS},
    ],
    ids=["qwen3", "qwen3 untied", "llama", "llama untied", "window", "mixture", "latent", "latent queries"],
)
def test_transformers_computes_the_same_logits(tmp_path: Path, changes: dict) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = new_model(replace(SETTINGS, **changes), seed=0)
    export(model, tmp_path, tokenizer=TOKENIZER)
    theirs, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    with torch.no_grad():
        assert torch.allclose(theirs(IDS).logits, model.logits(model.hidden(IDS)), atol=1e-5)
    assert AutoTokenizer.from_pretrained(tmp_path).eos_token_id == TOKENIZER.end_of_text_id


def test_what_transformers_has_no_architecture_for_is_refused_and_kept_in_our_own_form(tmp_path: Path) -> None:
    both = replace(SETTINGS, mixture=replace(MIXTURE, shared_ffn=8), latent=replace(LATENT, q_rank=24), **HEADS)
    model = new_model(both, seed=0)
    with pytest.raises(
        ValueError, match=r"no architecture for a mixture of experts with latent attention .*export own"
    ):
        export(model, tmp_path / "hf")
    assert not (tmp_path / "hf").exists()
    export(model, tmp_path / "own", tokenizer=TOKENIZER, form="own")
    assert json.loads((tmp_path / "own" / "config.json").read_text())["model_type"] == "tamis"
    back = load_model(tmp_path / "own")
    assert back.settings == both
    with torch.no_grad():
        assert torch.equal(back.hidden(IDS), model.hidden(IDS))
