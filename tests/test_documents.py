"""The documents tell the truth: every command, option, setting, recipe and path that they name exists."""

import functools
import importlib.util
import itertools
import re
import tomllib

import pytest
import typer.main
from documents import DOCUMENTS, ROOT, Command, blocks_of, commands_of, spans_of, text_of
from ruamel.yaml import YAML

import pipeline.cli
import stages
from pipeline.ablation.experiment import load_experiment
from pipeline.recipe import Input, Mix, Recipe, Shards, Tokenizer, build_recipe, load_recipe
from pipeline.yaml_tree import RecipeError, parse

COMMANDS = sorted({command for document in DOCUMENTS for command in commands_of(document)}, key=str)


def of(program: str) -> list[Command]:
    return [command for command in COMMANDS if command.words[0] == program]


def walk(root, words):
    """The command that words lead to, and the words behind its name."""
    found, words = root, list(words)
    while hasattr(found, "commands") and words and words[0] in found.commands:
        found = found.commands[words.pop(0)]
    return found, words


def options_of(command) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


@functools.cache
def tamis():
    return typer.main.get_command(pipeline.cli.app)


@functools.cache
def train_options() -> dict[str, set[str]]:
    from train.__main__ import _parser

    (commands,) = [action for action in _parser()._actions if action.choices]
    return {name: set(parser._option_string_actions) for name, parser in commands.choices.items()}


@pytest.mark.parametrize("command", of("tamis"), ids=str)
def test_a_command_of_tamis_exists_with_its_options(command):
    found, rest = walk(tamis(), command.words[1:])
    known = options_of(found.commands["run"] if found.name == "ablate" else found)  # `ablate FILE` runs FILE
    if found.context_settings.get("ignore_unknown_options"):  # handed on to the training package
        known |= train_options()[command.words[1]]
    if hasattr(found, "commands") and found.name != "ablate":
        assert not [word for word in rest if not word.startswith("-")], f"{command}: no such command"
    for option in [word for word in rest if re.match(r"--?[a-z]", word)]:
        assert option.split("=")[0] in known, f"{command}: no option {option}"


@pytest.mark.parametrize("command", [each for each in of("tamis") if "--set" in each.words], ids=str)
def test_a_setting_that_a_command_changes_exists(command):
    """With the recipe that the command names, where that is one of ours."""
    words = command.words
    changes = [after for word, after in itertools.pairwise(words) if word == "--set"]
    recipes = [word for word in words if word.startswith("configs/") and (ROOT / word).is_file()]
    path = ROOT / (recipes[0] if recipes else "configs/web.yaml")
    load = load_experiment if path.parent.name == "ablation" else load_recipe
    load(path, overrides=changes)


@pytest.mark.parametrize("command", [each for each in of("python") if each.words[1:2] == ("-m",)], ids=str)
def test_a_module_that_is_run_exists_with_its_options(command):
    module, rest = command.words[2], command.words[3:]
    if module in ("venv", "pip", "build"):
        return
    found = importlib.util.find_spec(f"{module}.__main__" if module in ("benchmarks", "train") else module)
    assert found is not None, f"{command}: no module {module}"
    source = (ROOT / found.origin).read_text()
    for option in [word.split("=")[0] for word in rest if word.startswith("--")]:
        assert f'"{option}"' in source, f"{command}: {module} has no option {option}"


@pytest.mark.parametrize("command", of("make"), ids=str)
def test_a_target_of_make_exists(command):
    makefile = (ROOT / "Makefile").read_text()
    for word in command.words[1:]:
        name, equals, _ = word.partition("=")
        if equals:
            assert f"$({name})" in makefile, f"{command}: nothing uses {name}"
        else:
            assert re.search(rf"^{name}:", makefile, re.MULTILINE), f"{command}: no target {name}"


@pytest.mark.parametrize("command", of("ray"), ids=str)
def test_a_command_of_ray_exists_with_its_options(command):
    from ray.scripts.scripts import cli

    found, rest = walk(cli, command.words[1:])
    assert found is not cli, f"{command}: no such command"
    for word in rest:
        if word == "--":
            break
        if word.startswith("--"):
            assert word.split("=")[0] in options_of(found), f"{command}: no option {word}"


@pytest.mark.parametrize("command", of("pip"), ids=str)
def test_an_extra_that_is_installed_exists(command):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in command.words:
        if match := re.search(r"\[([\w,-]+)\]", word):
            assert set(match[1].split(",")) <= extras.keys(), f"{command}: no extra {match[1]}"


_PATH = re.compile(r"(?<![\w/.])((?:configs|docs|tests|benchmarks|pipeline|stages|tokenizer|train)/[\w./*-]*[\w*])")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_of_ours_exist(document):
    for path in sorted(set(_PATH.findall(text_of(document)))):
        assert list(ROOT.glob(path)) or list(document.parent.glob(path)), f"{document.name}: no {path}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text_of(document)):
        if "://" not in target and re.search(r"[./]", target):
            assert (document.parent / target).exists(), f"{document.name}: no {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_settings_that_are_named_exist(document):
    """`stage.setting` and `{type: stage, setting: value}` between backticks."""
    for span in spans_of(document):
        if match := re.fullmatch(r"(?:stages\.)?(\w+)\.(\w+)(?:=.*)?", span):
            stage, name = match.groups()
            if stage in stages.CATALOGUE and not (ROOT / "stages" / span).exists():
                assert name in stages.CATALOGUE[stage].settings.model_fields, f"{document.name}: no setting {span}"
        elif re.fullmatch(r"\{type: \w+.*\}", span) and "…" not in span:
            check_part(YAML(typ="safe").load(span), f"{document.name}: {span}")


PARTS = {"input": Input, "tokenizer": Tokenizer, "shards": Shards, "mix": Mix}


def check_part(found, place: str) -> None:
    """A piece of a recipe: a stage, a list of stages, or some of the recipe's keys."""
    if isinstance(found, list):
        for entry in found:
            check_part(entry, place)
    elif "type" in found and found["type"] in stages.CATALOGUE:
        settings = {key: value for key, value in found.items() if key not in ("type", "expect_kept")}
        stages.CATALOGUE[found["type"]].settings.model_validate(settings)
    elif "type" in found:
        Tokenizer.model_validate(found)
    else:
        for key, value in found.items():
            assert key in Recipe.model_fields, f"{place}: no key {key}"
            if key == "stages":
                check_part(value, place)
            elif key in PARTS:
                PARTS[key].model_validate(value)


@pytest.mark.parametrize(
    ("document", "block"),
    [(path, block) for path in DOCUMENTS for block in blocks_of(path) if block.kind == "yaml"],
    ids=lambda value: getattr(value, "name", ""),
)
def test_pieces_of_recipes_are_valid(document, block, tmp_path):
    path = tmp_path / "piece.yaml"
    path.write_text(block.text)
    found = YAML(typ="safe").load(block.text)
    if isinstance(found, dict) and "stages" in found and "name" in found:
        build_recipe(parse(path), document.name)
    else:
        check_part(found, document.name)


def test_what_does_not_exist_is_found(tmp_path, monkeypatch):
    """The tests above, on a document that lies."""
    import documents

    lying = tmp_path / "lying.md"
    monkeypatch.setattr(documents, "ROOT", tmp_path)
    lying.write_text(
        "Run `tamis run r.yaml --wrokers 2`,\n`tamis reprot RUN` and `make coffee`.\n\n"
        "    tamis run configs/web.yaml --set stages.quality.min_scrore=1\n\n"
        "```console\n$ python -m benchmarks.tokens --no-such\noutput\n```\n"
    )
    found = {command.words[1]: command for command in commands_of(lying)}
    assert len(found) == 4
    with pytest.raises(AssertionError, match="no option --wrokers"):
        test_a_command_of_tamis_exists_with_its_options(next(c for c in commands_of(lying) if "--wrokers" in c.words))
    with pytest.raises(AssertionError, match="no such command"):
        test_a_command_of_tamis_exists_with_its_options(found["reprot"])
    with pytest.raises(AssertionError, match="no target coffee"):
        test_a_target_of_make_exists(found["coffee"])
    with pytest.raises(RecipeError, match="min_scrore"):
        test_a_setting_that_a_command_changes_exists(next(c for c in commands_of(lying) if "--set" in c.words))
    with pytest.raises(AssertionError, match="no option --no-such"):
        test_a_module_that_is_run_exists_with_its_options(found["-m"])


def test_the_reference_says_what_the_code_says():
    """`make reference` writes it."""
    from pipeline.reference import PLACE, reference

    assert (ROOT / PLACE).read_text(encoding="utf-8") == reference(), "docs/reference.md is old: make reference"
