"""The smallest ablation there is: a few JSON lines, two rules, models of the size `tiny`."""

import json
from pathlib import Path
from typing import Any

from corpus import prose

from pipeline.ablation.experiment import load_experiment
from pipeline.ablation.run import ablate
from pipeline.engine import Silent
from pipeline.run import Options

RECIPE = """\
name: small
input: {{paths: ["{crawl}"]}}
stages:
  - {{type: extract}}
  - {{type: exact_dedup}}
tokenizer: {{vocab_size: 400}}
shards: {{tokens_per_shard: 1000000, validation_fraction: 0.0, seed: 1}}
"""
ABLATION = """\
name: small
base: {folder}/recipe.yaml
baseline: dedup
variants:
  dedup: {{}}
  none: {{without: [exact_dedup]}}
held_out: {{prose: {folder}/held.jsonl}}
held_out_bytes: 1000
model: {{preset: tiny}}
budget: {{tokens: 2048}}
seeds: 1
pools: [fixed-pool]
"""


def lines(start: int, count: int, *, sentences: int = 24) -> str:
    texts = ("\n".join(prose(seed, sentences)) for seed in range(start, start + count))
    return "".join(json.dumps({"text": text}) + "\n" for text in texts)


def make(folder: Path, *, texts: int = 20) -> Path:
    """Recipe, input, held-out texts and ablation.yaml in this folder."""
    (folder / "crawl").mkdir()
    (folder / "crawl" / "web.jsonl").write_text(lines(0, texts))
    (folder / "held.jsonl").write_text(lines(9000, 2))
    (folder / "recipe.yaml").write_text(RECIPE.format(crawl=folder / "crawl"))
    path = folder / "ablation.yaml"
    path.write_text(ABLATION.format(folder=folder))
    return path


def call(path: Path, *overrides: str, workers: int = 1) -> dict[str, Any]:
    """Run it and give results.json."""
    experiment = load_experiment(path, overrides=overrides)
    options = Options(out=str(path.parent / "out"), work=str(path.parent / "work"), runner="inline", workers=workers)
    return ablate(experiment, options, progress=Silent())
