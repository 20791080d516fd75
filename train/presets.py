"""Model sizes with the training defaults that fit them: the files of configs/train/, or one of your own.

`pico` to `mini` are for CPUs, `p26` to `p342` the ladder of proxies for GPUs, `p1b` is for the confirming run; `demo`
learns something from half a million tokens in seconds, `tiny` is what the tests train.

Learning rates are half of OLMo-core's rule 0.0047 (N/108e6)^(-1/3), batches near its 2048 * 160 (N/108e6)^(2/3) tokens,
with N the parameters that a token meets; both are taken over, not tuned here. Not so `demo`, see its file. A file that
leaves them out gets them from the rule, with N for a vocabulary of 32,768.
"""

import tomllib
from dataclasses import dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from train.latent import LatentSettings
from train.mixture import MixtureSettings
from train.model import ModelSettings, padded

#: Of the rule for files that name no learning rate or batch: the presets for GPUs are made for it.
LADDER_VOCABULARY = 32_768
#: Tables that a preset's file may have.
TABLES: dict[str, Any] = {"mixture": MixtureSettings, "latent": LatentSettings}


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A shape without its vocabulary, and how to train it."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    ffn: int
    #: Tokens of context in training and evaluation.
    sequence_length: int
    #: Tokens per optimiser step.
    batch_tokens: int
    learning_rate: float
    initializer_range: float = 0.02
    #: The table [mixture]: experts in place of the SwiGLU layers, `ffn` is then not used.
    mixture: MixtureSettings | None = None
    #: The table [latent]: latent attention; `kv_heads` is then not used.
    latent: LatentSettings | None = None

    def model(self, vocab_size: int) -> ModelSettings:
        """The model for a tokenizer of `vocab_size` entries (rounded up to a multiple of 64)."""
        return ModelSettings(
            vocab_size=padded(vocab_size),
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads if self.latent is None else self.heads,
            head_dim=self.hidden // self.heads if self.latent is None else self.latent.rope_dim,
            intermediate_size=self.ffn,
            max_position_embeddings=self.sequence_length,
            initializer_range=self.initializer_range,
            mixture=self.mixture,
            latent=self.latent,
        )


def ladder_learning_rate(parameters: int) -> float:
    """Half of OLMo-core's rule, which is for its own longer runs; two digits, as a person would write it."""
    return float(f"{0.5 * 0.0047 * (parameters / 108e6) ** (-1 / 3):.2g}")


def ladder_batch_tokens(parameters: int, *, sequence_length: int) -> int:
    """OLMo-core's rule in whole sequences, at least one."""
    wanted: float = 2048 * 160 * (parameters / 108e6) ** (2 / 3)
    return max(1, round(wanted / sequence_length)) * sequence_length


def names() -> list[str]:
    """The presets that come with Tamis, smallest first."""
    found = {
        file.name.removesuffix(".toml"): _read(file) for file in _folder().iterdir() if file.name.endswith(".toml")
    }
    return sorted(found, key=lambda name: (found[name].layers * found[name].hidden ** 2, name))


def preset(name: str) -> Preset:
    """A preset by its name, or by the path of a TOML file with the same keys. ValueError says what is wrong with it."""
    if name.endswith(".toml"):
        return _read(Path(name))
    file = _folder() / f"{name}.toml"
    if "/" in name or not file.is_file():
        raise ValueError(f"there is no preset {name!r}; there are {', '.join(names())}, or give a .toml file")
    return _read(file)


def _folder() -> Any:
    return resources.files("configs") / "train"


def _read(file: Any) -> Preset:
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{file}: there is no such file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{file}: not a TOML file: {error}") from error
    known = {each.name for each in fields(Preset)}
    if unknown := sorted(set(found) - known):
        raise ValueError(f"{file}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
    try:
        tables = {name: kind(**found[name]) for name, kind in TABLES.items() if name in found}
        return _completed({**found, **tables})
    except (TypeError, ValueError) as error:
        said = str(error).replace(".__init__()", ":") if ".__init__()" in str(error) else str(error)
        raise ValueError(f"{file}: {said}".replace("Preset: ", "")) from None


def _completed(found: dict[str, Any]) -> Preset:
    """The preset, with rate and batch by the rule where they are not named."""
    unnamed = {name: 1 for name in ("learning_rate", "batch_tokens") if name not in found}
    shape = Preset(**{**found, **unnamed})
    parameters = shape.model(LADDER_VOCABULARY).active_matmul_parameters
    by_rule: dict[str, Any] = {
        "learning_rate": ladder_learning_rate(parameters),
        "batch_tokens": ladder_batch_tokens(parameters, sequence_length=shape.sequence_length),
    }
    return replace(shape, **{name: by_rule[name] for name in unnamed})
