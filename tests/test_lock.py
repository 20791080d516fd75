"""requirements.lock: every library at the version of constraints.txt, with its hashes, and nothing of the machine that
made it."""

import re
import tomllib

from documents import ROOT

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def name_of(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def pinned() -> dict[str, str]:
    return {name_of(name): version for name, version in re.findall(r"^([\w.\-]+)==([^\s\\;]+)", LOCK, re.MULTILINE)}


def test_every_line_is_pinned_and_has_hashes():
    entries = re.split(r"^(?=\S)", re.sub(r"^#.*\n", "", LOCK, flags=re.MULTILINE), flags=re.MULTILINE)
    entries = [entry for entry in entries if entry.strip()]
    assert len(entries) > 80
    for entry in entries:
        assert re.match(r"[\w.\-]+==\S+( ;[^\\]*)? \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+$", entry), entry[:200]


def test_nothing_of_the_machine_that_made_it_is_in_it():
    for trace in (
        "://",
        "file://",
        "@ ",
        "--index-url",
        "--find-links",
        "--extra-index-url",
        "+cpu",
        "-e ",
    ):
        assert trace not in LOCK, trace


def test_its_versions_are_those_that_ci_uses():
    constraints = {
        name_of(name): version
        for name, version in re.findall(r"^([\w.\-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    }
    for name, version in pinned().items():
        assert constraints.get(name, version) == version, name


def test_everything_that_a_plain_install_asks_for_is_in_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["s3"]]
    for line in asked:
        assert name_of(re.match(r"[\w.\-]+", line)[0]) in pinned(), line
