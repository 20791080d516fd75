"""Training: shards in, a model, its curve and its checkpoints out.

    out/metrics.jsonl      one line a step, see train/metrics.py
    out/speed.jsonl        tokens a second, MFU and memory as the run went
    out/checkpoints/       see train/checkpoint.py
    out/results.json       settings, totals, environment and speed
    out/model/             the model in Hugging Face's form, see train/export.py

On a CPU the result is a function of shards, settings and thread count, to the bit, however often it was interrupted; on
one GPU with `deterministic` too. The host never waits for a GPU within a step: whether a step counts is decided on the
device, and metrics are fetched several steps at a time.
"""

import json
import math
import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from tokenizer.bpe import Tokenizer
from tokenizer.shards import ShardSet
from train import checkpoint
from train.attention import pinned
from train.export import check_export, export
from train.loader import Loader
from train.metrics import Curve, Progress, finite, model_flop_utilisation
from train.model import ModelSettings, Objective, count_parameters, new_model
from train.optimizers import make_optimizer
from train.prefetch import Prefetch
from train.ranks import Ranks
from train.settings import TrainSettings

#: Of the settings that decide a run, by their part of a checkpoint's state.
DEFAULTS: dict[str, dict[str, Any]] = {
    part: {each.name: each.default for each in fields(kind) if each.default is not MISSING}
    for part, kind in (("settings", TrainSettings), ("model", ModelSettings))
}
DEFAULTS["settings"]["world_size"] = 1


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

    While another process trains in `out`, waits. Returns the content of results.json. `progress` is called with every
    line of metrics. With `tokenizer` the exported model holds it. Raises ValueError where vocabularies disagree or
    `out` holds another run, and DivergedError.
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
    check_export(model, settings.export)
    with _backend(settings):
        run = _Run(shards, settings, model, out, tokenizer)
        with run.ranks.alone(out):
            # Nobody looks for a checkpoint before the folder is ours.
            run.ranks.wait()
            return run.run(max_steps, progress)


@contextmanager
def _backend(settings: TrainSettings) -> Iterator[None]:
    """Threads and determinism as set; afterwards as they were."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(settings.threads)
    torch.use_deterministic_algorithms(settings.deterministic)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)


class _Run:
    def __init__(
        self, shards: ShardSet, settings: TrainSettings, model: ModelSettings, out: Path, tokenizer: Tokenizer | None
    ) -> None:
        self.shards, self.settings, self.out, self.tokenizer = shards, settings, out, tokenizer
        self.ranks = Ranks.from_environment(settings.device)
        self.device = self.ranks.device(settings.device)
        if self.device.type == "cuda" and not settings.compile and (settings.document_mask or model.sliding_window):
            raise ValueError("document_mask and sliding_window need compile on a GPU: without it all scores are held")
        torch.manual_seed(settings.seed)
        self.model = new_model(model, seed=settings.seed, dtype=activation_dtype(settings)).to(self.device)
        separator = shards.metadata.end_of_text_id if settings.document_mask else None
        self.objective: Any = Objective(self.model, z_loss=settings.z_loss, end_of_text_id=separator)
        if self.ranks.world_size > 1:
            self.objective = DistributedDataParallel(
                self.objective, broadcast_buffers=False, gradient_as_bucket_view=True
            )
        self.forward: Any = torch.compile(self.objective, dynamic=False) if settings.compile else self.objective
        self.optimizer = make_optimizer(self.model, settings)
        self.loader = Loader(
            shards,
            sequence_length=settings.sequence_length,
            batch_sequences=settings.batch_sequences,
            seed=settings.seed,
            order=settings.order,
            rank=self.ranks.rank,
            world_size=self.ranks.world_size,
        )
        self.position = self.loader.state()
        self.flop = model.flop_per_token(settings.sequence_length)
        self.step = self.metrics_bytes = 0
        self.skipped = torch.zeros((), device=self.device)
        self.last_loss = math.nan

    def run(self, max_steps: int | None, progress: Progress | None) -> dict[str, Any]:
        self._resume()
        stop = self.settings.steps if max_steps is None else min(self.settings.steps, self.step + max_steps)
        every = self.settings.checkpoint_every_steps
        first, wall, cpu = self.step, time.perf_counter(), time.process_time()
        curve = Curve(
            self.out,
            done_bytes=self.metrics_bytes,
            flop_per_token=self.flop,
            device=self.device,
            ranks=self.ranks.world_size,
            writes=self.ranks.writes,
            tensorboard=self.settings.tensorboard,
        )
        with ExitStack() as open_things:
            kernels = open_things.enter_context(pinned(self.settings.attention, self.device))
            open_things.enter_context(curve)
            batches = open_things.enter_context(Prefetch(self.loader, self.device)) if self.step < stop else None
            while self.step < stop:
                assert batches is not None
                curve.add(*self._one_step(batches))
                saves = self.step == stop or bool(every and self.step % every == 0)
                if saves or curve.waiting >= self.settings.log_every:
                    self._fetch(curve, progress)
                if saves and self.step < stop:
                    self._save(curve)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if self.step > first:
                self._save(curve)
        results = self._results((self.step - first) * self.settings.batch_tokens, wall, cpu, kernels)
        if self.ranks.writes:
            export(self.model, self.out / "model", tokenizer=self.tokenizer, form=self.settings.export)
            _write(self.out / "results.json", results)
        self.ranks.wait()
        return results

    def _one_step(self, batches: Prefetch) -> tuple[dict[str, Any], Tensor]:
        """Accumulate, clip, update. The loss is the mean over the tokens of the whole batch, before the update."""
        batch = batches.next()
        self.position = batch.loader
        total = torch.zeros((), device=self.device)
        micro = self.settings.micro_batch_sequences
        for start in range(0, len(batch.inputs), micro):
            stop = start + micro
            last = stop >= len(batch.inputs)
            with nullcontext() if last or self.ranks.world_size == 1 else self.objective.no_sync():
                objective, nats = self.forward(batch.inputs[start:stop], batch.targets[start:stop])
                # Gradients are averaged over the ranks; a mean over all tokens is wanted.
                torch.autograd.backward(objective * (self.ranks.world_size / self.settings.batch_tokens))
            total += nats.detach() / self.settings.batch_tokens
        self.ranks.total(total)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.max_gradient_norm)
        rate = self.settings.rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        unusable = 1.0 - (total.isfinite() & norm.isfinite()).float()
        # The fused kernels skip the step on the device where this is not zero.
        self.optimizer.found_inf = unusable  # type: ignore[attr-defined]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.skipped = self.skipped + unusable
        self.step += 1
        row = {
            "step": self.step,
            "tokens": self.position["tokens_consumed"],
            "loss": None,
            "learning_rate": rate,
            "gradient_norm": None,
        }
        return row, torch.stack([total, norm, self.skipped])

    def _fetch(self, curve: Curve, progress: Progress | None) -> None:
        for row in curve.fetch():
            if row["skipped"] > self.settings.max_skipped_steps:
                raise DivergedError(
                    f"step {row['step']}: loss {row['loss']}, the {row['skipped']}th step that is not finite: lower "
                    f"learning_rate (now {self.settings.learning_rate}) or lengthen warmup_fraction"
                )
            if progress is not None and self.ranks.writes:
                progress(row)
        self.last_loss = curve.last_loss

    def _identity(self) -> dict[str, Any]:
        mixture = self.model.settings.mixture is not None
        settings = self.settings.deciding(mixture=mixture)
        if mixture:
            # A rank's micro-batch is its own.
            settings["world_size"] = self.ranks.world_size
        return {"settings": settings, "model": asdict(self.model.settings)}

    def _resume(self) -> None:
        found = checkpoint.latest(self.out / "checkpoints")
        if found is None:
            if self.ranks.writes:
                (self.out / "metrics.jsonl").write_bytes(b"")
                (self.out / "speed.jsonl").write_bytes(b"")
            self.ranks.wait()
            return
        path, state = found
        for part, mine in self._identity().items():
            # What a checkpoint does not name was not yet known when it was written, and had its default.
            before = {**DEFAULTS[part], **state[part]}
            changed = [f"{k} was {before.get(k)}, is {v}" for k, v in mine.items() if before.get(k) != v]
            if changed:
                raise ValueError(f"{self.out} holds another run ({'; '.join(changed)}): choose another folder")
        self.loader.restore(state["loader"])
        self.position = self.loader.state()
        checkpoint.restore(path, model=self.model, optimizer=self.optimizer)
        self.step, self.metrics_bytes = state["step"], state["metrics_bytes"]
        self.skipped.fill_(state["skipped"])
        self.last_loss = state["last_loss"] if state["last_loss"] is not None else math.nan

    def _save(self, curve: Curve) -> None:
        self.metrics_bytes = curve.bytes
        curve.sync()
        extra = {
            **self._identity(),
            "loader": self.position,
            "skipped": int(self.skipped.item()),
            "metrics_bytes": self.metrics_bytes,
            "last_loss": finite(self.last_loss),
        }
        if self.ranks.writes:
            checkpoint.save(
                self.out / "checkpoints",
                step=self.step,
                model=self.model,
                optimizer=self.optimizer,
                extra=extra,
                keep=self.settings.keep_checkpoints,
            )
        self.ranks.wait()

    def _results(self, tokens: int, wall: float, cpu: float, kernels: list[str]) -> dict[str, Any]:
        consumed = self.position["tokens_consumed"]
        rate = tokens / wall if tokens else None
        return {
            "finished": self.step == self.settings.steps,
            "steps": self.step,
            "skipped_steps": int(self.skipped.item()),
            "tokens": consumed,
            "unique_tokens": min(consumed, self.loader.epoch_tokens),
            "epochs": round(consumed / self.loader.epoch_tokens, 4),
            "bytes": round(consumed / self.loader.epoch_tokens * self.shards.bytes),
            "flop": self.flop * consumed,
            "final_loss": finite(self.last_loss),
            "parameters": count_parameters(self.model),
            "data": {
                "fingerprint": self.shards.fingerprint,
                "tokenizer_sha256": self.shards.metadata.tokenizer_sha256,
                "phase_key": self.shards.metadata.phase_key,
            },
            "settings": asdict(self.settings),
            "model": asdict(self.model.settings),
            "environment": environment(self.device, kernels, ranks=self.ranks.world_size),
            # Of this call, not of the steps before a resume.
            "speed": {
                "seconds": round(wall, 3),
                "cpu_seconds": round(cpu, 3),
                "tokens_per_second": rate and round(rate, 1),
                "tokens_per_cpu_second": round(tokens / cpu, 1) if tokens else None,
                "flop_formula": "6 N_matmul + 12 L H E T",
                "mfu": rate and model_flop_utilisation(self.flop * rate / self.ranks.world_size, self.device),
            },
        }


def environment(device: torch.device, kernels: list[str], *, ranks: int) -> dict[str, Any]:
    """Where and with what a model was trained, for its results.json."""
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": _device(device),
        "attention": kernels,
        "ranks": ranks,
    }


def activation_dtype(settings: TrainSettings) -> torch.dtype:
    """What `auto` means: bfloat16 on a GPU, float32 elsewhere."""
    if settings.dtype == "auto":
        return torch.bfloat16 if settings.device.startswith("cuda") else torch.float32
    return torch.bfloat16 if settings.dtype == "bfloat16" else torch.float32


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _write(path: Path, value: dict[str, Any]) -> None:
    beside = path.with_suffix(".partial")
    beside.write_text(json.dumps(value, indent=1) + "\n")
    beside.rename(path)
