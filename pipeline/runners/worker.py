"""What a Ray worker does before its first task: see that it is fit, so that its bytes are those of any other worker.

A worker is fit when our four packages come from one folder, say what the driver's say, stand on the same versions of
libraries, and when it sees the same work folder. A node that was set up otherwise would write other bytes, or write
them where nobody looks for them, without a word. Knows nothing of Ray.
"""

import functools
import hashlib
import importlib.metadata
import importlib.util
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.files import Files
from pipeline.parts import Commit, Task, execute

PACKAGES = ("pipeline", "stages", "tokenizer", "train")
#: The folder that holds them here.
ROOT = Path(__file__).resolve().parents[2]


class StrangerError(RuntimeError):
    """A process imported another project's package under one of our names."""


class UnfitError(RuntimeError):
    """A node of the cluster that would write other bytes than the driver's, or write them elsewhere."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a worker must find. Plain data: it travels with every task."""

    #: The folder that all packages lie in; None where code is shipped and lies in another folder on each node.
    root: str | None
    code: str
    versions: tuple[tuple[str, str], ...] = ()
    #: A file of the work folder, written by the driver: who does not see it, writes elsewhere.
    marker: str | None = None


def check_root(expected: str | None) -> str:
    """The folder that `pipeline`, `stages`, `tokenizer` and `train` are all imported from. StrangerError if not one."""
    roots = {}
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        roots[name] = str(Path(spec.origin).resolve().parents[1]) if spec and spec.origin else "nowhere"
    expected = expected or roots[PACKAGES[0]]
    if set(roots.values()) != {expected}:
        raise StrangerError(
            f"expected all packages below {expected}, found {roots}. Another project with a package of the same name "
            "comes first on the path: start from another folder, or uninstall it."
        )
    return expected


def code_of(root: str | Path) -> str:
    """16 hex digits over every Python file of our packages below `root`."""
    digest = hashlib.sha256()
    for name in PACKAGES:
        for path in sorted((Path(root) / name).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def versions_of(names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Installed versions of distributions, Python's among them; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return tuple(sorted(found.items()))


@functools.cache
def check(work: str, expected: Expected) -> None:
    """Once a process and work folder. StrangerError or UnfitError says what is wrong and what to do."""
    root, here = check_root(expected.root), f"node {platform.node()}"
    if expected.root is None and code_of(root) != expected.code:
        raise UnfitError(
            f"{here} runs other code than the driver, from {root}: take what is installed there off its PYTHONPATH"
        )
    found = dict(versions_of(name for name, _ in expected.versions))
    other = [
        f"{name} {found.get(name, 'missing')} instead of {version}"
        for name, version in expected.versions
        if found.get(name) != version
    ]
    if other:
        raise UnfitError(
            f"{here} has {', '.join(other)}: its results could differ. Install what the driver has on every node "
            "(the same image, or requirements.lock)."
        )
    if expected.marker is not None and not Files(work).exists(expected.marker):
        raise UnfitError(
            f"{here} does not see the work folder {work}: give a --work that every node sees, on a shared file system "
            "or s3://. The input, --out and models of your own have to be seen by every node too."
        )


def execute_checked(work: str, task: Task, expected: Expected) -> Commit:
    """A task, done by a worker that is fit for it."""
    check(work, expected)
    return execute(work, task)
