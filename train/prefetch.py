"""The next batches, read and brought to the device by a thread while the current one is computed."""

import queue
import threading
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from train.loader import Loader

#: Batches read ahead: one that is being copied and one that waits hide any read that is faster than a step on average.
AHEAD = 2


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Inputs and targets, int64 [sequences, T] on the device, and the loader's state behind them."""

    inputs: Tensor
    targets: Tensor
    loader: dict[str, Any]


class Prefetch:
    """Batches of the loader in its order. A context manager: the thread ends with it. An error of the loader is raised
    where its batch would have been given."""

    def __init__(self, loader: Loader, device: torch.device) -> None:
        self._loader, self._device = loader, device
        self._ready: queue.Queue[Batch | Exception] = queue.Queue(AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        while self._thread.is_alive():
            # The thread may wait for room.
            while not self._ready.empty():
                self._ready.get_nowait()
            self._thread.join(0.01)

    def next(self) -> Batch:
        found = self._ready.get()
        if isinstance(found, Exception):
            raise found
        return found

    def _work(self) -> None:
        while not self._stop.is_set():
            found: Batch | Exception
            try:
                found = self._read()
            except Exception as error:  # noqa: BLE001 - raised again by `next`, in the thread that can act on it
                found = error
            self._ready.put(found)
            if isinstance(found, Exception):
                return

    def _read(self) -> Batch:
        inputs, targets = (torch.from_numpy(array) for array in self._loader.next_batch())
        if self._device.type == "cuda":
            # Pinned memory lets the copy run beside the computation; the stream keeps the order.
            inputs, targets = inputs.contiguous().pin_memory(), targets.contiguous().pin_memory()
        return Batch(
            inputs=inputs.to(self._device, non_blocking=True),
            targets=targets.to(self._device, non_blocking=True),
            loader=self._loader.state(),
        )
