"""What optimisers of matrices have in common: stacks of equal shape moved their own way, everything else by AdamW."""

from typing import Any

import torch
from torch import Tensor


class StackOptimizer(torch.optim.Optimizer):
    """`matrices` (and stacks of matrices) by `step_stack`, those of one shape at once; `rest`, AdamW's parameter
    groups, by fused AdamW.

    Like fused AdamW it skips a step on the device where its attribute `found_inf` is a tensor that is not zero.
    """

    found_inf: Tensor | None = None

    def __init__(
        self, matrices: list[Tensor], rest: list[dict[str, Any]], *, own: dict[str, Any], **adamw: Any
    ) -> None:
        """`own` are settings of the matrices' group beside AdamW's."""
        self.adamw = torch.optim.AdamW(rest, fused=True, **adamw)
        super().__init__([{"params": matrices}], {**adamw, **own})
        # One state, and groups that whoever sets the learning rate finds all together.
        self.state = self.adamw.state
        self.param_groups = [*self.param_groups, *self.adamw.param_groups]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step from the gradients as they are; there is no closure to call."""
        assert closure is None
        self.adamw.found_inf = self.found_inf  # type: ignore[attr-defined]
        self.adamw.step()
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for parameter in self.param_groups[0]["params"]:
            by_shape.setdefault(parameter.shape, []).append(parameter)
        for parameters in by_shape.values():
            self.step_stack(parameters, self.param_groups[0])

    def step_stack(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Move parameters of one shape by `group`'s settings."""
        raise NotImplementedError


def gradients_of(parameters: list[Tensor]) -> Tensor:
    """The gradients as one stack."""
    gradients = [parameter.grad for parameter in parameters]
    assert all(gradient is not None for gradient in gradients)
    return torch.stack(gradients)  # type: ignore[arg-type]
