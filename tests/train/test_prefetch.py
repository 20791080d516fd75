"""Batches read ahead are those of the loader, in its order; the state given with one is that behind it."""

import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from token_corpus import counting_shards

from tokenizer.shards import ShardError, ShardSet
from train.loader import Loader
from train.prefetch import AHEAD, Prefetch

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    return counting_shards(tmp_path_factory.mktemp("ahead"), [40] * 20)


def loader(shards: ShardSet) -> Loader:
    return Loader(shards, sequence_length=8, batch_sequences=4, seed=1, window_row_groups=2)


def threads() -> int:
    return sum(thread.name == "prefetch" for thread in threading.enumerate())


def test_batches_and_states_are_those_of_the_loader_alone(numbers: ShardSet) -> None:
    alone = loader(numbers)
    with Prefetch(loader(numbers), CPU) as ahead:
        for _ in range(30):
            expected, found = alone.next_batch(), ahead.next()
            assert np.array_equal(found.inputs.numpy(), expected[0])
            assert np.array_equal(found.targets.numpy(), expected[1])
            # Read ahead or not: a checkpoint goes on behind the batch that was used.
            assert found.loader == alone.state()
    assert threads() == 0


def test_it_reads_ahead_and_no_further(numbers: ShardSet) -> None:
    read, reached = loader(numbers), threading.Event()
    step, whole = 4 * 8, read.next_batch

    def counted() -> tuple[np.ndarray, np.ndarray]:
        batch = whole()
        # Two wait, and a third is held by the thread until there is room.
        if read.tokens_consumed >= (AHEAD + 1) * step:
            reached.set()
        return batch

    read.next_batch = counted  # type: ignore[method-assign]
    with Prefetch(read, CPU):
        assert reached.wait(10)
        assert not threading.Event().wait(0.2)
        assert read.tokens_consumed == (AHEAD + 1) * step
    assert threads() == 0


def test_a_shard_that_goes_wrong_is_told_where_its_batch_would_have_been(tmp_path: Path) -> None:
    shards = counting_shards(tmp_path, [40] * 20)
    for shard in shards.shards:
        data = bytearray(Path(shard.path).read_bytes())
        tokens = pq.ParquetFile(shard.path).metadata.row_group(1).column(4)
        data[tokens.data_page_offset + tokens.total_compressed_size - 5] ^= 1
        Path(shard.path).write_bytes(data)

    def read_on(ahead: Prefetch) -> None:
        for _ in range(100):
            ahead.next()

    with Prefetch(loader(shards), CPU) as ahead, pytest.raises(ShardError, match="damaged"):
        read_on(ahead)
    assert threads() == 0
