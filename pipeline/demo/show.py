"""`tamis demo`: from a crawl to bits per byte, with and without deduplication, on this machine and nothing else."""

import json
import time
from importlib import resources
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.ablation.training import Job, results_of, run_jobs
from pipeline.demo.crawl import make_crawl
from pipeline.progress import Terminal
from pipeline.recipe import Recipe, load_recipe
from pipeline.report.page import funnel_text, write_report
from pipeline.run import Options, make_runner, run
from pipeline.statistics import compare, comparison_table, measured_from

BASELINE, VARIANT = "without-dedup", "with-dedup"
#: Tokens that each of the models trains on: 15 to 20 seconds on one core.
TRAIN_TOKENS = 400_000
PRESET = "demo"
_READY = "ready.json"
_DEDUP = frozenset({"exact_dedup", "near_dedup"})


def show(out: Path, *, workers: int, seeds: int) -> dict[str, Any]:
    """Make the input, run both variants, train, compare, report. Started again, it goes on where it stopped."""
    console, out = Console(), out.absolute()
    started = time.monotonic()
    source = make_input(out, console)
    manifests = run_variants(out, source, workers=workers, console=console)
    results = train_variants(out, source, workers=workers, seeds=seeds, console=console)
    comparison = compare(measured_from(results), baseline=BASELINE)
    results["comparison"] = comparison.as_json()
    place = out / VARIANT
    (place / "results.json").write_text(json.dumps(results, indent=1, sort_keys=True))
    page = write_report(place)
    console.print()
    print(funnel_text(manifests[VARIANT]))
    print()
    print(comparison_table(comparison))
    console.print(
        f"\n{time.monotonic() - started:.0f} s. What happened to one document: tamis explain {place} ID_OR_URL"
    )
    print(f"report    {page.absolute()}")
    return results


def make_input(out: Path, console: Console) -> Path:
    """Crawl, print and hold out, once."""
    source = out / "input"
    if (source / _READY).exists():
        return source
    console.print("Crawling the standard library's documentation over loopback …")
    if source.exists():
        raise ValueError(f"{source} holds half a crawl: delete it and run again")
    summary = make_crawl(source)
    texts = [line for path in sorted((source / "held_out").glob("*.jsonl")) for line in path.read_text().splitlines()]
    (source / "held_out" / "all.jsonl").write_text("\n".join(texts) + "\n")
    (source / _READY).write_text(json.dumps(vars(summary), default=str, indent=1))
    console.print(
        f"  {summary.pages} pages ({summary.html_bytes / 1e6:.0f} MB of HTML), {summary.pdf_pages} pages of PDF in "
        f"{summary.pdfs} files; {summary.held_out_pages} pages held out. Damaged on purpose:"
    )
    for damage in summary.damaged:
        console.print(f"    {damage}", highlight=False)
    return source


def demo_recipe(source: Path, *, dedup: bool, tokenizer: Path | None) -> Recipe:
    """configs/demo.yaml for one of the two variants, its input found where this demo put it."""
    overrides = [f"stages.held_out.against={json.dumps(str(source / 'held_out' / 'all.jsonl'))}"]
    if tokenizer is not None:
        overrides.append(f"tokenizer.path={json.dumps(str(tokenizer))}")
    overrides.append(f"name={'demo-' + (VARIANT if dedup else BASELINE)}")
    with resources.as_file(resources.files("configs") / "demo.yaml") as path:
        recipe = load_recipe(path, overrides=overrides, inputs=[str(source / "crawl"), str(source / "pdf")])
    if dedup:
        return recipe
    stages = tuple(entry for entry in recipe.stages if entry.type not in _DEDUP)
    return recipe.model_copy(update={"stages": stages})


def run_variants(out: Path, source: Path, *, workers: int, console: Console) -> dict[str, dict[str, Any]]:
    """Both runs over one work folder: the second finds everything up to deduplication done. One tokenizer for both."""
    options = {
        name: Options(out=str(out / name), work=str(out / "work"), workers=workers) for name in (BASELINE, VARIANT)
    }
    runner = make_runner(options[BASELINE])
    manifests = {}
    try:
        for name in (BASELINE, VARIANT):
            console.print(f"Run {name}")
            learned = None if name == BASELINE else out / BASELINE / "tokenizer" / "tokenizer.json"
            recipe = demo_recipe(source, dedup=name == VARIANT, tokenizer=learned)
            with Terminal() as progress:
                manifests[name] = run(recipe, options[name], progress=progress, runner=runner)
            write_report(out / name)
    finally:
        runner.close()
    return manifests


def train_variants(out: Path, source: Path, *, workers: int, seeds: int, console: Console) -> dict[str, Any]:
    """Train every variant with every seed, the same tokens for each, and score all on the held-out domains."""
    held_out = sorted(path for path in (source / "held_out").glob("*.jsonl") if path.stem != "all")
    jobs = [
        Job(variant=name, shards=str(out / name / "shards"), seed=seed, preset=PRESET, tokens=TRAIN_TOKENS,
            domains=tuple((path.stem, str(path)) for path in held_out),
            tokenizer=str(out / BASELINE / "tokenizer" / "tokenizer.json"), models=str(out / "models"))
        for seed in range(seeds) for name in (BASELINE, VARIANT)
    ]  # fmt: skip
    console.print(f"Training {len(jobs)} models of {TRAIN_TOKENS:,} tokens each")
    scored: dict[tuple[str, int], dict[str, Any]] = {}

    def done(job: Job, found: dict[str, Any]) -> None:
        scored[job.variant, job.seed] = found
        scores = ", ".join(f"{name} {score['bits_per_byte']:.4f}" for name, score in sorted(found["domains"].items()))
        console.print(f"  {len(scored)}/{len(jobs)}  {job.variant} seed {job.seed}: {scores}", highlight=False)

    run_jobs(jobs, workers=workers, done=done)
    return results_of(scored, baseline=BASELINE)
