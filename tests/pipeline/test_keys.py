"""What changes a key and what does not."""

import importlib.metadata
import importlib.util
from pathlib import Path

import pytest

from pipeline import keys
from pipeline.ablation.training import _TRAIN_MODULES
from pipeline.keys import closure, library_versions, source_key

BEFORE = (
    '"""Says what it does."""\n\nLIMIT = 3\n\n\ndef double(value):\n    """Twice the value."""\n    return value * 2\n'
)


def key_of_source(folder: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The key of a module with this source."""
    folder.mkdir(exist_ok=True)
    (folder / "keyed_module.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    for cached in (keys._meaning, keys._tree, keys._imports, keys._source):
        cached.cache_clear()
    return source_key(["keyed_module"])


def test_comments_layout_and_docstrings_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after = '"""Other words."""\nLIMIT = 3  # three\ndef double(value):\n\n    return (value  *  2)\n'
    assert key_of_source(tmp_path, BEFORE, monkeypatch) == key_of_source(tmp_path, after, monkeypatch)


@pytest.mark.parametrize(("old", "new"), [("LIMIT = 3", "LIMIT = 4"), ("* 2", "+ value"), ("double", "twice")])
def test_code_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    assert key_of_source(tmp_path, BEFORE, monkeypatch) != key_of_source(
        tmp_path, BEFORE.replace(old, new), monkeypatch
    )


def test_a_function_of_only_a_docstring_has_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(key_of_source(tmp_path, 'def nothing():\n    """Says nothing."""\n', monkeypatch)) == 16


def test_the_order_and_repetition_of_modules_do_not_count() -> None:
    keys._meaning.cache_clear()
    assert source_key(["stages.schema", "pipeline.files"]) == source_key(
        ["pipeline.files", "stages.schema", "stages.schema"]
    )
    assert source_key(["stages.schema"]) != source_key(["pipeline.files"])


@pytest.mark.parametrize("name", ["stages.no_such_stage", "math"])
def test_a_module_without_source_is_refused(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=name):
        source_key([name])


def test_library_versions() -> None:
    found = library_versions(["numpy", "pyarrow", "numpy"])
    assert list(found) == ["numpy", "pyarrow"]
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        library_versions(["no-such-distribution"])


def test_a_model_is_known_by_all_code_that_trains_it() -> None:
    """A list by hand forgot what optimisers share, and old models were read back as if nothing had changed."""
    followed = set(closure(_TRAIN_MODULES))
    assert {"train.attention", "train.stacks", "train.muon", "train.export", "train.loader"} <= followed
    assert {"train.horizons", "train.loop"} <= set(closure(["pipeline.ablation.ladder_run"]))
    assert {"train.generate", "train.loop"} <= set(closure(["pipeline.ablation.memorisation"]))
