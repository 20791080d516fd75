"""SOAP: Adam in the slowly turning eigenbases of Shampoo's preconditioners (2409.11321, algorithm 3).

For a matrix W [A, B] with gradient G, every step (β3 = β2, as its authors' code has it):

    L, R     <- means of G Gᵀ and Gᵀ G that forget by β3;   every `frequency` steps QL, QR <- QR of L QL, R QR
    M, V     <- means of G, and of the square of QLᵀ G QR
    W        <- W - rate · (QL (QLᵀ M QR / (sqrt V + ε)) QRᵀ + decay · W), with Adam's corrections for the first steps

The very first step only takes the eigenvectors of G Gᵀ and Gᵀ G for bases and moves nothing. Matrices of one shape are
computed as one stack. The matrices of the layers are moved so, everything else by fused AdamW.
"""

from typing import Any

import torch
from torch import Tensor

from train.stacks import StackOptimizer, gradients_of

#: Of a matrix's state, in the order of `_advance`. All keep their shape, so that a stack of them is one tensor.
STATE = ("exp_avg", "exp_avg_sq", "left", "right", "left_basis", "right_basis")


class Soap(StackOptimizer):
    """SOAP for `matrices`; see `StackOptimizer`.

    How many steps were asked for decides when the bases turn; it is part of the state, so that a resume goes on alike.
    """

    def __init__(
        self, matrices: list[Tensor], rest: list[dict[str, Any]], *, frequency: int, weight_decay: float, **adamw: Any
    ) -> None:
        super().__init__(matrices, rest, own={"frequency": frequency, "weight_decay": weight_decay}, **adamw)

    def step_stack(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients = gradients_of(parameters)
        skip = torch.zeros((), device=gradients.device) if self.found_inf is None else self.found_inf
        gradients = torch.where(skip != 0, 0.0, gradients)
        states = [self.state[parameter] for parameter in parameters]
        if not states[0]:
            _begin(states, gradients, beta=group["betas"][1])
            return
        # Kept on the host: when to turn the bases is decided without waiting for the device.
        asked = int(states[0]["asked"]) + 1
        before = {name: torch.stack([state[name] for state in states]) for name in STATE}
        steps = states[0]["step"] + (1.0 - skip)
        after, change = _advance(before, gradients, group, steps=steps, turn=asked % group["frequency"] == 0)
        rate, keep = group["lr"], 1.0 - skip
        for row, (parameter, state) in enumerate(zip(parameters, states, strict=True)):
            parameter.mul_(1.0 - rate * group["weight_decay"] * keep)
            parameter.sub_(change[row] * (rate * keep))
            for name in STATE:
                state[name].copy_(torch.where(skip != 0, before[name][row], after[name][row]))
            state["step"].copy_(steps)
            state["asked"] = torch.tensor(float(asked))


def _begin(states: list[dict[str, Any]], gradients: Tensor, *, beta: float) -> None:
    """The state behind the first gradient."""
    left, right = (1.0 - beta) * gradients @ gradients.mT, (1.0 - beta) * gradients.mT @ gradients
    values = {
        "exp_avg": torch.zeros_like(gradients), "exp_avg_sq": torch.zeros_like(gradients), "left": left, "right": right,
        "left_basis": _eigenvectors(left), "right_basis": _eigenvectors(right),
    }  # fmt: skip
    for row, state in enumerate(states):
        state.update({name: value[row].clone() for name, value in values.items()})
        state["step"] = torch.zeros((), device=gradients.device)
        state["asked"] = torch.zeros(())


def _eigenvectors(matrices: Tensor) -> Tensor:
    """Columns, of the largest eigenvalue first."""
    vectors: Tensor = torch.linalg.eigh(matrices)[1]
    return vectors.flip(-1)


def _advance(
    state: dict[str, Tensor], gradients: Tensor, group: dict[str, Any], *, steps: Tensor, turn: bool
) -> tuple[dict[str, Tensor], Tensor]:
    """The state behind this step, and what the matrices move by at a rate of 1."""
    beta1, beta2 = group["betas"]
    left_basis, right_basis = state["left_basis"], state["right_basis"]
    inside = left_basis.mT @ gradients @ right_basis
    first = state["exp_avg"].lerp(gradients, 1.0 - beta1)
    second = state["exp_avg_sq"].lerp(inside.square(), 1.0 - beta2)
    # No step was taken yet where the first one is skipped; what is computed then is not used, but must be a number.
    taken = steps.clamp(min=1.0)
    correction = (1.0 - beta2**taken).sqrt() / (1.0 - beta1**taken)
    turned = left_basis.mT @ first @ right_basis / (second.sqrt() + group["eps"])
    change = left_basis @ turned @ right_basis.mT * correction
    left = state["left"].lerp(gradients @ gradients.mT, 1.0 - beta2)
    right = state["right"].lerp(gradients.mT @ gradients, 1.0 - beta2)
    if turn:
        left_basis, rows = _turned(left, left_basis)
        right_basis, columns = _turned(right, right_basis)
        second = second.gather(-2, rows.unsqueeze(-1).expand_as(second))
        second = second.gather(-1, columns.unsqueeze(-2).expand_as(second))
    return dict(zip(STATE, (first, second, left, right, left_basis, right_basis), strict=True)), change


def _turned(matrices: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """One step of orthogonal iteration, and the order that the columns were put in before: largest eigenvalue first."""
    estimated = (basis * (matrices @ basis)).sum(-2)
    order = estimated.argsort(dim=-1, descending=True, stable=True)
    sorted_basis = basis.gather(-1, order.unsqueeze(-2).expand_as(basis))
    return torch.linalg.qr(matrices @ sorted_basis)[0], order
