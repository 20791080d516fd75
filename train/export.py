"""A model as a folder that Hugging Face's transformers opens without code of ours, and back.

    config.json  generation_config.json  model.safetensors  tokenizer.json  tokenizer_config.json

Our architecture is `Qwen3ForCausalLM`, without QK-norm `LlamaForCausalLM`, with a mixture of experts
`Qwen3MoeForCausalLM`, with latent attention `DeepseekV3ForCausalLM`. Keys of both transformers 4 (`rope_theta`,
`torch_dtype`) and 5 (`rope_parameters`, `dtype`) are written. A shape that is exactly none of them is refused; the form
`own` holds it too, for our own commands: the same files, settings and names of parameters as the code has them.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tokenizer.bpe import Tokenizer, load
from train.latent import EPSILON, LatentSettings
from train.mixture import MixtureSettings
from train.model import ModelSettings, Transformer, state

ExportForm = Literal["hf", "own"]
EXPORTS: tuple[ExportForm, ...] = ("hf", "own")
#: By model_type.
ARCHITECTURES = {
    "qwen3": "Qwen3ForCausalLM",
    "llama": "LlamaForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "deepseek_v3": "DeepseekV3ForCausalLM",
}
#: The model_type of the form `own`.
OWN = "tamis"
#: Settings that config.json says in other words.
TRANSLATED = ("qk_norm", "sliding_window", "mixture", "latent", "head_dim")
#: Part of the name of an expert's matrix: ours stand stacked, those of transformers' files apart.
EXPERTS = ".mlp.experts."


def refusal(settings: ModelSettings) -> str | None:
    """Why no architecture of transformers is this shape; None: one is."""
    if settings.mixture is not None and settings.latent is not None:
        return "a mixture of experts with latent attention (DeepSeek's routes otherwise)"
    if settings.mixture is not None and settings.mixture.shared_ffn:
        return "a mixture with a shared expert (Qwen3-MoE has none, others route or gate otherwise)"
    if settings.mixture is not None and not settings.qk_norm:
        return "a mixture of experts without QK-norm"
    if settings.mixture is not None and settings.sliding_window is not None:
        return "a mixture of experts with a sliding window"
    if settings.latent is not None and settings.rms_norm_eps != EPSILON:
        return f"latent attention with an rms_norm_eps other than {EPSILON}"
    return None


def check_export(settings: ModelSettings, form: ExportForm) -> None:
    """ValueError where a model of this shape cannot have this form: known before it is trained."""
    why = refusal(settings)
    if form == "hf" and why is not None:
        raise ValueError(f"transformers has no architecture for {why}: --export own stores it for our own commands")


def export(model: Transformer, folder: Path, *, tokenizer: Tokenizer | None = None, form: ExportForm = "hf") -> None:
    """Write the folder; without a tokenizer its two files are left out. Weights are float32. ValueError where the form
    cannot hold the model, and then nothing is written."""
    check_export(model.settings, form)
    folder.mkdir(parents=True, exist_ok=True)
    end = tokenizer.end_of_text_id if tokenizer is not None else None
    weights = state(model) if form == "own" else _apart(state(model))
    weights = {name: value.float().cpu().contiguous() for name, value in weights.items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = {"model_type": OWN, **asdict(model.settings)} if form == "own" else _config(model.settings, end)
    _write(folder / "config.json", config)
    _write(folder / "generation_config.json", {"bos_token_id": end, "eos_token_id": end, "do_sample": True})
    if tokenizer is not None:
        (folder / "tokenizer.json").write_bytes(tokenizer.data)
        _write(folder / "tokenizer_config.json", _tokenizer_config(tokenizer, model.settings))


def _apart(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Experts one by one: mlp.experts.up_proj.weight [X, F, D] becomes mlp.experts.0.up_proj.weight and so on."""
    found: dict[str, Tensor] = {}
    for name, value in weights.items():
        if EXPERTS in name:
            layer, matrix = name.split(EXPERTS)
            found |= {f"{layer}{EXPERTS}{number}.{matrix}": one for number, one in enumerate(value)}
        else:
            found[name] = value
    return found


def _together(weights: dict[str, Tensor], experts: int) -> dict[str, Tensor]:
    """The reverse."""
    found = {name: value for name, value in weights.items() if EXPERTS not in name}
    for name in weights:
        layer, _, matrix = name.partition(f"{EXPERTS}0.")
        if matrix:
            each = [weights[f"{layer}{EXPERTS}{number}.{matrix}"] for number in range(experts)]
            found[f"{layer}{EXPERTS}{matrix}"] = torch.stack(each)
    return found


def load_model(folder: Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Transformer:
    """The model of an exported folder. Raises ValueError where the folder holds another architecture or no model."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except FileNotFoundError as error:
        raise ValueError(f"{folder}: no model here (config.json is missing)") from error
    kind = config.get("model_type")
    if kind not in ARCHITECTURES and kind != OWN:
        known = ", ".join(ARCHITECTURES)
        raise ValueError(f"{folder}: a model of type {kind!r}; this loop knows {known}")
    weights = load_file(folder / "model.safetensors")
    settings = _own_settings(config) if kind == OWN else _settings(config)
    if kind != OWN and settings.mixture is not None:
        weights = _together(weights, settings.mixture.experts)
    model = Transformer(settings, dtype=dtype)
    model.load_state_dict(weights)
    return model.to(device).eval()


def _own_settings(config: dict[str, Any]) -> ModelSettings:
    same = {name: config[name] for name in ModelSettings.__dataclass_fields__}
    mixture = None if same["mixture"] is None else MixtureSettings(**same["mixture"])
    latent = None if same["latent"] is None else LatentSettings(**same["latent"])
    return ModelSettings(**{**same, "mixture": mixture, "latent": latent})


def _settings(config: dict[str, Any]) -> ModelSettings:
    """What `_config` wrote."""
    same = {name: config[name] for name in ModelSettings.__dataclass_fields__ if name not in TRANSLATED}
    window = config["sliding_window"] if config.get("use_sliding_window") else None
    mixture = latent = None
    if config["model_type"] == "qwen3_moe":
        mixture = MixtureSettings(
            experts=config["num_experts"],
            active=config["num_experts_per_tok"],
            ffn=config["moe_intermediate_size"],
            balance=config["router_aux_loss_coef"],
        )
    if config["model_type"] == "deepseek_v3":
        latent = LatentSettings(
            kv_rank=config["kv_lora_rank"],
            q_rank=config["q_lora_rank"],
            nope_dim=config["qk_nope_head_dim"],
            rope_dim=config["qk_rope_head_dim"],
            value_dim=config["v_head_dim"],
        )
    return ModelSettings(
        **same,
        head_dim=config["head_dim"] if latent is None else latent.rope_dim,
        qk_norm=config["model_type"] != "llama",
        sliding_window=window,
        mixture=mixture,
        latent=latent,
    )


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of an exported folder, with the end-of-text token that its model was trained with."""
    try:
        stated = json.loads((folder / "tokenizer_config.json").read_text())
        return load((folder / "tokenizer.json").read_bytes(), end_of_text=stated["eos_token"])
    except FileNotFoundError as error:
        raise ValueError(f"{folder}: the model was exported without its tokenizer ({error.filename})") from error


def _config(settings: ModelSettings, end_of_text_id: int | None) -> dict[str, Any]:
    kind = "qwen3" if settings.qk_norm else "llama"
    if settings.mixture is not None:
        kind = "qwen3_moe"
    if settings.latent is not None:
        kind = "deepseek_v3"
    return {
        "architectures": [ARCHITECTURES[kind]],
        "model_type": kind,
        "vocab_size": settings.vocab_size,
        "hidden_size": settings.hidden_size,
        "num_hidden_layers": settings.num_hidden_layers,
        "num_attention_heads": settings.num_attention_heads,
        "num_key_value_heads": settings.num_key_value_heads,
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
    if settings.latent is not None:
        return _latent_kind(settings, settings.latent)
    same = {"head_dim": settings.head_dim, **_mixture_kind(settings)}
    if not settings.qk_norm:
        return {**same, "mlp_bias": False}
    if settings.sliding_window is None:
        return {**same, "use_sliding_window": False}
    layers = settings.num_hidden_layers
    # The layers from max_window_layers on have the window (4.x); layer_types says it of each (from 4.53 on).
    kinds = {"max_window_layers": 0, "layer_types": ["sliding_attention"] * layers}
    return {**same, "use_sliding_window": True, "sliding_window": settings.sliding_window, **kinds}


def _mixture_kind(settings: ModelSettings) -> dict[str, Any]:
    if settings.mixture is None:
        return {}
    return {
        "num_experts": settings.mixture.experts,
        "num_experts_per_tok": settings.mixture.active,
        "moe_intermediate_size": settings.mixture.ffn,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "router_aux_loss_coef": settings.mixture.balance,
        "output_router_logits": False,
    }


def _latent_kind(settings: ModelSettings, latent: LatentSettings) -> dict[str, Any]:
    return {
        "kv_lora_rank": latent.kv_rank,
        "q_lora_rank": latent.q_rank,
        "qk_nope_head_dim": latent.nope_dim,
        "qk_rope_head_dim": latent.rope_dim,
        "v_head_dim": latent.value_dim,
        # Half-split, as everywhere in our models.
        "rope_interleave": False,
        # No layer has experts, and none predicts further tokens.
        "first_k_dense_replace": settings.num_hidden_layers,
        "num_nextn_predict_layers": 0,
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
