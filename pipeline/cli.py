"""The `tamis` command. Options say where and how much; the recipe says what.

Exit codes: 0 done, 1 failed (the run, a check), 2 the user's mistake (recipe, option, path).
"""

import functools
import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pipeline import classifier, extractor, shards, vocabulary
from pipeline.ablation import command as ablation
from pipeline.browse.command import browse_command
from pipeline.contamination import as_json as findings_json
from pipeline.contamination import as_text
from pipeline.contamination import contamination as find_items
from pipeline.dups import dups as show_dups
from pipeline.estimate import estimate_corpus_command
from pipeline.exits import told
from pipeline.explain import explain as explain_document
from pipeline.housekeeping import gc_command
from pipeline.log import JsonLines
from pipeline.phases.mix import mix_text
from pipeline.phases.order import order_text
from pipeline.plan import plan as plan_recipe
from pipeline.progress import Terminal
from pipeline.recipe import Recipe, RecipeError, load_recipe
from pipeline.report.page import funnel_text
from pipeline.report.place import report_of
from pipeline.run import Options, default_work
from pipeline.run import run as run_recipe
from pipeline.runners.needs import parse_needs
from pipeline.show_extraction import show_extraction
from pipeline.status import status_command
from pipeline.takedown import remove_command
from pipeline.verify import verify as verify_run

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Turns crawl dumps into token shards, and measures what each curation choice is worth.",
)  # fmt: skip
app.add_typer(classifier.app, name="classifier", help="Train and evaluate fastText classifiers on your own labels.")
app.add_typer(extractor.app, name="extractor", help="Learn what the engine tamis takes for main text.")
app.add_typer(vocabulary.app, name="tokenizer", help="Learn a vocabulary, or measure what one costs.")
app.add_typer(ablation.app, name="ablate", help="What each data choice is worth: variants x seeds to verdicts.")
app.add_typer(shards.app, name="shards", help="Look at token shards, or export them.")

app.command("browse")(browse_command)
app.command("gc")(gc_command)
app.command("remove")(remove_command)
app.command("status")(status_command)

RecipePath = Annotated[Path, typer.Argument(help="the recipe, a YAML file; see configs/")]
RunFolder = Annotated[str, typer.Argument(help="folder of a finished run, as given by --out; local or s3://")]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", help="file, folder or pattern to read instead of the recipe's; repeatable"),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", help="change one setting: KEY=VALUE, e.g. stages.quality.min_score=0.2; repeatable"),
]
Sample = Annotated[float | None, typer.Option(help="read this fraction of the documents, chosen by a hash of their id")]
Work = Annotated[str | None, typer.Option(help="folder of cached phases, shared by runs [default: beside --out]")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]


def _recipe(path: Path, inputs: list[str] | None, sets: list[str] | None, sample: float | None) -> Recipe:
    overrides = [*(sets or []), *([f"input.sample={sample}"] if sample is not None else [])]
    recipe = load_recipe(path, overrides=overrides, inputs=inputs or [])
    if not recipe.input.paths:
        raise RecipeError(f"{path}: input.paths is empty. Name the input there, or give --input PATH.")
    return recipe


@app.command()
def run(
    recipe: RecipePath,
    out: Annotated[str | None, typer.Option(help="folder for the results [default: tamis-out/NAME]")] = None,
    work: Work = None,
    inputs: Inputs = None,
    sample: Sample = None,
    runner: Annotated[str, typer.Option(help="ray (parallel) or inline (this process)")] = "ray",
    workers: Annotated[int | None, typer.Option(min=1, help="tasks at the same time [default: all cores]")] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="a running Ray cluster's address, or auto; see docs/manual/cluster.md")
    ] = None,
    needs: Annotated[
        list[str] | None,
        typer.Option(
            "--need",
            help="what a phase's tasks hold: PHASE=cpu:1,memory:2GB,gpu:1; PHASE may be a pattern; repeatable",
        ),
    ] = None,
    sets: Sets = None,
    log: Annotated[str, typer.Option(help="progress on standard error: text, or json (one object a line)")] = "text",
    as_json: AsJson = False,
) -> None:
    """Take a crawl through every stage of a recipe. Interrupted, the same command goes on where it stopped."""
    with told():
        if runner not in ("ray", "inline"):
            raise RecipeError(f"--runner {runner!r}: choose ray or inline")
        if log not in ("text", "json"):
            raise RecipeError(f"--log {log!r}: choose text or json")
        chosen = _recipe(recipe, inputs, sets, sample)
        place = out or f"tamis-out/{chosen.name}"
        options = Options(
            out=place, work=work or default_work(place), runner=runner, workers=workers or 0, ray_address=ray_address,
            needs=parse_needs(needs or []),
        )  # fmt: skip
        with JsonLines() if log == "json" else Terminal() as progress:
            manifest = run_recipe(chosen, options, progress=progress)
            progress.closing(manifest)
        report_path = report_of(place)
        if as_json:
            print(json.dumps(manifest, indent=1, sort_keys=True))
            return
        print(funnel_text(manifest))
        print(f"\nroot      {manifest['root']}")
        if mixed := (manifest["shards"] or {}).get("mix"):
            print(mix_text(mixed))
        if ordered := (manifest["shards"] or {}).get("order"):
            print(order_text(ordered))
        print(f"report    {report_path}")


@app.command()
def plan(
    recipe: RecipePath,
    out: Annotated[str | None, typer.Option(help="the --out that the run would have")] = None,
    work: Work = None,
    inputs: Inputs = None,
    sample: Sample = None,
    sets: Sets = None,
    as_json: AsJson = False,
) -> None:
    """Show the resolved settings, the phases, and what is cached already. Executes nothing."""
    with told():
        chosen = _recipe(recipe, inputs, sets, sample)
        found = plan_recipe(chosen, work or default_work(out or f"tamis-out/{chosen.name}"))
        if as_json:
            print(json.dumps(found, indent=1, sort_keys=True))
        else:
            _print_plan(found)


def _print_plan(found: dict[str, Any]) -> None:
    console = Console()
    read = found["input"]
    console.print(f"{read['sources']} files, {read['bytes']:,} bytes, {read['splits']} splits")
    for stage in found["recipe"]["stages"]:
        settings = ", ".join(f"{name}={value}" for name, value in stage.items() if name != "type")
        console.print(f"  [bold]{stage['type']}[/bold]  {settings}", highlight=False, soft_wrap=True)
    for curve in found["curves"]:
        surely = "  ".join(f"{similarity:g}: {share:.3f}" for similarity, share in curve["proposed"])
        console.print(
            f"{curve['stage']}: {curve['bands']} bands of {curve['rows']} rows. Similarity: how surely it is compared\n"
            f"  {surely}\n  A pair is a duplicate from {curve['threshold']:g} on, verified.",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    table = Table("phase", "key", "parts", "cached", "to do")
    for phase in found["phases"]:
        name, _, key = phase["phase"].rpartition("-")
        left = phase["units"] - phase["cached"]
        table.add_row(name, key, str(phase["units"]), str(phase["cached"]), str(left) if left else "")
    console.print(table)
    if not found["complete"]:
        console.print("Later exchanges hash the contents of parts that are still to be made: their keys follow then.")


@app.command()
def explain(
    run_folder: RunFolder,
    document: Annotated[str, typer.Argument(help="an id (8 digits or more), a url, or SOURCE:OFFSET")],
    work: Annotated[str | None, typer.Option(help="the run's folder of cached phases, if it was moved")] = None,
) -> None:
    """Tell what happened to a document, stage by stage, with the values that were measured."""
    with told():
        print(explain_document(run_folder, document, work=work))


@app.command("extract")
@functools.wraps(show_extraction)
def extract(*arguments: Any, **options: Any) -> None:
    with told():
        show_extraction(*arguments, **options)


@app.command()
def dups(
    run_folder: RunFolder,
    document: Annotated[str, typer.Argument(help="an id (8 digits or more), a url, or SOURCE:OFFSET")],
    limit: Annotated[int, typer.Option(min=1, help="duplicates to show beside what was kept, least similar first")] = 5,
    work: Annotated[str | None, typer.Option(help="the run's folder of cached phases, if it was moved")] = None,
) -> None:
    """Show a document's cluster of duplicates, and side by side how each differs from what was kept."""
    with told():
        Console().print(show_dups(run_folder, document, work=work, limit=limit), highlight=False)


@app.command()
def verify(
    run_folder: RunFolder,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="read this input again and look for every byte; repeatable")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Re-hash every output, recount the books from the rows, and with --input read the input again."""
    with told():
        findings, looked = verify_run(run_folder, inputs=inputs or [])
        if as_json:
            print(
                json.dumps({"sound": not findings, "looked": looked, "findings": [vars(f) for f in findings]}, indent=1)
            )
        else:
            for finding in findings:
                print(f"{finding.place}: {finding.problem}")
            print(", ".join(f"{count:,} {what}" for what, count in looked.items()) + " checked")
            print("sound" if not findings else f"NOT sound: {len(findings)} findings")
        if findings:
            raise typer.Exit(1)


@app.command()
def contamination(run_folder: RunFolder, as_json: AsJson = False) -> None:
    """Which items of which benchmarks the run's `decontaminate` stage found, and in which documents."""
    with told():
        found = find_items(run_folder)
        print(json.dumps(findings_json(found), indent=1) if as_json else as_text(found))


@app.command()
def report(
    run_folder: RunFolder,
    against: Annotated[str | None, typer.Option(help="another finished run to compare it with")] = None,
) -> None:
    """Write the run's report.html again: one self-contained page."""
    with told():
        print(report_of(run_folder, against=against))


_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command(context_settings=_PASS_ON)
def train(context: typer.Context) -> None:
    """Train a model: `tamis train --shards DIR --preset nano --tokens 1e6 --out DIR`; --help says more."""
    with told():
        raise typer.Exit(_train_command("train", context.args))


@app.command(context_settings=_PASS_ON)
def generate(context: typer.Context) -> None:
    """Continue a prompt: `tamis generate --model DIR --prompt TEXT`; --help says more."""
    with told():
        raise typer.Exit(_train_command("generate", context.args))


estimate_app = typer.Typer(no_args_is_help=True, help="What a piece of work would cost, without doing it.")
app.add_typer(estimate_app, name="estimate")


estimate_app.command("corpus")(estimate_corpus_command)


@estimate_app.command("train", context_settings=_PASS_ON)
def estimate_train(context: typer.Context) -> None:
    """Time, memory and cost of a training run: `tamis estimate train --preset p110 --tokens 2e9 --device h200`."""
    with told():
        raise typer.Exit(_train_command("estimate", context.args))


def _train_command(name: str, arguments: list[str]) -> int:
    """The same commands as `python -m train`, which runs on machines that have nothing else of ours."""
    from train.__main__ import main as train_main  # needs torch, whose import costs seconds

    return train_main([name, *arguments])


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="folder for everything that the demo makes")] = Path("tamis-demo"),
    workers: Annotated[int, typer.Option(min=1, help="tasks at the same time")] = os.cpu_count() or 1,
    seeds: Annotated[int, typer.Option(min=2, help="models trained for each variant")] = 3,
) -> None:
    """A crawl to perplexity in minutes: no network, no data files. Ends with the price of deduplication."""
    from pipeline.demo.show import show  # needs torch, which no other command does

    with told():
        show(out, workers=workers, seeds=seeds)


def main() -> None:
    """Entry point of the `tamis` command."""
    app()


if __name__ == "__main__":
    main()
