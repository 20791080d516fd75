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
from train.model import new_model
from train.presets import preset

TOKENIZER = tokenizer()
SETTINGS = preset("tiny").model(TOKENIZER.vocab_size)
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


@pytest.mark.parametrize("changes", [{"qk_norm": False}, {"sliding_window": 7}], ids=["llama", "window"])
def test_the_other_shapes_come_back_too(tmp_path: Path, changes: dict) -> None:
    model = new_model(replace(SETTINGS, **changes), seed=0)
    export(model, tmp_path, tokenizer=TOKENIZER)
    config = json.loads((tmp_path / "config.json").read_text())
    kind = "LlamaForCausalLM" if changes.get("qk_norm") is False else "Qwen3ForCausalLM"
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
    ],
    ids=["qwen3", "qwen3 untied", "llama", "llama untied", "window"],
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
