"""The learning rate as a share of its peak."""

import math
from typing import Literal

Schedule = Literal["wsd", "cosine", "constant"]
SCHEDULES: tuple[Schedule, ...] = ("wsd", "cosine", "constant")


def learning_rate_factor(
    step: int,
    *,
    steps: int,
    schedule: Schedule,
    warmup_fraction: float,
    decay_fraction: float,
    final_fraction: float,
    warmup_steps: int | None = None,
) -> float:
    """Factor of step 0 <= step < steps: linear warm-up over the first `warmup_fraction` of the steps (or over
    `warmup_steps`) to 1, then

    - `wsd` (warm-up, stable, decay): 1, and linear to `final_fraction` over the last `decay_fraction` of the steps;
    - `cosine`: half a cosine from 1 to `final_fraction`;
    - `constant`: 1.
    """
    warmup = math.ceil(warmup_fraction * steps) if warmup_steps is None else warmup_steps
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    decay = steps - warmup if schedule == "cosine" else max(1, math.ceil(decay_fraction * steps))
    done = max(0.0, (step + 1 - (steps - decay)) / decay)
    fall = (1 - math.cos(math.pi * done)) / 2 if schedule == "cosine" else done
    return 1.0 - (1.0 - final_fraction) * fall
