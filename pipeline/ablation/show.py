"""An ablation's results for a terminal: tables, what each variant got, the verdict in a sentence, what to beware of."""

from collections.abc import Mapping
from typing import Any

from pipeline.statistics import compare, comparison_table, measured_from


def summary(results: Mapping[str, Any]) -> str:
    """All of it as plain text."""
    parts = [f"{results['name']}: {results['question']}" if results["question"] else results["name"]]
    for pool, found in results["pools"].items():
        comparison = compare(
            measured_from(found), baseline=results["baseline"], confidence=results["experiment"]["confidence"]
        )
        parts += [f"\n{pool}", comparison_table(comparison), _allowances(found), found["verdict"]]
    if "ladder" in results:
        parts += ["", results["ladder"]["sentence"], *(f"warning: {line}" for line in results["ladder"]["warnings"])]
    if "memorisation" in results:
        parts += ["\nmemorisation", *results["memorisation"]["sentences"]]
    parts += [f"warning: {line}" for line in results["warnings"]]
    return "\n".join(parts)


def _allowances(found: Mapping[str, Any]) -> str:
    rows = [("variant", "tokens", "unique", "epochs", "worth", "bytes", "FLOP")]
    for name, variant in found["variants"].items():
        given = variant["allowance"]
        rows.append((name, f"{given['tokens']:,}", f"{given['unique_tokens']:,}", f"{given['epochs']:.2f}",
                     f"{given['effective_tokens']:,}", f"{given['bytes']:,}", f"{given['flop']:.3g}"))  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.rjust(w) if n else cell.ljust(w) for n, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    )
