"""The curve of a run: rows fetched from the device a few steps at a time, so that it never waits for the host.

metrics.jsonl   one line a step; holds no times, so that a repeated run gives the same bytes
speed.jsonl     one line a fetch: seconds, tokens a second, share of the peak, memory; times of this machine
tensorboard/    the same for TensorBoard, where it is asked for
"""

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

Progress = Callable[[dict[str, Any]], None]
#: Dense bfloat16 peak in FLOP/s by the name that CUDA gives, for MFU; other devices report none.
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}


class Curve:
    """Writes both files from where a checkpoint left them. A context manager. `writes`: whether this rank does."""

    def __init__(
        self,
        out: Path,
        *,
        done_bytes: int,
        flop_per_token: int,
        device: torch.device,
        ranks: int,
        writes: bool,
        tensorboard: bool = False,
    ) -> None:
        self.bytes = done_bytes
        #: Of the last fetched step; NaN where it was not finite.
        self.last_loss = math.nan
        self.skipped = 0
        self._out, self._device, self._writes = out, device, writes
        self._flop = flop_per_token / ranks
        self._pending: list[tuple[dict[str, Any], Tensor]] = []
        self._fetched = (time.perf_counter(), 0)
        self._board = _board(out / "tensorboard") if tensorboard and writes else None

    def __enter__(self) -> Self:
        if self._writes:
            self._file = (self._out / "metrics.jsonl").open("r+b")
            self._file.truncate(self.bytes)
            self._file.seek(self.bytes)
            self._speed = (self._out / "speed.jsonl").open("a")
        return self

    def __exit__(self, *_: object) -> None:
        if self._writes:
            self._file.close()
            self._speed.close()
        if self._board is not None:
            self._board.close()

    def add(self, row: dict[str, Any], measured: Tensor) -> None:
        """`measured` stays on the device: loss, gradient norm and skipped steps so far."""
        if not self._pending and self._fetched[1] == 0:
            self._fetched = (time.perf_counter(), row["tokens"])
        self._pending.append((row, measured))

    @property
    def waiting(self) -> int:
        return len(self._pending)

    def fetch(self) -> list[dict[str, Any]]:
        """Wait for the device, write what was added since the last fetch, and return it."""
        if not self._pending:
            return []
        values = torch.stack([measured for _, measured in self._pending]).tolist()
        rows = [
            {**row, "loss": finite(loss), "gradient_norm": finite(norm), "skipped": int(skipped)}
            for (row, _), (loss, norm, skipped) in zip(self._pending, values, strict=True)
        ]
        self._pending.clear()
        self.last_loss, self.skipped = values[-1][0], int(values[-1][2])
        lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        self.bytes += len(lines)
        if self._writes:
            self._file.write(lines)
            self._write_speed(rows[-1])
        for row in rows:
            self._show(row, ("loss", "gradient_norm", "learning_rate"))
        return rows

    def sync(self) -> None:
        """Return when what was fetched is on the disk."""
        if self._writes:
            self._file.flush()
            os.fsync(self._file.fileno())

    def _write_speed(self, row: dict[str, Any]) -> None:
        now, (before, tokens) = time.perf_counter(), self._fetched
        self._fetched = (now, row["tokens"])
        if row["tokens"] > tokens:
            rate = (row["tokens"] - tokens) / (now - before)
            memory = torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else None
            line = {
                "step": row["step"],
                "tokens_per_second": round(rate, 1),
                "mfu": model_flop_utilisation(self._flop * rate, self._device),
                "peak_memory_bytes": memory,
            }
            self._speed.write(json.dumps(line) + "\n")
            self._show(line, ("tokens_per_second", "mfu", "peak_memory_bytes"))

    def _show(self, row: dict[str, Any], names: tuple[str, ...]) -> None:
        for name in names:
            if self._board is not None and row[name] is not None:
                self._board.add_scalar(name, row[name], row["step"])


def _board(folder: Path) -> Any:
    """Its writer. ValueError where the package is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # an extra: a plain installation has no TensorBoard
    except ImportError as error:
        raise ValueError(f"tensorboard needs its package: pip install tensorboard ({error})") from error
    return SummaryWriter(str(folder))


def finite(value: float) -> float | None:
    """The value as JSON knows it."""
    return value if math.isfinite(value) else None


def model_flop_utilisation(flops: float, device: torch.device) -> float | None:
    """Share of the dense bfloat16 peak of this device, or None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((round(flops / peak, 4) for part, peak in PEAK_FLOPS.items() if part in name), None)
