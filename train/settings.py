"""What a training run needs to know besides the model's shape and the data."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from train.attention import KERNELS, AttentionKernel
from train.export import EXPORTS, ExportForm
from train.loader import ORDERS, Order
from train.presets import Preset
from train.schedule import SCHEDULES, Schedule, learning_rate_factor

#: Settings that say where and how often, not what: a resumed run may change them.
OPERATIONAL = (
    "threads",
    "device",
    "compile",
    "deterministic",
    "attention",
    "micro_batch_sequences",
    "log_every_steps",
    "checkpoint_every_steps",
    "keep_checkpoints",
    "tensorboard",
    "export",
)
#: Settings that count something.
POSITIVE = (
    "tokens", "sequence_length", "batch_sequences", "micro_batch_sequences", "threads", "keep_checkpoints",
    "soap_frequency",
)  # fmt: skip
Optimizer = Literal["adamw", "muon", "soap"]
OPTIMIZERS: tuple[Optimizer, ...] = ("adamw", "muon", "soap")


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
    #: `stored` reads the shards in the order that they state, see train/loader.py.
    order: Order = "shuffled"
    schedule: Schedule = "wsd"
    #: Share of the steps in which the rate rises from 0. Our choice, not measured.
    warmup_fraction: float = 0.05
    #: In place of `warmup_fraction`: runs of several lengths that are to share their beginning need the same warm-up.
    warmup_steps: int | None = None
    #: Share of the steps at the end in which `wsd` decays: published recipes use 20 % to 70 %.
    decay_fraction: float = 0.4
    #: Learning rate at the end, as a share of the peak.
    final_fraction: float = 0.0
    #: `muon`, `soap`: the layers' matrices by Muon or SOAP, the rest by AdamW, both at AdamW's learning rate.
    optimizer: Optimizer = "adamw"
    #: As its author and torch.optim.Muon have it.
    muon_momentum: float = 0.95
    #: Steps between turns of SOAP's bases: its authors' default; more of them are cheaper and a little worse.
    soap_frequency: int = 10
    #: Weight of the squared log denominator of the softmax: 1e-5 in OLMo-core, 1e-4 in PaLM. Not part of `loss`.
    z_loss: float = 0.0
    #: Positions see their own document only. It changed little where it was measured (0.0002 bits per byte, nanochat).
    document_mask: bool = False
    beta1: float = 0.9
    #: None: 0.95 for steps of half a million tokens and more, else 0.99 (OLMo-core's rule).
    beta2: float | None = None
    epsilon: float = 1e-8
    #: On matrices only; norms and embeddings are not decayed.
    weight_decay: float = 0.1
    #: Gradients are scaled down to this norm.
    max_gradient_norm: float = 1.0
    #: A step whose loss or gradient is not finite changes nothing; more than this many end the run.
    max_skipped_steps: int = 3
    #: Type of activations: `auto` is float32 on a CPU and bfloat16 on a GPU. Weights are always float32.
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    #: Sequences computed at once. Changes memory and speed, and sums in the last bit; of a mixture of experts the
    #: balance loss, so that its result depends on it.
    micro_batch_sequences: int = 32
    device: str = "cpu"
    #: CPU threads; the result on a CPU depends on it in the last bit.
    threads: int = 1
    compile: bool = False
    #: On a GPU: only kernels that give the same bits every time, which are slower. A CPU always does.
    deterministic: bool = False
    #: The kernel of attention on a GPU, see train/attention.py.
    attention: AttentionKernel = "auto"
    #: Steps whose metrics are fetched together: a GPU runs ahead in between. 0: 1 on a CPU, 10 on a GPU.
    log_every_steps: int = 0
    #: 0: only at the end.
    checkpoint_every_steps: int = 0
    keep_checkpoints: int = 2
    #: Write the curves for TensorBoard too; needs its package.
    tensorboard: bool = False
    #: The form of out/model: `hf` is what transformers opens, `own` holds shapes that it has no architecture for.
    export: ExportForm = "hf"

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
        if self.warmup_steps is not None and not 0 <= self.warmup_steps <= self.steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} is not within the {self.steps} steps of the run")
        if self.order not in ORDERS:
            raise ValueError(f"order {self.order!r} is not one of {', '.join(ORDERS)}")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer {self.optimizer!r} is not one of {', '.join(OPTIMIZERS)}")
        if self.export not in EXPORTS:
            raise ValueError(f"export {self.export!r} is not one of {', '.join(EXPORTS)}")
        if self.attention not in KERNELS:
            raise ValueError(f"attention {self.attention!r} is not one of {', '.join(KERNELS)}")
        if self.z_loss < 0 or self.log_every_steps < 0:
            raise ValueError("z_loss and log_every_steps cannot be negative")

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

    @property
    def log_every(self) -> int:
        return self.log_every_steps or (10 if self.device.startswith("cuda") else 1)

    def rate(self, step: int) -> float:
        """The learning rate of step 0 <= step < steps."""
        return self.learning_rate * learning_rate_factor(
            step,
            steps=self.steps,
            schedule=self.schedule,
            warmup_fraction=self.warmup_fraction,
            warmup_steps=self.warmup_steps,
            decay_fraction=self.decay_fraction,
            final_fraction=self.final_fraction,
        )

    def deciding(self, *, mixture: bool) -> dict[str, Any]:
        """The settings that a resumed run must not change; of a mixture of experts, whose balance loss is that of a
        micro-batch, its size too."""
        kept = {"micro_batch_sequences"} if mixture else set()
        return {name: value for name, value in asdict(self).items() if name not in OPERATIONAL or name in kept}
