"""Token shards as a dataset of torch.utils.data: the loader's batches, the same for any number of workers.

    data = TokenBatches(ShardSet.from_folder("run1/shards"), sequence_length=1024, batch_sequences=64, seed=0)
    for inputs, targets in torch.utils.data.DataLoader(data, batch_size=None, num_workers=4):
        …

Worker w of W makes the batches w, w + W, w + 2W, …, and a DataLoader asks its workers in turn, so that they arrive in
the loader's order. The only state is how many batches a rank has had: a resumed run begins with `start_batch` there.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from tokenizer.shards import ShardSet
from train.loader import Loader, Order


class TokenBatches(IterableDataset[tuple[Tensor, Tensor]]):
    """Endless batches of inputs and targets, int64 [batch_sequences / ranks, sequence_length] each.

    What is a batch already must not be batched again: give `DataLoader` `batch_size=None`. ValueError as `Loader`.
    """

    def __init__(
        self,
        shards: ShardSet,
        *,
        sequence_length: int,
        batch_sequences: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        order: Order = "shuffled",
        start_batch: int = 0,
    ) -> None:
        self.start_batch = start_batch
        self._shards = shards
        self._batch_tokens = sequence_length * batch_sequences
        self._settings = {
            "sequence_length": sequence_length, "batch_sequences": batch_sequences, "seed": seed, "rank": rank,
            "world_size": world_size, "order": order,
        }  # fmt: skip
        self._loader()

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        loader = self._loader()
        number = self.start_batch + first
        while True:
            loader.tokens_consumed = number * self._batch_tokens
            inputs, targets = loader.next_batch()
            yield torch.from_numpy(inputs.copy()), torch.from_numpy(targets.copy())
            number += step

    def _loader(self) -> Loader:
        return Loader(self._shards, **self._settings)  # type: ignore[arg-type]
