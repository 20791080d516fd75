"""`python -m train COMMAND`: the training package on its own, for machines that never curate."""

import argparse
import datetime as dt
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tokenizer.shards import ShardSet
from train.choices import read_items, score_items
from train.estimate import PEAKS, Device, compute_optimal, estimate, refined_mfu
from train.evaluate import evaluate, prepare, protocol, read_domain
from train.export import EXPORTS, load_model, load_tokenizer
from train.generate import SampleSettings, generate
from train.horizons import train_horizons
from train.loader import ORDERS
from train.loop import DivergedError, train
from train.presets import names, preset
from train.settings import OPTIMIZERS, TrainSettings

_PRESET_HELP = f"size of the model: {', '.join(names())}, or a .toml file like configs/train/nano.toml"

#: Options of `train` that are settings by their own name.
_SHARES = {
    "warmup_fraction": "share of the steps in which the rate rises (default: 0.05)",
    "decay_fraction": "share of the steps at the end in which wsd decays (default: 0.4)",
    "final_fraction": "learning rate at the end, as a share of the peak (default: 0)",
    "weight_decay": "of matrices (default: 0.1)",
    "max_gradient_norm": "gradients are scaled down to it (default: 1)",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0: done; 1: the training failed; 2: the user's mistake."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except DivergedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train", description="Train and measure models on token shards.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("train", help="one model on one set of shards; continues a run that was interrupted")
    command.add_argument("--shards", required=True, help="folder of token shards, local or s3://")
    command.add_argument("--out", type=Path, required=True, help="folder for the curve, checkpoints and the model")
    command.add_argument("--preset", default="nano", metavar="NAME", help=_PRESET_HELP)
    length = command.add_mutually_exclusive_group(required=True)
    length.add_argument("--tokens", type=float, help="tokens to train on, such as 1e6")
    length.add_argument(
        "--horizons", type=_counts, metavar="TOKENS,TOKENS", help="several lengths, such as 1e6,2e6,4e6: one stable "
        "part, from which each branches its decay (schedule wsd); models in OUT/tokens-N",
    )  # fmt: skip
    command.add_argument("--tokenizer", type=Path, help="tokenizer.json of the shards, to store with the model")
    command.add_argument("--max-steps", type=int, help="stop after so many steps; the same command goes on")
    command.add_argument("--learning-rate", type=float, help="peak rate (default: the preset's)")
    command.add_argument("--batch-tokens", type=int, help="tokens of an optimiser step (default: the preset's)")
    for name, what in _SHARES.items():
        command.add_argument(f"--{name.replace('_', '-')}", type=float, help=what)
    command.add_argument("--schedule", choices=["wsd", "cosine", "constant"], default="wsd")
    command.add_argument("--optimizer", choices=OPTIMIZERS, default="adamw")
    command.add_argument("--z-loss", type=float, default=0.0, help="weight of the z-loss (default: 0)")
    command.add_argument("--document-mask", action="store_true", help="positions see their own document only")
    command.add_argument("--untied", action="store_true", help="an output matrix of its own, not the embeddings")
    command.add_argument("--llama", action="store_true", help="without QK-norm, exported as a Llama")
    command.add_argument("--sliding-window", type=int, help="positions that a position sees (default: all)")
    command.add_argument("--micro-batch", type=int, metavar="SEQUENCES", help="sequences at once on a device")
    command.add_argument("--deterministic", action="store_true", help="the same bits every time on a GPU too")
    command.add_argument("--export", choices=EXPORTS, default="hf", help="form of OUT/model (default: hf)")
    command.add_argument("--seed", type=int, default=0, help="initial weights and order of the data")
    command.add_argument("--order", choices=ORDERS, default="shuffled", help="stored: as the shards order documents")
    command.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    command.add_argument("--device", default="cpu", help="cpu or cuda")
    command.add_argument("--compile", action="store_true", help="torch.compile: slow to start, then faster")
    command.add_argument("--checkpoint-every", type=int, default=0, metavar="STEPS", help="default: only at the end")
    command.add_argument("--tensorboard", action="store_true", help="curves for TensorBoard too, in OUT/tensorboard")
    command.set_defaults(run=_train)

    command = commands.add_parser("eval", help="bits per byte of a trained model on held-out files")
    command.add_argument("--model", type=Path, required=True, help="folder with config.json and tokenizer.json")
    command.add_argument("--domain", action="append", required=True, metavar="NAME=FILE", help="JSONL or text; repeat")
    command.add_argument("--device", default="cpu", help="cpu or cuda")
    command.add_argument("--json", action="store_true", help="everything, with each document's nats")
    command.set_defaults(run=_evaluate)

    command = commands.add_parser("choices", help="multiple-choice items by the likelihood of their answers")
    command.add_argument("--model", type=Path, required=True, help="folder with config.json and tokenizer.json")
    command.add_argument("--items", action="append", required=True, metavar="NAME=FILE", help="JSONL[.gz]; repeat")
    command.add_argument("--limit", type=int, help="only the first so many items of each file")
    command.add_argument("--device", default="cpu", help="cpu or cuda")
    command.add_argument("--json", action="store_true", help="everything")
    command.set_defaults(run=_choices)

    command = commands.add_parser("generate", help="continue a prompt")
    command.add_argument("--model", type=Path, required=True, help="folder with config.json and tokenizer.json")
    command.add_argument("--prompt", default="", help="text to continue (default: the beginning of a document)")
    command.add_argument("--max-new-tokens", type=int, default=SampleSettings.max_new_tokens)
    command.add_argument("--temperature", type=float, default=SampleSettings.temperature, help="0: the likeliest token")
    command.add_argument("--top-k", type=int, default=SampleSettings.top_k, help="0: all tokens")
    command.add_argument("--top-p", type=float, default=SampleSettings.top_p)
    command.add_argument("--beams", type=int, default=SampleSettings.beams, help="beam search; nothing is drawn")
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(run=_generate)

    command = commands.add_parser("estimate", help="time, memory and cost of a training run, without running it")
    command.add_argument("--preset", default="p110", metavar="NAME", help=_PRESET_HELP)
    command.add_argument("--vocab-size", type=int, default=32_768)
    command.add_argument("--tokens", type=float, help="tokens to train on (default: 20 a parameter)")
    command.add_argument("--device", default="h200", help=f"{', '.join(PEAKS)}, or the peak in FLOP/s such as 1e12")
    command.add_argument("--devices", type=int, default=1, help="how many (default: 1)")
    command.add_argument("--mfu", type=float, help="share of the peak (default: published runs of this size)")
    command.add_argument("--like", type=Path, help="folder of a run of this model on one device, whose speed is taken")
    command.add_argument("--price", type=float, help="of one device and hour, for the cost")
    command.add_argument("--budget-flop", type=float, help="also the compute-optimal size for so many FLOP")
    command.add_argument("--tokens-per-parameter", type=float, default=20.0, help="default: 20, Chinchilla's")
    command.set_defaults(run=_estimate)
    return parser


def _train(arguments: argparse.Namespace) -> None:
    shards = ShardSet.from_folder(arguments.shards)
    chosen = preset(arguments.preset)
    changes: dict[str, Any] = {
        "seed": arguments.seed,
        "order": arguments.order,
        "schedule": arguments.schedule,
        "threads": arguments.threads,
        "device": arguments.device,
        "compile": arguments.compile,
        "checkpoint_every_steps": arguments.checkpoint_every,
        "optimizer": arguments.optimizer,
        "z_loss": arguments.z_loss,
        "document_mask": arguments.document_mask,
        "deterministic": arguments.deterministic,
        "tensorboard": arguments.tensorboard,
        "export": arguments.export,
    }
    if arguments.micro_batch is not None:
        changes["micro_batch_sequences"] = arguments.micro_batch
    if arguments.learning_rate is not None:
        changes["learning_rate"] = arguments.learning_rate
    changes |= {name: value for name in _SHARES if (value := getattr(arguments, name)) is not None}
    if arguments.batch_tokens is not None:
        sequences, rest = divmod(arguments.batch_tokens, chosen.sequence_length)
        if rest or not sequences:
            raise ValueError(
                f"--batch-tokens {arguments.batch_tokens}: a step is of whole sequences, {chosen.sequence_length} "
                "tokens each in this preset"
            )
        changes["batch_sequences"] = sequences
    tokens = int(arguments.tokens) if arguments.horizons is None else max(arguments.horizons)
    settings = TrainSettings.from_preset(chosen, tokens=tokens, **changes)
    shape = chosen.model(shards.metadata.vocab_size)
    same: dict[str, Any] = {
        "model": replace(
            shape,
            qk_norm=not arguments.llama,
            sliding_window=arguments.sliding_window,
            tie_word_embeddings=not arguments.untied,
        ),
        "out": arguments.out,
        "tokenizer": None if arguments.tokenizer is None else shards.made_by(arguments.tokenizer.read_bytes()),
        "progress": Shown(settings),
    }
    if arguments.horizons is None:
        results: dict[Any, Any] = train(shards, settings, max_steps=arguments.max_steps, **same)
    elif arguments.max_steps is not None:
        raise ValueError("--max-steps does not go with --horizons: interrupt it, the same command goes on")
    else:
        results = train_horizons(shards, settings, horizons=arguments.horizons, **same)
    print(json.dumps(results, indent=1))


def _counts(value: str) -> list[int]:
    """Token counts between commas."""
    return [int(float(each)) for each in value.split(",")]


class Shown:
    """A line on the terminal every ten steps: loss, speed since the last line, time left at that speed."""

    def __init__(self, settings: TrainSettings) -> None:
        self._settings = settings
        self._last = (time.perf_counter(), 0)

    def __call__(self, row: dict[str, Any]) -> None:
        step, steps = row["step"], self._settings.steps
        if step % 10 and step != steps:
            return
        now, (before, first) = time.perf_counter(), self._last
        self._last = (now, step)
        line = f"step {step}/{steps}  loss {row['loss']}"
        # The first line of a call holds the start and, behind a resume, steps that were not made now.
        if 0 < first < step:
            rate = (step - first) / (now - before)
            left = dt.timedelta(seconds=round((steps - step) / rate))
            line += f"  {rate * self._settings.batch_tokens:,.0f} tokens/s  {left} left"
        print(line, file=sys.stderr)


def _evaluate(arguments: argparse.Namespace) -> None:
    domains = {name: read_domain(path) for name, path in _named(arguments.domain, "--domain")}
    tokenizer = load_tokenizer(arguments.model)
    model = load_model(arguments.model, device=arguments.device)
    scores = evaluate(model, prepare(domains, tokenizer), end_of_text_id=tokenizer.end_of_text_id)
    if arguments.json:
        used = protocol(tokenizer=tokenizer, context=model.settings.max_position_embeddings)
        print(json.dumps({"protocol": used, "domains": {name: asdict(score) for name, score in scores.items()}}))
        return
    for name, score in scores.items():
        print(f"{name}\t{score.bits_per_byte:.4f} bits per byte\t{score.bytes} bytes in {score.documents} documents")


def _choices(arguments: argparse.Namespace) -> None:
    files = _named(arguments.items, "--items")
    tokenizer = load_tokenizer(arguments.model)
    model = load_model(arguments.model, device=arguments.device)
    scores = {
        name: score_items(model, read_items(path)[: arguments.limit], tokenizer=tokenizer) for name, path in files
    }
    if arguments.json:
        print(json.dumps({name: asdict(score) for name, score in scores.items()}))
        return
    for name, score in scores.items():
        accuracy = "" if score.accuracy is None else f"\taccuracy {score.accuracy:.4f} of {score.chance:.4f} by chance"
        print(f"{name}\t{score.bits_per_byte:.4f} bits per byte of the answer\t{score.items} items{accuracy}")


def _named(values: Sequence[str], option: str) -> list[tuple[str, Path]]:
    found = []
    for value in values:
        name, equals, path = value.partition("=")
        if not (name and equals and path):
            raise ValueError(f"{option} {value}: write NAME=FILE")
        found.append((name, Path(path)))
    return found


def _generate(arguments: argparse.Namespace) -> None:
    settings = SampleSettings(
        max_new_tokens=arguments.max_new_tokens,
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        top_p=arguments.top_p,
        seed=arguments.seed,
        beams=arguments.beams,
    )
    model, tokenizer = load_model(arguments.model), load_tokenizer(arguments.model)
    print(arguments.prompt + generate(model, arguments.prompt, settings, tokenizer=tokenizer))


def _estimate(arguments: argparse.Namespace) -> None:
    chosen = preset(arguments.preset)
    model = chosen.model(arguments.vocab_size)
    tokens = int(arguments.tokens or arguments.tokens_per_parameter * model.matmul_parameters)
    settings = TrainSettings.from_preset(chosen, tokens=tokens)
    peak = PEAKS.get(arguments.device) or float(arguments.device)
    device = Device(peak_flops=peak, number=arguments.devices, mfu=arguments.mfu, price_per_hour=arguments.price)
    if arguments.like is not None:
        lines = [json.loads(line) for line in (arguments.like / "speed.jsonl").read_text().splitlines()]
        flop = model.flop_per_token(settings.sequence_length)
        device = replace(device, mfu=refined_mfu(lines, flop_per_token=flop, device=replace(device, number=1)))
    found = estimate(model, settings, device)
    if arguments.budget_flop is not None:
        ratio = arguments.tokens_per_parameter
        found["compute_optimal"] = compute_optimal(arguments.budget_flop, tokens_per_parameter=ratio)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    sys.exit(main())
