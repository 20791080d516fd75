"""Token shards to training batches: shuffled by a key or in stored order, exactly resumable, the same for any ranks.

The stream of an epoch is every document of every row group, each behind one end-of-text token, row groups in an order
keyed by (seed, epoch); epochs follow each other without a gap. Sequence k is tokens [kT, kT + T] of the stream, its
last token a target only, so every token is trained on once an epoch. Within a window of row groups the sequences are
permuted. With the order `stored` neither is permuted: every epoch is the documents as the shards hold them, which is
how a curriculum is trained (docs/format.md, "Order"). A global batch is the next `batch_sequences` of that order, and a
rank takes its slice of it. The position is therefore one number, and no worker, thread or rank count changes what is
trained on.
"""

import hashlib
from typing import Any, Literal, get_args

import numpy as np

from tokenizer.shards import ShardSet

#: Row groups among which sequences are permuted: 16 million tokens and 32 MB (64 MB in 32 bits) where row groups are as
#: the writer makes them. Documents are shuffled globally before, so this only parts the pieces of long documents.
WINDOW_ROW_GROUPS = 8
#: In which order a loader reads: by its seed, or as the shards hold the documents.
Order = Literal["shuffled", "stored"]
ORDERS: tuple[Order, ...] = get_args(Order)


def keyed_permutation(size: int, *key: int | str) -> np.ndarray:
    """A permutation of range(size) that depends on the key alone: argsort of splitmix64 (numpy's own generators may
    change their stream between versions)."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    x = np.arange(1, size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.frombuffer(digest, "<u8")[0]
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.argsort(x ^ (x >> np.uint64(31)), kind="stable")


class Loader:
    """Batches of one rank. Holds one window of row groups in memory.

    Raises ValueError where the shards hold no token, the batch cannot be divided among the ranks, or the stored order
    is asked for and the shards have none.
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
        window_row_groups: int = WINDOW_ROW_GROUPS,
        order: Order = "shuffled",
    ) -> None:
        if shards.tokens == 0:
            raise ValueError("the shards hold no token: there is nothing to train on")
        if batch_sequences % world_size:
            raise ValueError(f"a batch of {batch_sequences} sequences cannot be divided among {world_size} ranks")
        if order not in ORDERS:
            raise ValueError(f"order {order!r} is not one of {', '.join(ORDERS)}")
        if order == "stored" and not shards.metadata.order:
            raise ValueError(
                "the shards are shuffled and have no order of their own: make them by a recipe with shards.order, or "
                "train with the order 'shuffled'"
            )
        self.shards = shards
        self.order = order
        self.sequence_length = sequence_length
        self.batch_sequences = batch_sequences
        self.seed = seed
        self.tokens_consumed = 0
        self._rows = batch_sequences // world_size
        self._first_row = rank * self._rows
        self._window_row_groups = window_row_groups
        #: Stream tokens of each row group: its own and one separator a document.
        self._sizes = np.array(shards.row_group_tokens, np.int64) + np.array(shards.row_group_documents, np.int64)
        #: Stream tokens of one epoch.
        self.epoch_tokens = int(self._sizes.sum())
        self._epoch = -1
        self._order = self._ends = np.zeros(0, np.int64)
        # The current window: its first sequence, its sequences' order, and its tokens.
        self._first_sequence, self._permutation, self._window = 0, np.zeros(0, np.int64), np.zeros(0, shards.dtype)
        self._last_group: tuple[int, int, np.ndarray] | None = None

    def next_batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of this rank's slice of the next global batch, int64 [batch_sequences / ranks, T] each."""
        t = self.sequence_length
        first = self.tokens_consumed // t
        rows = np.empty((self._rows, t + 1), dtype=np.int64)
        for row in range(self._rows):
            k = first + self._first_row + row
            if not self._first_sequence <= k < self._first_sequence + len(self._permutation):
                self._load_window(k)
            start = int(self._permutation[k - self._first_sequence]) * t
            rows[row] = self._window[start : start + t + 1]
        self.tokens_consumed += self.batch_sequences * t
        return rows[:, :-1], rows[:, 1:]

    def state(self) -> dict[str, Any]:
        """All that a resume needs, as JSON values."""
        return {
            "fingerprint": self.shards.fingerprint,
            "seed": self.seed,
            "sequence_length": self.sequence_length,
            "order": self.order,
            "tokens_consumed": self.tokens_consumed,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue behind the batch after which `state` was taken. ValueError for other shards or another order."""
        mine = self.state()
        # A state of before there was a choice is of a shuffled loader.
        state = {"order": "shuffled", **state}
        for name in ("fingerprint", "seed", "sequence_length", "order"):
            if state[name] != mine[name]:
                raise ValueError(f"cannot resume: the {name} was {state[name]} and is now {mine[name]}")
        self.tokens_consumed = state["tokens_consumed"]

    def _load_window(self, sequence: int) -> None:
        """Make the window current that holds the sequence of this number."""
        t = self.sequence_length
        last_token = (sequence + 1) * t
        epoch, offset = divmod(last_token, self.epoch_tokens)
        self._set_epoch(epoch)
        group = int(np.searchsorted(self._ends, offset, side="right"))
        window = group // self._window_row_groups
        stop_group = min((window + 1) * self._window_row_groups, len(self._ends))
        begin = epoch * self.epoch_tokens + (int(self._ends[window * self._window_row_groups - 1]) if window else 0)
        end = epoch * self.epoch_tokens + int(self._ends[stop_group - 1])
        # A sequence belongs to the window in which its last token lies.
        first, stop = max(0, (begin - 1) // t), (end - 1) // t
        self._window = self._window[:0]  # free the old one before the new one is read
        self._window = self._read(first * t, stop * t + 1)
        self._permutation = self._permuted(stop - first, "sequences", self.seed, epoch, window)
        self._first_sequence = first

    def _read(self, start: int, stop: int) -> np.ndarray:
        """Tokens start..stop-1 of the endless stream."""
        out = np.empty(stop - start, dtype=self.shards.dtype)
        position = start
        while position < stop:
            epoch, offset = divmod(position, self.epoch_tokens)
            self._set_epoch(epoch)
            group = int(np.searchsorted(self._ends, offset, side="right"))
            tokens = self._read_group(epoch, group)
            within = offset - (int(self._ends[group]) - len(tokens))
            block = tokens[within : within + stop - position]
            out[position - start : position - start + len(block)] = block
            position += len(block)
        return out

    def _read_group(self, epoch: int, group: int) -> np.ndarray:
        """The stream tokens of the row group at place `group` of the epoch; the last one read is kept, because a window
        begins with what its predecessor left over."""
        if self._last_group is None or self._last_group[:2] != (epoch, group):
            tokens, ends = self.shards.read_row_group(int(self._order[group]))
            starts = np.concatenate([[0], ends[:-1]])
            separated = np.insert(tokens, starts, self.shards.metadata.end_of_text_id)
            self._last_group = (epoch, group, separated)
        return self._last_group[2]

    def _set_epoch(self, epoch: int) -> None:
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = self._permuted(len(self._sizes), "row groups", self.seed, epoch)
            self._ends = np.cumsum(self._sizes[self._order])

    def _permuted(self, size: int, *key: int | str) -> np.ndarray:
        return keyed_permutation(size, *key) if self.order == "shuffled" else np.arange(size)
