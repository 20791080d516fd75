"""What the report says of the vocabulary: every language and source, the rest summed, and nothing of nothing."""

from pathlib import Path

from sample_run import make_run

from pipeline.report.gather import Gathered
from pipeline.report.page import render
from pipeline.report.vocabulary import REST, ROWS, compression_tables


def sums(documents: int, size: int, tokens: int) -> dict[str, int]:
    return {"documents": documents, "bytes": size, "tokens": tokens}


def test_the_largest_come_first_and_bars_are_to_scale() -> None:
    found = {"by_language": {"de": sums(1, 30, 10), "en": sums(9, 600, 150), "xx": sums(1, 0, 0)}}
    ((name, lines),) = compression_tables({"vocabulary": {"compression": found}})
    assert name == "language"
    assert [(line.name, line.bytes_per_token, line.width) for line in lines] == [
        ("en", 4.0, 1.0),
        ("de", 3.0, 0.75),
        ("xx", 0.0, 0.0),
    ]


def test_more_sources_than_are_shown_are_summed() -> None:
    found = {"by_source": {f"{n:03d}.warc.gz": sums(1, 400 - n, 100) for n in range(ROWS + 5)}}
    ((_, lines),) = compression_tables({"vocabulary": {"compression": found}})
    assert [line.name for line in lines[-2:]] == [f"{ROWS - 1:03d}.warc.gz", REST]
    assert sum(line.bytes for line in lines) == sum(400 - n for n in range(ROWS + 5))
    assert lines[-1].documents == 5


def test_a_run_without_tokens_has_no_such_section() -> None:
    for vocabulary in (None, {"sample": []}):
        assert compression_tables({"vocabulary": vocabulary}) == []
    assert compression_tables({}) == []


def test_names_from_the_crawl_are_escaped_on_the_page(tmp_path: Path) -> None:
    manifest = make_run(tmp_path)
    found = {"by_source": {"<b>x.warc": sums(1, 30, 10)}}
    sample = [{"group": "<i>*", "documents": 3, "bytes": 2000, "fraction": 1.0}]
    usage = {"entries": 40, "unused": 20, "rare": 15, "decades": [[1, 15], [10, 5]], "longest": ["<u>merge"]}
    vocabulary = {"sample": sample, "compression": found, "usage": usage}
    shown = render({**manifest, "vocabulary": vocabulary}, Gathered(), results=None)
    assert "&lt;b&gt;x.warc" in shown
    assert "&lt;i&gt;*" in shown
    assert '<td class="n">3.000</td>' in shown
    assert "<code>&lt;u&gt;merge</code>" in shown
    assert '<th>nowhere</th><td class="bar"><span style="width:50.00%">' in shown
    assert '<th>10 to 99 times</th><td class="bar"><span style="width:12.50%"></span></td><td class="n">5</td>' in shown
    assert 'id="vocabulary"' not in render(manifest, Gathered(), results=None)
