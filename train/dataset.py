"""Token shards as a dataset of torch.utils.data: the loader's batches, the same for any number of workers.

    loader = Loader(ShardSet.from_folder("run1/shards"), sequence_length=1024, batch_sequences=64, seed=0)
    for inputs, targets in torch.utils.data.DataLoader(TokenBatches(loader), batch_size=None, num_workers=4):
        …

Worker w of W makes the batches w, w + W, w + 2W, …, and a DataLoader asks its workers in turn, so that they arrive in
the loader's order. The only state is how many batches a rank has had: a resumed run begins with `start_batch` there.
"""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from train.loader import Loader


class TokenBatches(IterableDataset[tuple[Tensor, Tensor]]):
    """Endless batches of inputs and targets, int64 [batch_sequences / ranks, sequence_length] each.

    What is a batch already must not be batched again: give `DataLoader` `batch_size=None`. Each iteration is by a copy
    of the loader, which stays where it stands.
    """

    def __init__(self, loader: Loader, *, start_batch: int = 0) -> None:
        self.loader = loader
        self.start_batch = start_batch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        loader = copy.copy(self.loader)
        tokens = loader.sequence_length * loader.batch_sequences
        number = self.start_batch + first
        while True:
            loader.tokens_consumed = number * tokens
            inputs, targets = loader.next_batch()
            yield torch.from_numpy(inputs.copy()), torch.from_numpy(targets.copy())
            number += step
