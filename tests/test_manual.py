"""The manual, followed as a new user would: every `console` and `python` block of a page, in order, in a new folder.

The folder holds a small crawl, labels and a held-out file, and nothing of ours. Blocks marked `slow` (minutes) are run
by the slow test alone, which also types everything else as it stands, each line a process of its own; the quick one
runs commands in this process, without Ray. `checked` blocks need machines or data that a test has not: for them
test_documents.py looks at commands and settings.
"""

import itertools
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from corpus import make_crawl, prose
from documents import ROOT, blocks_of, lines_of
from typer.testing import CliRunner

import pipeline.cli
from train.__main__ import main as train_main

PAGES = sorted((ROOT / "docs/manual").glob("*.md"))
RUN = ("console", "python")


def prepare(folder: Path) -> None:
    """What the manual takes for granted: a crawl, labelled texts, texts that no run reads."""
    make_crawl(folder / "crawl")
    labels = [{"text": " ".join(prose(seed, 4)), "label": "good"} for seed in range(300, 420)]
    # fastText compresses a table of at least 256 words that occur five times.
    for row, first in zip(labels, itertools.cycle(range(0, 300, 20)), strict=False):
        row["text"] += " ".join(f"name{number}" for number in range(first, first + 20))
    labels += [{"text": "buy cheap now click here best price offer " * 6 + str(n), "label": "bad"} for n in range(60)]
    (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labels))
    held = [{"text": " ".join(prose(seed))} for seed in (901, 902)]
    (folder / "held_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held))


def write_recipe(block, folder: Path) -> None:
    """A `yaml NAME` block is a file that the page tells its reader to write."""
    (folder / block.mark).write_text(block.text)


def quickly(line: str) -> None:
    """One command in this process; what starts Ray does without it."""
    words = shlex.split(line)
    if words[0] == "echo":
        subprocess.run(line, shell=True, check=True)
    elif words[:3] == ["python", "-m", "train"]:
        assert train_main(words[3:]) == 0
    else:
        assert words[0] == "tamis", line
        if words[1] == "run":
            words += ["--runner", "inline"]
        result = CliRunner().invoke(pipeline.cli.app, words[1:])
        assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"


@pytest.mark.parametrize("page", [path for path in PAGES if path.name != "README.md"], ids=lambda path: path.stem)
def test_the_page_can_be_followed(page, tmp_path, monkeypatch):
    blocks = [block for block in blocks_of(page) if block.mark not in ("slow", "checked")]
    if not any(block.kind in RUN for block in blocks):
        pytest.skip("every command of this page needs other machines: tests/test_documents.py checks them")
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        if block.kind == "console":
            for line in lines_of(block.text):
                quickly(line)
        elif block.kind == "python":
            exec(compile(block.text, page.name, "exec"), {"__name__": page.stem})
        elif block.kind == "yaml" and block.mark:
            write_recipe(block, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("page", [path for path in PAGES if path.name != "README.md"], ids=lambda path: path.stem)
def test_the_page_can_be_typed_as_it_stands(page, tmp_path):
    prepare(tmp_path)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "tamis").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m pipeline.cli "$@"\n')
    (programs / "python").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    for block in blocks_of(page):
        if block.kind == "yaml" and block.mark:
            write_recipe(block, tmp_path)
        elif block.kind in RUN and block.mark != "checked":
            command = ["python", "-c", block.text] if block.kind == "python" else None
            for each in [command] if command else [["sh", "-c", line] for line in lines_of(block.text)]:
                done = subprocess.run(each, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1500)
                assert done.returncode == 0, f"{' '.join(each)}\n{done.stdout}\n{done.stderr}"
