"""How long each variant's models are trained, so that the comparison is of the data and not of how much was spent.

    flops    the same floating-point operations: 6 N + 12 L H E T a token, the output matrix counted (the default)
    tokens   the same tokens: the same as flops where all have one vocabulary
    bytes    the same bytes of text: for vocabularies that cut text differently
    wall     the same seconds on this machine, by a measured speed

All four are reported for each variant, with unique tokens, epochs and what the repeats are worth.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.ablation.experiment import MOST_EPOCHS, Budget
from pipeline.phases.mix import effective_tokens


@dataclass(frozen=True, kw_only=True)
class Data:
    """What a variant has to train on."""

    #: Tokens of one epoch, the separator of each document counted: what the loader deals out.
    epoch_tokens: int
    #: UTF-8 bytes of the same text.
    bytes: int
    documents: int
    vocab_size: int
    flop_per_token: int
    #: Of a model of this vocabulary on this machine; None where nobody measured it.
    tokens_per_second: float | None = None
    #: Of `epoch_tokens`, those of copies that a mix wrote: no new text.
    copied_tokens: int = 0

    @property
    def unique_tokens(self) -> int:
        return self.epoch_tokens - self.copied_tokens


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What a model of one variant gets."""

    tokens: int
    flop: float
    bytes: int
    #: Estimated; None where no speed is known.
    seconds: float | None
    unique_tokens: int
    epochs: float
    #: Unique tokens that would teach as much (Muennighoff et al. 2023, equation 5).
    effective_tokens: int

    def as_json(self) -> dict[str, Any]:
        """Without the seconds, which are this machine's."""
        return {name: value for name, value in asdict(self).items() if name != "seconds"}


def allowances(budget: Budget, data: Mapping[str, Data], *, baseline: str, batch_tokens: int) -> dict[str, Allowance]:
    """Tokens for each variant, whole steps of `batch_tokens`. ValueError where a variant has nothing to train on, or
    the speed that `wall` needs was not measured."""
    for name, found in data.items():
        if not found.epoch_tokens:
            raise ValueError(f"variant {name!r} kept no document: there is nothing to train on")
    wanted = {name: _tokens(budget, found, data[baseline]) for name, found in data.items()}
    return {name: _allowance(wanted[name], data[name], batch_tokens) for name in data}


def _tokens(budget: Budget, mine: Data, baseline: Data) -> float:
    if budget.equal == "tokens":
        assert budget.tokens is not None
        return budget.tokens
    if budget.equal == "flops":
        flop = budget.flop if budget.flop is not None else (budget.tokens or 0) * baseline.flop_per_token
        return flop / mine.flop_per_token
    if budget.equal == "bytes":
        asked = budget.bytes if budget.bytes is not None else _bytes((budget.tokens or 0), baseline)
        return asked * mine.epoch_tokens / mine.bytes
    if mine.tokens_per_second is None:
        raise ValueError("equal: wall needs the speed of this machine, which was not measured")
    return (budget.seconds or 0) * mine.tokens_per_second


def _bytes(tokens: float, data: Data) -> float:
    return tokens * data.bytes / data.epoch_tokens


def _allowance(tokens: float, data: Data, batch_tokens: int) -> Allowance:
    # Nearest whole step: half a step is below what float sums of a budget are good for.
    whole = max(1, round(tokens / batch_tokens)) * batch_tokens
    epochs = whole / data.unique_tokens
    return Allowance(
        tokens=whole,
        flop=float(whole * data.flop_per_token),
        bytes=round(_bytes(whole, data)),
        seconds=None if data.tokens_per_second is None else whole / data.tokens_per_second,
        unique_tokens=min(whole, data.unique_tokens),
        epochs=round(epochs, 4),
        effective_tokens=effective_tokens(data.unique_tokens, epochs),
    )


def repeats(found: Mapping[str, Allowance]) -> bool:
    """Whether any variant sees text more than once, so that its own amount of data is part of the comparison."""
    return any(allowance.epochs > 1 for allowance in found.values())


def warnings(found: Mapping[str, Allowance], *, pool: str) -> list[str]:
    """What a reader has to know before believing a difference."""
    lines = []
    epochs = {name: allowance.epochs for name, allowance in found.items()}
    most, least = max(epochs, key=epochs.__getitem__), min(epochs, key=epochs.__getitem__)
    for name, times in epochs.items():
        if times > MOST_EPOCHS:
            worth = found[name].effective_tokens / found[name].tokens
            lines.append(
                f"{pool}: {name} repeats its data {times:.1f} times; beyond {MOST_EPOCHS:g} epochs repeats teach less "
                f"(here {worth:.0%} of new data), so a difference holds for this amount of data only"
            )
    if epochs[most] - epochs[least] > MOST_EPOCHS:
        lines.append(
            f"{pool}: {most} sees its data {epochs[most]:.1f} times and {least} {epochs[least]:.1f} times: what "
            "differs is also how much there is. See fixed-unique for the quality of the text alone"
        )
    return lines


def equal_unique(data: Mapping[str, Data]) -> int:
    """Tokens without separators that every variant is cut to where all get the same unique text: the least of all."""
    return min(found.unique_tokens - found.documents for found in data.values())
