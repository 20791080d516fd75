"""`python -m pipeline.licences`: docs/licences.md, the licence of every library that Tamis brings, as installed here.

Follows the dependencies of pyproject.toml and of its extras through the metadata of what is installed. An unknown
licence is an error: whoever adds a library says here what it is under, with the place where that stands.
"""

import importlib.metadata
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PLACE = Path("docs/licences.md")
#: Extras for users; `dev` is for people who work on Tamis, and brings nothing to those who install it.
EXTRAS = ("s3", "pdf-mupdf", "demo", "extractor", "tensorboard", "classifiers", "segment", "perplexity", "browse")
#: Where the metadata does not say, or says it at such length that a line of a table cannot hold it.
STATED = {
    # LICENSE and COPYING.LESSER.3 in its source.
    "kenlm": "LGPL-2.1-or-later",
    # "Dual Licensed - GNU AFFERO GPL 3.0 or Artifex Commercial License", in its metadata.
    "pymupdf": "AGPL-3.0-or-later or Artifex Commercial License",
    # Their descriptions: empty packages that pymupdf 2 requires in place of earlier ones.
    "pymupdf4llm": "none: an empty package",
    "pymupdf-layout": "none: an empty package",
}
_INTRODUCTION = """\
# Licences of what Tamis brings

Made by `make licences` from the metadata of what is installed, on Python 3.11. Our own code is Apache-2.0, the bundled
models have cards in `pipeline/builtin/`. Two to look at before you ship a product: **pymupdf** (AGPL-3.0 or commercial;
extra `pdf-mupdf`, never installed unasked) and **kenlm** (LGPL-2.1; extra `perplexity`). PyTorch's builds for GPUs
bring NVIDIA's libraries, which are under licences of NVIDIA's own; they are not listed here, since the list was made
with the build for CPUs.

| library | version | licence | brought by |
|---|---|---|---|
"""


class UnknownLicenceError(ValueError):
    """A library whose metadata does not name its licence."""


@dataclass(frozen=True, kw_only=True)
class Library:
    name: str
    version: str
    licence: str
    #: `tamis`, or the extras that it takes to bring it.
    brought_by: tuple[str, ...]


def licence_of(found: importlib.metadata.Distribution) -> str:
    """The licence that the metadata names: its SPDX expression, its classifiers, or its one line. UnknownLicenceError
    if it names none."""
    metadata = found.metadata
    name = canonicalize_name(metadata["Name"])
    if name in STATED:
        return STATED[name]
    if expression := metadata.get_all("License-Expression"):
        return str(expression[0])
    classified = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License ::") and not line.endswith("OSI Approved")
    ]
    line = str((metadata.get_all("License") or [""])[0]).strip()
    if classified:
        return ", ".join(sorted(classified))
    if line and "\n" not in line and len(line) <= 60 and line.upper() != "UNKNOWN":
        return line
    raise UnknownLicenceError(f"{name}: its metadata names no licence. Look it up and add it to STATED")


def libraries(project: Path = Path("pyproject.toml")) -> list[Library]:
    """Everything that is installed because of Tamis or of one of its extras, by name."""
    declared = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    core = set(_closure(declared["dependencies"]))
    brought: dict[str, list[str]] = {name: ["tamis"] for name in core}
    for extra in EXTRAS:
        for name in _closure(declared["optional-dependencies"][extra]):
            if name not in core:
                brought.setdefault(name, []).append(extra)
    found = []
    for name, owners in sorted(brought.items()):
        distribution = importlib.metadata.distribution(name)
        # `+cpu` and the like name a build, not another version.
        version = distribution.version.partition("+")[0]
        found.append(
            Library(name=name, version=version, licence=licence_of(distribution), brought_by=tuple(sorted(set(owners))))
        )
    return found


def _closure(requirements: list[str]) -> Iterator[str]:
    """Names of the requirements that are installed, and of all that they require in turn."""
    waiting = [Requirement(each) for each in requirements]
    seen = set()
    while waiting:
        requirement = waiting.pop()
        asked = ["", *sorted(requirement.extras)]
        name = canonicalize_name(requirement.name)
        if (name, tuple(asked)) in seen:
            continue
        seen.add((name, tuple(asked)))
        try:
            inner = [Requirement(line) for line in importlib.metadata.requires(name) or []]
        except importlib.metadata.PackageNotFoundError:
            continue  # of an extra that is not installed here
        yield name
        waiting += [
            each
            for each in inner
            if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in asked)
        ]


def page() -> str:
    """The whole file."""
    rows = [f"| {each.name} | {each.version} | {each.licence} | {', '.join(each.brought_by)} |" for each in libraries()]
    return _INTRODUCTION + "\n".join(rows) + "\n"


def main() -> None:
    """Write docs/licences.md below the folder of the command; `--print` shows it instead."""
    if "--print" in sys.argv[1:]:
        print(page(), end="")
    else:
        PLACE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
