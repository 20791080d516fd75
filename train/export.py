"""A model as a folder that Hugging Face's transformers opens without code of ours, and back.

    config.json  generation_config.json  model.safetensors  tokenizer.json  tokenizer_config.json

Our architecture is `Qwen3ForCausalLM`, without QK-norm `LlamaForCausalLM`. Keys of both transformers 4 (`rope_theta`,
`torch_dtype`) and 5 (`rope_parameters`, `dtype`) are written.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tokenizer.bpe import Tokenizer, load
from train.model import ModelSettings, Transformer, state

#: By model_type.
ARCHITECTURES = {"qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM"}
#: Settings that config.json says in other words.
TRANSLATED = ("qk_norm", "sliding_window")


def export(model: Transformer, folder: Path, *, tokenizer: Tokenizer | None = None) -> None:
    """Write the folder; without a tokenizer its two files are left out. Weights are float32."""
    folder.mkdir(parents=True, exist_ok=True)
    end = tokenizer.end_of_text_id if tokenizer is not None else None
    weights = {name: value.float().cpu().contiguous() for name, value in state(model).items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    _write(folder / "config.json", _config(model.settings, end))
    _write(folder / "generation_config.json", {"bos_token_id": end, "eos_token_id": end, "do_sample": True})
    if tokenizer is not None:
        (folder / "tokenizer.json").write_bytes(tokenizer.data)
        _write(folder / "tokenizer_config.json", _tokenizer_config(tokenizer, model.settings))


def load_model(folder: Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Transformer:
    """The model of an exported folder. Raises ValueError where the folder holds another architecture or no model."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except FileNotFoundError as error:
        raise ValueError(f"{folder}: no model here (config.json is missing)") from error
    kind = config.get("model_type")
    if kind not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ValueError(f"{folder}: a model of type {kind!r}; this loop knows {known}")
    same = {name: config[name] for name in ModelSettings.__dataclass_fields__ if name not in TRANSLATED}
    window = config["sliding_window"] if config.get("use_sliding_window") else None
    settings = ModelSettings(**same, qk_norm=kind == "qwen3", sliding_window=window)
    model = Transformer(settings, dtype=dtype)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.to(device).eval()


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of an exported folder, with the end-of-text token that its model was trained with."""
    try:
        stated = json.loads((folder / "tokenizer_config.json").read_text())
        return load((folder / "tokenizer.json").read_bytes(), end_of_text=stated["eos_token"])
    except FileNotFoundError as error:
        raise ValueError(f"{folder}: the model was exported without its tokenizer ({error.filename})") from error


def _config(settings: ModelSettings, end_of_text_id: int | None) -> dict[str, Any]:
    kind = "qwen3" if settings.qk_norm else "llama"
    return {
        "architectures": [ARCHITECTURES[kind]],
        "model_type": kind,
        "vocab_size": settings.vocab_size,
        "hidden_size": settings.hidden_size,
        "num_hidden_layers": settings.num_hidden_layers,
        "num_attention_heads": settings.num_attention_heads,
        "num_key_value_heads": settings.num_key_value_heads,
        "head_dim": settings.head_dim,
        "intermediate_size": settings.intermediate_size,
        "max_position_embeddings": settings.max_position_embeddings,
        "rope_theta": settings.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": settings.rope_theta},
        "rms_norm_eps": settings.rms_norm_eps,
        "tie_word_embeddings": settings.tie_word_embeddings,
        "initializer_range": settings.initializer_range,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        **_attention_kind(settings),
        "use_cache": True,
        "bos_token_id": end_of_text_id,
        "eos_token_id": end_of_text_id,
        "torch_dtype": "float32",
        "dtype": "float32",
    }


def _attention_kind(settings: ModelSettings) -> dict[str, Any]:
    if not settings.qk_norm:
        return {"mlp_bias": False}
    if settings.sliding_window is None:
        return {"use_sliding_window": False}
    layers = settings.num_hidden_layers
    # The layers from max_window_layers on have the window (4.x); layer_types says it of each (from 4.53 on).
    kinds = {"max_window_layers": 0, "layer_types": ["sliding_attention"] * layers}
    return {"use_sliding_window": True, "sliding_window": settings.sliding_window, **kinds}


def _tokenizer_config(tokenizer: Tokenizer, settings: ModelSettings) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokenizer.end_of_text,
        "eos_token": tokenizer.end_of_text,
        "model_max_length": settings.max_position_embeddings,
        "clean_up_tokenization_spaces": False,
    }


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")
