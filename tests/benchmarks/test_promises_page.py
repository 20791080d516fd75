"""docs/promises.md names tests that exist, and every fault of the matrix."""

import ast
from pathlib import Path

from benchmarks.promises import rows

ROOT = Path(__file__).parents[2]
FAULTS = [f"F{number:02d}" for number in range(1, 41)]


def test_every_fault_has_its_row_and_every_named_test_exists():
    table = rows()
    assert sorted({what.partition(" ")[0] for what, _ in table if what.startswith("F")}) == FAULTS
    for _, test in table:
        if test != "none":
            path, _, name = test.partition("::")
            tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, test


def test_every_promise_and_fault_has_a_test():
    assert [what for what, test in rows() if test == "none"] == []
