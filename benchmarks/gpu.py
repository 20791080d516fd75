"""Everything that docs/benchmarks.md says of training on one GPU, in one call of under nine minutes.

    python -m benchmarks.gpu --out FOLDER            from the root, on the machine with the GPU
    python -m benchmarks.gpu --out FOLDER --tiny     the same code on small shapes on a CPU, in seconds

Needs torch, numpy, pyarrow, tokenizers and safetensors only; makes its own random shards. Every case runs in a process
of its own, so that one that fails or hangs costs its own row, which then says why. FOLDER/gpu.json holds everything,
FOLDER/gpu.md the table and where the time goes.
"""

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from benchmarks.gpu_ablation import run_ablation
from tokenizer.bpe import binary_array
from tokenizer.shards import ShardMetadata, ShardSet, write_shard
from train.attention import KERNELS, pinned
from train.loop import train
from train.metrics import model_flop_utilisation
from train.model import ModelSettings, count_parameters, new_model
from train.settings import TrainSettings
from train.several import Member, train_several

ROOT = Path(__file__).parents[1]
#: All cases together: a lent machine's command ends at ten minutes, and its start and the last case need some of them.
BUDGET_SECONDS = 520.0
#: One case. Expected, with start and compilation: ceilings 20, 124m 80, 350m 110, 50m-8k 50, 20m-x4 60, 9m-4x3 130,
#: 20m 45, resume 25: 520 seconds together, so that the last ones depend on how fast the machine compiles.
CASE_SECONDS = 170.0
#: A case is left out where less than this is left.
LEAST_SECONDS = 30.0
#: Steps whose metrics are fetched together, and therefore timed together.
WINDOW = 4
#: Windows before the measured ones: compilation and the allocator's first blocks.
WARM_WINDOWS = 2
SHARD_TOKENS, TINY_SHARD_TOKENS = 8_000_000, 40_000


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the table: a shape and how it is trained."""

    about: str
    #: What the project set out to reach.
    target: str = ""
    layers: int = 2
    hidden: int = 768
    heads: int = 6
    ffn: int = 2048
    vocab: int = 50_304
    tied: bool = True
    sequence_length: int = 1024
    batch_sequences: int = 256
    micro: int = 64
    models: int = 1
    windows: int = 5
    changes: dict[str, Any] = field(default_factory=dict)

    def model(self, *, tiny: bool) -> ModelSettings:
        return ModelSettings(
            vocab_size=512 if tiny else self.vocab,
            hidden_size=64 if tiny else self.hidden,
            num_hidden_layers=1 if tiny else self.layers,
            num_attention_heads=2 if tiny else self.heads,
            num_key_value_heads=2 if tiny else self.heads,
            head_dim=32 if tiny else self.hidden // self.heads,
            intermediate_size=192 if tiny else self.ffn,
            max_position_embeddings=64 if tiny else self.sequence_length,
            tie_word_embeddings=self.tied,
        )

    def settings(self, *, tiny: bool) -> TrainSettings:
        sequences, length = (8, 64) if tiny else (self.batch_sequences, self.sequence_length)
        windows = 1 if tiny else self.windows
        steps = WINDOW * (WARM_WINDOWS + windows + 1)
        common: dict[str, Any] = {"device": "cpu"} if tiny else {"device": "cuda", "compile": True}
        return TrainSettings(
            tokens=steps * sequences * length,
            sequence_length=length,
            batch_sequences=sequences,
            micro_batch_sequences=8 if tiny else self.micro,
            # The smallest published one: random tokens have nothing to learn.
            learning_rate=1e-3,
            log_every_steps=WINDOW,
            **common,
            **self.changes,
        )


#: Shapes that several cases share. Heads of 128 numbers suit Hopper's attention kernels better than of 64.
_124M: dict[str, Any] = {"layers": 12, "hidden": 768, "heads": 6, "ffn": 2048}
_20M: dict[str, Any] = {"layers": 8, "hidden": 384, "heads": 6, "ffn": 1024, "vocab": 16_384, "micro": 64}
#: In order of importance: the last ones are left out first where time runs out.
TRAINING = {
    "124m": Case(about="124 M, T = 1024", target="48 % MFU", **_124M),
    "350m": Case(
        about="360 M, T = 1024", target="50 % MFU", layers=24, hidden=1024, heads=8, ffn=2816, micro=32,
        batch_sequences=128, windows=4,
    ),
    # 48 M parameters, of which 42 M are multiplied: few wide layers suit a GPU best.
    "50m-8k": Case(
        about="48 M, vocabulary 8192, untied", target="1.8 M tokens/s", layers=5, vocab=8192, tied=False, micro=128,
    ),
    "20m-x4": Case(
        about="four of 20 M at once", target="35 % MFU", models=4, batch_sequences=128, **{**_20M, "micro": 32}
    ),
    "20m": Case(about="one of 20 M", batch_sequences=128, **_20M),
    "124m-flash": Case(about="124 M, flash kernel", windows=2, changes={"attention": "flash"}, **_124M),
    "124m-muon": Case(about="124 M, Muon", windows=2, changes={"optimizer": "muon"}, **_124M),
}  # fmt: skip
CASES = ["ceilings", "124m", "350m", "50m-8k", "20m-x4", "9m-4x3", "20m", "resume", "124m-flash", "124m-muon"]


def random_shards(folder: Path, *, vocab: int, tokens: int) -> ShardSet:
    """Documents of 1000 random tokens each. Token 0 ends a document."""
    if not (folder / "train-00000.parquet").exists():
        folder.mkdir(parents=True, exist_ok=True)
        counts = np.full(tokens // 1000, 1000, np.int64)
        ids = np.random.default_rng(0).integers(1, vocab, counts.sum()).astype("<u2")
        names = [str(row) for row in range(len(counts))]
        columns = {"doc_id": names, "source": ["random"] * len(names), "n_bytes": counts * 4, "n_tokens": counts}
        metadata = ShardMetadata(tokenizer_sha256="0" * 64, vocab_size=vocab, end_of_text_id=0)
        docs = pa.table({**columns, "tokens": binary_array(ids, counts)})
        write_shard(folder / "train-00000.parquet", docs, metadata=metadata)
    return ShardSet.from_folder(folder)


class MeasuredError(Exception):
    """Ends a training that has been measured: its checkpoint and its model would cost time and are wanted by none."""


class Watch:
    """Given as `progress`: notes when each window of steps was done, profiles the last one of `windows`, and raises
    MeasuredError then."""

    def __init__(self, windows: int) -> None:
        self._last = windows
        self._profiler = torch.profiler.profile(acc_events=True)
        self._profiled_from = 0.0
        self.begun = time.perf_counter()
        #: (seconds, tokens) behind each window; the profiled one is not among them.
        self.windows: list[tuple[float, int]] = []
        self.profile: dict[str, Any] = {}

    def __call__(self, row: dict[str, Any]) -> None:
        window, within = divmod(row["step"], WINDOW)
        if within:
            return
        if window == self._last:
            seconds = time.perf_counter() - self._profiled_from
            self._profiler.stop()
            self.profile = top_operations(self._profiler, seconds)
            raise MeasuredError
        self.windows.append((time.perf_counter() - self.begun, row["tokens"]))
        if window == self._last - 1:
            self._profiler.start()
            self._profiled_from = time.perf_counter()

    def rates(self) -> list[float]:
        """Tokens/s of the measured windows."""
        measured = self.windows[WARM_WINDOWS - 1 :]
        return [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.pairwise(measured)]


#: Kernel names by what they do, first match counts.
KINDS = (
    ("attention", ("fmha", "flash", "sdpa", "attention", "cudnn_generated")),
    ("matrix products", ("gemm", "nvjet", "cutlass", "cublas", "xmma", "mm", "bmm")),
    ("optimiser", ("adam", "multi_tensor", "lerp", "foreach")),
    ("copies", ("memcpy", "memset", "copy_")),
    ("fused elementwise and reductions", ("triton",)),
)


def top_operations(profiler: Any, seconds: float) -> dict[str, Any]:
    """Shares of the profiled window: of each kind of kernel, of the ten longest ones, and with none running."""
    gpu = torch.cuda.is_available()
    times: dict[str, float] = {}
    for event in profiler.key_averages():
        # Kernels themselves, not the operators that launch them, whose time would count them again.
        if gpu == (event.device_type == torch.autograd.DeviceType.CUDA):
            spent = event.self_device_time_total if gpu else event.self_cpu_time_total
            if spent > 0:
                times[event.key] = times.get(event.key, 0.0) + spent / 1e6
    kinds: dict[str, float] = {}
    for name, spent in times.items():
        kind = next((kind for kind, words in KINDS if any(word in name.lower() for word in words)), "other")
        kinds[kind] = kinds.get(kind, 0.0) + spent
    longest = sorted(times.items(), key=lambda item: -item[1])[:10]
    return {
        "seconds": round(seconds, 4),
        "kinds": {kind: round(spent / seconds, 4) for kind, spent in sorted(kinds.items(), key=lambda i: -i[1])},
        "none_running": round(max(0.0, 1 - sum(times.values()) / seconds), 4) if gpu else None,
        "longest": [{"name": name[:120], "share": round(spent / seconds, 4)} for name, spent in longest],
    }


def run_training(case: Case, work: Path, *, tiny: bool) -> dict[str, Any]:
    """One model, or several at once, trained on random tokens."""
    model, settings = case.model(tiny=tiny), case.settings(tiny=tiny)
    tokens = TINY_SHARD_TOKENS if tiny else SHARD_TOKENS
    shards = random_shards(work / f"shards-{model.vocab_size}", vocab=model.vocab_size, tokens=tokens)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        out = Path(folder)
        watch = Watch(settings.steps // WINDOW)
        members = [Member(shards=shards, seed=n, out=out / str(n)) for n in range(case.models)]
        with suppress(MeasuredError):
            if case.models == 1:
                train(shards, settings, model=model, out=out, progress=watch)
            else:
                train_several(members, settings, model=model, progress=watch)
    rates = [rate * case.models for rate in watch.rates()]
    device = torch.device(settings.device)
    cuda = device.type == "cuda"
    rate, flop = statistics.median(rates), model.flop_per_token(settings.sequence_length)
    return {
        "about": case.about,
        "target": case.target,
        "parameters": count_parameters(new_model(model, seed=0)),
        "matmul_parameters": model.matmul_parameters,
        "flop_per_token": flop,
        "tokens_per_second": {"median": round(rate), "low": round(min(rates)), "high": round(max(rates))},
        "tflop_per_second": round(rate * flop / 1e12, 2),
        "mfu": model_flop_utilisation(rate * flop, device),
        "peak_allocated_bytes": torch.cuda.max_memory_allocated() if cuda else None,
        "peak_reserved_bytes": torch.cuda.max_memory_reserved() if cuda else None,
        "first_steps_seconds": round(watch.windows[0][0], 1),
        "batch_tokens": settings.batch_tokens,
        "micro_batch_sequences": settings.micro_batch_sequences,
        "attention": [kernel.name for kernel in KERNELS[settings.attention]] if cuda else ["cpu"],
        "profile": watch.profile,
    }


def run_ceilings(*, tiny: bool) -> dict[str, Any]:
    """What the device gives without us: a large bf16 product, and each attention kernel forward and backward."""
    device, n = ("cpu", 64) if tiny else ("cuda", 8192)
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    product = seconds_of(lambda: a @ b, device)
    found: dict[str, Any] = {"matmul_tflop_per_second": round(2 * n**3 / product / 1e12, 3)}
    sequences, t = (2, 64) if tiny else (64, 1024)
    for heads, size in ((6, 128), (12, 64)):
        shape = (sequences, heads, t, size)
        q, k, v = (torch.randn(shape, device=device, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))

        def attention(q: Any = q, k: Any = k, v: Any = v) -> None:
            y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            torch.autograd.grad(y.sum(), (q, k, v))

        for kernel in ("cudnn", "flash"):
            with pinned(kernel, torch.device(device)):
                spent = seconds_of(attention, device)
            # Forward 2 products, backward 5, causal halves them.
            flop = 7 * 2 * sequences * heads * t * t * size / 2
            found[f"attention_{kernel}_{heads}x{size}_tflop_per_second"] = round(flop / spent / 1e12, 3)
    return found


def seconds_of(work: Callable[[], Any], device: str, *, repeats: int = 10) -> float:
    """Mean of some calls behind three that warm up."""
    for _ in range(3):
        work()
    if device == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(repeats):
        work()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - begun) / repeats


def run_resume(work: Path, *, tiny: bool) -> dict[str, Any]:
    """Whether an interrupted run gives the bits of an undisturbed one in deterministic mode."""
    case = Case(about="", hidden=256, heads=4, ffn=704, vocab=4096, sequence_length=256, batch_sequences=32)
    model = case.model(tiny=tiny)
    tokens = TINY_SHARD_TOKENS
    shards = random_shards(work / f"resume-{model.vocab_size}", vocab=model.vocab_size, tokens=tokens)
    length = model.max_position_embeddings
    settings = TrainSettings(
        tokens=12 * 32 * length, sequence_length=length, batch_sequences=32, learning_rate=1e-3, deterministic=True,
        device="cpu" if tiny else "cuda",
    )  # fmt: skip
    curves = []
    with tempfile.TemporaryDirectory(dir=work) as folder:
        for name, stops in (("whole", [None]), ("cut", [5, None])):
            for stop in stops:
                train(shards, settings, model=model, out=Path(folder) / name, max_steps=stop)
            curves.append((Path(folder) / name / "metrics.jsonl").read_bytes())
    return {"steps": settings.steps, "identical": curves[0] == curves[1]}


def run_case(name: str, work: Path, *, tiny: bool, attention: str | None = None) -> dict[str, Any]:
    if name == "ceilings":
        return run_ceilings(tiny=tiny)
    if name == "resume":
        return run_resume(work, tiny=tiny)
    if name == "9m-4x3":
        return run_ablation(work, tiny=tiny)
    case = TRAINING[name]
    if attention is not None:
        case = replace(case, changes={**case.changes, "attention": attention})
    return run_training(case, work, tiny=tiny)


def run_with_fallback(name: str, work: Path, end: float) -> dict[str, Any]:
    """The case; where it fails at once, as a kernel does that does not know the shape, again with flash attention."""
    result = run_apart(name, work, min(end - time.monotonic(), CASE_SECONDS))
    left = end - time.monotonic()
    if "failed" in result and "timed_out" not in result and name in TRAINING and left > LEAST_SECONDS:
        again = run_apart(name, work, min(left, CASE_SECONDS), "--attention", "flash")
        return {**again, "first_attempt": result["failed"]}
    return result


def run_apart(name: str, work: Path, seconds: float, *options: str) -> dict[str, Any]:
    """The case in a process of its own, or why there is no result."""
    answer = work / f"{name}.json"
    command = [sys.executable, "-m", "benchmarks.gpu", "--out", str(work), "--case", name, *options]
    environment = dict(os.environ)
    if name == "resume":
        # PyTorch wants this set before its first product for `deterministic`.
        environment["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"not done after {seconds:.0f} seconds", "timed_out": True}
    if done.returncode:
        return {"failed": done.stderr.strip()[-1500:]}
    result: dict[str, Any] = json.loads(answer.read_text())
    return result


def environment_of() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def table(found: dict[str, Any]) -> str:
    """Markdown: the cases, then where the time goes."""
    device, torch_version, python = (found["environment"][name] for name in ("device", "torch", "python"))
    lines = [
        f"{device}, torch {torch_version}, Python {python}. MFU: (6 N_matmul + 12 L H E T) tokens/s over 989 TFLOP/s.",
        "",
        "| model | aim | tokens/s: median (low to high) | TFLOP/s | MFU | memory, GB | first steps, s |",
        "|---|---|---|---|---|---|---|",
    ]
    profiles = []
    for name, row in found["cases"].items():
        if "failed" in row:
            lines.append(f"| {name} | | not measured: {row['failed'].splitlines()[-1][:160]} | | | | |")
        elif "tokens_per_second" in row:
            rate, memory = row["tokens_per_second"], row["peak_allocated_bytes"]
            share = f"{row['mfu']:.1%}" if row["mfu"] else "n/a"
            size = f"{memory / 1e9:.1f}" if memory else "n/a"
            spread = f"{rate['median']:,} ({rate['low']:,} to {rate['high']:,})"
            lines.append(
                f"| {row['about']} | {row['target']} | {spread} | {row['tflop_per_second']} | {share} | {size} | "
                f"{row['first_steps_seconds']} |"
            )
            if row["profile"]:
                profiles.append(profile_lines(row))
        else:
            lines.append(f"| {name} | | {json.dumps(row)} | | | | |")
    return "\n".join([*lines, "", *profiles]) + "\n"


def profile_lines(row: dict[str, Any]) -> str:
    profile = row["profile"]
    kinds = ", ".join(f"{kind} {share:.1%}" for kind, share in profile["kinds"].items())
    idle = "" if profile["none_running"] is None else f"; no kernel running {profile['none_running']:.1%}"
    longest = "\n".join(f"- {item['share']:.1%} `{item['name']}`" for item in profile["longest"])
    return f"{row['about']}: {kinds}{idle}. Longest:\n{longest}\n"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for gpu.json and gpu.md")
    parser.add_argument("--tiny", action="store_true", help="small shapes on a CPU, in this process")
    parser.add_argument("--case", choices=CASES, help="only this one, in this process")
    parser.add_argument("--attention", choices=sorted(KERNELS), help="the kernel of --case, in place of its own")
    parser.add_argument("--seconds", type=float, default=BUDGET_SECONDS, help="for all cases together")
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.case:
        result = run_case(arguments.case, arguments.out, tiny=arguments.tiny, attention=arguments.attention)
        (arguments.out / f"{arguments.case}.json").write_text(json.dumps(result))
        return 0
    if not arguments.tiny and not torch.cuda.is_available():
        print("error: there is no GPU here; --tiny runs the same code on a CPU", file=sys.stderr)
        return 2
    end = time.monotonic() + arguments.seconds
    found: dict[str, Any] = {"environment": environment_of(), "tiny": arguments.tiny, "cases": {}, "seconds": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name in CASES:
            begun = time.monotonic()
            if arguments.tiny:
                found["cases"][name] = run_case(name, Path(folder), tiny=True)
            elif end - begun < LEAST_SECONDS:
                found["cases"][name] = {"failed": "no time left"}
            else:
                found["cases"][name] = run_with_fallback(name, Path(folder), end)
            found["seconds"][name] = round(time.monotonic() - begun, 1)
            print(name, json.dumps(found["cases"][name])[:400], file=sys.stderr, flush=True)
            # Written behind every case, so that an end from outside leaves what is known.
            (arguments.out / "gpu.json").write_text(json.dumps(found, indent=1) + "\n")
            (arguments.out / "gpu.md").write_text(table(found))
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
