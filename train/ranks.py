"""Data-parallel ranks, as `torchrun` starts them: one process a device, gradients averaged over all.

    torchrun --nproc-per-node 8 -m train train …

Every rank computes its slice of the same global batch, so results do not depend on the number of ranks but for the
order of sums. Rank 0 writes; all ranks read the checkpoints, which therefore lie where all see them.
"""

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed

from train.alone import alone


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among all. Without torchrun: the only one."""

    rank: int = 0
    world_size: int = 1
    #: Place among the processes of this machine: the number of its GPU.
    local_rank: int = 0

    @classmethod
    def from_environment(cls, device: str) -> "Ranks":
        """What torchrun says in the environment; joins the process group on first use."""
        world_size = int(os.environ.get("WORLD_SIZE", "1"))
        if world_size == 1:
            return cls()
        if not distributed.is_initialized():
            distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        return cls(
            rank=distributed.get_rank(), world_size=world_size, local_rank=int(os.environ.get("LOCAL_RANK", "0"))
        )

    @property
    def writes(self) -> bool:
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """`cuda` is the GPU of this rank."""
        return torch.device("cuda", self.local_rank) if name == "cuda" else torch.device(name)

    def total(self, value: Tensor) -> Tensor:
        """The sum over all ranks, in place."""
        if self.world_size > 1:
            distributed.all_reduce(value)
        return value

    def alone(self, out: Path) -> AbstractContextManager[None]:
        """The folder as that of rank 0 alone. Of several ranks none waits for another process: the others would in a
        barrier, which gives up after some minutes."""
        return alone(out, waits=self.world_size == 1) if self.writes else nullcontext()

    def wait(self) -> None:
        """Return when all ranks are here."""
        if self.world_size > 1:
            distributed.barrier()
