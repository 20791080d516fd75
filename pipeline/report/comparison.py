"""The report's section on trained models: bits per byte with intervals and verdicts, and loss curves."""

from collections.abc import Mapping
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from pipeline.report import charts
from pipeline.statistics import compare, measured_from, verdict_words


def comparison_section(results: Mapping[str, Any], *, anchor: str = "models") -> Markup:
    """The section's markup for a `results.json`, or for one pool of an ablation's. ValueError if its runs cannot be
    compared."""
    comparison = compare(
        measured_from(results), baseline=results["baseline"], confidence=results.get("confidence", 0.95)
    )
    domains = (*comparison.domains, comparison.macro)
    ends = [
        abs(end) for domain in domains for one in domain.differences for end in (one.low, one.high) if end is not None
    ]
    reach = max([*ends, *(abs(one.difference) for domain in domains for one in domain.differences)], default=1.0)
    rows = [
        {
            "domain": domain,
            "cells": [
                (
                    one,
                    verdict_words(one),
                    None if one.low is None else _interval(one.low, one.difference, one.high, reach),
                )
                for one in domain.differences
            ],
        }
        for domain in domains
    ]
    runs = {
        name: [run.get("curve", []) for run in variant["seeds"].values()]
        for name, variant in results["variants"].items()
    }
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = resources.files("pipeline.report").joinpath("comparison.html.jinja").read_text("utf-8")
    html = environment.from_string(source).render(
        anchor=anchor, comparison=comparison, rows=rows, curves=charts.curves(runs), variants=list(runs)
    )
    return Markup(html)  # noqa: S704 (the template escapes)


def _interval(low: float, middle: float, high: float | None, reach: float) -> Markup:
    assert high is not None
    return charts.interval(low, middle, high, reach=reach)
