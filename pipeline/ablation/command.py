"""`tamis ablate FILE`, `tamis ablate plan FILE`, `tamis ablate mix FILE`: variants x seeds to verdicts."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pipeline.ablation.experiment import Experiment, load_experiment
from pipeline.exits import told
from pipeline.progress import Terminal
from pipeline.run import Options, default_work
from pipeline.yaml_tree import RecipeError

File = Annotated[Path, typer.Argument(help="the ablation, a YAML file; see configs/ablation/")]
Out = Annotated[str | None, typer.Option(help="folder for the results [default: tamis-out/ablation/NAME]")]
Work = Annotated[str | None, typer.Option(help="folder of cached phases and models [default: beside --out]")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", help="change one setting of the ablation: KEY=VALUE; repeatable")
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="tasks, and models, at the same time [default: all cores; one model a GPU]")
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]
_CORES = os.cpu_count() or 1


class _RunByDefault(TyperGroup):
    """`tamis ablate FILE` is `tamis ablate run FILE`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command of that name; a word that is none is the file of `run`."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            return super().resolve_command(ctx, ["run", *args])
        return super().resolve_command(ctx, args)


app = typer.Typer(cls=_RunByDefault, no_args_is_help=True, help="What each data choice is worth, with an error bar.")


@app.command()
def run(
    ablation: File,
    out: Out = None,
    work: Work = None,
    sets: Sets = None,
    lr_check: Annotated[bool, typer.Option("--lr-check", help="rank again at a tenth of the learning rate")] = False,
    workers: Workers = None,
    runner: Annotated[str, typer.Option(help="ray (parallel) or inline (this process)")] = "ray",
    ray_address: Annotated[str | None, typer.Option(help="a running Ray cluster's address")] = None,
    as_json: AsJson = False,
) -> None:
    """Run the variants, train equal models on each, compare. Interrupted, the same command goes on where it stopped."""
    from pipeline.ablation.run import ablate  # needs torch, whose import costs seconds
    from pipeline.ablation.show import summary

    with told():
        experiment = _load(ablation, sets, lr_check)
        place = out or f"tamis-out/ablation/{experiment.name}"
        options = _options(place, work, workers=workers, runner=runner, ray_address=ray_address)
        with Terminal() as progress:
            results = ablate(experiment, options, progress=progress, told=lambda line: _say(line, quiet=as_json))
        if as_json:
            print(json.dumps(results, indent=1, sort_keys=True))
            return
        print(summary(results))
        print(f"\nresults   {Path(place).absolute() / 'results.json'}")
        print(f"report    {Path(place).absolute() / 'report.html'}")


@app.command()
def plan(
    ablation: File,
    out: Out = None,
    work: Work = None,
    sets: Sets = None,
    workers: Workers = None,
    price: Annotated[float | None, typer.Option(help="of the machine and hour, for the cost")] = None,
    as_json: AsJson = False,
) -> None:
    """What is shared, what is left to do, time and cost, before anything runs."""
    from pipeline.ablation.plan import as_text, plan_ablation  # needs torch, whose import costs seconds
    from pipeline.ablation.variants import Places

    with told():
        experiment = _load(ablation, sets, lr_check=False)
        place = out or f"tamis-out/ablation/{experiment.name}"
        places = Places(out=Path(place).absolute(), work=str(Path(work or default_work(place)).absolute()))
        found: dict[str, Any] = plan_ablation(experiment, places, workers=workers or _CORES, price_per_hour=price)
        print(json.dumps(found, indent=1, sort_keys=True) if as_json else as_text(found))


@app.command()
def mix(
    file: Annotated[Path, typer.Argument(help="the search, a YAML file: a recipe, its sources, held-out domains")],
    out: Out = None,
    work: Work = None,
    sets: Sets = None,
    workers: Workers = None,
    runner: Annotated[str, typer.Option(help="ray (parallel) or inline (this process)")] = "ray",
    ray_address: Annotated[str | None, typer.Option(help="a running Ray cluster's address")] = None,
    as_json: AsJson = False,
) -> None:
    """Try drawn proportions of the sources on small models, predict the best ones, and confirm them with seeds."""
    from pipeline.ablation.mix_run import load_search, search, search_text  # needs torch, whose import costs seconds

    with told():
        asked = load_search(file, overrides=sets or [])
        place = out or f"tamis-out/ablation/{asked.name}"
        options = _options(place, work, workers=workers, runner=runner, ray_address=ray_address)
        with Terminal() as progress:
            result = search(asked, options, progress=progress, told=lambda line: _say(line, quiet=as_json))
        if as_json:
            print(json.dumps(result, indent=1, sort_keys=True))
            return
        print(search_text(result))
        print(f"\nresults   {Path(place).absolute() / 'mixture.json'}")
        print(f"report    {Path(place).absolute() / 'confirm' / 'report.html'}")


def _options(out: str, work: str | None, *, workers: int | None, runner: str, ray_address: str | None) -> Options:
    """On a cluster 0 workers are as many as it has cores. RecipeError for places that cannot hold models."""
    options = Options(
        out=out, work=work or default_work(out), runner=runner, workers=workers or (0 if ray_address else _CORES),
        ray_address=ray_address,
    )  # fmt: skip
    for name, place in (("--out", options.out), ("--work", options.work)):
        if "://" in place:
            raise RecipeError(
                f"{name} {place}: models and their checkpoints need a file system. Give a folder, on a cluster one "
                "that every node sees; the input may lie in an object store"
            )
    return options


def _load(path: Path, sets: list[str] | None, lr_check: bool) -> Experiment:
    return load_experiment(path, overrides=[*(sets or []), *(["lr_check=true"] if lr_check else [])])


def _say(line: str, *, quiet: bool) -> None:
    if not quiet:
        print(line, flush=True)
