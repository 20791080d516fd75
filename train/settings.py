"""What a training run needs to know besides the model's shape and the data."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from train.presets import Preset
from train.schedule import SCHEDULES, Schedule

#: Settings that say where and how often, not what: a resumed run may change them.
OPERATIONAL = ("threads", "device", "compile", "micro_batch_sequences", "checkpoint_every_steps", "keep_checkpoints")
#: Settings that count something.
POSITIVE = ("tokens", "sequence_length", "batch_sequences", "micro_batch_sequences", "threads", "keep_checkpoints")


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """All but `OPERATIONAL` ones decide the result."""

    #: Tokens to train on, repeats counted; rounded up to whole steps.
    tokens: int
    sequence_length: int
    #: Sequences per optimiser step, over all micro-batches.
    batch_sequences: int
    #: Peak learning rate of AdamW.
    learning_rate: float
    #: Fixes the initial weights and the order of the data.
    seed: int = 0
    schedule: Schedule = "wsd"
    #: Share of the steps in which the rate rises from 0. Our choice, not measured.
    warmup_fraction: float = 0.05
    #: Share of the steps at the end in which `wsd` decays: published recipes use 20 % to 70 %.
    decay_fraction: float = 0.4
    #: Learning rate at the end, as a share of the peak.
    final_fraction: float = 0.0
    beta1: float = 0.9
    #: None: 0.95 for steps of half a million tokens and more, else 0.99 (OLMo-core's rule).
    beta2: float | None = None
    epsilon: float = 1e-8
    #: On matrices only; norms and embeddings are not decayed.
    weight_decay: float = 0.1
    #: Gradients are scaled down to this norm.
    max_gradient_norm: float = 1.0
    #: A step whose loss or gradient is not finite changes nothing; this many of them end the run.
    max_skipped_steps: int = 3
    #: Type of activations: `auto` is float32 on a CPU and bfloat16 on a GPU. Weights are always float32.
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    #: Sequences computed at once. Changes memory and speed, and sums in the last bit.
    micro_batch_sequences: int = 32
    device: str = "cpu"
    #: CPU threads; the result on a CPU depends on it in the last bit.
    threads: int = 1
    compile: bool = False
    #: 0: only at the end.
    checkpoint_every_steps: int = 0
    keep_checkpoints: int = 2

    def __post_init__(self) -> None:
        for name in POSITIVE:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be positive")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule {self.schedule!r} is not one of {', '.join(SCHEDULES)}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate {self.learning_rate} is not positive")
        if min(self.warmup_fraction, self.decay_fraction) < 0:
            raise ValueError("warmup_fraction and decay_fraction cannot be negative")
        if self.warmup_fraction + self.decay_fraction > 1:
            raise ValueError("warmup_fraction and decay_fraction together are more than the whole run")

    @classmethod
    def from_preset(cls, preset: Preset, *, tokens: int, **changes: Any) -> "TrainSettings":
        """The preset's defaults, with `changes` over them."""
        base = cls(
            tokens=tokens,
            sequence_length=preset.sequence_length,
            batch_sequences=preset.batch_tokens // preset.sequence_length,
            learning_rate=preset.learning_rate,
        )
        return replace(base, **changes)

    @property
    def batch_tokens(self) -> int:
        return self.batch_sequences * self.sequence_length

    @property
    def steps(self) -> int:
        return math.ceil(self.tokens / self.batch_tokens)

    @property
    def second_beta(self) -> float:
        if self.beta2 is not None:
            return self.beta2
        return 0.95 if self.batch_tokens >= 2**19 else 0.99

    def deciding(self) -> dict[str, Any]:
        """The settings that a resumed run must not change."""
        return {name: value for name, value in asdict(self).items() if name not in OPERATIONAL}
