"""What a phase key knows about code: the meaning of our own modules, and the versions of the libraries they use."""

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import unicodedata
from collections.abc import Iterable
from pathlib import Path

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def source_key(modules: Iterable[str]) -> str:
    """16 hex digits over what these modules of ours say: comments, layout and docstrings do not count.

    The order of names does not matter. The modules' parents are imported to find them, they themselves are not.
    ModuleNotFoundError for a name without source. The version of Python's Unicode tables is part of what code means.
    """
    digest = hashlib.sha256(unicodedata.unidata_version.encode())
    for module in sorted(set(modules)):
        digest.update(f"\n{module}\n{_meaning(module)}".encode())
    return digest.hexdigest()[:16]


@functools.cache
def _meaning(module: str) -> str:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise ModuleNotFoundError(f"no source for module {module!r}: its phase cannot be given a key")
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """Installed version of each distribution, sorted by name. PackageNotFoundError for one that is not installed."""
    return {name: importlib.metadata.version(name) for name in sorted(set(names))}
