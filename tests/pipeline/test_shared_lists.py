"""A block list is built once on a machine; who comes later maps the same file."""

import tempfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.shared_lists import shared_list
from stages.url_filter import build_list

LINES = ["example.com", "forum.example.org", "example.net/adult"]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_the_first_builds_and_the_others_map():
    built = []

    def lines():
        built.append(1)
        return iter(LINES)

    first, second = (shared_list(build_list, lines, sha256="a" * 64) for _ in range(2))
    assert first.tolist() == second.tolist() == build_list(LINES).tolist()
    assert len(built) == 1
    assert not first.flags.writeable
    assert isinstance(first.base, np.memmap)


def test_another_list_is_another_file():
    shared_list(build_list, lambda: iter(LINES), sha256="a" * 64)
    assert shared_list(build_list, lambda: iter(LINES[:1]), sha256="b" * 64).tolist() == build_list(LINES[:1]).tolist()
    assert shared_list(build_list, lambda: iter(()), sha256="c" * 64).tolist() == []


def test_an_attempt_that_was_cut_short_is_made_again(tmp_path):
    def broken():
        yield "example.com"
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        shared_list(build_list, broken, sha256="a" * 64)
    assert shared_list(build_list, lambda: iter(LINES), sha256="a" * 64).tolist() == build_list(LINES).tolist()
    assert not list(tmp_path.rglob("*.attempt"))


def test_a_folder_that_others_can_write_is_refused(tmp_path):
    shared_list(build_list, lambda: iter(LINES), sha256="a" * 64)
    folder = next(path for path in tmp_path.iterdir() if path.name.startswith("tamis-lists"))
    Path(folder).chmod(0o777)
    with pytest.raises(PermissionError, match="TMPDIR"):
        shared_list(build_list, lambda: iter(LINES), sha256="a" * 64)
