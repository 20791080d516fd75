"""docs/licences.md: every library that an installation brings stands there, under a licence that is known."""

import importlib.metadata
import sys
from email.message import Message
from pathlib import Path

import pytest

from pipeline.licences import STATED, UnknownLicenceError, libraries, licence_of

ROOT = Path(__file__).parents[2]


def rows() -> dict[str, list[str]]:
    lines = [line.strip("| ").split(" | ") for line in (ROOT / "docs/licences.md").read_text().splitlines()]
    return {cells[0]: cells[1:] for cells in lines if len(cells) == 4 and cells[0] != "library"}


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the list is made on Python 3.11")
def test_what_is_installed_stands_in_the_list_with_its_licence():
    listed = rows()
    found = libraries(ROOT / "pyproject.toml")
    assert len(found) > 60
    for each in found:
        assert each.name in listed, f"{each.name} is not in docs/licences.md: make licences"
        assert listed[each.name][1] == each.licence
        if "tamis" in each.brought_by:
            assert listed[each.name] == [each.version, each.licence, "tamis"]


def test_nothing_that_a_plain_install_brings_is_copyleft_for_the_whole():
    """GPL and AGPL come by extras alone. (MPL and LGPL bind their own files; tld may be taken under MPL.)"""
    for name, (_, licence, brought_by) in rows().items():
        if "tamis" in brought_by and name != "tld":
            assert "GPL" not in licence, name
    assert "AGPL" in rows()["pymupdf"][1]
    assert rows()["pymupdf"][2] == "pdf-mupdf"


class Made:
    def __init__(self, **entries):
        self.metadata = Message()
        for name, value in entries.items():
            self.metadata[name.replace("_", "-")] = value


def test_a_licence_is_found_wherever_the_metadata_says_it_and_is_never_guessed():
    assert licence_of(Made(Name="a", License_Expression="MIT", License="long text")) == "MIT"
    assert licence_of(Made(Name="a", License="Apache 2.0")) == "Apache 2.0"
    assert licence_of(Made(Name="a", Classifier="License :: OSI Approved :: BSD License")) == "BSD License"
    for unknown in (
        {},
        {"License": "UNKNOWN"},
        {"License": "Copyright\nall rights"},
        {"Classifier": "License :: OSI Approved"},
    ):
        with pytest.raises(UnknownLicenceError, match="names no licence"):
            licence_of(Made(Name="a", **unknown))


def test_what_is_stated_by_hand_is_still_needed():
    for name in STATED:
        try:
            found = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        assert not found.get("License-Expression"), f"{name} says it itself now: take it out of STATED"
