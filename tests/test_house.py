"""The house itself: every recipe loads, the README tells the truth about the tree, every command explains itself."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import pipeline.cli
import stages
from pipeline.recipe import load_recipe

ROOT = Path(__file__).parents[1]
CODE = ("stages", "tokenizer", "train", "pipeline")


@pytest.mark.parametrize("recipe", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_recipe_loads(recipe):
    loaded = load_recipe(recipe)
    assert loaded.input.paths
    assert loaded.stages[0].type == "extract"
    assert loaded.resolved()["name"] == recipe.stem


def test_every_setting_of_every_stage_says_what_it_is():
    for stage in stages.CATALOGUE.values():
        for name, field in stage.settings.model_fields.items():
            assert field.description, f"{stage.name}.{name} has no description"
            role = (field.json_schema_extra or {}).get("role")
            if role == "threshold" and field.annotation in (int, float):
                assert name.startswith(("min_", "max_")), f"{stage.name}.{name} does not say which side it is on"


def test_the_readme_prints_the_tree_as_it_is():
    printed = re.findall(r"^([\w/.\-]+\.py)\s", (ROOT / "README.md").read_text(), re.MULTILINE)
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *(f"{folder}/*.py" for folder in CODE)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    there = {name for name in tracked if (ROOT / name).exists() and not name.endswith("__init__.py")}
    assert sorted(printed) == sorted(there)


def _commands(app, prefix=()):
    for command in app.registered_commands:
        yield (*prefix, command.name or command.callback.__name__.replace("_", "-"))
    for group in app.registered_groups:
        yield from _commands(group.typer_instance, (*prefix, group.name))


@pytest.mark.parametrize("command", sorted(_commands(pipeline.cli.app)), ids=" ".join)
def test_every_command_has_help(command):
    result = CliRunner().invoke(pipeline.cli.app, [*command, "--help"])
    assert result.exit_code == 0
    assert len(result.output) > 100 or command in (("train",), ("generate",))


def test_every_command_stands_in_the_readme():
    text = (ROOT / "README.md").read_text()
    for command in _commands(pipeline.cli.app):
        assert f"tamis {' '.join(command)}" in text, f"tamis {' '.join(command)} is not in the README"


def test_a_users_mistake_ends_with_code_2_and_one_sentence(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("name: t\ninput: {paths: [nowhere]}\nstages:\n  - {type: extract, engin: resiliparse}\n")
    command = [sys.executable, "-m", "pipeline.cli", "run", str(recipe)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert result.returncode == 2
    assert "r.yaml:4: stages[0].engin: unknown key. Did you mean 'engine'?" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "tamis-out").exists()


def test_no_unsafe_deserialisation_in_our_code():
    forbidden = re.compile(
        r"\b(pickle|dill|joblib|cloudpickle|marshal|shelve)\b|yaml\.load\(|allow_pickle=True|weights_only=False"
    )
    for folder in CODE:
        for path in (ROOT / folder).rglob("*.py"):
            for number, line in enumerate(path.read_text().split("\n"), start=1):
                code = line.split("#")[0]
                if forbidden.search(code) and '"""' not in code and "no pickle" not in code.lower():
                    pytest.fail(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")


def test_no_two_test_files_have_one_name():
    """pytest imports them by their names alone, and a run of all of them would stop."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []
