"""What tasks of a phase ask of the machine that runs them: cores, memory, GPUs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pipeline.yaml_tree import RecipeError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What one task holds while it runs. Ray places it where that much is left; it does not stop a task that takes
    more."""

    cpus: float = 1.0
    memory_bytes: int = 0
    gpus: float = 0.0


def parse_needs(options: Sequence[str]) -> dict[str, Needs]:
    """`--need PHASE=cpu:2,memory:3GB,gpu:1` as needs by pattern of phase names. RecipeError says what is wrong."""
    found = {}
    for option in options:
        pattern, equals, listed = option.partition("=")
        if not equals or not pattern or not listed:
            raise RecipeError(
                f"--need {option!r}: write PHASE=cpu:1,memory:2GB,gpu:1, with a phase as `tamis plan` names it"
            )
        chosen: dict[str, float] = {}
        for entry in listed.split(","):
            name, _, value = entry.strip().partition(":")
            amount = _SIZE.fullmatch(value.strip())
            if name not in ("cpu", "memory", "gpu") or amount is None or (amount[2] and name != "memory"):
                raise RecipeError(
                    f"--need {option!r}: {entry!r} is none of cpu:NUMBER, gpu:NUMBER and memory:SIZE, like 2GB"
                )
            chosen[name] = float(amount[1]) * _UNITS[amount[2].lower()]
        if chosen.get("cpu", 1.0) <= 0:
            raise RecipeError(f"--need {option!r}: cpu must be above 0, or nothing bounds how many run at once")
        found[pattern] = Needs(
            cpus=chosen.get("cpu", 1.0), memory_bytes=int(chosen.get("memory", 0)), gpus=chosen.get("gpu", 0.0)
        )
    return found


def needs_of(phase: str, needs: Mapping[str, Needs], *, gpu: bool) -> Needs:
    """What a task of this phase asks for: the first pattern that fits its name; else one core, and a GPU to itself for
    a task that runs faster on one."""
    name = phase.rpartition("-")[0] or phase
    for pattern, chosen in needs.items():
        if fnmatchcase(name, pattern):
            return chosen
    return Needs(gpus=1.0 if gpu else 0.0)
