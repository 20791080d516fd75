"""What a phase key knows about code: the meaning of our own modules, and the versions of the libraries they use."""

import ast
import copy
import functools
import hashlib
import importlib.metadata
import importlib.util
import unicodedata
from collections.abc import Iterable
from pathlib import Path

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


#: Our packages: what a module imports from them is part of what it means.
_OURS = ("pipeline", "stages", "tokenizer", "train")
#: Not followed: they hand work out or look things up, and change nothing of what a task writes. The catalogue of stages
#: would otherwise tie every key to every stage.
_NOT_FOLLOWED = frozenset({"pipeline", "stages", "pipeline.engine", "pipeline.recipe", "pipeline.flow", "pipeline.cli"})
_NOT_FOLLOWED_BELOW = ("pipeline.runners",)


def source_key(modules: Iterable[str]) -> str:
    """16 hex digits over what these modules of ours, and all of ours that they import, say.

    Comments, layout and docstrings do not count, nor does the order of names. ModuleNotFoundError for a name without
    source. The version of Python's Unicode tables is part of what code means.
    """
    digest = hashlib.sha256(unicodedata.unidata_version.encode())
    for module in closure(modules):
        digest.update(f"\n{module}\n{_meaning(module)}".encode())
    return digest.hexdigest()[:16]


def closure(modules: Iterable[str]) -> list[str]:
    """The modules and those of ours that they import, directly or through others, sorted. Imports written in functions
    count; a module that is looked up by a name in a string has to be named by whoever asks."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting.extend(name for name in _imports(module) if name not in _NOT_FOLLOWED)
    return sorted(found)


@functools.cache
def _imports(module: str) -> frozenset[str]:
    """Modules of ours that a module's source names in its import statements."""
    names: set[str] = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from package import name`: the name may be a module of its own.
            names.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    ours = {name for name in names if name.partition(".")[0] in _OURS and not name.startswith(_NOT_FOLLOWED_BELOW)}
    return frozenset(name for name in ours if _source(name) is not None)


@functools.cache
def _source(module: str) -> str | None:
    """The file of a module of ours; None if there is no such module."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # a name inside a module, asked for as if it were a module below it
        return None
    return spec.origin if spec is not None and spec.origin is not None and spec.origin.endswith(".py") else None


@functools.cache
def _tree(module: str) -> ast.Module:
    source = _source(module)
    if source is None:
        raise ModuleNotFoundError(f"no source for module {module!r}: its phase cannot be given a key")
    return ast.parse(Path(source).read_text(encoding="utf-8"))


@functools.cache
def _meaning(module: str) -> str:
    tree = copy.deepcopy(_tree(module))
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """Installed version of each distribution, sorted by name. PackageNotFoundError for one that is not installed."""
    return {name: installed_version(name) for name in sorted(set(names))}


@functools.cache
def installed_version(name: str) -> str:
    """As importlib.metadata tells it, once in a process: it reads and parses a file of some kilobytes each time."""
    return importlib.metadata.version(name)
