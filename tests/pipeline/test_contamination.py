"""From benchmark files named by a pattern to the list of what was found where."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.contamination import NotLookedForError, contamination
from pipeline.recipe import load_recipe
from pipeline.run import Options, run

ITEM = "the miller measured the bridge near the old harbour because every gardener feared the narrow coast at night"
RECIPE = """
name: clean
input: {{paths: [{pages}]}}
stages:
  - {{type: extract, engine: resiliparse}}
  - {{type: decontaminate, against: [{benchmarks}/*.jsonl]}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "copy.txt").write_text(f"A page.\n{ITEM}, they say.\n")
    (tmp_path / "pages" / "other.txt").write_text(
        "Another page that has nothing to do with any of this, by and large.\n"
    )
    (tmp_path / "pages" / "part.txt").write_text(f"It is told that {' '.join(ITEM.split()[:13])} and went home.\n")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "exam.jsonl").write_text(
        json.dumps({"text": "two words"}) + "\n" + json.dumps({"text": ITEM})
    )
    recipe = RECIPE.format(pages=tmp_path / "pages", benchmarks=tmp_path / "benchmarks")
    (tmp_path / "clean.yaml").write_text(recipe)
    return tmp_path


def test_lists_items_and_documents(folder: Path) -> None:
    out, work = str(folder / "out"), str(folder / "work")
    manifest = run(load_recipe(folder / "clean.yaml"), Options(out=out, work=work, runner="inline"))
    assert (manifest["counts"]["kept"], manifest["counts"]["dropped"]) == (2, 1)
    found = contamination(out)
    assert [(one.benchmark, one.item, one.outcome) for one in found] == [
        ("exam", "2", "dropped"),
        ("exam", "2", "kept"),
    ]
    assert found[0].shared == found[0].of == 6
    assert found[1].shared == 1
    assert list(manifest["resources"]) == ["exam.jsonl"]
    text = CliRunner().invoke(app, ["contamination", out]).output
    assert "exam" in text.splitlines()[1]
    assert "6 of 6 n-grams  dropped" in text
    assert len(json.loads(CliRunner().invoke(app, ["contamination", out, "--json"]).output)) == 2


def test_a_benchmark_of_no_known_form_is_the_users_mistake(folder: Path) -> None:
    (folder / "benchmarks" / "exam.jsonl").write_text('{"q": 1}\n')
    result = CliRunner().invoke(
        app, ["run", str(folder / "clean.yaml"), "--runner", "inline", "--out", str(folder / "o")]
    )
    assert result.exit_code in (1, 2)
    assert "exam.jsonl" in result.output
    assert "item 1 has none of" in result.output


def test_says_so_when_nobody_looked(folder: Path) -> None:
    recipe = folder / "plain.yaml"
    recipe.write_text(f"name: plain\ninput: {{paths: [{folder / 'pages'}]}}\nstages: [{{type: extract}}]\n")
    run(load_recipe(recipe), Options(out=str(folder / "o"), work=str(folder / "w"), runner="inline"))
    with pytest.raises(NotLookedForError):
        contamination(str(folder / "o"))
