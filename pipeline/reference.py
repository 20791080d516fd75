"""`python -m pipeline.reference`: docs/reference.md, made from what the code says of itself, so that it cannot drift.

Commands with their options come from the command line's own definition, stages and settings from their models, reason
codes from their closed list. `make reference` writes the file; a test holds it to what this prints.
"""

import argparse
import importlib
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union

import typer.main
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import stages
from pipeline import recipe
from pipeline.ablation.experiment import Experiment
from pipeline.ablation.mix_run import Search
from pipeline.cli import app
from stages.reasons import DROP, QUARANTINE
from stages.stage import Settings, Stage
from train.__main__ import _parser as train_parser

PLACE = Path("docs/reference.md")
_INTRODUCTION = """\
# Reference

Every command, every key of a recipe, every stage with its settings, and every reason for which a document can be
dropped. Made from the code by `make reference`; the manual (docs/manual/) says how to use it.

Exit codes of every command: 0 done, 1 failed (the run, a check), 2 the user's mistake (recipe, option, path).
"""
_TRAINING = """\
## The training package

`python -m train COMMAND` runs where nothing else of Tamis is installed; `tamis train`, `tamis generate` and
`tamis estimate train` are the same commands.
"""
_STAGES = """\
Every entry of `stages` has a `type`, its settings, and may have `expect_kept: [LEAST, LARGEST]`: a warning when the
stage keeps a smaller or larger share of its documents.

## Stages

In the order in which data usually meets them. A *threshold* only judges what is stored: changing it measures nothing
again. A *place* says where something lies and is no part of what a result is known by.
"""
#: What limits of pydantic's are called here.
_LIMITS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}", "min_length": "at least {} long",
           "max_length": "at most {} long", "multiple_of": "a multiple of {}"}  # fmt: skip


def reference() -> str:
    """The whole file."""
    parts = [
        _INTRODUCTION,
        "## Commands\n",
        *_commands(typer.main.get_command(app), ("tamis",)),
        _TRAINING,
        *_train_commands(),
        "## Keys of a recipe\n\nA recipe has a `name` and a list of `stages`, which stand below, and these:\n",
        *_models({"": recipe.Recipe}, skip={"name", "stages"}),
        _STAGES,
        *_stages(),
        "## Keys of an ablation\n",
        *_models({"": Experiment}, skip=set()),
        "## Keys of a search for a mixture\n",
        *_models({"": Search}, skip=set()),
        "## Reasons\n\nWhat the column `reason` of the ledger may hold.\n",
        _table(("quarantined: could not be read", "meaning"), QUARANTINE.items()),
        _table(("dropped: judged and rejected", "meaning"), DROP.items()),
    ]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def _table(head: Sequence[str], rows: Any) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for first, *rest in rows:
        lines.append(f"| `{_cell(first)}` | {' | '.join(_cell(cell) for cell in rest)} |")
    return "\n".join(lines) + "\n"


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())


def _commands(command: Any, names: tuple[str, ...]) -> Iterator[str]:
    if len(names) > 1:
        handed_on = command.context_settings.get("ignore_unknown_options")
        arguments = " ".join(_usage(each) for each in command.params if each.param_type_name == "argument")
        yield f"### {' '.join(names)}{' ' + arguments if arguments else ''}\n\n{_sentence(command.help)}\n"
        options = [
            _option_row(each) for each in command.params if each.param_type_name == "option" and each.name != "help"
        ]
        if options:
            yield _table(("option", "default", "meaning"), options)
        elif handed_on:
            yield "Its options stand under the training package.\n"
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from _commands(inner, (*names, name))


def _usage(argument: Any) -> str:
    name = argument.name.upper()
    name = f"{name}…" if argument.nargs == -1 else name
    return name if argument.required else f"[{name}]"


def _value(annotation: Any) -> str:
    """What stands behind an option."""
    inner = [each for each in typing.get_args(annotation) if each is not type(None)]
    names = {Path: "PATH", int: "NUMBER", float: "NUMBER"}
    return _value(inner[0]) if inner else names.get(annotation, "TEXT")


def _option_row(option: Any) -> tuple[str, str, str]:
    named = ", ".join(option.opts)
    shown = named if option.is_flag else f"{named} {option.metavar or _value(option.type_descriptor.annotation)}"
    default = option.default
    if option.required:
        default = "*required*"
    elif option.name == "workers":
        default = "all cores"
    elif default is None or default is False or option.multiple:
        default = ""
    return shown, str(default), re.sub(r"\s*\[default: [^]]*\]", "", option.help or "")


def _train_commands() -> Iterator[str]:
    (commands,) = [action for action in train_parser()._actions if action.choices]  # noqa: SLF001 (argparse shows them nowhere)
    assert isinstance(commands.choices, Mapping)
    helps = {each.dest: each.help for each in commands._choices_actions}  # type: ignore[attr-defined]  # noqa: SLF001
    for name, parser in sorted(commands.choices.items()):
        yield f"### python -m train {name}\n\n{_sentence(helps.get(name))}\n"
        rows = []
        for action in parser._actions:  # noqa: SLF001
            if action.dest == "help":
                continue
            default = "*required*" if action.required else action.default
            shown = "" if default in (None, False, argparse.SUPPRESS) else str(default)
            value = (
                ""
                if action.nargs == 0
                else f" {action.metavar or '|'.join(map(str, action.choices or ())) or action.dest.upper()}"
            )
            meaning = re.sub(r"\s*\((?:default: )[^)]*\)", "", action.help or "")
            rows.append((", ".join(action.option_strings) + value, shown or _stated(action.help), meaning))
        yield _table(("option", "default", "meaning"), rows)


def _stated(text: str | None) -> str:
    """A default that stands in the help."""
    found = re.search(r"\(?default: ([^)]*)\)?", text or "")
    return found[1] if found else ""


def _models(found: Mapping[str, type[BaseModel]], *, skip: set[str]) -> Iterator[str]:
    """A table for a model, and one for each model that its fields hold."""
    waiting, seen = list(found.items()), set()
    while waiting:
        name, model = waiting.pop(0)
        if model in seen:
            continue
        seen.add(model)
        fields = {key: field for key, field in model.model_fields.items() if not (name == "" and key in skip)}
        inner = [(key, each) for key, field in fields.items() for each in _inner_models(field.annotation)]
        waiting += [(f"{name}.{key}" if name else key, each) for key, each in inner]
        rows = [_field_row(key, field) for key, field in fields.items()]
        plain = [row for row in rows if name or row[0] not in {key for key, _ in inner} or row[3]]
        if plain:
            title = f"### `{name}`\n\n{_sentence((model.__doc__ or '').split(chr(10) * 2)[0])}\n" if name else ""
            yield (title + "\n" if title else "") + _table(("key", "type", "default", "meaning"), plain)


def _inner_models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [] if issubclass(annotation, Settings) or annotation is recipe.StageEntry else [annotation]
    return [model for each in typing.get_args(annotation) for model in _inner_models(each)]


def _field_row(name: str, field: FieldInfo) -> tuple[str, str, str, str]:
    return field.alias or name, _type(field), _default(field), _sentence(field.description)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is None or default is PydanticUndefined or isinstance(default, BaseModel):
        return "" if not isinstance(default, BaseModel) else "see below"
    if isinstance(default, tuple | list | set | frozenset):
        shown = ", ".join(map(str, default))
        return f"[{shown}]" if len(shown) <= 60 else f"{len(default)} entries"
    if isinstance(default, Mapping):
        return f"{len(default)} entries" if default else "{}"
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:,}".replace(",", "_") if isinstance(default, int) and default >= 100_000 else str(default)


def _type(field: FieldInfo) -> str:
    limits = []
    for each in field.metadata:
        limits += [text.format(f"{value:g}" if isinstance(value, float) else value)
                   for name, text in _LIMITS.items() if (value := getattr(each, name, None)) is not None]  # fmt: skip
        if pattern := getattr(each, "pattern", None):
            limits.append(f"`{pattern}`")
    return ", ".join([_type_name(field.annotation), *limits])


def _type_name(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type_name(arguments[0])
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(_type_name(each) for each in arguments if each is not type(None))
    if origin in (tuple, list, set, frozenset):
        if origin is tuple and Ellipsis not in arguments:
            return f"[{', '.join(map(_type_name, arguments))}]"
        return f"list of {_type_name(arguments[0])}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"{_type_name(arguments[0])} -> {_type_name(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "keys of its own"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    return names.get(annotation, getattr(annotation, "__name__", "any").lower())


def _stages() -> Iterator[str]:
    for name, stage in stages.CATALOGUE.items():
        yield f"### {name}\n\n{_promise(stage.settings)}\n"
        roles = {key: role for role in ("threshold", "place") for key in stage.settings.names_of(role)}
        rows = [
            (key, kind + (f"; {roles[key]}" if key in roles else ""), default, why)
            for key, kind, default, why in (
                _field_row(key, field) for key, field in stage.settings.model_fields.items()
            )
        ]
        if rows:
            yield _table(("setting", "type", "default", "meaning"), rows)
        if isinstance(stage, Stage) and stage.adds.names:
            columns = ", ".join(f"`{field.name}` ({field.type})" for field in stage.adds)
            yield f"Columns: {columns}\n"
        yield from _models(
            {
                key: each
                for key, field in stage.settings.model_fields.items()
                for each in _inner_models(field.annotation)
            },
            skip=set(),
        )


def _promise(settings: type[Settings]) -> str:
    """The first paragraph of the module that a stage is written in; of settings that share one, their own docstring."""
    module = importlib.import_module(settings.__module__)
    shared = sum(each.settings.__module__ == settings.__module__ for each in stages.CATALOGUE.values()) > 1
    return _sentence(((settings.__doc__ if shared else module.__doc__) or "").split("\n\n")[0])


def main() -> None:
    """Write docs/reference.md below the folder of the command; `--print` shows it instead."""
    if "--print" in sys.argv[1:]:
        print(reference(), end="")
    else:
        PLACE.write_text(reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
