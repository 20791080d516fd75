"""`report.html` of an ablation, one page that needs nothing else: the verdict in a sentence, what to beware of, tables
with intervals, curves, funnels side by side, examples of what one variant keeps and another drops, cost."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from pipeline.report import charts
from pipeline.report.comparison import comparison_section
from pipeline.report.differences import OnlyIn, only_in
from pipeline.report.page import clean, count, duration, size, style_sheet

REPORT = "report.html"


def write_ablation_report(out: Path, results: Mapping[str, Any]) -> Path:
    """Write the page beside results.json; gives its path."""
    path = out / REPORT
    beside = out / f".{REPORT}"
    beside.write_text(render(results, _differences(out, results)), encoding="utf-8", errors="replace", newline="\n")
    beside.replace(path)
    return path


def _differences(out: Path, results: Mapping[str, Any]) -> list[tuple[str, str, OnlyIn]]:
    """(keeper, other, what only the keeper has) for the baseline against each variant, and the other way round."""
    baseline = results["baseline"]
    pairs = [pair for name in results["variants"] if name != baseline for pair in ((baseline, name), (name, baseline))]
    return [(keeper, other, only_in(out / "runs" / keeper, out / "runs" / other)) for keeper, other in pairs]


def render(results: Mapping[str, Any], differences: list[tuple[str, str, OnlyIn]]) -> str:
    """The page as a string. Pure; all values are escaped by the template engine."""
    results = _baseline_first(results)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"count": count, "size": size, "number": charts.number, "clean": clean}
    source = resources.files("pipeline.report").joinpath("ablation.html.jinja").read_text("utf-8")
    return environment.from_string(source).render(
        style=style_sheet(),
        results=results,
        pools=[
            (name, pool, comparison_section(pool, anchor="models" if not place else f"models{place}"))
            for place, (name, pool) in enumerate(results["pools"].items())
        ],
        funnels=_funnels(results),
        differences=differences,
        split=_split(results),
        cost=_cost(results),
        resolved=results["noise"]["smallest_resolved"],
    )


def _baseline_first(results: Mapping[str, Any]) -> dict[str, Any]:
    """The results with the variants of every table in one order, the baseline first: results.json sorts its keys."""

    def ordered(variants: Mapping[str, Any]) -> dict[str, Any]:
        return {name: variants[name] for name in sorted(variants, key=lambda name: (name != results["baseline"], name))}

    pools = {name: {**pool, "variants": ordered(pool["variants"])} for name, pool in results["pools"].items()}
    return {**results, "variants": ordered(results["variants"]), "pools": pools}


def _funnels(results: Mapping[str, Any]) -> list[tuple[str, list[dict[str, int] | None]]]:
    """(stage, one cell a variant), stages in the order of the baseline's, then those that only others have."""
    variants = results["variants"]
    columns = {name: {stage["stage"]: stage for stage in found["counts"]["stages"]} for name, found in variants.items()}
    stages = dict.fromkeys(stage for column in columns.values() for stage in column)
    return [(stage, [column.get(stage) for column in columns.values()]) for stage in stages]


def _split(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each domain's held-out documents with and without copies in the raw pool: bits per byte, mean over seeds."""
    variants = results["pools"]["fixed-pool"]["variants"]
    rows = []
    for domain in results["held_out"]:
        for part in ("clean", "duplicated"):
            scores = {
                name: [seed["split"][domain][part] for seed in variant["seeds"].values()]
                for name, variant in variants.items()
            }
            first = next(iter(scores.values()))[0]
            if first is not None:
                means = {
                    name: sum(one["bits_per_byte"] for one in found) / len(found) for name, found in scores.items()
                }
                rows.append({"domain": domain, "part": part, "documents": first["documents"], "means": means})
    return rows


def _cost(results: Mapping[str, Any]) -> str:
    runs = [run for group in results["environment"].values() for run in group.values()]
    seconds = sum(run["seconds"] for run in runs)
    devices = ", ".join(sorted({run["device"] for run in runs}))
    flop = sum(
        seed["flop"] for pool in results["pools"].values() for variant in pool["variants"].values()
        for seed in variant["seeds"].values()
    )  # fmt: skip
    return f"{len(runs)} models, {duration(seconds)} of training on {devices} ({flop:.3g} floating-point operations)."
