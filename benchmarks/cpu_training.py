"""The training loop beside the shortest plain PyTorch loop of the same model, in turns, in one process.

    python -m benchmarks.cpu_training [--threads 2] [--rounds 5] [--modes uncompiled,compiled]

The model has 1.26 M parameters and a vocabulary of 4096: nano with four query and two key heads of 32. The plain loop
has what a good one has: the same model, torch's own cross-entropy on all logits at once, fused AdamW, clipping; no
shards, checkpoints, metrics or guard. Prints for each mode tokens a second of both (median, lowest and highest round),
the ratio of the medians, and tokens a CPU second, which a busy machine changes less. OMP_WAIT_POLICY is set to PASSIVE
(the process starts itself again with it): threads that spin while they wait take the other core's time.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn import functional

from benchmarks.gpu import random_shards
from tokenizer.shards import ShardSet
from train.loop import train
from train.model import ModelSettings, count_parameters, new_model
from train.presets import preset
from train.settings import TrainSettings

VOCABULARY = 4096
MODES = {"uncompiled": False, "compiled": True}
#: (tokens, seconds, CPU seconds) of a round.
Measured = tuple[int, float, float]
#: Sequences of 256 tokens at once: the working set of more of them leaves the cache.
MICRO_BATCH = 16
#: Two micro-batches a step, so that accumulation counts; three timed steps behind one that warms up.
BATCH_SEQUENCES = 32
STEPS = 3


def plain_round(model: ModelSettings, settings: TrainSettings) -> Measured:
    """The plain loop on random tokens, behind one step that warms up."""
    torch.set_num_threads(settings.threads)
    network = new_model(model, seed=0)

    def mean_loss(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = network.logits(network.hidden(inputs))
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    loss_of = torch.compile(mean_loss, dynamic=False) if settings.compile else mean_loss
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    generator = torch.Generator().manual_seed(0)
    shape = (settings.batch_sequences, settings.sequence_length + 1)
    batch = torch.randint(0, model.vocab_size, shape, generator=generator)
    parts = batch.split(settings.micro_batch_sequences)
    begun = (time.perf_counter(), time.process_time())
    for step in range(settings.steps):
        if step == 1:
            begun = (time.perf_counter(), time.process_time())
        for part in parts:
            (loss_of(part[:, :-1], part[:, 1:]) / len(parts)).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return _between(begun, (time.perf_counter(), time.process_time()), settings)


def _between(start: tuple[float, float], stop: tuple[float, float], settings: TrainSettings) -> Measured:
    return (settings.steps - 1) * settings.batch_tokens, stop[0] - start[0], stop[1] - start[1]


def our_round(shards: ShardSet, model: ModelSettings, settings: TrainSettings) -> Measured:
    """The same of `train`, from its call-backs behind the first and the last step."""
    times: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as out:
        train(
            shards, settings, model=model, out=Path(out),
            progress=lambda _: times.append((time.perf_counter(), time.process_time())),
        )  # fmt: skip
    return _between(times[0], times[-1], settings)


def measure(mode: str, *, threads: int, rounds: int, shards: ShardSet) -> str:
    """Lines that say what came of some rounds in turns."""
    shape = replace(preset("nano"), heads=4, kv_heads=2)
    model = shape.model(VOCABULARY)
    settings = TrainSettings.from_preset(
        shape,
        tokens=(STEPS + 1) * BATCH_SEQUENCES * shape.sequence_length,
        batch_sequences=BATCH_SEQUENCES,
        micro_batch_sequences=MICRO_BATCH,
        threads=threads,
        compile=MODES[mode],
    )
    found: dict[str, list[Measured]] = {"train": [], "plain": []}
    for _ in range(rounds):
        found["train"].append(our_round(shards, model, settings))
        found["plain"].append(plain_round(model, settings))
    size = count_parameters(new_model(model, seed=0)) / 1e6
    lines = [f"{size:.2f} M parameters, {threads} threads, {mode}, OMP_WAIT_POLICY {os.environ['OMP_WAIT_POLICY']}"]
    rates = {name: [tokens / wall for tokens, wall, _ in each] for name, each in found.items()}
    per_cpu = {name: [tokens / cpu for tokens, _, cpu in each] for name, each in found.items()}
    for name, each in rates.items():
        lines.append(
            f"  {name}: {statistics.median(each):,.0f} tokens/s ({min(each):,.0f} to {max(each):,.0f}), "
            f"{statistics.median(per_cpu[name]):,.0f} tokens a CPU second"
        )
    of_rates, of_cpu = (
        statistics.median(each["train"]) / statistics.median(each["plain"]) for each in (rates, per_cpu)
    )
    lines.append(f"  train over plain: {of_rates:.3f} by the clock, {of_cpu:.3f} by CPU time")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu_training")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--modes", default=",".join(MODES), help="between commas (default: both)")
    arguments = parser.parse_args()
    if os.environ.get("OMP_WAIT_POLICY") != "PASSIVE":
        # The threads' library reads it when it is loaded, which has happened.
        command = [sys.executable, "-m", "benchmarks.cpu_training", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"})
    with tempfile.TemporaryDirectory() as folder:
        shards = random_shards(Path(folder), vocab=VOCABULARY, tokens=200_000)
        for mode in arguments.modes.split(","):
            print(measure(mode, threads=arguments.threads, rounds=arguments.rounds, shards=shards), flush=True)


if __name__ == "__main__":
    main()
