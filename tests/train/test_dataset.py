"""As a dataset of torch the shards give the loader's batches, whoever reads them and wherever one begins."""

from itertools import islice

import torch
from torch.utils.data import DataLoader

from tokenizer.shards import ShardSet
from train.dataset import TokenBatches
from train.loader import Loader

SETTINGS = {"sequence_length": 16, "batch_sequences": 4, "seed": 3}


def batches(
    shards: ShardSet, count: int, *, workers: int = 0, start_batch: int = 0, **changes
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    data = TokenBatches(Loader(shards, **SETTINGS, **changes), start_batch=start_batch)
    start = {"num_workers": workers, "multiprocessing_context": "spawn"} if workers else {}
    return list(islice(DataLoader(data, batch_size=None, **start), count))


def same(one: list, other: list) -> bool:
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in pairs)


def test_batches_are_the_loaders_for_any_number_of_workers(shards: ShardSet) -> None:
    loader = Loader(shards, **SETTINGS)
    wanted = [tuple(torch.from_numpy(part.copy()) for part in loader.next_batch()) for _ in range(9)]
    for workers in (0, 2):
        assert same(batches(shards, 9, workers=workers), wanted), workers
    assert wanted[0][0].shape == (4, 16)
    assert torch.equal(wanted[0][0][:, 1:], wanted[0][1][:, :-1])


def test_a_resumed_reader_goes_on_where_the_first_one_stopped(shards: ShardSet) -> None:
    whole = batches(shards, 8)
    assert same(batches(shards, 5, start_batch=3), whole[3:])
    assert same(batches(shards, 5, start_batch=3, workers=2), whole[3:])


def test_ranks_share_a_batch_row_by_row(shards: ShardSet) -> None:
    whole = batches(shards, 3)
    parts = [batches(shards, 3, rank=rank, world_size=2) for rank in range(2)]
    together = [tuple(torch.cat(halves) for halves in zip(a, b, strict=True)) for a, b in zip(*parts, strict=True)]
    assert same(together, whole)
