"""Equal models on different data: train each variant with each seed, score all on the same held-out documents.

Seed s fixes the initial weights and the order of the data in every variant, and the held-out documents are the same, so
that what differs between two variants of one seed is the data. Every variant gets the same tokens, and since the models
are of one shape the same FLOPs; how often it had to repeat its data for that is reported beside the score.
"""

import json
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.engine import key_of
from pipeline.keys import library_versions, source_key
from tokenizer.bpe import load
from tokenizer.shards import ShardSet
from train.evaluate import evaluate, prepare, protocol, read_domain
from train.export import load_model
from train.loop import train
from train.presets import preset
from train.settings import TrainSettings

#: Points of a loss curve that results.json keeps: enough for a plot, few enough to read.
_CURVE_POINTS = 60
_TRAIN_MODULES = ["train.loop", "train.model", "train.loader", "train.loss", "train.evaluate", "train.schedule",
                  "train.settings", "train.presets"]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Job:
    """One model: its data, seed and size. Plain values, so that it travels to a process of its own."""

    variant: str
    #: Folder of the finished run whose shards it reads.
    run: str
    seed: int
    preset: str
    tokens: int
    #: Held-out files by domain.
    domains: tuple[tuple[str, str], ...]
    tokenizer: str
    out: str


def run_jobs(jobs: Sequence[Job], *, workers: int, done: Callable[[Job, dict[str, Any]], None]) -> None:
    """Train every job that has not been trained, `workers` at a time, each on one thread; `done` is told of all."""
    # Spinning threads of two trainings on two cores stop each other; a child reads this before it imports torch.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A forked child would inherit the threads' locks of Arrow and Ray.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=workers, mp_context=context) as pool:
        under_way = {pool.submit(train_job, job): job for job in jobs}
        for future in as_completed(under_way):
            done(under_way[future], future.result())


def train_job(job: Job) -> dict[str, Any]:
    """Train and score one model; a job that was finished before with the same data, settings and code is read back."""
    shards = ShardSet.from_folder(Path(job.run) / "shards")
    texts = {name: read_domain(Path(path)) for name, path in job.domains}
    identity = key_of(
        shards.fingerprint,
        job.seed,
        job.preset,
        job.tokens,
        texts,
        source_key(_TRAIN_MODULES),
        library_versions(["torch"]),
    )
    place = Path(job.out) / f"{job.variant}-seed{job.seed}-{identity}"
    scored = place / "scores.json"
    if scored.exists():
        found: dict[str, Any] = json.loads(scored.read_text())
        return found
    tokenizer = load(Path(job.tokenizer).read_bytes())
    chosen = preset(job.preset)
    settings = TrainSettings.from_preset(chosen, tokens=job.tokens, seed=job.seed, threads=1)
    results = train(shards, settings, model=chosen.model(shards.metadata.vocab_size), out=place, tokenizer=tokenizer)
    scores = evaluate(load_model(place / "model"), prepare(texts, tokenizer), end_of_text_id=tokenizer.end_of_text_id)
    found = {
        "domains": {
            name: {"bits_per_byte": score.bits_per_byte, "bytes": score.bytes, "documents": score.documents}
            for name, score in scores.items()
        },
        "curve": _curve(place / "metrics.jsonl", settings.batch_tokens),
        **{name: results[name] for name in ("tokens", "unique_tokens", "epochs", "bytes", "flop", "parameters")},
        "protocol": protocol(tokenizer=tokenizer, context=chosen.sequence_length),
        "seconds": results["speed"]["seconds"],
        "model": str(place / "model"),
    }
    _write(scored, found)
    return found


def _curve(metrics: Path, batch_tokens: int) -> list[list[float]]:
    rows = [json.loads(line) for line in metrics.read_text().split("\n") if line]
    every = max(1, len(rows) // _CURVE_POINTS)
    return [[row["step"] * batch_tokens, row["loss"]] for row in rows[every - 1 :: every]]


def results_of(scored: Mapping[tuple[str, int], dict[str, Any]], *, baseline: str) -> dict[str, Any]:
    """The results of all jobs in the form of results.json, seeds and variants in order."""
    variants: dict[str, Any] = {}
    for (variant, seed), found in sorted(scored.items(), key=lambda item: (item[0][0] != baseline, item[0])):
        variants.setdefault(variant, {"seeds": {}})["seeds"][str(seed)] = found
    return {"format": 1, "baseline": baseline, "variants": variants}


def _write(path: Path, value: dict[str, Any]) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(value, indent=1, sort_keys=True))
    beside.replace(path)
