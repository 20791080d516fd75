"""A model as a folder that Hugging Face's transformers opens without code of ours, and back.

    config.json  generation_config.json  model.safetensors  tokenizer.json  tokenizer_config.json

Our architecture is `Qwen3ForCausalLM`. Keys of both transformers 4 (`rope_theta`, `torch_dtype`) and 5
(`rope_parameters`, `dtype`) are written.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tokenizer.bpe import Tokenizer, load
from train.model import ModelSettings, Transformer, state


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
    if config.get("model_type") != "qwen3":
        raise ValueError(f"{folder}: a model of type {config.get('model_type')!r}; this loop knows qwen3")
    settings = ModelSettings(**{name: config[name] for name in ModelSettings.__dataclass_fields__})
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
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
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
        "use_sliding_window": False,
        "use_cache": True,
        "bos_token_id": end_of_text_id,
        "eos_token_id": end_of_text_id,
        "torch_dtype": "float32",
        "dtype": "float32",
    }


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
