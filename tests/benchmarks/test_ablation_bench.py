"""The faults are as large as they say, and the null is counted right."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.ablation import build, false_verdicts, packages, simulated


def texts(count: int, *, word: str) -> list[str]:
    return [f"{word} number {n} " * 20 for n in range(count)]


def size(path: Path) -> int:
    return sum(len(json.loads(line)["text"]) for line in path.read_text().splitlines())


def test_faults_have_their_share_of_the_bytes(tmp_path: Path) -> None:
    files = build(texts(400, word="bottle"), texts(400, word="Flasche"), tmp_path)
    assert list(files) == ["clean", "rot13", "copies", "boilerplate", "foreign"]
    clean = size(tmp_path / "clean.jsonl")
    for name, share in (("rot13", 0.05), ("copies", 0.05), ("foreign", 0.2)):
        assert files[name][0] == tmp_path / "clean.jsonl"
        added = size(files[name][1])
        assert added / (clean + added) == pytest.approx(share, abs=0.01)
    assert len(files["boilerplate"]) == 1
    assert size(files["boilerplate"][0]) / clean == pytest.approx(1 / 0.9, rel=0.01)
    assert "obggyr" in files["rot13"][1].read_text()
    assert len(set((tmp_path / "copies.jsonl").read_text().splitlines())) == 1
    held = set((tmp_path / "held-out.jsonl").read_text().splitlines())
    assert held
    assert not held & set((tmp_path / "clean.jsonl").read_text().splitlines())


def test_too_little_foreign_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fault foreign"):
        build(texts(400, word="bottle"), texts(3, word="Flasche"), tmp_path)


def test_models_of_nothing_but_noise_give_about_five_false_verdicts_in_a_hundred() -> None:
    # The share over splits of a few models is their own: sets of 24 normal values have 2.8 to 7.5 % (95 % of sets).
    values = np.random.default_rng(4).normal(1.0, 0.001, 96)
    share = false_verdicts([{"one": value} for value in values])
    assert share is not None
    assert 0.03 < share < 0.075
    assert 0.03 < simulated(0.001, 1.0) < 0.07
    assert false_verdicts([{"one": 1.0}] * 5) is None


def test_the_packages_of_a_corpus_are_parted_by_language(tmp_path: Path) -> None:
    kinds = [("a", "train", "en", 3), ("b", "train", "de", 3), ("c", "train", "many", 3), ("d", "guide", "en", 3)]
    rows = [{"package": n, "use": u, "languages": la, "html": h} for n, u, la, h in [*kinds, ("e", "train", "fr", 0)]]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert packages(tmp_path, english=True) == [str(tmp_path / "warc" / "a.html.warc.gz")]
    assert packages(tmp_path, english=False) == [str(tmp_path / "warc" / "b.html.warc.gz")]
    (tmp_path / "manifest.jsonl").write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(ValueError, match="no package is in one other language"):
        packages(tmp_path, english=False)
