"""Slices of earlier runs: what is dropped, what is refused, and that a re-run reads what it read before."""

from pathlib import Path
from typing import Any

import pytest
from dedup_views import Corpus, ledger_rows, make_engine, words

from pipeline.dedup.bloom import RunIdentity, SliceError, bloom_dedup, publish_slice, read_header, resolve_slices
from pipeline.engine import merged_counts
from pipeline.files import Files
from pipeline.runners.base import TaskFailedError
from stages.bloom_dedup import BloomSettings


def texts(*seeds: int) -> list[str]:
    return [" ".join(words(20, seed=seed)) for seed in seeds]


def run_of(name: str, *sources: str) -> RunIdentity:
    """A run over files of its own, or over these."""
    return RunIdentity(key=name, sources=sources or (f"{name}.warc.gz",))


def slice_of(folder: Path, name: str) -> Path:
    (found,) = (folder / "seen").glob(f"{name}-*.bloom")
    return found


def crawl(folder: Path, identity: str, given: list[str], *sources: str, work: str = "", **options: Any) -> list[str]:
    """One run: resolve, drop, publish. Returns the texts that were dropped."""
    settings = BloomSettings(seen=str(folder / "seen"), capacity=1000, **options)
    engine = make_engine(folder / (work or identity))
    corpus = Corpus(given)
    view = corpus.view(engine, splits=2)
    pinned = resolve_slices(settings.seen, run_of(identity, *sources))
    phase = bloom_dedup(engine, view, settings, pinned, upstream="test")
    publish_slice(engine, view.with_ledger(phase), settings.seen, run_of(identity, *sources), pinned, settings)
    rows = ledger_rows(engine, view, phase)
    assert {row["reason"] for row in rows} <= {"seen_before"}
    assert merged_counts(engine.commits[phase])["kept"] == len(given) - len(rows)
    by_id = {row["id"]: row["text"] for row in corpus.rows}
    return sorted(by_id[row["id"]] for row in rows)


def test_drops_what_earlier_runs_kept_and_only_that(tmp_path: Path) -> None:
    assert crawl(tmp_path, "a", texts(*range(100))) == []
    assert crawl(tmp_path, "b", [*texts(*range(90, 110)), *(t.upper() for t in texts(3))]) == sorted(
        [*texts(*range(90, 100)), *(t.upper() for t in texts(3))]
    )
    assert crawl(tmp_path, "c", texts(*range(95, 120))) == sorted(texts(*range(95, 110)))


def test_the_same_run_again_never_meets_its_own_slice_nor_later_ones(tmp_path: Path) -> None:
    crawl(tmp_path, "a", texts(1, 2, 3))
    first = crawl(tmp_path, "b", texts(2, 4))
    crawl(tmp_path, "c", texts(4, 5))
    assert crawl(tmp_path, "b", texts(2, 4), work="again") == first == texts(2)
    assert [entry["name"] for entry in resolve_slices(str(tmp_path / "seen"), run_of("b"))] == [
        slice_of(tmp_path, "a").name
    ]


def test_equal_runs_publish_equal_bytes(tmp_path: Path) -> None:
    crawl(tmp_path / "one", "a", texts(1, 2, 3))
    crawl(tmp_path / "two", "a", texts(3, 1, 2))
    one, two = (slice_of(tmp_path / name, "a") for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_documents_without_words_are_never_seen_before(tmp_path: Path) -> None:
    crawl(tmp_path, "a", ["", "!!!", "one"])
    assert crawl(tmp_path, "b", ["", "!!!", "one", "two"]) == ["one"]


def test_more_texts_than_the_slice_holds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SliceError, match="Set the stage's `capacity` to at least 1001"):
        crawl(tmp_path, "a", texts(*range(1001)))
    assert Files(tmp_path / "seen").names("") == []


def test_a_slice_that_changed_disappeared_or_was_cut_is_refused(tmp_path: Path) -> None:
    crawl(tmp_path, "a", texts(1, 2))
    crawl(tmp_path, "b", texts(1, 3))
    slice_file = slice_of(tmp_path, "a")
    whole = slice_file.read_bytes()
    # Cut where its header is still whole: it is told by its hash.
    slice_file.write_bytes(whole[:-1])
    with pytest.raises(SliceError, match="gone or changed"):
        resolve_slices(str(tmp_path / "seen"), run_of("b"))
    settings = BloomSettings(seen=str(tmp_path / "seen"), capacity=1000)
    engine = make_engine(tmp_path / "work")
    view = Corpus(texts(1)).view(engine)
    pinned = [{"name": slice_file.name, "sha256": "0" * 64}]
    with pytest.raises(TaskFailedError, match="not the slice"):
        bloom_dedup(engine, view, settings, pinned, upstream="test")
    slice_file.write_bytes(whole[:5])
    with pytest.raises(SliceError, match="no Bloom slice"):
        read_header(Files(tmp_path / "seen"), slice_file.name)


def test_a_slice_of_other_settings_is_refused(tmp_path: Path) -> None:
    crawl(tmp_path, "a", texts(1, 2))
    with pytest.raises(TaskFailedError, match="made with compare: normal_form"):
        crawl(tmp_path, "b", texts(1), compare="verbatim")


def test_the_false_positive_rate_is_measured(tmp_path: Path) -> None:
    crawl(tmp_path, "a", texts(*range(1000)), false_positive_rate=0.01)
    settings = BloomSettings(seen=str(tmp_path / "seen"), capacity=1000)
    engine = make_engine(tmp_path / "work")
    view = Corpus(texts(1)).view(engine)
    bloom_dedup(engine, view, settings, resolve_slices(settings.seen, run_of("b")), upstream="test")
    (check,) = (commits for phase, commits in engine.commits.items() if phase.startswith("bloom.check-"))
    found = check[0].counts["slices"][slice_of(tmp_path, "a").name]
    assert found["texts"] == found["capacity"] == 1000
    assert found["expected_false_positive_rate"] == pytest.approx(0.01, rel=0.1)
    assert found["measured_false_positive_rate"] == pytest.approx(found["expected_false_positive_rate"], rel=0.05)


def test_a_crawl_that_has_grown_does_not_find_its_beginning_seen(tmp_path: Path) -> None:
    crawl(tmp_path, "first", texts(1, 2, 3), "one.warc.gz")
    assert crawl(tmp_path, "grown", texts(1, 2, 3, 4), "one.warc.gz", "two.warc.gz") == []
    assert crawl(tmp_path, "other", texts(3, 4, 5), "three.warc.gz") == sorted(texts(3, 4))


def test_a_run_that_keeps_other_texts_than_before_publishes_beside_its_first_slice(tmp_path: Path) -> None:
    crawl(tmp_path, "a", texts(1, 2))
    crawl(tmp_path, "a", texts(1, 3), work="after-a-change")
    assert len(list((tmp_path / "seen").glob("a-*.bloom"))) == 2
    assert crawl(tmp_path, "b", texts(1, 2, 3, 4)) == sorted(texts(1, 2, 3))
