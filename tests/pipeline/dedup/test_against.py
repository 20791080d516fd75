"""A dump against what earlier runs kept: the same as walking those first, slices that are refused, and re-runs."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from dedup_views import Corpus, ledger_rows, make_engine, planted, replaced, verdicts, words

from pipeline.dedup import rounds
from pipeline.dedup.against import FORMAT, publish_near, read_manifest, resolve_near
from pipeline.dedup.bloom import RunIdentity, SliceError
from pipeline.dedup.near import near_dedup
from pipeline.engine import Engine, merged_counts
from pipeline.files import Files
from pipeline.recipe import load_recipe
from pipeline.run import Options, run
from pipeline.runners.base import TaskFailedError
from stages.near_dedup import NearDedupSettings, Shingle
from stages.shingles import reference_shingles

SMALL = {"threshold": 0.6, "shingle": {"unit": "word", "size": 3}}


def run_of(name: str, *sources: str) -> RunIdentity:
    return RunIdentity(key=name, sources=sources or (f"{name}.warc.gz",))


def crawl(
    folder: Path,
    name: str,
    corpus: Corpus,
    *sources: str,
    work: str = "",
    splits: int = 2,
    partition_bytes: int = 1 << 20,
    **options: Any,
) -> tuple[Engine, dict[str, tuple[str, float]], list[dict[str, Any]]]:
    """One run: resolve, drop, publish. Returns its engine, the verdicts and the ledger."""
    settings = NearDedupSettings(**{**SMALL, "against": str(folder / "seen"), **options})
    engine = make_engine(folder / (work or name))
    view = corpus.view(engine, splits=splits)
    pinned = resolve_near(settings, run_of(name, *sources))
    phase = near_dedup(engine, view, settings, upstream="test", slices=pinned, partition_bytes=partition_bytes)
    publish_near(engine, view.with_ledger(phase), settings, run_of(name, *sources), pinned)
    assert merged_counts(engine.commits[phase])["documents"] == len(corpus.rows)
    return engine, verdicts(engine, view, phase), ledger_rows(engine, view, phase)


def similarity(one: str, two: str) -> float:
    a, b = (set(reference_shingles(text, size=3)) for text in (one, two))
    return len(a & b) / len(a | b)


def by_walking(earlier: list[dict[str, Any]], corpus: Corpus) -> set[str]:
    """Ids that go when the earlier documents are walked first, as kept ones, and then these from best to worst."""
    kept = [row["text"] for row in earlier]
    gone = set()
    for row in sorted(corpus.rows, key=lambda row: (-len(row["text"]), row["id"])):
        if any(round(similarity(row["text"], text) * 10_000) >= 6_000 for text in kept):
            gone.add(row["id"])
        else:
            kept.append(row["text"])
    return gone


def two_dumps(seed: int) -> tuple[Corpus, Corpus]:
    """Clusters dealt out to two dumps, with a template whose pages crowd buckets in both."""
    template = words(60, seed=5)
    texts = [
        *planted(8, 6, seed=seed),
        *(" ".join([*template, *words(25, seed=1000 + number)]) for number in range(16)),
        *(" ".join(replaced(template, 0.02, seed=number)) for number in range(10)),
    ]
    random.Random(seed).shuffle(texts)
    return Corpus(texts[::2]), Corpus([text for text in texts[1::2] if text not in texts[::2]])


#: Enough bands that no pair at the threshold is missed, so that the walk over all pairs is what must come out.
SURE = {"permutations": 128, "bands": 64, "rows": 2}


@pytest.mark.parametrize(("seed", "crowded"), [(1, 64), (2, 3), (3, 2)])
def test_is_the_walk_over_the_earlier_survivors_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, crowded: int
) -> None:
    monkeypatch.setattr(rounds, "_SHOWN", 1)
    first, second = two_dumps(seed)
    _, gone, _ = crawl(tmp_path, "one", first, **SURE, crowded=crowded)
    kept = [row for row in first.rows if row["id"] not in gone]
    engine, found, rows = crawl(tmp_path, "two", second, **SURE, crowded=crowded, splits=3, partition_bytes=50_000)
    assert set(found) == by_walking(kept, second)
    earlier, own = {row["id"]: row["text"] for row in kept}, {row["id"]: row["text"] for row in second.rows}
    (slice_name,) = (name for name in Files(tmp_path / "seen").names("") if name.startswith("one-"))
    partners = set()
    for row in rows:
        known = earlier if row["partner"] in earlier else own
        partners.add(row["partner"] in earlier)
        assert row["partner"] not in found
        assert similarity(own[row["id"]], known[row["partner"]]) == pytest.approx(row["measured"], abs=1e-4)
        assert row["detail"] == (f"kept by an earlier run, slice {slice_name}" if known is earlier else None)
    assert True in partners
    # No two earlier documents are compared: without a new one nothing is.
    nothing = crawl(tmp_path, "none", Corpus(["too short"]), **SURE, crowded=crowded)[0]
    assert [c.counts["pairs"] for p, cs in nothing.commits.items() if ".buckets-" in p for c in cs] == [0] * sum(
        len(cs) for p, cs in nothing.commits.items() if ".buckets-" in p
    )
    assert merged_counts(engine.commits[next(p for p in engine.commits if ".earlier-" in p)]) == {
        "earlier_documents": len(kept)
    }


def test_three_dumps_in_a_row_and_partitions_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = two_dumps(4)
    third = Corpus([f"{row['text']} again" for row in [*first.rows[::3], *second.rows[::3]]])
    found = {}
    for name, options in {"a": {}, "b": {"splits": 3, "partition_bytes": 50_000}}.items():
        removed = [
            crawl(tmp_path / name, run, dump, **options)[1]
            for run, dump in zip("xyz", (first, second, third), strict=True)
        ]
        found[name] = removed
        assert len(list((tmp_path / name / "seen").glob("*.near.json"))) == 3
        monkeypatch.setattr(rounds, "_SHOWN", 1)
    assert found["a"] == found["b"]
    assert len(found["a"][2]) > len(third.rows) // 2


def test_the_same_run_again_reads_what_it_read_and_never_its_own_slice(tmp_path: Path) -> None:
    first, second = two_dumps(5)
    crawl(tmp_path, "a", first)
    _, once, _ = crawl(tmp_path, "b", second)
    before = sorted(path.name for path in (tmp_path / "seen").rglob("*"))
    crawl(tmp_path, "c", Corpus([f"{row['text']} more" for row in second.rows]))
    _, again, _ = crawl(tmp_path, "b", second, work="again")
    assert again == once
    assert sorted(p.name for p in (tmp_path / "seen").glob("b-*.near.json")) == [
        n for n in before if n.startswith("b-") and n.endswith(".near.json")
    ], "it published the very same slice"


def test_a_crawl_that_has_grown_does_not_meet_its_beginning(tmp_path: Path) -> None:
    first, second = two_dumps(6)
    crawl(tmp_path, "first", first, "one.warc.gz")
    grown = Corpus([])
    grown.rows = [*first.rows, *second.rows]
    _, found, rows = crawl(tmp_path, "grown", grown, "one.warc.gz", "two.warc.gz")
    assert {row["detail"] for row in rows} == {None}
    assert len(found) < len(grown.rows)


def test_a_run_killed_between_its_commit_and_the_manifest_publishes_when_it_runs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two_dumps(7)
    written = Files.write_bytes

    def killed(self: Files, name: str, data: bytes) -> Any:
        if name.endswith(".near.json"):
            raise KeyboardInterrupt
        return written(self, name, data)

    monkeypatch.setattr(Files, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        crawl(tmp_path, "a", first)
    assert list((tmp_path / "seen").glob("*.near.json")) == [], "files without a manifest are no slice"
    settings = NearDedupSettings(**SMALL, against=str(tmp_path / "seen"))
    assert resolve_near(settings, run_of("b")) == []
    monkeypatch.undo()
    crawl(tmp_path, "a", first)
    crawl(tmp_path / "undisturbed", "a", first)
    contents = [
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "seen", tmp_path / "undisturbed" / "seen")
    ]
    assert contents[0] == contents[1]
    assert len(crawl(tmp_path, "b", second)[1]) > 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shingle": {"unit": "word", "size": 4}}, r"shingle: .*'size': 3.* there, .*'size': 4.* here"),
        ({"permutations": 64}, "permutations: 128 there, 64 here"),
        ({"threshold": 0.9}, "bands: .* there, .* here; rows"),
    ],
)
def test_a_slice_of_other_parameters_is_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    first, second = two_dumps(8)
    crawl(tmp_path, "a", first)
    with pytest.raises(SliceError, match=message):
        crawl(tmp_path, "b", second, **changed)


def test_a_slice_whose_texts_mean_something_else_now_is_refused(tmp_path: Path) -> None:
    first, second = two_dumps(8)
    crawl(tmp_path, "a", first)
    (path,) = (tmp_path / "seen").glob("*.near.json")
    manifest = json.loads(path.read_text())
    manifest["parameters"]["meaning"] = "what an older normal form made of the probe"
    path.write_text(json.dumps(manifest))
    with pytest.raises(SliceError, match="meaning: what an older normal form"):
        crawl(tmp_path, "b", second)


def test_a_missing_changed_or_strange_slice_is_refused(tmp_path: Path) -> None:
    first, second = two_dumps(9)
    crawl(tmp_path, "a", first)
    seen = tmp_path / "seen"
    (manifest,) = seen.glob("*.near.json")
    stem = manifest.name.removesuffix(".near.json")
    sets = seen / stem / "u00000.sets"
    whole = sets.read_bytes()
    sets.write_bytes(whole[:-1] + b"?")
    with pytest.raises(TaskFailedError, match=r"u00000\.sets is gone or changed"):
        crawl(tmp_path, "b", second)
    sets.unlink()
    with pytest.raises(TaskFailedError, match="gone or changed"):
        crawl(tmp_path, "b", second, work="b2")
    sets.write_bytes(whole)
    crawl(tmp_path, "b", second, work="b3")
    text = manifest.read_text()
    manifest.unlink()
    with pytest.raises(SliceError, match="is gone or changed"):
        crawl(tmp_path, "b", second, work="b4")
    manifest.write_text(text.replace(f'"format": {FORMAT}', '"format": 9'))
    with pytest.raises(SliceError, match=f"format 9, this program reads {FORMAT}"):
        read_manifest(Files(seen), manifest.name)
    manifest.write_text("{")
    with pytest.raises(SliceError, match="no near dedup slice"):
        read_manifest(Files(seen), manifest.name)


def test_containment_against_earlier_documents(tmp_path: Path) -> None:
    long = words(200, seed=1)
    options = {"similarity": "containment", "permutations": 512, "bands": 512, "rows": 1}
    crawl(tmp_path, "a", Corpus([" ".join(long)]), **options)
    _, found, _ = crawl(tmp_path, "b", Corpus([" ".join(long[50:120]), " ".join(words(70, seed=2))]), **options)
    assert [measured for _, measured in found.values()] == [1.0]
    assert Shingle(size=3) == NearDedupSettings(**SMALL).shingle


def test_a_recipe_runs_one_dump_after_the_other(tmp_path: Path) -> None:
    texts = [" ".join(words(80, seed=seed)) for seed in range(6)]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"name: dumps\nstages:\n  - {{type: extract}}\n  - {{type: near_dedup, against: {tmp_path / 'seen'}}}\n",
        encoding="utf-8",
    )

    def go(name: str, given: list[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in given), encoding="utf-8")
        options = Options(out=str(tmp_path / name), work=str(tmp_path / "work"), runner="inline")
        manifest = run(load_recipe(recipe, inputs=[str(path)]), options)
        ledger = [
            row for part in sorted((tmp_path / name / "ledger").iterdir()) for row in pq.read_table(part).to_pylist()
        ]
        return manifest, ledger

    assert go("one", texts[:4])[0]["counts"]["kept"] == 4
    manifest, ledger = go("two", [*texts[2:], f"{texts[3]} more"])
    assert manifest["counts"]["kept"] == 2
    assert [row["detail"].startswith("kept by an earlier run, slice ") for row in ledger] == [True] * 3
    assert go("three", texts)[0]["counts"]["kept"] == 0
    # The second run again, with a third one's slice there by now: the same root.
    again, _ = go("two", [*texts[2:], f"{texts[3]} more"])
    assert again["root"] == manifest["root"]
    assert not any(phase["executed"] for phase in again["phases"])
