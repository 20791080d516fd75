"""Whether the ablation finds what is known to be there: injected faults, the false verdicts of a null, the power.

    python -m benchmarks.corpus tamis-corpus --megabytes 82 --held-out
    python -m benchmarks.ablation tamis-corpus --out FOLDER [--preset nano-short] [--tokens 1000000] [--seeds 3]

The clean corpus is the HTML of the corpus's English packages, sifted to English and deduplicated; foreign is that of
its packages in one other language. A twentieth of the clean one, chosen by a keyed hash, is held out and scored,
besides the held-out domains reference, guide and code; the mean over these four is what decides, named before any model
is trained.

- Faults: the clean corpus against itself with 5 % of its bytes in ROT13, 5 % copies of one document, a tenth of every
  text boilerplate, 20 % foreign. Each has to be worse at p < .01 (Dunnett's), with all of them tried at once.
- Null: baseline models that differ in the seed alone, split into 3 against 3 a thousand times: the share of verdicts,
  all of them false, has to be near 5 %. The same with normal noise of the standard deviation that was found. By size.
- Power: the smallest difference that 3 seeds resolve, by size. The noise of the size that the faults are tried at is
  pooled over all their variants; that of the other sizes (`--null`) is between their baseline models.

Prints a Markdown page; leaves it and all figures in FOLDER. Interrupted, the same call goes on.
"""

import argparse
import codecs
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import xxhash

from pipeline.ablation.experiment import Budget, Experiment, Model, Variant
from pipeline.ablation.run import ablate
from pipeline.ablation.training import Job, run_jobs, write_json
from pipeline.ablation.variants import Places
from pipeline.engine import Silent
from pipeline.recipe import load_recipe
from pipeline.run import Options, make_runner, run
from pipeline.statistics import compare, smallest_resolved
from train.presets import preset
from train.settings import OPTIMIZERS

#: Shares of the bytes that a fault has in the corpus with it.
ROT13, COPIES, BOILERPLATE, FOREIGN = 0.05, 0.05, 0.10, 0.20
#: Of the corpus by a keyed hash: held out, and kept aside for faults that need more text.
HELD_OUT, ASIDE = 0.05, 0.10
P_VALUE = 0.01
SPLITS = 1000
_SEED = 0xFA17
#: What a page drags along. Real pages of one site repeat it word for word, and so does this.
FOOTER = (
    "Home | About us | Contact | Privacy policy | Terms of use | Sitemap. We use cookies to improve your experience. "
    "By continuing to browse you accept our use of cookies. Sign up for our newsletter and never miss an update. Share "
    "this page on Facebook, Twitter and LinkedIn. Copyright, all rights reserved. Log in | Register | Help. "
)
RECIPE = """\
name: clean
input: {{paths: ["{corpus}"]}}
stages: [{{type: extract}}]
tokenizer: {{vocab_size: {vocabulary}}}
shards: {{validation_fraction: 0.0, seed: 0}}
"""
SIFTED = """\
name: sifted
input: {{paths: {paths}}}
stages:
  - {{type: extract}}
  - {{type: language, keep: [en], min_score: 0.65}}
  - {{type: gopher_quality}}
  - {{type: exact_dedup}}
  - {{type: near_dedup}}
"""
UNSIFTED = """\
name: foreign
input: {{paths: {paths}}}
stages: [{{type: extract, engine: resiliparse}}, {{type: exact_dedup}}]
"""
#: Of the corpus's own held-out domains: those of English text that is no PDF.
DOMAINS = ("reference", "guide", "code")


def packages(corpus: Path, *, english: bool) -> list[str]:
    """HTML archives of the packages to train on that are all English, or all in one other language."""
    rows = [json.loads(line) for line in (corpus / "manifest.jsonl").read_text().splitlines()]
    chosen = [
        row["package"]
        for row in rows
        if row["use"] == "train" and row["html"] and len(row["languages"]) == 2
        if (row["languages"] == "en") == english
    ]
    if not chosen:
        raise ValueError(f"{corpus}: no package is {'English' if english else 'in one other language'}: take more")
    return [str((corpus / "warc" / f"{name}.html.warc.gz").absolute()) for name in chosen]


def extracted(name: str, recipe: str, paths: Sequence[str], *, folder: Path, options: Options) -> list[str]:
    """What a run of the recipe keeps of these archives."""
    path = folder / f"{name}.yaml"
    path.write_text(recipe.format(paths=json.dumps(paths)))
    runner = make_runner(options)
    try:
        own = Options(**{**vars(options), "out": str(folder / name), "publish": False})
        run(load_recipe(path), own, progress=Silent(), runner=runner)
    finally:
        runner.close()
    files = sorted((folder / name / "kept").glob("*.parquet"))
    return [text for file in files for text in pq.read_table(file, columns=["text"])["text"].to_pylist()]


def build(texts: Sequence[str], foreign: Sequence[str], folder: Path) -> dict[str, list[Path]]:
    """Write the clean corpus and its faults; the input files of each variant, `clean` first. And held-out.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    unique = sorted(set(texts), key=_place)
    first, second = round(HELD_OUT * len(unique)), round((HELD_OUT + ASIDE) * len(unique))
    held, aside, clean = unique[:first], unique[first:second], unique[second:]
    if not held or not aside or not clean:
        raise ValueError(f"the corpus has {len(unique)} different texts: too few to hold out a twentieth")
    size = sum(len(text.encode()) for text in clean)
    one = sorted(aside, key=len)[len(aside) // 2]
    files = {
        "held-out": held,
        "clean": clean,
        "rot13": [codecs.encode(text, "rot13") for text in _worth(aside, size * ROT13 / (1 - ROT13), "rot13")],
        "copies": [one] * math.ceil(size * COPIES / (1 - COPIES) / len(one.encode())),
        "boilerplate": [_with_footer(text) for text in clean],
        "foreign": _worth(sorted(set(foreign), key=_place), size * FOREIGN / (1 - FOREIGN), "foreign"),
    }
    for name, rows in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
    return {
        name: [folder / f"{name}.jsonl"] if name in ("clean", "boilerplate")
        else [folder / "clean.jsonl", folder / f"{name}.jsonl"]
        for name in files
        if name != "held-out"
    }  # fmt: skip


def _place(text: str) -> tuple[int, str]:
    return xxhash.xxh3_64_intdigest(text.encode(), _SEED), text


def _worth(texts: Sequence[str], size: float, name: str) -> list[str]:
    """As many of the first texts as reach this many bytes."""
    found, total = [], 0
    for text in texts:
        if total >= size:
            return found
        found.append(text)
        total += len(text.encode())
    if total < 0.9 * size:
        raise ValueError(f"fault {name}: {size:,.0f} bytes are needed and there are {total:,}")
    return found


def _with_footer(text: str) -> str:
    wanted = math.ceil(len(text) * BOILERPLATE / (1 - BOILERPLATE))
    return f"{text}\n{(FOOTER * (wanted // len(FOOTER) + 1))[:wanted]}"


def faults(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Each fault's difference in the macro mean, and whether it was found."""
    macro = results["pools"]["fixed-pool"]["comparison"][-1]
    return [
        {**{name: one[name] for name in ("variant", "difference", "low", "high", "p_value")},
         "found": one["difference"] > 0 and one["p_value"] is not None and one["p_value"] < P_VALUE}
        for one in macro["differences"]
    ]  # fmt: skip


def baseline_models(
    places: Places, *, size: str, seeds: int, tokens: int, domains: dict[str, Path], workers: int, optimizer: str
) -> list[dict[str, float]]:
    """Bits per byte by domain of models of the clean corpus that differ in the seed alone."""
    chosen = preset(size)
    jobs = [
        Job(variant="clean", shards=str(places.run("clean") / "shards"), seed=seed, preset=size,
            tokens=max(1, round(tokens / chosen.batch_tokens)) * chosen.batch_tokens,
            domains=tuple((name, str(path)) for name, path in domains.items()),
            tokenizer=str(places.run("clean") / "tokenizer" / "tokenizer.json"), models=str(places.models),
            learning_rate=chosen.learning_rate, optimizer=optimizer)
        for seed in range(seeds)
    ]  # fmt: skip
    found: dict[int, dict[str, float]] = {}

    def done(job: Job, one: dict[str, Any]) -> None:
        found[job.seed] = {name: one["domains"][name]["bits_per_byte"] for name in domains}
        print(f"  {size} seed {job.seed}: {found[job.seed]}", flush=True)

    run_jobs(jobs, workers=workers, done=done)
    return [found[seed] for seed in range(seeds)]


def false_verdicts(models: Sequence[dict[str, float]]) -> float | None:
    """Share of random splits into 3 against 3 that give a verdict. None with fewer than 6 models."""
    if len(models) < 6:
        return None
    draw = np.random.default_rng(_SEED)
    told = 0
    for _ in range(SPLITS):
        rows = draw.permutation(len(models))[:6]
        told += _verdict([models[row] for row in rows])
    return told / SPLITS


def simulated(sigma: float, mean: float) -> float:
    """The same with normal noise of this standard deviation."""
    draw = np.random.default_rng(_SEED)
    told = sum(_verdict([{"all": value} for value in draw.normal(mean, sigma, 6)]) for _ in range(SPLITS))
    return told / SPLITS


def _verdict(six: Sequence[dict[str, float]]) -> bool:
    measured = {"one": {str(n): six[n] for n in range(3)}, "two": {str(n): six[n + 3] for n in range(3)}}
    return compare(measured, baseline="one").macro.differences[0].verdict != "not resolved"


def noise_of(models: Sequence[dict[str, float]]) -> tuple[float, float]:
    """(mean, standard deviation) of the macro mean."""
    macro = [sum(one.values()) / len(one) for one in models]
    return float(np.mean(macro)), float(np.std(macro, ddof=1))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All of it."""
    out = Path(arguments.out).absolute()
    options = Options(out=str(out / "ablation"), work=str(out / "work"), runner=arguments.runner,
                      workers=arguments.workers)  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    corpus = arguments.corpus
    texts = extracted("sifted", SIFTED, packages(corpus, english=True), folder=out, options=options)
    foreign = extracted("foreign", UNSIFTED, packages(corpus, english=False), folder=out, options=options)
    inputs = build(texts, foreign, out / "corpus")
    (out / "recipe.yaml").write_text(
        RECIPE.format(corpus=out / "corpus" / "clean.jsonl", vocabulary=arguments.vocabulary)
    )
    held_out = {"corpus": str(out / "corpus" / "held-out.jsonl")}
    held_out |= {name: str((corpus / "held_out" / f"{name}.jsonl").absolute()) for name in DOMAINS}
    experiment = Experiment(
        name="faults", base=str(out / "recipe.yaml"), baseline="clean", held_out=held_out,
        held_out_bytes=arguments.held_out_bytes, seeds=arguments.seeds, pools=("fixed-pool",),
        variants={name: Variant(input=tuple(map(str, paths))) for name, paths in inputs.items()},
        model=Model(preset=arguments.preset, optimizer=arguments.optimizer, learning_rate=arguments.learning_rate),
        budget=Budget(tokens=arguments.tokens),
    )  # fmt: skip
    begun = time.monotonic()
    results = ablate(experiment, options, progress=Silent(), told=lambda line: print(line, flush=True))
    places = Places(out=out / "ablation", work=options.work)
    domains = {name: places.held_out / f"{name}.jsonl" for name in held_out}
    macro = results["pools"]["fixed-pool"]["comparison"][-1]
    power = [_resolved(arguments.preset, models=None, mean=None, sigma=macro["sigma"],
                       freedom=macro["degrees_of_freedom"])]  # fmt: skip
    for pair in filter(None, arguments.null.split(",")):
        size, _, seeds = pair.partition("=")
        models = baseline_models(
            places, size=size, seeds=int(seeds), tokens=arguments.tokens, domains=domains, workers=arguments.workers,
            optimizer=arguments.optimizer,
        )  # fmt: skip
        mean, sigma = noise_of(models)
        power.append(_resolved(size, models=models, mean=mean, sigma=sigma, freedom=len(models) - 1))
    epochs = {name: one["allowance"]["epochs"] for name, one in results["pools"]["fixed-pool"]["variants"].items()}
    return write_json(out / "figures.json", {
        "preset": arguments.preset, "optimizer": arguments.optimizer, "tokens": arguments.tokens,
        "seeds": arguments.seeds, "epochs": epochs,
        "faults": faults(results), "power": power, "minutes": round((time.monotonic() - begun) / 60, 1),
    })  # fmt: skip


def _resolved(
    size: str, *, models: Sequence[dict[str, float]] | None, mean: float | None, sigma: float, freedom: int
) -> dict[str, Any]:
    """What 3 seeds resolve at this noise, and the false verdicts among the models where there are any."""
    return {
        "preset": size, "models": len(models or ()), "mean": mean, "sigma": sigma, "degrees_of_freedom": freedom,
        "false": false_verdicts(models or ()),
        "false_simulated": None if mean is None else simulated(sigma, mean),
        "resolved": {
            f"{variants} variants, {chance:.0%}": smallest_resolved(
                sigma=sigma, seeds=3, variants=variants, confidence=0.95, power=chance)
            for variants in (2, 5) for chance in (0.5, 0.8)
        },
    }  # fmt: skip


def page(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    epochs = ", ".join(f"{name} {value:.2f}" for name, value in found["epochs"].items())
    size = f"Size {found['preset']}, {found['optimizer']}, {found['tokens']:,} tokens, {found['seeds']} seeds"
    lines = [f"{size}; {found['minutes']} minutes in this call. Epochs: {epochs}.", ""]
    lines += [f"| fault | bits per byte | 95 % interval | p | found at p < {P_VALUE} |", "|---|---|---|---|---|"]
    for one in found["faults"]:
        interval = "" if one["low"] is None else f"{one['low']:+.4f} to {one['high']:+.4f}"
        lines.append(f"| {one['variant']} | {one['difference']:+.4f} | {interval} | {one['p_value']} | "
                     f"{'yes' if one['found'] else 'NO'} |")  # fmt: skip
    lines.append("")
    for row in found["power"]:
        if row["false"] is not None:
            lines.append(
                f"Null, {row['preset']}: {row['models']} baseline models, {SPLITS} splits into 3 against 3: "
                f"{row['false']:.1%} false verdicts; with normal noise {row['false_simulated']:.1%}."
            )
    lines.append(
        "(The splits of one set of 24 normal values give 2.8 to 7.5 % in 95 of 100 sets, mean 5.0 %: simulated.)"
    )
    names = list(found["power"][0]["resolved"])
    lines += ["", f"| size | sigma | degrees of freedom | {' | '.join(names)} |", "|---" * (3 + len(names)) + "|"]
    for row in found["power"]:
        cells = " | ".join(f"{value:.4f}" for value in row["resolved"].values())
        lines.append(f"| {row['preset']} | {row['sigma']:.5f} | {row['degrees_of_freedom']} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--out", required=True)
    parser.add_argument("--preset", default="nano-short")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="muon")
    parser.add_argument("--learning-rate", type=float, help="default: the preset's; of `--null` each its own")
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--null", default="pico-short=24", help="sizes and their baseline models")
    parser.add_argument("--held-out-bytes", type=int, default=150_000)
    parser.add_argument("--runner", default="inline")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    text = page(measure(arguments))
    (Path(arguments.out) / "figures.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
