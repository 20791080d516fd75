"""Four variants of the data times three seeds at about 9 M parameters, trained at once: time, and what it resolves.

Part of `python -m benchmarks.gpu`. The text is Python source that every machine has which can run this: the standard
library and PyTorch. Variants: all documents; half of them; all, every fifth with its words in another order; all, every
fifth a copy of another one. What one wants to know: minutes for twelve runs of 176 M tokens (20 a parameter), the noise
between seeds in bits per byte of held-out files, and how large a difference three seeds resolve.
"""

import hashlib
import math
import random
import statistics
import sysconfig
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from tokenizer.bpe import BPESettings, Tokenizer, encode, learn, load
from tokenizer.shards import ShardMetadata, ShardSet, write_shard
from train.evaluate import evaluate, prepare
from train.export import load_model
from train.metrics import model_flop_utilisation
from train.model import ModelSettings
from train.settings import TrainSettings
from train.several import Member, train_several

SEEDS = 3
#: What one run of the real size would train on: 20 tokens a parameter.
FULL_TOKENS = 176_000_000
#: Of a run here: what fits into some 50 seconds for all twelve.
TOKENS, TINY_TOKENS = 16_000_000, 2_048
TEXT_BYTES, TINY_TEXT_BYTES = 24_000_000, 300_000
HELD_OUT_BYTES, TINY_HELD_OUT_BYTES = 1_000_000, 20_000
#: Larger files are tables of numbers more often than programs.
LARGEST_FILE = 200_000
#: Two-sided 95 % of Student's t with 4 x (3 - 1) degrees of freedom.
T_QUANTILE = 2.306


def python_sources(total: int) -> list[str]:
    """Texts of files in an order that depends on their names only, at most `total` bytes of them."""
    roots = [Path(sysconfig.get_paths()["stdlib"]), Path(torch.__file__).parent]
    files = {file.relative_to(root).as_posix(): file for root in roots for file in sorted(root.rglob("*.py"))}
    texts, size = [], 0
    for name in sorted(files, key=lambda name: hashlib.sha256(name.encode()).digest()):
        data = files[name].read_bytes()
        if 500 < len(data) <= LARGEST_FILE:
            texts.append(data.decode("utf-8", "replace"))
            size += len(data)
            if size >= total:
                break
    return texts


def variants(texts: list[str]) -> dict[str, list[str]]:
    """The first one is the baseline."""
    dice = random.Random(0)

    def mixed(text: str) -> str:
        words = text.split(" ")
        dice.shuffle(words)
        return " ".join(words)

    return {
        "all": texts,
        "half": texts[::2],
        "a fifth mixed up": [mixed(text) if row % 5 == 0 else text for row, text in enumerate(texts)],
        "a fifth copies": [texts[row - 1] if row % 5 == 0 else text for row, text in enumerate(texts)],
    }


def shards_of(texts: list[str], folder: Path, tokenizer: Tokenizer) -> ShardSet:
    """One shard, in an order that the seed of the run does not decide."""
    folder.mkdir()
    shuffled = random.Random(1).sample(texts, len(texts))
    tokens, counts = encode(pa.array(shuffled, pa.large_string()), tokenizer)
    docs = pa.table(
        {
            "doc_id": [str(row) for row in range(len(shuffled))],
            "source": ["python"] * len(shuffled),
            "n_bytes": [len(text.encode()) for text in shuffled],
            "n_tokens": counts,
            "tokens": tokens,
        }
    )
    metadata = ShardMetadata(
        tokenizer_sha256=tokenizer.sha256, vocab_size=tokenizer.vocab_size, end_of_text_id=tokenizer.end_of_text_id
    )
    write_shard(folder / "train-00000.parquet", docs, metadata=metadata)
    return ShardSet.from_folder(folder)


def shape(*, tiny: bool) -> tuple[ModelSettings, TrainSettings]:
    """8.8 M parameters: 5 layers of 320, vocabulary 8192."""
    length, batch = (64, 4) if tiny else (512, 64)
    model = ModelSettings(
        vocab_size=512 if tiny else 8192, hidden_size=32 if tiny else 320, num_hidden_layers=1 if tiny else 5,
        num_attention_heads=2 if tiny else 5, num_key_value_heads=2 if tiny else 5, head_dim=16 if tiny else 64,
        intermediate_size=96 if tiny else 864, max_position_embeddings=length,
    )  # fmt: skip
    settings = TrainSettings(
        tokens=TINY_TOKENS if tiny else TOKENS, sequence_length=length, batch_sequences=batch,
        micro_batch_sequences=batch, learning_rate=5e-3, device="cpu" if tiny else "cuda", compile=not tiny,
    )  # fmt: skip
    return model, settings


def run_ablation(work: Path, *, tiny: bool) -> dict[str, Any]:
    """Train all twelve as one stack and score them."""
    begun = time.perf_counter()
    texts = python_sources(TINY_TEXT_BYTES if tiny else TEXT_BYTES)
    size, held_out = TINY_HELD_OUT_BYTES if tiny else HELD_OUT_BYTES, []
    while sum(len(text) for text in held_out) < size:
        held_out.append(texts.pop())
    model, settings = shape(tiny=tiny)
    tokenizer = load(learn(texts[: len(texts) // 3 + 1], BPESettings(vocab_size=model.vocab_size)))
    chosen = variants(texts)
    members = []
    for number, (name, documents) in enumerate(chosen.items()):
        shards = shards_of(documents, work / f"variant-{number}", tokenizer)
        members += [Member(shards=shards, seed=s, out=work / f"{number}-{s}") for s in range(SEEDS)]
        print(f"{name}: {shards.tokens} tokens", flush=True)
    prepared, times = time.perf_counter() - begun, []
    train_several(
        members, settings, model=model, tokenizer=tokenizer,
        progress=lambda row: times.append((time.perf_counter(), row["tokens"])),
    )  # fmt: skip
    # Behind the steps that compile and fill the allocator.
    (first, before), (last, after) = times[len(times) // 4], times[-1]
    rate = len(members) * (after - before) / (last - first)
    scored = prepare({"python": held_out}, tokenizer)
    end = tokenizer.end_of_text_id
    bits = [
        evaluate(load_model(m.out / "model", device=settings.device), scored, end_of_text_id=end)[
            "python"
        ].bits_per_byte
        for m in members
    ]
    flop = model.flop_per_token(settings.sequence_length)
    return {
        "models": len(members),
        "parameters": model.matmul_parameters,
        "tokens_each": settings.steps * settings.batch_tokens,
        "tokens_per_second_together": round(rate),
        "mfu_together": model_flop_utilisation(rate * flop, torch.device(settings.device)),
        "minutes_for_12_runs_of_176_M_tokens": round(len(members) * FULL_TOKENS / rate / 60, 1),
        "seconds": {"text and shards": round(prepared, 1), "all": round(time.perf_counter() - begun, 1)},
        **resolved(bits, list(chosen)),
    }


def resolved(bits: list[float], names: list[str]) -> dict[str, Any]:
    """Noise pooled over the variants, and each variant's difference from the first with its interval."""
    groups = {name: bits[row * SEEDS : (row + 1) * SEEDS] for row, name in enumerate(names)}
    sigma = math.sqrt(statistics.mean(statistics.variance(each) for each in groups.values()))
    half = T_QUANTILE * sigma * math.sqrt(2 / SEEDS)
    base = statistics.mean(groups[names[0]])
    return {
        "bits_per_byte": {name: [round(value, 4) for value in each] for name, each in groups.items()},
        "sigma": round(sigma, 5),
        "half_width_of_a_difference": round(half, 5),
        "differences": {name: round(statistics.mean(groups[name]) - base, 4) for name in names[1:]},
    }
