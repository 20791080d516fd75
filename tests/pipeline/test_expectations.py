"""Stages that keep another share than expected say so, and name the setting that silences them."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.expectations import unexpected
from pipeline.recipe import RecipeError, StageEntry, load_recipe
from stages import CATALOGUE


def entry(expected: tuple[float, float] | None = None) -> StageEntry:
    return StageEntry(type="quality", settings=CATALOGUE["quality"].settings(), expect_kept=expected)


def warned(documents: int, kept: int, expected: tuple[float, float] | None = None) -> list[str]:
    counts = [{"stage": "quality", "documents": documents, "kept": kept}]
    return [warning["message"] for warning in unexpected([("quality", entry(expected))], counts)]


def test_nearly_everything_dropped_is_told_without_being_asked() -> None:
    (message,) = warned(1000, 19)
    assert "stage quality kept 19 of 1,000 documents (1.90%); expected were 2% to 100%" in message
    assert "expect_kept: [0.019, 1]" in message
    assert warned(1000, 20) == warned(1000, 1000) == []
    assert warned(99, 0) == [], "too few documents to tell"


def test_a_stated_range_holds_on_both_sides() -> None:
    assert warned(10, 5, (0.5, 0.9)) == warned(10, 9, (0.5, 0.9)) == []
    assert "expect_kept: [0.5, 1]" in warned(10, 10, (0.5, 0.9))[0]
    assert "expect_kept: [0.4, 0.9]" in warned(10, 4, (0.5, 0.9))[0]
    assert warned(1000, 0, (0, 1)) == []
    assert warned(0, 0, (0.5, 0.9)) == []


def recipe(folder: Path, stage: str) -> Path:
    (folder / "pages").mkdir(exist_ok=True)
    (folder / "pages" / "a.txt").write_text("a short page")
    path = folder / "r.yaml"
    path.write_text(
        f"name: r\ninput: {{paths: [{folder / 'pages'}]}}\nstages:\n  - {{type: extract}}\n  - {stage}\n",
        encoding="utf-8",
    )
    return path


def test_a_run_warns_on_stderr_and_its_bytes_do_not_depend_on_it(tmp_path: Path) -> None:
    path = recipe(tmp_path, "{type: gopher_quality, expect_kept: [0.5, 1]}")
    command = ["run", str(path), "--runner", "inline", "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0
    assert "warning: stage gopher_quality kept 0 of 1 documents" in first.stderr
    silenced = CliRunner().invoke(app, [*command, "--set", "stages.1.expect_kept=[0, 1]"])
    assert "warning" not in silenced.stderr
    assert [line for line in first.stdout.splitlines() if line.startswith("root")] == [
        line for line in silenced.stdout.splitlines() if line.startswith("root")
    ]


@pytest.mark.parametrize("wrong", ["[0.9, 0.5]", "[-1, 1]", "[0, 2]", "0.5", "[a, b]", "[1]"])
def test_a_wrong_range_is_refused_with_its_line(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(RecipeError, match=r"r\.yaml:5: stages\[1\]\.expect_kept"):
        load_recipe(recipe(tmp_path, f"{{type: gopher_quality, expect_kept: {wrong}}}"))
