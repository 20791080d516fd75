"""Near deduplication against its definition, and against what undid other implementations."""

import gzip
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from dedup_views import Corpus, by_definition, contents, ledger_rows, make_engine, planted, replaced, verdicts, words

from pipeline import exchange, run_file
from pipeline.dedup import buckets, groups, near, rounds
from pipeline.dedup.near import near_dedup
from pipeline.engine import Engine, merged_counts
from pipeline.parts import Commit, Task, execute
from pipeline.runners.base import TaskFailedError
from pipeline.view import Layer
from stages.minhash import proposal_probability
from stages.near_dedup import NearDedupSettings, Shingle

SHARED = Path(__file__).parents[3] / ".." / "shared" / "data"
SMALL = NearDedupSettings(threshold=0.6, shingle=Shingle(size=3), crowded=64)


def run(
    corpus: Corpus, folder: Path, settings: NearDedupSettings = SMALL, *, splits: int = 2, **options: Any
) -> dict[str, Any]:
    """verdicts, and the books, of one run over a corpus."""
    engine = make_engine(folder)
    view = corpus.view(engine, splits=splits)
    phase = near_dedup(engine, view, settings, upstream="test", **options)
    return {
        "removed": verdicts(engine, view, phase),
        "counts": merged_counts(engine.commits[phase]),
        "rounds": sum(c.counts.get("rounds", 0) for commits in engine.commits.values() for c in commits),
        "pairs": sum(
            c.counts.get("pairs", 0) for p, commits in engine.commits.items() if ".verify-" in p for c in commits
        ),
        "engine": engine,
        "view": view,
        "phase": phase,
    }


def assert_by_definition(corpus: Corpus, found: dict[str, Any], settings: NearDedupSettings, **options: Any) -> None:
    wanted = by_definition(corpus, settings, **options)
    assert set(found["removed"]) == set(wanted)
    for identity, verdict in found["removed"].items():
        assert verdict in wanted[identity], "the partner is a kept document, with its true similarity"
    assert found["counts"]["documents"] == len(corpus.rows)
    assert found["counts"]["kept"] == len(corpus.rows) - len(wanted)


@pytest.mark.parametrize(("seed", "crowded"), [(0, 64), (1, 4), (2, 3), (3, 2), (4, 2)])
def test_is_the_definition_applied_to_the_proposed_pairs(tmp_path: Path, seed: int, crowded: int) -> None:
    corpus = Corpus(planted(25, 9, seed=seed))
    settings = SMALL.model_copy(update={"crowded": crowded})
    found = run(corpus, tmp_path, settings)
    assert len(found["removed"]) > 10
    assert_by_definition(corpus, found, settings)


@pytest.mark.parametrize(("similarity", "crowded"), [("jaccard", 64), ("jaccard", 3), ("containment", 3)])
def test_is_the_exact_definition_where_bands_propose_all_pairs(tmp_path: Path, similarity: str, crowded: int) -> None:
    settings = NearDedupSettings(
        threshold=0.5,
        shingle=Shingle(size=2),
        permutations=1024,
        bands=1024,
        rows=1,
        crowded=crowded,
        similarity=similarity,
    )
    corpus = Corpus(planted(8, 6, seed=7, length=40))
    assert_by_definition(corpus, run(corpus, tmp_path, settings), settings, all_pairs=True)


@pytest.mark.parametrize("crowded", [64, 3])
def test_the_same_survivors_whatever_order_splits_and_partitions(tmp_path: Path, crowded: int) -> None:
    texts = [*planted(10, 8, seed=11), *[f"{text}!" for text in planted(10, 8, seed=11)[:10]]]
    drawn = random.Random(1)
    corpus = Corpus(texts, scores=[drawn.choice([0.1, 0.5, 0.50001, None]) for _ in texts])
    settings = SMALL.model_copy(update={"crowded": crowded})
    reference = run(corpus, tmp_path / "0", settings, splits=1)
    assert_by_definition(corpus, reference, settings)
    for number, (splits, partition_bytes) in enumerate([(2, 1 << 28), (3, 10_000)], start=1):
        found = run(
            corpus.shuffled(number), tmp_path / str(number), settings, splits=splits, partition_bytes=partition_bytes
        )
        assert found["removed"] == reference["removed"]


def test_the_same_survivors_with_splits_in_groups_and_runs_in_levels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = Corpus(planted(10, 8, seed=12))
    settings = SMALL.model_copy(update={"crowded": 3})
    reference = run(corpus, tmp_path / "0", settings, splits=1)
    monkeypatch.setattr(groups, "_TASKS_WANTED", 2)
    assert [list(groups.Grouping(splits=7).members(group)) for group in range(2)] == [[0, 1, 2, 3], [4, 5, 6]]
    monkeypatch.setitem(exchange.level.__kwdefaults__, "fan_in", 2)
    found = run(corpus.shuffled(1), tmp_path / "1", settings, splits=7, partition_bytes=10_000)
    assert any(".level2-" in phase for phase in found["engine"].commits)
    assert found["removed"] == reference["removed"]
    assert_by_definition(corpus, found, settings)


def test_the_same_survivors_where_no_partition_fits_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = words(60, seed=5)
    copies = [" ".join(replaced(template, 0.02, seed=number)) for number in range(30)]
    corpus = Corpus([*planted(5, 5, seed=13), *copies, *[f"{text}!" for text in copies[:9]]])
    settings = SMALL.model_copy(update={"crowded": 3})
    reference = run(corpus, tmp_path / "0", settings, splits=1)
    for name, value in (("AT_ONCE_BYTES", 0), ("BATCH_BYTES", 256), ("CHUNK_BYTES", 300)):
        monkeypatch.setattr(run_file if name == "BATCH_BYTES" else exchange, name, value)
    monkeypatch.setattr(buckets, "_HELD", 5)
    for name, value in (("_MERGED", 2), ("_SHOWN", 1)):
        monkeypatch.setattr(rounds, name, value)
    monkeypatch.setattr(near, "DECIDE_BYTES", 1500)
    found = run(corpus, tmp_path / "1", settings, splits=2, partition_bytes=20_000)
    assert found["removed"] == reference["removed"]
    assert_by_definition(corpus, found, settings)
    steps = {phase.rpartition("-")[0] for phase in found["engine"].commits}
    assert {"near_dedup.round1.heard", "near_dedup.round2.bands"} <= steps
    buckets_of_round_1 = next(c for p, c in found["engine"].commits.items() if ".round1.buckets-" in p)
    assert any("requests-00001" in commit.files for commit in buckets_of_round_1)


def test_done_twice_is_done_once(tmp_path: Path) -> None:
    corpus = Corpus(planted(25, 9, seed=3))
    once = run(corpus, tmp_path / "once")
    twice = near_dedup(once["engine"], once["view"].with_ledger(once["phase"]), SMALL, upstream="again")
    assert verdicts(once["engine"], once["view"], twice) == {}
    assert merged_counts(once["engine"].commits[twice])["documents"] == len(corpus.rows) - len(once["removed"])


def test_unique_documents_all_stay(tmp_path: Path) -> None:
    found = run(Corpus([" ".join(words(50, seed=number)) for number in range(300)]), tmp_path)
    assert found["removed"] == {}


@pytest.mark.parametrize("crowded", [64, 4])
def test_of_equal_documents_one_stays(tmp_path: Path, crowded: int) -> None:
    text = " ".join(words(50, seed=1))
    corpus = Corpus([text, text.upper(), *[text + "!" * number for number in range(50)]])
    found = run(corpus, tmp_path, SMALL.model_copy(update={"crowded": crowded}))
    longest = max(corpus.rows, key=lambda row: len(row["text"]))
    assert found["counts"]["kept"] == 1
    assert set(found["removed"].values()) == {(longest["id"], 1.0)}


def test_empty_and_very_short_documents_stay(tmp_path: Path) -> None:
    corpus = Corpus(
        ["", "", " \n", "!!!", "!!!", "two words", "two words", "\x00", "\U0001f600" * 50, "\U0001f600" * 50]
    )
    assert run(corpus, tmp_path)["removed"] == {}
    assert run(Corpus([]), tmp_path / "none")["counts"]["documents"] == 0


def test_the_best_score_survives_then_the_longest_then_the_smallest_id(tmp_path: Path) -> None:
    text = " ".join(words(50, seed=1))
    corpus = Corpus([text + " end", text, text.upper(), text + "."], scores=[0.2, 0.9, 0.9, None])
    found = run(corpus, tmp_path)
    best = min(corpus.rows[1]["id"], corpus.rows[2]["id"])
    assert {partner for partner, _ in found["removed"].values()} == {best}
    assert best not in found["removed"]
    assert len(found["removed"]) == 3


def windows() -> list[str]:
    """60 windows of 163 shingles, each 10 further on: neighbours have Jaccard .884, the next .78, distant ones 0."""
    stream = [f"w{word:0>6}" for word in (drawn[1:] for drawn in words(800, seed=5))]
    return [" ".join(stream[10 * number : 10 * number + 167]) for number in range(60)]


def test_sliding_windows_do_not_chain(tmp_path: Path) -> None:
    corpus = Corpus(windows())
    settings = NearDedupSettings(threshold=0.8)  # each window is similar to its two neighbours only
    found = run(corpus, tmp_path / "random", settings)
    assert 20 <= found["counts"]["kept"] < 60
    assert_by_definition(corpus, found, settings)
    for number, row in enumerate(corpus.rows):
        row["id"] = f"{number:032x}"
    settings = NearDedupSettings(threshold=0.72, bands=128, rows=1)  # similar to two on either side, walked in order
    found = run(corpus, tmp_path / "in order", settings)
    assert found["counts"]["kept"] == 20


@pytest.mark.parametrize("crowded", [64, 8])
def test_documents_of_one_template_below_the_threshold_stay(tmp_path: Path, crowded: int) -> None:
    template = words(304, seed=5)  # 300 shared shingles of 5 words, 100 of each page's own: Jaccard .60
    pages = [" ".join([*template, *words(100, seed=1000 + number)]) for number in range(60)]
    found = run(Corpus(pages), tmp_path, NearDedupSettings(threshold=0.72, crowded=crowded))
    assert found["pairs"] > 0
    assert found["removed"] == {}


def test_a_crowded_bucket_costs_no_square(tmp_path: Path) -> None:
    template = words(304, seed=5)
    pages = [" ".join([*template, *words(100, seed=1000 + number)]) for number in range(400)]
    found = run(Corpus(pages), tmp_path / "template", NearDedupSettings(threshold=0.72))
    assert found["removed"] == {}
    assert found["rounds"] == 2
    assert found["pairs"] < 8_000  # of 79,800
    alike = [" ".join(replaced(template, 0.003, seed=number)) for number in range(400)]
    found = run(Corpus(alike), tmp_path / "alike", NearDedupSettings(threshold=0.72))
    assert found["counts"]["kept"] == 1
    assert found["pairs"] < 3_000


class Dying:
    """A runner whose n-th task is killed."""

    workers = 1

    def __init__(self, *, dies_at: int) -> None:
        self.left = dies_at

    def run(self, work: str, tasks: Sequence[Task]) -> Iterator[tuple[int, Commit]]:
        for place, task in enumerate(tasks):
            self.left -= 1
            if self.left == 0:
                raise TaskFailedError(f"{task.phase}, unit {task.unit}: killed")
            yield place, execute(work, task)

    def close(self) -> None:
        """Nothing to release."""


def test_a_killed_run_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    corpus = Corpus(planted(6, 8, seed=5))
    settings = SMALL.model_copy(update={"crowded": 3})
    options: dict[str, Any] = {"splits": 2, "partition_bytes": 10_000}
    undisturbed = run(corpus, tmp_path / "undisturbed", settings, **options)
    tasks = sum(undisturbed["engine"].executed.values())
    for dies_at in range(3, tasks + 1, max(1, tasks // 6)):
        folder = tmp_path / str(dies_at)
        engine = Engine(str(folder), Dying(dies_at=dies_at))
        with pytest.raises(TaskFailedError):
            near_dedup(engine, corpus.view(engine, splits=2), settings, upstream="test", partition_bytes=10_000)
        resumed = run(corpus, folder, settings, **options)
        assert sum(resumed["engine"].executed.values()) == tasks - dies_at + 1
        assert contents(folder) == contents(tmp_path / "undisturbed")


def test_the_ledger_says_which_document_was_kept_instead(tmp_path: Path) -> None:
    corpus = Corpus(planted(10, 8, seed=4))
    found = run(corpus, tmp_path)
    rows = ledger_rows(found["engine"], found["view"], found["phase"])
    texts = {row["id"]: row["text"] for row in corpus.rows}
    assert rows
    for row in rows:
        assert (row["stage"], row["reason"], row["outcome"], row["threshold"]) == (
            "near_dedup",
            "near_dup",
            "dropped",
            0.6,
        )
        assert row["partner"] not in found["removed"]
        assert texts[row["id"]].startswith(row["excerpt"][:100])


def read_jsonl(name: str) -> list[dict[str, Any]]:
    path = SHARED / "near_dup" / name
    if not path.exists():
        pytest.skip(f"the data pack is not there ({path})")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_finds_the_copied_news_articles_and_nothing_else(tmp_path: Path) -> None:
    articles = read_jsonl("news_articles.jsonl.gz")
    gold = {frozenset((pair["a"], pair["b"])) for pair in read_jsonl("news_articles_pairs.jsonl.gz")}
    corpus = Corpus([article["text"] for article in articles])
    names = {row["id"]: article["id"] for row, article in zip(corpus.rows, articles, strict=True)}
    found = run(corpus, tmp_path, NearDedupSettings())
    assert {frozenset((names[one], names[two])) for one, (two, _) in found["removed"].items()} == gold


def test_on_a_crawl_precision_is_one_and_recall_follows_the_curve(tmp_path: Path) -> None:
    pages = read_jsonl("uci_pages.jsonl.gz")
    corpus = Corpus([page["text"] for page in pages])
    place = {row["id"]: page["id"] for row, page in zip(corpus.rows, pages, strict=True)}
    with gzip.open(SHARED / "near_dup" / "uci_pages_jaccard.tsv.gz", "rt", encoding="utf-8") as lines:
        table = [line.split("\t") for line in list(lines)[1:]]
    true = {frozenset((int(one), int(two))): float(jaccard) for one, two, jaccard in table}
    settings = NearDedupSettings(threshold=0.75, editions="merge")
    found = run(corpus, tmp_path, settings)
    assert len(found["removed"]) > 150
    for one, (two, measured) in found["removed"].items():
        assert true[frozenset((place[one], place[two]))] == pytest.approx(measured, abs=0.0101)
    identity = {number: name for name, number in place.items()}
    alike = {frozenset(identity[number] for number in pair) for pair in true}
    by_all_pairs = by_definition(corpus, settings, pairs=alike)
    bands, rows = settings.banding()
    expected = sum(1 - (1 - max(s for _, s in similar) ** rows) ** bands for similar in by_all_pairs.values())
    missed = len(by_all_pairs) - len(found["removed"])
    assert proposal_probability(0.75, bands=bands, rows=rows) >= 0.9
    assert (
        abs(missed - (len(by_all_pairs) - expected)) <= 8
    )  # about three standard deviations of the few near the threshold


def test_agrees_with_the_clusters_of_the_peer(tmp_path: Path) -> None:
    path = SHARED / "peer_cases" / "datatrove_minhash.json"
    if not path.exists():
        pytest.skip(f"the data pack is not there ({path})")
    docs = json.loads(path.read_text(encoding="utf-8"))["docs"]
    corpus = Corpus([doc["text"] for doc in docs])
    cluster = {row["id"]: doc["cluster"] for row, doc in zip(corpus.rows, docs, strict=True)}
    found = run(corpus, tmp_path, NearDedupSettings(threshold=0.6, bands=14, rows=8))
    kept = sorted(cluster[identity] for identity in cluster if identity not in found["removed"])
    assert kept == sorted(set(cluster.values()))
    assert all(cluster[one] == cluster[two] for one, (two, _) in found["removed"].items())


def test_editions_that_name_their_term_stay_and_revisions_go(tmp_path: Path) -> None:
    body = " ".join(words(200, seed=3))
    revised = f"{body} changed"
    pages = [f"Lab tutors, Fall 2017. {body}", f"Lab tutors, Winter 2018. {body}", f"Lab tutors, Fall 2017. {revised}"]
    corpus = Corpus(pages)
    found = run(corpus, tmp_path / "keep", NearDedupSettings())
    kept = sorted(row["text"][:30] for row in corpus.rows if row["id"] not in found["removed"])
    assert [text[12:].split(".")[0] for text in kept] == ["Fall 2017", "Winter 2018"]
    assert run(corpus, tmp_path / "merge", NearDedupSettings(editions="merge"))["counts"]["kept"] == 1
    assert NearDedupSettings(preset="fineweb").editions == "merge"


def test_an_edition_counts_whose_heading_a_stage_has_cut_away(tmp_path: Path) -> None:
    body = " ".join(words(200, seed=3))
    bodies = [body, f"{body} now"]
    heads = ("LAB TUTORS FALL 2017", "LAB TUTORS WINTER 2018")
    engine = make_engine(tmp_path)
    view = Corpus([f"{head}\n{text}" for head, text in zip(heads, bodies, strict=True)]).view(engine)
    cut = pa.table({"text": pa.array(bodies, pa.large_string())})
    unit = view.units[0]
    engine.run([Task(phase="cut-0", unit=unit, function="dedup_views:write_given", arguments={"table": cut})])
    view = view.with_layer(Layer(phase="cut-0", columns=("text",)))
    removed = {
        editions: len(ledger_rows(engine, view, near_dedup(engine, view, settings, upstream=editions)))
        for editions, settings in (("keep", NearDedupSettings()), ("merge", NearDedupSettings(editions="merge")))
    }
    assert removed == {"keep": 0, "merge": 1}


def test_strict_editions_are_those_of_the_whole_text_and_know_no_slices(tmp_path: Path) -> None:
    menu, body = " ".join(words(150, seed=4)), " ".join(words(100, seed=5))
    corpus = Corpus([f"{menu}. Fall 2017. {body}", f"{menu}. Fall 2018. {body}", f"{menu}. Fall 2017. {body} changed"])
    assert run(corpus, tmp_path / "keep", NearDedupSettings())["counts"]["kept"] == 1
    assert run(corpus, tmp_path / "strict", NearDedupSettings(editions="strict"))["counts"]["kept"] == 2
    with pytest.raises(ValueError, match="editions: keep"):
        NearDedupSettings(editions="strict", against="filters")


def test_of_a_crawl_course_pages_of_other_terms_stay(tmp_path: Path) -> None:
    pages = [
        page for page in read_jsonl("uci_pages.jsonl.gz") if "labtutors" in page["url"] or "gallery_" in page["url"]
    ]
    assert len(pages) > 20
    by_default = run(Corpus([page["text"] for page in pages]), tmp_path / "default", NearDedupSettings())
    as_fineweb = run(Corpus([page["text"] for page in pages]), tmp_path / "f", NearDedupSettings(preset="fineweb"))
    assert len(as_fineweb["removed"]) > 10
    assert by_default["removed"] == {}
