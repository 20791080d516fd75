"""`python -m train train|eval|generate`: the training package on its own, for machines that never curate."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tokenizer.bpe import load
from tokenizer.shards import ShardSet
from train.evaluate import evaluate, prepare, protocol, read_domain
from train.export import load_model, load_tokenizer
from train.generate import SampleSettings, generate
from train.loop import DivergedError, train
from train.presets import PRESETS, preset
from train.settings import TrainSettings


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
    command.add_argument("--preset", default="nano", choices=list(PRESETS), help="size of the model (default: nano)")
    command.add_argument("--tokens", type=float, required=True, help="tokens to train on, such as 1e6")
    command.add_argument("--tokenizer", type=Path, help="tokenizer.json of the shards, to store with the model")
    command.add_argument("--max-steps", type=int, help="stop after so many steps; the same command goes on")
    command.add_argument("--learning-rate", type=float, help="peak rate (default: the preset's)")
    command.add_argument("--schedule", choices=["wsd", "cosine", "constant"], default="wsd")
    command.add_argument("--seed", type=int, default=0, help="initial weights and order of the data")
    command.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    command.add_argument("--device", default="cpu", help="cpu or cuda")
    command.add_argument("--compile", action="store_true", help="torch.compile: slow to start, then faster")
    command.add_argument("--checkpoint-every", type=int, default=0, metavar="STEPS", help="default: only at the end")
    command.set_defaults(run=_train)

    command = commands.add_parser("eval", help="bits per byte of a trained model on held-out files")
    command.add_argument("--model", type=Path, required=True, help="folder with config.json and tokenizer.json")
    command.add_argument("--domain", action="append", required=True, metavar="NAME=FILE", help="JSONL or text; repeat")
    command.add_argument("--device", default="cpu", help="cpu or cuda")
    command.add_argument("--json", action="store_true", help="everything, with each document's nats")
    command.set_defaults(run=_evaluate)

    command = commands.add_parser("generate", help="continue a prompt")
    command.add_argument("--model", type=Path, required=True, help="folder with config.json and tokenizer.json")
    command.add_argument("--prompt", default="", help="text to continue (default: the beginning of a document)")
    command.add_argument("--max-new-tokens", type=int, default=SampleSettings.max_new_tokens)
    command.add_argument("--temperature", type=float, default=SampleSettings.temperature, help="0: the likeliest token")
    command.add_argument("--top-k", type=int, default=SampleSettings.top_k, help="0: all tokens")
    command.add_argument("--top-p", type=float, default=SampleSettings.top_p)
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(run=_generate)
    return parser


def _train(arguments: argparse.Namespace) -> None:
    shards = ShardSet.from_folder(arguments.shards)
    chosen = preset(arguments.preset)
    changes: dict[str, Any] = {
        "seed": arguments.seed,
        "schedule": arguments.schedule,
        "threads": arguments.threads,
        "device": arguments.device,
        "compile": arguments.compile,
        "checkpoint_every_steps": arguments.checkpoint_every,
    }
    if arguments.learning_rate is not None:
        changes["learning_rate"] = arguments.learning_rate
    settings = TrainSettings.from_preset(chosen, tokens=int(arguments.tokens), **changes)

    def show(row: dict[str, Any]) -> None:
        if row["step"] % 10 == 0 or row["step"] == settings.steps:
            print(f"step {row['step']}/{settings.steps}  loss {row['loss']}", file=sys.stderr)

    results = train(
        shards,
        settings,
        model=chosen.model(shards.metadata.vocab_size),
        out=arguments.out,
        tokenizer=None if arguments.tokenizer is None else load(arguments.tokenizer.read_bytes()),
        max_steps=arguments.max_steps,
        progress=show,
    )
    print(json.dumps(results, indent=1))


def _evaluate(arguments: argparse.Namespace) -> None:
    domains = {}
    for item in arguments.domain:
        name, equals, path = item.partition("=")
        if not (name and equals and path):
            raise ValueError(f"--domain {item}: write NAME=FILE")
        domains[name] = read_domain(Path(path))
    tokenizer = load_tokenizer(arguments.model)
    model = load_model(arguments.model, device=arguments.device)
    scores = evaluate(model, prepare(domains, tokenizer), end_of_text_id=tokenizer.end_of_text_id)
    if arguments.json:
        used = protocol(tokenizer=tokenizer, context=model.settings.max_position_embeddings)
        print(json.dumps({"protocol": used, "domains": {name: asdict(score) for name, score in scores.items()}}))
        return
    for name, score in scores.items():
        print(f"{name}\t{score.bits_per_byte:.4f} bits per byte\t{score.bytes} bytes in {score.documents} documents")


def _generate(arguments: argparse.Namespace) -> None:
    settings = SampleSettings(
        max_new_tokens=arguments.max_new_tokens,
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        top_p=arguments.top_p,
        seed=arguments.seed,
    )
    model, tokenizer = load_model(arguments.model), load_tokenizer(arguments.model)
    print(arguments.prompt + generate(model, arguments.prompt, settings, tokenizer=tokenizer))


if __name__ == "__main__":
    sys.exit(main())
