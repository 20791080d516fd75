"""Compiled kernels are found by their source, wherever it lies."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
USE = """
import pipeline, pyarrow as pa
from stages.shingles import shingle_sets
from numba.core import event
with event.install_recorder("numba:compile") as seen:
    shingle_sets(pa.array(["one two three four five six"], pa.large_string()), unit="word", size=2)
print(len(seen.buffer))
"""


def compilations(root: Path, temporary: Path) -> int:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment |= {"PYTHONPATH": str(root), "XDG_CACHE_HOME": str(temporary)}
    done = subprocess.run([sys.executable, "-c", USE], env=environment, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_the_same_source_in_another_folder_compiles_nothing_again_and_changed_source_does(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        for package in ("pipeline", "stages", "tokenizer", "train"):
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "builtin"))
    assert compilations(one, tmp_path) > 0
    assert compilations(two, tmp_path) == 0
    with (two / "stages/normalise.py").open("a") as changed:
        changed.write("# Another version.\n")
    assert compilations(two, tmp_path) > 0
