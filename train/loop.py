"""Training: shards in, a model, its curve and its checkpoints out.

    out/metrics.jsonl      one line a step; holds no times, so that a repeated run gives the same bytes
    out/checkpoints/       see train/checkpoint.py
    out/results.json       settings, totals, environment and speed
    out/model/             the model in Hugging Face's form, see train/export.py

On a CPU the result is a function of shards, settings and thread count, to the bit, however often it was interrupted.
"""

import contextlib
import json
import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tokenizer.bpe import Tokenizer
from tokenizer.shards import ShardSet
from train import checkpoint
from train.export import export
from train.loader import Loader, Prefetched
from train.model import ModelSettings, Transformer, count_parameters, new_model
from train.schedule import learning_rate_factor
from train.settings import TrainSettings

#: Dense bfloat16 peak in FLOP/s by the name that CUDA gives, for MFU; other devices report none.
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}

Progress = Callable[[dict[str, Any]], None]


class DivergedError(RuntimeError):
    """Loss or gradients were not finite too often."""


def train(
    shards: ShardSet,
    settings: TrainSettings,
    *,
    model: ModelSettings,
    out: Path,
    tokenizer: Tokenizer | None = None,
    max_steps: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train to the end, or for at most `max_steps` more steps; continues from the newest checkpoint in `out`, if any.

    Returns the content of results.json. `progress` is called with every line of metrics. With `tokenizer` the exported
    model holds it. Raises ValueError where vocabularies disagree or `out` holds another run, and DivergedError.
    """
    if shards.metadata.vocab_size > model.vocab_size:
        raise ValueError(
            f"the shards hold ids up to {shards.metadata.vocab_size - 1}, the model has only {model.vocab_size}: "
            f"set vocab_size to {shards.metadata.vocab_size} or more"
        )
    if settings.sequence_length > model.max_position_embeddings:
        raise ValueError(
            f"sequence_length {settings.sequence_length} is more than the model's {model.max_position_embeddings} "
            "positions"
        )
    if tokenizer is not None and tokenizer.sha256 != shards.metadata.tokenizer_sha256:
        raise ValueError(
            f"the shards were made by the tokenizer {shards.metadata.tokenizer_sha256}, not by {tokenizer.sha256}"
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        whole = _Run(shards, settings, model, out, tokenizer)
        with contextlib.closing(whole.loader):
            return whole.run(max_steps, progress)
    finally:
        torch.set_num_threads(threads)


class _Run:
    def __init__(
        self, shards: ShardSet, settings: TrainSettings, model: ModelSettings, out: Path, tokenizer: Tokenizer | None
    ) -> None:
        self.shards, self.settings, self.out, self.tokenizer = shards, settings, out, tokenizer
        self.device = torch.device(settings.device)
        torch.manual_seed(settings.seed)
        self.model = new_model(model, seed=settings.seed, dtype=activation_dtype(settings)).to(self.device)
        self.forward: Any = torch.compile(self.model, dynamic=False) if settings.compile else self.model
        self.optimizer = _optimizer(self.model, settings)
        self.loader = Prefetched(
            Loader(
                shards,
                sequence_length=settings.sequence_length,
                batch_sequences=settings.batch_sequences,
                seed=settings.seed,
            )
        )
        self.step = self.skipped = self.metrics_bytes = 0
        self.last_loss = math.nan

    def run(self, max_steps: int | None, progress: Progress | None) -> dict[str, Any]:
        self.out.mkdir(parents=True, exist_ok=True)
        self._resume()
        stop = self.settings.steps if max_steps is None else min(self.settings.steps, self.step + max_steps)
        every = self.settings.checkpoint_every_steps
        first, wall, cpu = self.step, time.perf_counter(), time.process_time()
        with (self.out / "metrics.jsonl").open("r+b") as metrics:
            metrics.truncate(self.metrics_bytes)
            metrics.seek(self.metrics_bytes)
            while self.step < stop:
                row = self._one_step()
                self.metrics_bytes += metrics.write(json.dumps(row).encode() + b"\n")
                if progress is not None:
                    progress(row)
                if every and self.step % every == 0 and self.step < stop:
                    self._save(metrics)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if self.step > first:
                self._save(metrics)
        results = self._results((self.step - first) * self.settings.batch_tokens, wall, cpu)
        export(self.model, self.out / "model", tokenizer=self.tokenizer)
        _write(self.out / "results.json", results)
        return results

    def _one_step(self) -> dict[str, Any]:
        """Accumulate, clip, update. The loss is the mean over the tokens of the whole batch, before the update."""
        inputs, targets = (torch.from_numpy(array).to(self.device) for array in self.loader.next_batch())
        scale = 1.0 / self.settings.batch_tokens
        total = torch.zeros((), device=self.device)
        micro = self.settings.micro_batch_sequences
        for start in range(0, len(inputs), micro):
            loss: Tensor = self.forward(inputs[start : start + micro], targets[start : start + micro]) * scale
            torch.autograd.backward(loss)
            total += loss.detach()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.max_gradient_norm)
        rate = self.settings.learning_rate * learning_rate_factor(
            self.step,
            steps=self.settings.steps,
            schedule=self.settings.schedule,
            warmup_fraction=self.settings.warmup_fraction,
            decay_fraction=self.settings.decay_fraction,
            final_fraction=self.settings.final_fraction,
        )
        self.last_loss, gradient_norm = total.item(), norm.item()
        if math.isfinite(self.last_loss) and math.isfinite(gradient_norm):
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
        else:
            self._skip()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return {
            "step": self.step,
            "tokens": self.loader.tokens_consumed,
            "loss": self.last_loss if math.isfinite(self.last_loss) else None,
            "learning_rate": rate,
            "gradient_norm": gradient_norm if math.isfinite(gradient_norm) else None,
            "skipped": self.skipped,
        }

    def _skip(self) -> None:
        self.skipped += 1
        if self.skipped > self.settings.max_skipped_steps:
            raise DivergedError(
                f"step {self.step + 1}: loss {self.last_loss}, the {self.skipped}th step that is not finite: lower "
                f"learning_rate (now {self.settings.learning_rate}) or lengthen warmup_fraction"
            )

    def _identity(self) -> dict[str, Any]:
        return {"settings": self.settings.deciding(), "model": asdict(self.model.settings)}

    def _resume(self) -> None:
        found = checkpoint.latest(self.out / "checkpoints")
        if found is None:
            (self.out / "metrics.jsonl").write_bytes(b"")
            return
        path, state = found
        for part, mine in self._identity().items():
            changed = [f"{k} was {state[part].get(k)}, is {v}" for k, v in mine.items() if state[part].get(k) != v]
            if changed:
                raise ValueError(f"{self.out} holds another run ({'; '.join(changed)}): choose another folder")
        self.loader.restore(state["loader"])
        checkpoint.restore(path, model=self.model, optimizer=self.optimizer)
        self.step, self.skipped, self.metrics_bytes = state["step"], state["skipped"], state["metrics_bytes"]
        self.last_loss = state["last_loss"] if state["last_loss"] is not None else math.nan

    def _save(self, metrics: Any) -> None:
        metrics.flush()
        os.fsync(metrics.fileno())
        extra = {
            **self._identity(),
            "loader": self.loader.state(),
            "skipped": self.skipped,
            "metrics_bytes": self.metrics_bytes,
            "last_loss": self.last_loss if math.isfinite(self.last_loss) else None,
        }
        checkpoint.save(
            self.out / "checkpoints",
            step=self.step,
            model=self.model,
            optimizer=self.optimizer,
            extra=extra,
            keep=self.settings.keep_checkpoints,
        )

    def _results(self, tokens: int, wall: float, cpu: float) -> dict[str, Any]:
        consumed = self.loader.tokens_consumed
        flop = self.model.settings.flop_per_token(self.settings.sequence_length)
        rate = tokens / wall if tokens else None
        return {
            "finished": self.step == self.settings.steps,
            "steps": self.step,
            "skipped_steps": self.skipped,
            "tokens": consumed,
            "unique_tokens": min(consumed, self.loader.epoch_tokens),
            "epochs": round(consumed / self.loader.epoch_tokens, 4),
            "bytes": round(consumed / self.loader.epoch_tokens * self.shards.bytes),
            "flop": flop * consumed,
            "final_loss": self.last_loss if math.isfinite(self.last_loss) else None,
            "parameters": count_parameters(self.model),
            "data": {
                "fingerprint": self.shards.fingerprint,
                "tokenizer_sha256": self.shards.metadata.tokenizer_sha256,
                "phase_key": self.shards.metadata.phase_key,
            },
            "settings": asdict(self.settings),
            "model": asdict(self.model.settings),
            "environment": {
                "torch": torch.__version__,
                "python": platform.python_version(),
                "device": _device(self.device),
            },
            # Of this call, not of the steps before a resume.
            "speed": {
                "seconds": round(wall, 3),
                "cpu_seconds": round(cpu, 3),
                "tokens_per_second": rate and round(rate, 1),
                "tokens_per_cpu_second": round(tokens / cpu, 1) if tokens else None,
                "flop_formula": "6 N_matmul + 12 L H E T",
                "mfu": rate and _mfu(flop * rate, self.device),
            },
        }


def activation_dtype(settings: TrainSettings) -> torch.dtype:
    """What `auto` means: bfloat16 on a GPU, float32 elsewhere."""
    if settings.dtype == "auto":
        return torch.bfloat16 if settings.device.startswith("cuda") else torch.float32
    return torch.bfloat16 if settings.dtype == "bfloat16" else torch.float32


def _optimizer(model: Transformer, settings: TrainSettings) -> torch.optim.AdamW:
    decayed: list[Tensor] = []
    plain: list[Tensor] = []
    for name, parameter in model.named_parameters():
        (decayed if parameter.ndim == 2 and "embed_tokens" not in name else plain).append(parameter)
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.second_beta),
        eps=settings.epsilon,
        fused=True,
    )


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _mfu(flops: float, device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((round(flops / peak, 4) for part, peak in PEAK_FLOPS.items() if part in name), None)


def _write(path: Path, value: dict[str, Any]) -> None:
    beside = path.with_suffix(".partial")
    beside.write_text(json.dumps(value, indent=1) + "\n")
    beside.rename(path)
