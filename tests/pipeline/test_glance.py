"""Duplicates that are removed before extraction: which ones, what the books say, and what it costs to run again."""

import io
from collections import Counter
from pathlib import Path

import pytest
from corpus import make_crawl, page, prose
from rich.console import Console
from warcs import http, member, record

from pipeline.dups import dups
from pipeline.explain import explain
from pipeline.files import Files
from pipeline.phases.glance import payload_key
from pipeline.plan import plan
from pipeline.recipe import RecipeError, load_recipe
from pipeline.run import Options, run
from pipeline.sources.records import Document
from pipeline.verify import verify

CASCADE = "engine: cascade, gate_languages: [en], gate_min_words: 20, gate_duplicates: true, drop_identical: true"
RECIPE = """\
name: glance
input: {{paths: ["{crawl}"], split_bytes: {split_bytes}}}
stages:
  - {{type: extract, {extract}}}
  - {{type: language, keep: [en], min_score: 0.5}}
  - {{type: gopher_quality, min_stop_words: 1, min_words: 20}}
  - {{type: exact_dedup}}
  - {{type: near_dedup, threshold: 0.7}}
"""


def do(crawl: Path, folder: Path, *, extract=CASCADE, split_bytes=1 << 20, inputs=(), **options):
    folder.mkdir(exist_ok=True)
    recipe = folder / "r.yaml"
    recipe.write_text(RECIPE.format(crawl=crawl, extract=extract, split_bytes=split_bytes))
    chosen = {"runner": "inline", **options}
    return run(
        load_recipe(recipe, inputs=inputs), Options(out=str(folder / "out"), work=str(folder / "work"), **chosen)
    )


def ledger_of(folder: Path, manifest) -> list[dict]:
    files = Files(str(folder / "out"))
    return [
        row for split in manifest["splits"] for row in files.read_table(f"ledger/{split['part']}.parquet").to_pylist()
    ]


def kept_urls(folder: Path, manifest) -> set[str]:
    files = Files(str(folder / "out"))
    return {
        url
        for split in manifest["splits"]
        for url in files.read_table(f"kept/{split['part']}.parquet")["url"].to_pylist()
    }


@pytest.fixture(scope="module")
def crawl(tmp_path_factory) -> Path:
    """The usual crawl, and a last file of its first pages' bytes at other addresses, one of them with another type."""
    folder = make_crawl(tmp_path_factory.mktemp("input") / "crawl", pages_per_file=6)
    copies = [member(record(http(page(prose(1000 + n))), url=f"http://mirror.test/{n}")) for n in range(3)]
    other = http(page(prose(1003))).replace(b"text/html", b"application/xhtml+xml", 1)
    (folder / "mirror.warc.gz").write_bytes(b"".join([*copies, member(record(other, url="http://mirror.test/xhtml"))]))
    return folder


@pytest.fixture(scope="module")
def finished(crawl, tmp_path_factory):
    folder = tmp_path_factory.mktemp("glance")
    return folder, do(crawl, folder)


def test_identical_records_and_near_copies_are_booked_by_extraction_with_partner_and_measured_value(finished):
    folder, manifest = finished
    rows = [row for row in ledger_of(folder, manifest) if row["stage"] == "extract" and row["partner"]]
    by_url = {row["url"]: row for row in rows}
    identities = {row["id"] for row in rows}
    exact = [row for row in rows if row["reason"] == "exact_dup"]
    # Three mirrored pages and one copy within the first file; which of each pair goes is a matter of ids.
    assert len(exact) == 4
    assert all((row["measured"], row["threshold"]) == (1.0, 1.0) for row in exact)
    near = [row for row in rows if row["reason"] == "near_dup"]
    # The near copy of the trouble file, and the page whose bytes are the same under another declared type.
    assert len(near) == 2
    assert all(0.9 == row["threshold"] <= row["measured"] <= 1.0 for row in near)
    assert {"http://trouble.test/near", "http://site0.test/3"} & set(by_url)
    assert {"http://mirror.test/xhtml", "http://site1.test/3"} & set(by_url)
    assert not identities & {row["partner"] for row in rows}


def test_what_the_gate_rules_out_is_no_survivor_and_the_books_balance(finished, crawl):
    folder, manifest = finished
    extract = manifest["counts"]["stages"][1]
    assert extract["documents"] == extract["kept"] + sum(extract["reasons"].values())
    assert extract["reasons"]["gated"] >= 1
    assert {"empty", "not_pdf", "exact_dup", "near_dup"} <= set(extract["reasons"])
    findings, looked = verify(str(folder / "out"), inputs=[str(crawl)])
    assert findings == []
    assert looked["input documents"] == manifest["counts"]["documents"]


def test_the_documents_that_are_kept_are_those_of_trafilatura_and_the_same_dedup_after_it(finished, crawl, tmp_path):
    folder, manifest = finished
    plain = do(crawl, tmp_path / "plain", extract="engine: trafilatura")
    same = kept_urls(folder, manifest) & kept_urls(tmp_path / "plain", plain)
    assert plain["counts"]["kept"] == manifest["counts"]["kept"]
    # Where two addresses show one page, either may stand for it.
    assert len(same) >= manifest["counts"]["kept"] - 6


def test_two_terms_of_one_course_are_both_extracted_though_a_menu_stands_before_the_term(tmp_path):
    """Only the main text begins with the term: what the recipe's near_dedup keeps must reach it."""
    menu = " ".join(prose(77, sentences=8))

    def course(term: str) -> bytes:
        paragraphs = "".join(f"<p>{each}</p>" for each in prose(78, sentences=40))
        return (
            f"<html><body><nav>{menu}</nav><article><h1>Networks, {term}</h1>{paragraphs}</article></body></html>"
        ).encode()

    crawl = tmp_path / "crawl.warc.gz"
    terms = ("Fall 2017", "Fall 2018")
    crawl.write_bytes(b"".join(member(record(http(course(t)), url=f"http://c.test/{t[-4:]}")) for t in terms))
    manifest = do(crawl, tmp_path / "run")
    assert kept_urls(tmp_path / "run", manifest) == {"http://c.test/2017", "http://c.test/2018"}


def test_identical_records_can_go_before_any_engine(crawl, tmp_path):
    manifest = do(crawl, tmp_path / "a", extract="engine: resiliparse, drop_identical: true")
    assert manifest["counts"]["stages"][1]["reasons"]["exact_dup"] == 4
    found = Counter(phase["name"] for phase in manifest["phases"])
    assert found["glance"] == found["identical"] == 1


def test_same_bytes_whatever_order_workers_and_splits(finished, crawl, tmp_path):
    _, manifest = finished
    names = sorted((str(path) for path in crawl.iterdir()), reverse=True)
    assert do(crawl, tmp_path / "ray", inputs=names, runner="ray", workers=2)["root"] == manifest["root"]
    cut = do(crawl, tmp_path / "cut", split_bytes=6000)
    assert len(cut["splits"]) > len(manifest["splits"])
    assert kept_urls(tmp_path / "cut", cut) == kept_urls(finished[0], manifest)


def test_a_second_run_does_nothing_and_a_new_file_extracts_itself_alone(finished, crawl, tmp_path):
    folder, manifest = finished
    again = do(crawl, folder)
    assert again["root"] == manifest["root"]
    assert all(phase["executed"] == 0 for phase in again["phases"])
    fresh = tmp_path / "fresh.warc.gz"
    fresh.write_bytes(member(record(http(page(prose(4242))), url="http://fresh.test/")))
    more = do(crawl, folder, inputs=[*sorted(str(path) for path in crawl.iterdir()), str(fresh)])
    executed = {phase["name"]: phase["executed"] for phase in more["phases"]}
    assert (executed["glance"], executed["extract"]) == (1, 1)
    assert do(crawl, folder)["root"] == manifest["root"]


def test_plan_tells_the_phases_and_finds_them_done(finished, crawl, tmp_path):
    folder, _ = finished
    recipe = load_recipe(folder / "r.yaml")
    assert plan(recipe, str(folder / "work"))["complete"]
    fresh = plan(recipe, str(tmp_path / "nothing"))
    assert not fresh["complete"]
    assert [each["phase"].rpartition("-")[0] for each in fresh["phases"]] == ["glance"]


def test_explain_and_dups_show_what_was_compared(finished):
    folder, manifest = finished
    row = next(row for row in ledger_of(folder, manifest) if row["reason"] == "near_dup" and row["stage"] == "extract")
    story = explain(str(folder / "out"), row["id"])
    assert "near_dup" in story
    assert f"kept instead: {row['partner']}" in story
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(dups(str(folder / "out"), row["id"]))
    shown = console.export_text()
    assert "by extract" in shown
    assert "words alike" in shown


def test_type_and_character_set_are_part_of_what_is_identical():
    one = Document(offset=0, record=0, end=1, content=b"<p>x", media_type="text/html")
    same = Document(offset=9, record=2, end=11, content=b"<p>x", media_type="text/html", url="http://elsewhere.test/")
    assert payload_key(one) == payload_key(same)
    for other in (
        Document(offset=0, record=0, end=1, content=b"<p>x", media_type="text/plain"),
        Document(offset=0, record=0, end=1, content=b"<p>x", media_type="text/html", charset="latin-1"),
        Document(offset=0, record=0, end=1, content=b"<p>y", media_type="text/html"),
    ):
        assert payload_key(other) != payload_key(one)


GATED = "engine: cascade, gate_duplicates: true, gate_min_words: 0"


@pytest.mark.parametrize(
    ("extract", "later", "message"),
    [
        ("engine: trafilatura, gate_duplicates: true", "{type: near_dedup}", "engine: cascade"),
        (GATED, "{type: exact_dedup}", "add a near_dedup stage"),
        ("drop_identical: true", "{type: language}", "exact_dedup or near_dedup"),
        (GATED, "{type: near_dedup, threshold: 0.95}", "gate_min_similarity 0.9 is stricter"),
        ("drop_identical: true", "{type: exact_dedup, survivor: [earliest]}", "'earliest'"),
        (GATED, "{type: near_dedup, survivor: [source_priority], sources: ['a*']}", "'source_priority'"),
        ("drop_identical: true", "{type: url_filter, words: [casino]}\n  - {type: exact_dedup}", "addresses"),
        ("drop_identical: true", "{type: url_dedup}\n  - {type: exact_dedup}", "addresses"),
    ],
)
def test_a_recipe_that_would_keep_what_is_removed_is_refused(tmp_path, extract, later, message):
    path = tmp_path / "r.yaml"
    path.write_text(f"name: t\ninput: {{paths: [x]}}\nstages:\n  - {{type: extract, {extract}}}\n  - {later}\n")
    with pytest.raises(RecipeError, match=message):
        load_recipe(path)


def test_a_recipe_that_would_remove_it_anyway_is_taken(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(
        f"name: t\ninput: {{paths: [x]}}\nstages:\n  - {{type: extract, {GATED}}}\n  - {{type: near_dedup}}\n"
    )
    assert load_recipe(path).stages[0].settings.glances
