"""YAML files that people write, read strictly: the tree with its lines, changed by KEY=VALUE, and errors that name the
line and the nearest right name. YAML 1.2 reads `no` as the text it is (Norwegian), and a key that stands twice is
refused instead of the last one winning.
"""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError

#: A recipe is written by a person; a larger file is a mistake or an attack by aliases.
_MAX_RECIPE_BYTES = 1 << 20
_MAX_ALIASES = 100
_OVERRIDE = re.compile(r"([A-Za-z0-9_.\-]+)=(.*)", re.DOTALL)


class RecipeError(ValueError):
    """The user's recipe or options are wrong. The message names the place, the key and the fix."""


def _installed(path: Path) -> Path:
    if path.is_absolute() or path.parts[:1] != ("configs",) or path.exists():
        return path
    return Path(str(resources.files("configs"))).joinpath(*path.parts[1:])


def parse(path: Path) -> CommentedMap:
    """The file as a tree that knows its lines. `configs/…` also means the recipes that are installed with Tamis, where
    the folder of the command has no such file."""
    try:
        text = _installed(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        known = sorted(file.name for file in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise RecipeError(f"{path}: there is no such recipe.{nearest(path.name, known)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    if len(text) > _MAX_RECIPE_BYTES or text.count("*") > _MAX_ALIASES + 10_000:
        raise RecipeError(f"{path}: larger than a recipe can be ({_MAX_RECIPE_BYTES} bytes)")
    if len(re.findall(r"(?m)(?:^|[\s,\[{:-])\*\w+", text)) > _MAX_ALIASES:
        raise RecipeError(f"{path}: more than {_MAX_ALIASES} YAML aliases")
    reader = YAML(typ="rt", pure=True)
    reader.allow_duplicate_keys = False
    try:
        tree = reader.load(text)
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise RecipeError(f"{path}:{line}: a key stands twice: {str(error.problem).splitlines()[0]}") from error
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise RecipeError(f"{path}:{line}: not YAML: {error.problem}") from error
    if not isinstance(tree, CommentedMap):
        raise RecipeError(f"{path}: a recipe is a mapping of keys (name, input, stages, …)")
    return tree


def apply_override(tree: CommentedMap, override: str) -> None:
    """Set one KEY=VALUE in the tree; the value is YAML, the key dotted (a stage is named by its type or number)."""
    found = _OVERRIDE.fullmatch(override)
    if not found:
        raise RecipeError(f"--set {override!r}: write KEY=VALUE, for example --set stages.quality.min_score=0.2")
    try:
        value = YAML(typ="safe", pure=True).load(found.group(2))
    except MarkedYAMLError as error:
        raise RecipeError(f"--set {override!r}: the value is not YAML: {error.problem}. Quote text") from error
    set_value(tree, found.group(1), value, said=f"--set {override!r}")


def set_value(tree: CommentedMap, key: str, value: Any, *, said: str) -> None:
    """Set the value of a dotted key. `said` is what the user wrote, for errors."""
    keys = key.split(".")
    place: Any = tree
    for number, step in enumerate(keys[:-1]):
        if isinstance(place, CommentedSeq):
            place = member(place, step, said=said)
        elif isinstance(place, CommentedMap):
            following = place.get(step)
            if following is None:
                place[step] = following = CommentedMap()
            place = following
        else:
            raise RecipeError(f"{said}: {'.'.join(keys[:number])} holds a single value, not keys")
    if not isinstance(place, CommentedMap):
        raise RecipeError(f"{said}: {'.'.join(keys[:-1])} holds no keys")
    place[keys[-1]] = value


def member(entries: Any, key: str, *, said: str) -> Any:
    """The stage of a list that a type or a number names."""
    if key.isdigit() and int(key) < len(entries):
        return entries[int(key)]
    matching = [entry for entry in entries if isinstance(entry, Mapping) and entry.get("type") == key]
    types = [str(entry.get("type")) for entry in entries if isinstance(entry, Mapping)]
    if len(matching) != 1:
        fix = "give its number, from 0" if matching else f"the recipe has {', '.join(types)}"
        raise RecipeError(f"{said}: {len(matching)} stages are of type {key!r}; {fix}")
    return matching[0]


def explain(
    error: ValidationError, tree: CommentedMap, where: str, *, prefix: tuple[str | int, ...], model: type[BaseModel]
) -> str:
    lines = []
    for problem in error.errors():
        location = (*prefix, *problem["loc"])
        key = _dotted(location) or "recipe"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            known = _known_keys(model, problem["loc"][:-1])
            message = f"unknown key.{nearest(str(problem['loc'][-1]), known)}"
        elif problem["type"] != "missing" and not isinstance(problem.get("input"), Mapping | tuple | list):
            message = f"{message} (found {json.dumps(problem.get('input'), default=str)})"
        lines.append(f"{place_of(tree, location, where)}: {key}: {message}")
    return "\n".join(lines)


def _known_keys(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """Field names of the model that `path` leads to."""
    for step in path:
        field = model.model_fields.get(str(step))
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
        inner = [item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel)]
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)


def _dotted(location: Sequence[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location).lstrip(".")


def place_of(tree: Any, location: Sequence[str | int], where: str) -> str:
    """`file:line` of the innermost key on the way to `location` that the file really holds."""
    line = None
    for step in location:
        try:
            if isinstance(tree, CommentedMap) and step in tree:
                line = tree.lc.key(step)[0] + 1
            elif isinstance(tree, CommentedSeq) and isinstance(step, int) and step < len(tree):
                line = tree.lc.item(step)[0] + 1
            else:
                break
        except KeyError:  # a key that --set added stands on no line
            break
        tree = tree[step]
    return f"{where}:{line}" if line else where


def nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" Known are: {', '.join(known)}." if known else ""
