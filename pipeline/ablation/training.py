"""Equal models on different data: train each variant with each seed, score all on the same held-out documents.

Seed s fixes the initial weights and the order of the data in every variant, and the held-out documents are the same, so
that what differs between two variants of one seed is the data. A model is addressed by what makes it: shards, settings,
held-out texts and code. So one that was trained for another variant, ablation or call is read back, and one that was
stopped half way goes on from its checkpoint.

On one machine models are trained by processes of their own, one a core or GPU. On a cluster a model is a task like any
other: the runner places it on a free core or GPU of any node, and does it again when its node dies.
"""

import importlib
import json
import multiprocessing
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import torch

from pipeline.engine import key_of
from pipeline.files import Files
from pipeline.keys import library_versions, source_key
from pipeline.orphans import end_with
from pipeline.parts import Output, Task
from pipeline.runners.base import Runner
from tokenizer.bpe import Tokenizer
from tokenizer.shards import ShardSet
from train.alone import alone, alone_in_all
from train.evaluate import evaluate, prepare, protocol, read_domain
from train.export import load_model
from train.loop import train
from train.presets import preset
from train.settings import TrainSettings
from train.several import Member, train_several

#: Points of a loss curve that results.json keeps: enough for a plot, few enough to read.
_CURVE_POINTS = 60
#: Of a model's steps between two checkpoints: at most a twentieth of a run is lost when it is killed.
_CHECKPOINTS = 20
_TRAIN_MODULES = ["train.loop", "train.evaluate", "train.presets"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One model: its data, seed, size and length. Plain values, so that it travels to a process of its own."""

    variant: str
    #: Folder of the token shards.
    shards: str
    seed: int
    preset: str
    tokens: int
    #: Held-out files by domain.
    domains: tuple[tuple[str, str], ...]
    #: tokenizer.json of the shards.
    tokenizer: str
    #: Folder of all models, each under its identity.
    models: str
    #: Peak rate; None: the preset's.
    learning_rate: float | None = None
    optimizer: str = "adamw"
    device: str = "cpu"
    compile: bool = False
    #: Trained together with the other seeds of its variant, see train/several.py.
    stacked: bool = False
    #: Which question of the ablation it belongs to: the pool, or the check of the learning rate.
    group: str = "fixed-pool"

    def settings(self) -> TrainSettings:
        chosen = preset(self.preset)
        # A variant whose recipe orders its shards is trained in that order: it is what the variant asks for.
        ordered = ShardSet.from_folder(self.shards).metadata.order
        changes: dict[str, Any] = {"seed": self.seed, "threads": 1, "optimizer": self.optimizer,
                                   "device": self.device, "compile": self.compile,
                                   "order": "stored" if ordered else "shuffled"}  # fmt: skip
        if self.learning_rate is not None:
            changes["learning_rate"] = self.learning_rate
        settings = TrainSettings.from_preset(chosen, tokens=self.tokens, **changes)
        every = max(1, settings.steps // _CHECKPOINTS)
        return TrainSettings(**{**asdict(settings), "checkpoint_every_steps": every, "keep_checkpoints": 1})

    def vocabulary(self) -> Tokenizer:
        """The tokenizer, checked against the shards and with their separator."""
        return ShardSet.from_folder(self.shards).made_by(Path(self.tokenizer).read_bytes())

    def identity(self) -> str:
        """What makes the model and its scores."""
        texts = {name: read_domain(Path(path)) for name, path in self.domains}
        return key_of(
            ShardSet.from_folder(self.shards).fingerprint,
            self.settings().deciding(mixture=preset(self.preset).mixture is not None),
            # Where float sums may differ in the last bit, it is another model.
            [self.device.partition(":")[0], self.compile, *(["stacked"] if self.stacked else [])],
            asdict(preset(self.preset)),
            texts,
            source_key([*_TRAIN_MODULES, *(["train.several"] if self.stacked else [])]),
            library_versions(["torch"]),
        )

    @property
    def label(self) -> str:
        return f"{self.variant} seed {self.seed}" + ("" if self.group == "fixed-pool" else f" ({self.group})")


@dataclass(frozen=True, kw_only=True)
class Doing:
    """What is done with a job: the name of a function, called as `function(job, identity, **arguments)`, which gives
    JSON values and finds again what it did. Plain values, so that it travels."""

    function: str = f"{__name__}:train_job"
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, job: Job, identity: str) -> dict[str, Any]:
        module, _, name = self.function.partition(":")
        found: dict[str, Any] = getattr(importlib.import_module(module), name)(job, identity, **self.arguments)
        return found


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where models are trained by tasks of a runner. Shards, models and held-out files lie where every node sees them
    under the same name."""

    runner: Runner
    work: str


def run_jobs(
    jobs: Sequence[Job],
    *,
    workers: int,
    done: Callable[[Job, dict[str, Any]], None],
    does: Doing | None = None,
    cluster: Cluster | None = None,
) -> None:
    """Do what `does` says (default: train and score) with every job, `workers` at a time or by the tasks of `cluster`;
    `done` is told of all jobs, as they end. What was done before is read back.

    On CPUs each process has one thread. On GPUs there is a process a GPU, and all jobs of a GPU go through it, so that
    a model is compiled once.
    """
    places: dict[str, list[Job]] = {}
    for job in jobs:
        places.setdefault(job.identity(), []).append(job)
    groups = _together(places) if does is None else [[identity] for identity in places]
    work = [([places[identity][0] for identity in group], group) for group in groups]
    does = does or Doing()
    finished = _by_processes(work, does, workers) if cluster is None else _by_tasks(work, does, cluster)
    for identity, found in finished:
        for job in places[identity]:
            done(job, found)


#: Jobs that are done together, and their identities.
_Work = tuple[list[Job], list[str]]


def _by_processes(work: Sequence[_Work], does: Doing, workers: int) -> Iterator[tuple[str, dict[str, Any]]]:
    workers = min((at_once(group[0].device, workers) for group, _ in work), default=workers)
    # Spinning threads of two trainings on two cores stop each other; a child reads this before it imports torch.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A forked child would inherit the threads' locks of Arrow and Ray.
    context = multiprocessing.get_context("spawn")
    numbers: Queue[int] = context.Queue()
    for number in range(workers):
        numbers.put(number)
    with ProcessPoolExecutor(
        max_workers=workers, mp_context=context, initializer=_begin, initargs=(numbers, os.getpid())
    ) as pool:
        under_way: dict[Future[Any], list[str]] = {}
        for group, identities in work:
            under_way[pool.submit(_do, does, group, identities)] = identities
        for future in as_completed(under_way):
            yield from zip(under_way[future], future.result(), strict=True)


def _by_tasks(work: Sequence[_Work], does: Doing, cluster: Cluster) -> Iterator[tuple[str, dict[str, Any]]]:
    module, _, _ = does.function.partition(":")
    phase = f"train-{key_of(does.function, dict(does.arguments), source_key([module, __name__]))}"
    tasks = [
        Task(phase=phase, unit=key_of(identities), function=f"{__name__}:do_task", only_gpu=_on_gpu(group[0]),
             arguments={"does": does, "jobs": group, "identities": identities})
        for group, identities in work
    ]  # fmt: skip
    for place, commit in cluster.runner.run(cluster.work, tasks):
        found = json.loads(Files(cluster.work).read(commit.files["json"].name))
        for identity, one, environment in zip(work[place][1], found, commit.observed["environments"], strict=True):
            yield identity, one if environment is None else {**one, "environment": environment}


def do_task(output: Output, *, does: Doing, jobs: Sequence[Job], identities: Sequence[str]) -> dict[str, int]:
    """One task of a cluster. Its part holds what came out; where and how long is observed beside it."""
    if _on_gpu(jobs[0]) and not torch.cuda.is_available():
        raise ValueError(
            f"the ablation's model.device is {jobs[0].device}, and node {platform.node()} gave the task no GPU: start "
            "the cluster with nodes that have one, or train on cpu"
        )
    missing = [path for path in (jobs[0].shards, jobs[0].tokenizer) if not Path(path).exists()]
    if missing:
        raise FileNotFoundError(
            f"{missing[0]} is not seen from node {platform.node()}: give an --out that every node sees"
        )
    if [job.identity() for job in jobs] != list(identities):
        raise ValueError(
            f"node {platform.node()} would train another model: its torch, or a preset's file, is not the driver's"
        )
    found = _do(does, jobs, identities)
    output.observed["environments"] = [one.get("environment") for one in found]
    plain = [{name: value for name, value in one.items() if name != "environment"} for one in found]
    output.bytes("json", json.dumps(plain, sort_keys=True).encode())
    return {"models": len(found)}


def _do(does: Doing, jobs: Sequence[Job], identities: Sequence[str]) -> list[dict[str, Any]]:
    if len(jobs) > 1:
        return train_stack(jobs, identities)
    return [does(jobs[0], identities[0])]


def at_once(device: str, workers: int) -> int:
    """Models that this machine trains at the same time. ValueError for GPUs where torch sees none."""
    if not device.startswith("cuda"):
        return workers
    if not (gpus := torch.cuda.device_count()):
        raise ValueError("the ablation's model.device is cuda, and torch sees no GPU here: --set model.device=cpu")
    return min(workers, gpus)


def _on_gpu(job: Job) -> bool:
    return job.device.startswith("cuda")


def _together(places: Mapping[str, list[Job]]) -> list[list[str]]:
    """The identities that are trained in one stack: stacked jobs that differ in their seed alone."""
    groups: dict[Any, list[str]] = {}
    for identity, (job, *_) in places.items():
        groups.setdefault(replace(job, seed=0) if job.stacked else identity, []).append(identity)
    return list(groups.values())


def _begin(numbers: "Queue[int]", parent: int) -> None:
    """In a process of its own, before it meets CUDA: see one GPU and no other. On a CPU it changes nothing. A killed
    driver's trainings end with it, or they would go on beside those of the next call."""
    end_with(parent)
    number = numbers.get()
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    os.environ["CUDA_VISIBLE_DEVICES"] = seen[number] if number < len(seen) and seen[number] else str(number)


def trained(job: Job) -> bool:
    """Whether the model and its scores are there already."""
    return _scores(job, job.identity()).exists()


def train_job(job: Job, identity: str) -> dict[str, Any]:
    """Train and score one model, or read back one that is there; one that was interrupted goes on."""
    scored = _scores(job, identity)
    if not scored.exists():
        if job.stacked:
            return train_stack([job], [identity])[0]
        with alone(scored.parent):
            if not scored.exists():  # nor made by whom this one has waited for
                shards = ShardSet.from_folder(job.shards)
                model = preset(job.preset).model(shards.metadata.vocab_size)
                settings, tokenizer = job.settings(), job.vocabulary()
                results = train(shards, settings, model=model, out=scored.parent, tokenizer=tokenizer)
                _score(job, identity, results)
    found: dict[str, Any] = json.loads(scored.read_text())
    return found


def train_stack(jobs: Sequence[Job], identities: Sequence[str]) -> list[dict[str, Any]]:
    """Train and score jobs that differ in their seed alone, as one batched model; those that are there are read back.

    Nothing is kept of a stack that was stopped half way: it takes minutes, and starts anew.
    """
    with alone_in_all(_scores(job, identity).parent for job, identity in zip(jobs, identities, strict=True)):
        return _train_stack(jobs, identities)


def _train_stack(jobs: Sequence[Job], identities: Sequence[str]) -> list[dict[str, Any]]:
    missing = [place for place, job in enumerate(jobs) if not _scores(job, identities[place]).exists()]
    trained_now: dict[int, dict[str, Any]] = {}
    if missing:
        shards = ShardSet.from_folder(jobs[0].shards)
        members = [
            Member(shards=shards, seed=jobs[n].seed, out=_scores(jobs[n], identities[n]).parent) for n in missing
        ]
        results = train_several(
            members,
            jobs[0].settings(),
            model=preset(jobs[0].preset).model(shards.metadata.vocab_size),
            tokenizer=jobs[0].vocabulary(),
        )
        trained_now = {n: _score(jobs[n], identities[n], one) for n, one in zip(missing, results, strict=True)}
    return [
        trained_now[n] if n in trained_now else json.loads(_scores(job, identities[n]).read_text())
        for n, job in enumerate(jobs)
    ]


def _score(job: Job, identity: str, results: Mapping[str, Any]) -> dict[str, Any]:
    """Score the model that training left, and write what is known of it beside it."""
    scored, settings = _scores(job, identity), job.settings()
    place = scored.parent
    tokenizer = job.vocabulary()
    found = {
        "domains": scores_of(job, place / "model"),
        "curve": _curve(place / "metrics.jsonl", settings.batch_tokens),
        **{name: results[name] for name in ("tokens", "unique_tokens", "epochs", "bytes", "flop", "parameters")},
        "learning_rate": settings.learning_rate,
        "final_loss": results["final_loss"],
        "protocol": protocol(tokenizer=tokenizer, context=preset(job.preset).sequence_length),
        "model": identity,
        "environment": {"seconds": results["speed"]["seconds"], **results["environment"]},
    }
    return write_json(scored, found)


def scores_of(job: Job, folder: Path) -> dict[str, Any]:
    """What the exported model in `folder` scores on the job's domains, document by document."""
    tokenizer = job.vocabulary()
    texts = {name: read_domain(Path(path)) for name, path in job.domains}
    model = load_model(folder, device=job.device)
    scores = evaluate(model, prepare(texts, tokenizer), end_of_text_id=tokenizer.end_of_text_id)
    return {
        name: {
            "bits_per_byte": score.bits_per_byte,
            "perplexity": score.perplexity,
            "bytes": score.bytes,
            "documents": score.documents,
            "documents_sha256": score.documents_sha256,
            "document_nats": score.document_nats,
            "document_bytes": score.document_bytes,
        }
        for name, score in scores.items()
    }


def _scores(job: Job, identity: str) -> Path:
    return Path(job.models) / identity / "scores.json"


def _curve(metrics: Path, batch_tokens: int) -> list[list[float]]:
    """Tokens and the mean loss of the steps since the point before: one small step's loss is that of its few texts."""
    rows = [json.loads(line) for line in metrics.read_text().split("\n") if line]
    every = max(1, len(rows) // _CURVE_POINTS)
    found = []
    for end in range(every, len(rows) + 1, every):
        # A step that was skipped has none.
        losses = [row["loss"] for row in rows[end - every : end] if row["loss"] is not None]
        if losses:
            found.append([rows[end - 1]["step"] * batch_tokens, sum(losses) / len(losses)])
    return found


def results_of(scored: Mapping[tuple[str, int], dict[str, Any]], *, baseline: str) -> dict[str, Any]:
    """The results of all jobs of one question in the form of results.json, the baseline first, seeds in order."""
    variants: dict[str, Any] = {}
    for (variant, seed), found in sorted(scored.items(), key=lambda item: (item[0][0] != baseline, item[0])):
        variants.setdefault(variant, {"seeds": {}})["seeds"][str(seed)] = found
    return {"format": 1, "baseline": baseline, "variants": variants}


def write_json(path: Path, value: dict[str, Any]) -> dict[str, Any]:
    """Write the file in one step; gives the value as it reads back, keys in order."""
    text = json.dumps(value, indent=1, sort_keys=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text)
    beside.replace(path)
    written: dict[str, Any] = json.loads(text)
    return written
