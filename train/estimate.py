"""Time, memory and cost of a training run before it is run, and the size that a budget is best spent on.

Three counts of the arithmetic per token, of which the report gives all, because published figures use all:

    6 N                  N: parameters in matrix products (Kaplan et al. 2020, section 2.1)
    6 N + 12 L H E T     and the products of attention, not halved for causality (PaLM, appendix B): the default
    8 T P / (n X)        seconds on n devices of X FLOP/s that recompute activations (Megatron-LM, 2104.04473, section
                         5.1), T tokens, P parameters: with X the rate reached, not the peak
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

from train.model import ModelSettings
from train.settings import TrainSettings

#: (matmul parameters, share of the dense bf16 peak of a Hopper GPU) of published runs: parameter-golf, autoresearch
#: (vocabulary 8192), llm.c and modded-nanogpt, llm.c, nanochat, llm.c. Between them the share goes by log N.
MFU_PRIOR = ((17e6, 0.24), (50e6, 0.40), (110e6, 0.41), (350e6, 0.46), (900e6, 0.49), (1.5e9, 0.50))
#: FLOP/s in bfloat16, dense, by the makers' sheets; a CPU has no such figure, it must be given.
PEAKS = {"h100": 989e12, "h200": 989e12, "a100": 312e12}
#: float32 weights, gradients and both moments of AdamW, and a bfloat16 copy of the weights in use.
BYTES_PER_PARAMETER = 18
#: Of bfloat16 activations kept for the backward pass, a token, layer and hidden number, with a fused attention
#: (Korthikanti et al. 2022, section 4.1, without the attention scores). Compiled code keeps less.
ACTIVATION_BYTES = 34
#: Steps of a run's curve before its speed counts: compilation, first blocks of the allocator.
WARM_STEPS = 10


@dataclass(frozen=True, kw_only=True)
class Device:
    """What a run is to be made on."""

    peak_flops: float
    number: int = 1
    #: Share of the peak; None: the prior for the model's size.
    mfu: float | None = None
    #: Of one device; None: no cost is given.
    price_per_hour: float | None = None


def mfu_prior(matmul_parameters: float) -> float:
    """The published share for a model of this size."""
    points = [(math.log(n), share) for n, share in MFU_PRIOR]
    x = min(max(math.log(matmul_parameters), points[0][0]), points[-1][0])
    for (left, low), (right, high) in itertools.pairwise(points):
        if x <= right:
            return low + (high - low) * (x - left) / (right - left)
    raise AssertionError("x is within the points")


def estimate(model: ModelSettings, settings: TrainSettings, device: Device) -> dict[str, Any]:
    """Seconds by each formula, memory of one device in bytes, and cost, as JSON values."""
    # What a token meets decides the time, all that there is the memory: of a mixture of experts they differ.
    n, tokens = model.active_matmul_parameters, settings.steps * settings.batch_tokens
    parameters = model.matmul_parameters + (0 if model.tie_word_embeddings else model.vocab_size * model.hidden_size)
    met = parameters - model.matmul_parameters + n
    mfu = device.mfu if device.mfu is not None else mfu_prior(n)
    reached = device.number * device.peak_flops * mfu
    full = model.flop_per_token(settings.sequence_length)
    seconds = tokens * full / reached
    micro = min(settings.micro_batch_sequences, settings.batch_sequences) * settings.sequence_length
    activations = ACTIVATION_BYTES * micro * model.hidden_size * model.num_hidden_layers
    return {
        "matmul_parameters": model.matmul_parameters,
        "active_matmul_parameters": n,
        "parameters": parameters,
        "tokens": tokens,
        "flop": full * tokens,
        "mfu": round(mfu, 4),
        "mfu_source": "given" if device.mfu is not None else "published runs of this size",
        "seconds": {
            "6N": round(6 * n * tokens / reached, 1),
            "6N+12LHET": round(seconds, 1),
            "8TP/nX": round(8 * tokens * met / reached, 1),
        },
        "memory_bytes": {
            "weights_and_optimiser": BYTES_PER_PARAMETER * parameters,
            "activations": activations,
            "all": BYTES_PER_PARAMETER * parameters + activations,
        },
        "cost": None if device.price_per_hour is None else round(
            seconds / 3600 * device.number * device.price_per_hour, 2
        ),
    }  # fmt: skip


def refined_mfu(speed_lines: list[dict[str, Any]], *, flop_per_token: int, device: Device) -> float:
    """The share that a run's speed.jsonl says, median of its lines up to step 50 but for the first steps.

    Raises ValueError where the run is too short to say it.
    """
    rates = sorted(line["tokens_per_second"] for line in speed_lines if WARM_STEPS < line["step"] <= 50)
    if not rates:
        raise ValueError(f"no speed was recorded behind step {WARM_STEPS}: train for some steps more")
    return float(rates[len(rates) // 2]) * flop_per_token / (device.number * device.peak_flops)


def compute_optimal(flop: float, *, tokens_per_parameter: float = 20.0) -> dict[str, float]:
    """Parameters and tokens that spend a budget of 6 N D at this ratio: 20 is Chinchilla's (2203.15556, table 3)."""
    if not (flop > 0 and tokens_per_parameter > 0):
        raise ValueError("the budget and the tokens per parameter must be positive")
    parameters = math.sqrt(flop / (6 * tokens_per_parameter))
    return {"flop": flop, "parameters": round(parameters), "tokens": round(parameters * tokens_per_parameter)}
