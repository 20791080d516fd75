"""A crawl to a model that everyone opens, with the training killed on the way: the whole road in one command.

    python -m benchmarks.walk CRAWL.warc.gz --out FOLDER

`tamis run` makes shards and a vocabulary of the crawl. The same model is trained twice on them, once undisturbed, once
killed (SIGKILL) twice at moments that nothing chose, and continued by the same command. Curve and weights must be the
same bytes; the exported folder must open in transformers with the same logits and, greedily, the same text. Exit code
1 where one of these is not so.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
RECIPE = """
name: walk
input: {{paths: [{paths}]}}
stages:
  - {{type: extract, engine: resiliparse}}
  - {{type: language, keep: [en], min_score: 0.65}}
  - {{type: exact_dedup}}
tokenizer: {{type: bpe, vocab_size: 2048}}
shards: {{tokens_per_shard: 100_000, seed: 0}}
"""
#: Kills of the disturbed training.
KILLS = 2
#: Files that two equal trainings have in common to the byte.
SAME = ("metrics.jsonl", "model/model.safetensors", "model/config.json")


def tamis(*arguments: str) -> str:
    """Standard output of the command line. SystemExit with what it said where it failed."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"tamis {' '.join(arguments)}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def killed_on_the_way(command: list[str], out: Path) -> list[int]:
    """Run the training, kill it behind a checkpoint KILLS times, and let it end. Gives the checkpoints' steps of which
    it was continued."""
    continued = []
    for _ in range(KILLS):
        before = steps_saved(out)
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and steps_saved(out) == before:
                time.sleep(0.002)
            os.kill(process.pid, signal.SIGKILL)
        continued.append(max(steps_saved(out), default=0))
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return continued


def steps_saved(out: Path) -> list[int]:
    return sorted(int(path.name.split("-")[1]) for path in (out / "checkpoints").glob("step-*"))


def opened(folder: Path, prompt: str) -> dict[str, Any]:
    """The exported folder in transformers beside our own code."""
    from transformers import AutoModelForCausalLM, AutoTokenizer  # an extra: the rest of the walk needs it not

    from train.export import load_model, load_tokenizer
    from train.generate import SampleSettings, generate

    theirs, words = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    ours, tokenizer = load_model(folder), load_tokenizer(folder)
    ids = torch.tensor([[tokenizer.end_of_text_id, *words(prompt)["input_ids"]]])
    with torch.no_grad():
        difference = (theirs(ids).logits - ours.logits(ours.hidden(ids))).abs().max().item()
        # The padding rows of the vocabulary have no text.
        idle = list(range(tokenizer.vocab_size, ours.settings.vocab_size)) or None
        whole = theirs.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False, suppress_tokens=idle,
            pad_token_id=tokenizer.end_of_text_id,
        )  # fmt: skip
    text = words.decode(whole[0, ids.shape[1] :], skip_special_tokens=True)
    mine = generate(ours, prompt, SampleSettings(temperature=0.0, max_new_tokens=20), tokenizer=tokenizer)
    return {"largest_difference_of_a_logit": difference, "greedy_text": mine, "same_greedy_text": mine == text}


def walk(shards: Path, tokenizer: Path, out: Path, *, preset: str, tokens: int, prompt: str) -> dict[str, Any]:
    """From shards on; what was found."""
    command = [sys.executable, "-m", "train", "train", "--shards", str(shards), "--tokenizer", str(tokenizer)]
    command += ["--preset", preset, "--tokens", str(tokens), "--checkpoint-every", "5", "--out"]
    subprocess.run([*command, str(out / "whole")], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    continued = killed_on_the_way([*command, str(out / "killed")], out / "killed")
    results = json.loads((out / "killed" / "results.json").read_text())
    same = {name: (out / "whole" / name).read_bytes() == (out / "killed" / name).read_bytes() for name in SAME}
    return {
        "steps": results["steps"],
        "final_loss": results["final_loss"],
        "continued_from_steps": continued,
        "same_bytes": same,
        **opened(out / "killed" / "model", prompt),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.walk")
    parser.add_argument("crawl", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder for all of it")
    parser.add_argument("--preset", default="pico")
    parser.add_argument("--tokens", type=float, default=2.5e5)
    parser.add_argument("--prompt", default="The ")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    recipe = arguments.out / "walk.yaml"
    recipe.write_text(RECIPE.format(paths=", ".join(json.dumps(str(path.resolve())) for path in arguments.crawl)))
    run = arguments.out / "run"
    tamis("run", str(recipe), "--out", str(run), "--work", str(arguments.out / "work"), "--runner", "inline")
    tokenizer = next((run / "tokenizer").glob("tokenizer.json"))
    found = walk(
        run / "shards", tokenizer, arguments.out, preset=arguments.preset, tokens=int(arguments.tokens),
        prompt=arguments.prompt,
    )  # fmt: skip
    print(json.dumps(found, indent=1))
    good = all(found["same_bytes"].values()) and found["largest_difference_of_a_logit"] <= 1e-5
    return int(not (good and found["same_greedy_text"]))


if __name__ == "__main__":
    sys.exit(main())
