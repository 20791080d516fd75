"""The report's section on another run: both funnels side by side, what differs in the recipes, and which documents."""

from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from pipeline.outputs import read_manifest
from pipeline.report.differences import only_in
from stages.reasons import REASONS

#: Settings that differ, on the page.
_SETTING_ROWS = 60


def against_section(out: Path, manifest: Mapping[str, Any], other: Path) -> Markup:
    """This run beside the one in `other`. FileNotFoundError if there is no finished run there."""
    from pipeline.report.page import clean, count, size  # the page asks for this section: one of the two comes later

    theirs = read_manifest(str(other))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"count": count, "size": size, "clean": clean}
    template = environment.from_string(
        resources.files("pipeline.report").joinpath("against.html.jinja").read_text("utf-8")
    )
    settings = list(differing(theirs["recipe"], manifest["recipe"]))
    return Markup(  # noqa: S704 (the template engine escapes)
        template.render(
            ours=manifest,
            theirs=theirs,
            stages=beside(theirs, manifest),
            settings=settings[:_SETTING_ROWS],
            more=max(0, len(settings) - _SETTING_ROWS),
            gained=only_in(out, other),
            lost=only_in(other, out),
            sentences=REASONS,
        )
    )


def beside(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(stage, its count there, its count here), in the order of this run; None where a run does not have the stage."""
    there = {stage["stage"]: stage for stage in theirs["counts"]["stages"]}
    here = {stage["stage"]: stage for stage in ours["counts"]["stages"]}
    names = [*here, *(name for name in there if name not in here)]
    return [(name, there.get(name), here.get(name)) for name in names]


def differing(theirs: Any, ours: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(setting, there, here) wherever two resolved recipes differ; stages are compared by type, not by place."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in [*ours, *(name for name in theirs if name not in ours)]:
            yield from differing(theirs.get(name), ours.get(name), f"{place}.{name}" if place else name)
    elif place == "stages":
        yield from differing(_by_type(theirs), _by_type(ours), place)
    elif theirs != ours:
        yield place, theirs, ours


def _by_type(stages: list[dict[str, Any]]) -> dict[str, Any]:
    """Stages by type; a second one of a type by type and number."""
    found: dict[str, Any] = {}
    for stage in stages:
        number = sum(1 for name in found if name.partition(" ")[0] == stage["type"]) + 1
        found[stage["type"] if number == 1 else f"{stage['type']} {number}"] = stage
    return found
