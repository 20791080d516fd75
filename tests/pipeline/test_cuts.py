"""A recipe that cuts repeated lines: what follows measures the text that is left; `tamis explain` says what went."""

import json
from pathlib import Path
from typing import Any

import pytest
from corpus import prose

from pipeline.explain import explain
from pipeline.files import Files
from pipeline.recipe import load_recipe
from pipeline.run import Options, run
from pipeline.verify import verify

NOTICE = "This site uses cookies, and by going on you accept the terms that you find on another page of this site."
RECIPE = """\
name: cut
input: {{paths: ["{folder}/*.jsonl"]}}
stages:
  - {{type: extract}}
  - {{type: line_dedup, min_left_bytes: {least}}}
  - {{type: gopher_quality, min_words: 5}}
  - {{type: line_dedup, normalisation: ccnet}}
"""


def finished(folder: Path, out: Path, *, least: int) -> dict[str, Any]:
    recipe = folder / f"{least}.yaml"
    recipe.write_text(RECIPE.format(folder=folder, least=least))
    options = Options(out=str(out), work=str(folder / "work"), runner="inline")
    return run(load_recipe(recipe), options)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    for number in range(2):
        rows = [
            {"url": f"http://site{number}.test/{n}", "text": "\n".join([*prose(100 * number + n), NOTICE])}
            for n in range(3)
        ]
        rows.append({"url": f"http://site{number}.test/notice", "text": f"Notice:\n{NOTICE}"})
        (folder / f"{number}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_what_follows_sees_the_text_that_is_left(pages: Path, tmp_path: Path) -> None:
    manifest = finished(pages, tmp_path / "out", least=250)
    stages = {stage["stage"]: stage for stage in manifest["counts"]["stages"]}
    assert stages["line_dedup"]["reasons"] == {"little_left": 2}
    assert stages["line_dedup"]["changed"] == 7
    assert stages["line_dedup#2"]["changed"] == 0
    files = Files(str(tmp_path / "out"))
    rows = [row for split in manifest["splits"]
            for row in files.read_table(f"kept/{split['part']}.parquet").to_pylist()]  # fmt: skip
    assert sum(NOTICE in row["text"] for row in rows) == 1
    words_left = {row["word_count"] - len(row["text"].replace("-", " ").split()) for row in rows}
    assert words_left == {0}, "counted in the text that is left"
    assert verify(str(tmp_path / "out"), inputs=[str(path) for path in pages.glob("*.jsonl")])[0] == []


def test_explain_says_what_was_cut_out_and_where_it_stands(pages: Path, tmp_path: Path) -> None:
    manifest = finished(pages, tmp_path / "out", least=250)
    stories = {number: explain(str(tmp_path / "out"), f"http://site0.test/{number}") for number in range(3)}
    told = [story for story in stories.values() if "cut out" in story]
    assert len(told) >= 2
    assert all(f"cut out {len(NOTICE)} bytes: {NOTICE[:80]} | first in " in story for story in told)
    notice = explain(str(tmp_path / "out"), "http://site1.test/notice")
    assert "dropped: little_left" in notice
    assert "kept instead: " in notice
    assert "threshold 250" in notice
    assert manifest["rewritten"].keys() == {"line_dedup", "line_dedup#2"}


def test_another_least_length_cuts_nothing_again(pages: Path, tmp_path: Path) -> None:
    finished(pages, tmp_path / "one", least=250)
    manifest = finished(pages, tmp_path / "two", least=5)
    done = {phase["name"] for phase in manifest["phases"] if phase["executed"]}
    assert "line_dedup.text" in {phase["name"] for phase in manifest["phases"]}
    names = [phase["phase"] for phase in manifest["phases"] if phase["name"] == "line_dedup.text"]
    assert len(names) == 2, "two stages of the type, each with its own texts"
    first = next(phase for phase in manifest["phases"] if phase["phase"] == names[0])
    assert first["executed"] == 0
    assert "line_dedup" in done
