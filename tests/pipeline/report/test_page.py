"""The report shows what the run's folder holds, escapes what it shows, and needs nothing but itself."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sample_run import HOSTILE, make_results, make_run

import stages
from pipeline.report import charts
from pipeline.report.gather import gather
from pipeline.report.histogram import Histogram
from pipeline.report.page import funnel_text, sentence, size, write_report
from pipeline.report.scores import judged_columns, rule_tables
from stages.reasons import REASONS
from stages.schema import LEDGER
from stages.stage import Stage

VOID = {"meta", "br", "img", "line", "rect", "circle", "polygon", "polyline"}


class Reader(HTMLParser):
    """Tags as a browser would see them, and whether they close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in VOID or self.open.pop() == tag


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("run")
    return out, make_run(out)


@pytest.fixture(scope="module")
def page(run: tuple[Path, dict[str, Any]]) -> str:
    return write_report(run[0]).read_text(encoding="utf-8")


def test_hostile_pages_put_no_tag_script_or_control_character_into_it(page: str) -> None:
    assert "&lt;script&gt;alert(1)" in page, "the hostile text is shown"
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    assert "script" not in reader.tags
    assert "img" not in reader.tags
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert "\x00" not in page
    assert "\u202e" not in page


def test_it_refers_to_nothing_outside_itself(page: str) -> None:
    reader = Reader()
    reader.feed(page)
    links = [value for name, value in reader.attributes if name in ("href", "src", "xlink:href")]
    assert links
    assert all(link is not None and link.startswith("#") for link in links)
    assert not re.search(r"@import|url\(", page)


def test_every_section_link_leads_somewhere(page: str) -> None:
    assert set(re.findall(r'href="#([a-z]+)"', page)) <= set(re.findall(r'id="([a-z]+)"', page))


def test_it_says_what_the_manifest_says(run: tuple[Path, dict[str, Any]], page: str) -> None:
    manifest = run[1]
    assert sentence(manifest) in page
    assert manifest["root"] in page
    for reason in ("word_count", "near_dup", "bad_compression"):
        assert reason in page
        assert REASONS[reason].replace("'", "&#39;") in page
    assert "min_words 50" in page, "the limit stands at its line"
    assert "request 400" in page
    assert "trafilatura" in page
    assert "truncated" in page


def test_the_same_run_gives_the_same_page(run: tuple[Path, dict[str, Any]], page: str) -> None:
    assert write_report(run[0]).read_text(encoding="utf-8") == page


def test_examples_and_quarantine_come_from_the_files(run: tuple[Path, dict[str, Any]]) -> None:
    found = gather(*run)
    kept_ids = set(pq.read_table(run[0] / "kept", columns=["id"])["id"].to_pylist())
    ledger = {row["id"]: row for row in pq.read_table(run[0] / "ledger").to_pylist()}
    assert len(found.kept) == len(found.dropped) == 20
    assert {sample.row["id"] for sample in found.kept} <= kept_ids
    assert all("text" not in sample.row for sample in found.kept)
    assert all(row.items() <= ledger[row["id"]].items() for row in found.dropped)
    assert {row["outcome"] for row in found.dropped} == {"dropped"}
    assert [(row["source"], row["offset"]) for row in found.quarantined] == [("crawl/file-00001.warc.gz", 777)]
    assert len(found.pairs) == 8
    assert all(pair.kept is not None and pair.kept.row["id"] == pair.dropped["partner"] for pair in found.pairs)


def test_histograms_count_every_kept_document_and_those_that_the_rule_dropped(run: tuple[Path, dict[str, Any]]) -> None:
    found = gather(*run)
    by_name = {histogram.column: histogram for histogram in found.histograms}
    assert "offset" not in by_name
    kept = run[1]["counts"]["kept"]
    assert all(sum(histogram.kept) == kept for histogram in found.histograms)
    words = by_name["word_count"]
    dropped = next(stage for stage in run[1]["counts"]["stages"] if stage["stage"] == "gopher_quality")["reasons"]
    assert sum(words.dropped) == dropped["word_count"]
    assert words.limits == [("min_words", 50.0)], "a limit far from every document does not stretch the axis"
    edge = next(place for place, value in enumerate(words.edges) if value > 50)
    assert sum(words.dropped[edge:]) == 0
    assert sum(words.kept[: edge - 1]) == 0
    assert found.histograms[0].column == "word_count", "judged columns first"


def test_hosts_are_counted_with_and_without_an_address(run: tuple[Path, dict[str, Any]]) -> None:
    found = gather(*run)
    assert sum(found.kept_hosts.values()) == run[1]["counts"]["kept"]
    assert set(found.kept_hosts) == {f"host{number}.example" for number in range(7)}
    assert found.dropped_hosts["(no address)", "bad_compression"] == 1


def test_an_empty_run_has_a_page(tmp_path: Path) -> None:
    manifest = make_run(tmp_path / "full", count=40)
    counts = {
        **manifest["counts"],
        "documents": 0,
        "kept": 0,
        "dropped": 0,
        "quarantined": 0,
        "stages": [],
        "tokens": None,
    }
    out = tmp_path / "empty"
    (out / "ledger").mkdir(parents=True)
    pq.write_table(LEDGER.empty_table(), out / "ledger" / "part-00000.parquet")
    (out / "manifest.json").write_text(json.dumps({**manifest, "counts": counts, "sources": []}))
    text = write_report(out).read_text(encoding="utf-8")
    assert "Every document survived." in text
    assert "No document was kept." in text


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="manifest"):
        write_report(tmp_path)


def test_trained_models_add_verdicts_intervals_and_curves(tmp_path: Path) -> None:
    make_run(tmp_path, count=40)
    results = make_results(tmp_path)
    results["variants"][HOSTILE] = results["variants"].pop("strict")
    (tmp_path / "results.json").write_text(json.dumps(results))
    text = write_report(tmp_path).read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    assert "script" not in reader.tags
    assert 'class="says better"' in text
    assert "not resolved" in text
    assert reader.tags.count("polyline") == 3
    assert "6 degrees of freedom" in text


def test_one_seed_without_curves_has_a_table_and_no_verdict(tmp_path: Path) -> None:
    make_run(tmp_path, count=40)
    one = {"seeds": {"0": {"domains": {"web": {"bits_per_byte": 1.5, "bytes": 10}}}}}
    results = {"baseline": "a", "variants": {"a": one, "b": one}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert "no estimate of the noise" in text
    assert "polyline" not in text


def test_the_funnel_for_a_terminal(run: tuple[Path, dict[str, Any]]) -> None:
    lines = funnel_text(run[1]).split("\n")
    assert lines[0].split() == ["stage", "documents", "kept", "rejected", "left", "text", "reasons"]
    assert lines[2].split()[:5] == ["read", "401", "400", "1", "99.8%"]
    assert lines[2].endswith("bad_compression 1")
    assert lines[-1] == sentence(run[1])
    assert max(map(len, lines[:-1])) < 120


def test_a_funnel_of_nothing_and_of_many_reasons() -> None:
    counts = {"documents": 0, "kept": 0, "dropped": 0, "quarantined": 0, "text_bytes": 0, "tokens": None, "stages": []}
    assert "Of 0 documents, 0 were kept" in funnel_text({"counts": counts})
    reasons = {"a": 4, "b": 3, "c": 2, "d": 1}
    stage = {"stage": "read", "documents": 10, "kept": 0, "characters_kept": 12, "reasons": reasons}
    text = funnel_text({"counts": {**counts, "documents": 10, "stages": [stage]}})
    assert "12 characters  a 4, b 3, c 2, and 1 more" in text


def test_the_table_of_rules_names_real_reasons_columns_and_settings() -> None:
    for name, rules in rule_tables().items():
        stage = stages.CATALOGUE[name]
        assert isinstance(stage, Stage)
        for column, (reason, _, least, most) in rules.items():
            assert reason in REASONS
            assert column in stage.judges, (name, column)
            assert {least, most} - {""} <= set(stage.settings.model_fields), (name, column)


def test_one_reason_for_two_columns_is_told_apart_by_its_detail() -> None:
    rules = judged_columns([{"type": "gopher_quality", "max_hash_sign_ratio": 0.1, "max_ellipsis_ratio": None}])
    assert rules["hash_sign_ratio"].limits == [("max_hash_sign_ratio", 0.1)]
    assert rules["ellipsis_ratio"].limits == []
    batch = pa.record_batch(
        {"reason": ["symbol_ratio", "symbol_ratio", "no_text"], "detail": ["hash signs per word", None, "hash"]}
    )
    assert rules["hash_sign_ratio"].matches(batch).to_pylist() == [True, False, False]


def test_a_histogram_of_one_value_and_of_none() -> None:
    one = Histogram(column="<b>", edges=[1.0, 2.0], kept=[5], dropped=[0], limits=[("max", 1.0)], log=False)
    assert "&lt;b&gt;" in charts.histogram(one)
    assert charts.histogram(one).count("<rect") == 1
    none = Histogram(column="x", edges=[0.0, 0.0], kept=[0], dropped=[0], limits=[], log=True)
    assert "<rect" not in charts.histogram(none)


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (123_456, "123 kB"), (2.5e12, "2.5 TB")]
)
def test_sizes(count: float, words: str) -> None:
    assert size(count) == words
