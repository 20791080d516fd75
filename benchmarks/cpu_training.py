"""The training loop beside the shortest plain PyTorch loop of the same model, in turns, in one process.

    python -m benchmarks.cpu_training [--threads 2] [--rounds 5] [--compile]      (OMP_WAIT_POLICY=PASSIVE)

The plain loop has what a good one has: the same model, torch's own cross-entropy on all logits at once, fused AdamW,
clipping; no shards, checkpoints, metrics or guard. Prints tokens a second of both (median, lowest and highest round)
and the ratio of the medians.
"""

import argparse
import statistics
import tempfile
import time
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
#: Sequences of 256 tokens at once: the working set of more of them leaves the cache.
MICRO_BATCH = 16
#: Two micro-batches a step, so that accumulation counts; three timed steps behind one that warms up.
BATCH_SEQUENCES = 32
STEPS = 3


def plain_rate(model: ModelSettings, settings: TrainSettings) -> float:
    """Tokens a second of the plain loop on random tokens, behind one step that warms up."""
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
    begun = time.perf_counter()
    for step in range(settings.steps):
        if step == 1:
            begun = time.perf_counter()
        for part in parts:
            (loss_of(part[:, :-1], part[:, 1:]) / len(parts)).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return (settings.steps - 1) * settings.batch_tokens / (time.perf_counter() - begun)


def our_rate(shards: ShardSet, model: ModelSettings, settings: TrainSettings) -> float:
    """The same of `train`, from its call-backs behind the first and the last step."""
    times: list[float] = []
    with tempfile.TemporaryDirectory() as out:
        train(shards, settings, model=model, out=Path(out), progress=lambda _: times.append(time.perf_counter()))
    return (settings.steps - 1) * settings.batch_tokens / (times[-1] - times[0])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu_training")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    nano = preset("nano")
    model = nano.model(VOCABULARY)
    settings = TrainSettings.from_preset(
        nano,
        tokens=(STEPS + 1) * BATCH_SEQUENCES * nano.sequence_length,
        batch_sequences=BATCH_SEQUENCES,
        micro_batch_sequences=MICRO_BATCH,
        threads=arguments.threads,
        compile=arguments.compile,
    )
    rates: dict[str, list[float]] = {"train": [], "plain": []}
    with tempfile.TemporaryDirectory() as folder:
        shards = random_shards(Path(folder), vocab=VOCABULARY, tokens=200_000)
        for _ in range(arguments.rounds):
            rates["train"].append(our_rate(shards, model, settings))
            rates["plain"].append(plain_rate(model, settings))
    print(f"{count_parameters(new_model(model, seed=0)) / 1e6:.2f} M parameters, {arguments.threads} threads")
    for name, found in rates.items():
        print(f"{name}: {statistics.median(found):,.0f} tokens/s ({min(found):,.0f} to {max(found):,.0f})")
    print(f"ratio {statistics.median(rates['train']) / statistics.median(rates['plain']):.3f}")


if __name__ == "__main__":
    main()
