"""What the page tells besides the funnel: reasons by host, lengths, clusters, marked texts, tokens, another run."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus import prose
from sample_run import make_run
from typer.testing import CliRunner
from warcs import member, record

from pipeline.cli import app
from pipeline.recipe import load_recipe
from pipeline.report.against import differing
from pipeline.report.clusters import Partners, cluster_sizes, largest_clusters
from pipeline.report.gather import gather, reasons_by
from pipeline.report.histogram import histograms
from pipeline.report.lengths import Lengths
from pipeline.report.page import funnel_rows, write_report
from pipeline.report.scores import judged_columns
from pipeline.run import Options, run
from pipeline.takedown import remove

RECIPE = """\
name: {name}
input: {{paths: ["{place}/CC-*.warc.gz"]}}
stages:
  - {{type: extract}}
  - {{type: gopher_quality, min_stop_words: {stop_words}, min_words: {words}}}
  - {{type: near_dedup, threshold: 0.7}}
tokenizer: {{vocab_size: 300}}
shards: {{validation_fraction: 0.0}}
"""
#: As long as the names in a real crawl, and longer than a column of the page.
LONG_NAME = "CC-MAIN-20240101000000-20240102000000-00000-of-a-crawl-with-a-long-name-and-more-behind-it"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs over the same documents; the second one asks for more words."""
    folder = tmp_path_factory.mktemp("sections")
    texts = {"first": "\n\n".join(prose(1)), "spam": "The man has it for you # # # # # # # # # # and the boat. " * 40}
    texts |= {f"copy{number}": f"{texts['first']} Number {number}." for number in range(4)}
    texts["short"] = " ".join(prose(5)[:2])
    members = [
        member(record(text.encode(), kind="conversion", url=f"http://{name}.test/")) for name, text in texts.items()
    ]
    (folder / f"{LONG_NAME}.warc.gz").write_bytes(b"".join(members))
    for name, words in (("loose", 5), ("strict", 200)):
        (folder / f"{name}.yaml").write_text(RECIPE.format(name=name, place=folder, stop_words=1, words=words))
        options = Options(out=str(folder / name), work=str(folder / "work"), runner="inline")
        run(load_recipe(folder / f"{name}.yaml"), options)
    return folder


def test_a_dropped_text_is_shown_around_what_its_rule_objected_to(place: Path) -> None:
    page = write_report(place / "loose").read_text()
    assert page.count("<mark>#</mark>") > 20
    manifest = json.loads((place / "loose" / "manifest.json").read_text())
    found = gather(place / "loose", manifest)
    spam = next(row for row in found.dropped if row["reason"] == "symbol_ratio")
    assert "".join(piece for piece, _ in found.objected[spam["id"]]).startswith("The man has it for you #")


def test_without_the_work_folder_the_ledger_is_all_there_is(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "loose", tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    manifest["observed"]["work"] = str(tmp_path / "nowhere")
    (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest))
    page = write_report(tmp_path / "out").read_text()
    assert "gone with the work folder" in page
    assert "<mark>" not in page


def test_what_was_taken_down_is_in_no_sample(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "loose", tmp_path / "out")
    kept = pq.read_table(tmp_path / "out" / "kept").to_pylist()
    taken = next(row["id"] for row in kept if row["url"].startswith(("http://copy", "http://first")))
    remove(str(tmp_path / "out"), [taken])
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    found = gather(tmp_path / "out", manifest)
    rows = {row["id"]: row for row in found.dropped}
    assert taken in rows
    assert found.objected.keys() == {
        name for name, row in rows.items() if row["reason"] in ("symbol_ratio", "word_count")
    }


def test_a_cluster_names_what_was_kept_and_what_was_removed(place: Path) -> None:
    manifest = json.loads((place / "loose" / "manifest.json").read_text())
    found = gather(place / "loose", manifest)
    (cluster,) = found.clusters
    assert cluster.removed == len(cluster.members) == 4
    assert found.partner_texts[cluster.partner].row["url"].startswith("http://")
    assert all(member["partner"] == cluster.partner for member in cluster.members)
    page = write_report(place / "loose").read_text()
    assert re.search(r"<td>3 to 5</td><td class=\"n\">1</td><td class=\"n\">4</td>", page)


def test_sizes_of_clusters_add_up() -> None:
    sizes = {"a": 1, "b": 2, "c": 5, "d": 10, "e": 11, "f": 5000}
    partners = Partners()
    for name, size in sizes.items():
        partners.add(pa.array([name] * size))
    rows = cluster_sizes(partners)
    assert [row[0] for row in rows] == ["1", "2", "3 to 5", "6 to 10", "11 to 100", "over 1,000"]
    assert sum(kept for _, kept, _ in rows) == 6
    assert sum(removed for _, _, removed in rows) == sum(sizes.values())
    batch = pa.record_batch({"id": list("uvwxyzr"), "partner": ["b", "c", "d", "f", "a", "f", "e"]})
    largest = largest_clusters(partners, iter([batch]), str.encode)
    assert [one.partner for one in largest] == ["f", "e", "d", "c", "b", "a"]
    assert [row["id"] for row in largest[0].members] == ["x", "z"]


def test_another_run_beside_it(place: Path) -> None:
    answer = CliRunner().invoke(app, ["report", str(place / "strict"), "--against", str(place / "loose")])
    assert answer.exit_code == 0
    page = (place / "strict" / "report.html").read_text()
    assert "Compared with loose" in page
    assert "stages.gopher_quality.min_words" in page
    assert re.search(r"Kept there, not here: 1 of 2 looked at", page)
    assert "here: <b>gopher_quality: word_count</b>" in page
    assert "Compared with" not in write_report(place / "strict").read_text()
    assert CliRunner().invoke(app, ["report", str(place / "strict"), "--against", str(place / "no")]).exit_code == 2


def test_settings_differ_by_stage_not_by_place() -> None:
    one = {"stages": [{"type": "a", "x": 1}, {"type": "b", "y": 2}, {"type": "b", "y": 3}], "name": "n"}
    two = {"stages": [{"type": "b", "y": 2}, {"type": "b", "y": 4}], "name": "n"}
    assert list(differing(one, two)) == [("stages.b 2.y", 3, 4), ("stages.a", {"type": "a", "x": 1}, None)]


def test_reasons_by_host_and_source_count_every_dropped_document(tmp_path: Path) -> None:
    manifest = make_run(tmp_path)
    found = gather(tmp_path, manifest)
    lost = manifest["counts"]["dropped"] + manifest["counts"]["quarantined"]
    for counts in (found.dropped_hosts, found.dropped_sources):
        names = sorted({name for name, _ in counts})
        for columns in (2, 12):
            table = reasons_by(counts, names, columns)
            assert len(table.columns) <= columns
            assert sum(sum(cells) + others for _, cells, others in table.rows) == lost
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "Reasons by host" in page
    assert "Reasons by source" in page


def test_tokens_before_the_last_stage_are_told_as_what_they_are(tmp_path: Path) -> None:
    rows = funnel_rows(make_run(tmp_path))
    assert rows[-1]["tokens"] == "123,456"
    assert all(row["tokens"].startswith("about ") for row in rows[:-1] if row["text"])


def test_lengths_are_of_all_kept_documents(tmp_path: Path) -> None:
    manifest = make_run(tmp_path)
    (tmp_path / "shards").mkdir()
    pq.write_table(
        pa.table({"n_tokens": pa.array([1, 2, 3, 100], pa.int64())}), tmp_path / "shards" / "train-0.parquet"
    )
    found = gather(tmp_path, manifest)
    data = found.lengths.histogram("bytes")
    assert data is not None
    assert sum(data.kept) == manifest["counts"]["kept"]
    texts = pq.read_table(tmp_path / "kept", columns=["text"])["text"].to_pylist()
    assert found.lengths.mean == pytest.approx(sum(len(text.encode()) for text in texts) / len(texts))
    assert data.edges[0] <= min(len(text.encode()) for text in texts)
    tokens = found.token_lengths.histogram("tokens")
    assert tokens is not None
    assert sum(tokens.kept) == 4
    assert 2 <= found.token_lengths.quantile(0.5) <= 2.5


def test_an_empty_text_and_none_at_all() -> None:
    nothing = Lengths()
    assert nothing.histogram("x") is None
    assert nothing.mean == 0
    nothing.add_texts(pa.array(["", "", "é"], pa.large_string()))
    data = nothing.histogram("x")
    assert data is not None
    assert (data.kept[0], sum(data.kept)) == (2, 3)


@pytest.mark.parametrize("statistics", [True, False])
def test_histograms_are_those_of_numpy_with_and_without_statistics(tmp_path: Path, statistics: bool) -> None:
    rng = np.random.default_rng(1)
    values = {"quality_score": rng.random(5000).round(4), "word_count": rng.integers(0, 5000, 5000)}
    values["quality_score"][:3] = [np.nan, np.inf, 1.0]
    pq.write_table(pa.table(values), tmp_path / "k.parquet", row_group_size=700, write_statistics=statistics)
    ledger: dict[str, Any] = {"stage": ["quality"] * 3, "reason": ["quality", "quality", "other"], "detail": [None] * 3}
    ledger["detail"] = pa.nulls(3, pa.string())
    pq.write_table(pa.table({**ledger, "measured": [0.05, -1.0, 9.0]}), tmp_path / "l.parquet")
    judged = judged_columns([{"type": "quality", "min_score": 0.1}])
    found = histograms(list(values), [tmp_path / "k.parquet"], [tmp_path / "l.parquet"], judged)
    for data in found:
        own = values[data.column].astype(float)
        assert data.kept == np.histogram(own[np.isfinite(own)], data.edges)[0].tolist()
    assert sum(found[0].kept) == 4998
    assert sum(found[0].dropped) == 2
    assert found[0].limits == [("min_score", 0.1)]
    assert found[1].log


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_shows_the_page_without_sideways_scrolling(place: Path, tmp_path: Path, width: int) -> None:
    page = write_report(place / "strict", against=place / "loose")
    probe = tmp_path / "probe.html"
    frame = f'<iframe id="f" src="file://{page}" style="width:{width}px;height:900px;border:0"></iframe>'
    probe.write_text(
        f"<html><body style='margin:0'>{frame}<script>document.getElementById('f').onload=function(){{"
        "var d=this.contentDocument;d.querySelectorAll('details').forEach(x=>x.open=true);"
        "document.title=d.documentElement.scrollWidth+' '+d.querySelectorAll('svg').length;};</script></body></html>"
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]
    command = ["chromium", *options, f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=3000"]
    shown = subprocess.run(
        [*command, f"file://{probe}"], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    found = re.search(r"<title>(\d+) (\d+)</title>", shown)
    assert found, shown[:500]
    assert int(found[1]) <= width
    assert int(found[2]) > 10
