"""`tamis extract` finds the page, shows each engine's text with what is known of it, and errors say the way out."""

import json
from pathlib import Path

import pytest
from pdfs import hello
from typer.testing import CliRunner, Result
from warcs import http, member, record

from pipeline.cli import app

BODY = (
    "<html><head><title>Of foxes</title></head><body><nav><a href=/>Home</a> <a href=/a>About us</a></nav><article>"
    "<h1>Foxes</h1><p>{}</p><ul><li>red</li><li>grey</li></ul></article></body></html>"
)
SENTENCE = "The quick brown fox jumps over the lazy dog near the river bank on every sunny day of the year. " * 5


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    headers = "Content-Type: text/html; charset=iso-8859-1\r\n"
    pages = [BODY.format(f"Page {n}: café. {SENTENCE}").encode("cp1252") for n in range(3)]
    records = [record(http(page, headers=headers), url=f"http://a.test/{n}") for n, page in enumerate(pages)]
    cut = member(records[2])[:-30]
    path = tmp_path_factory.mktemp("crawl") / "crawl.warc.gz"
    path.write_bytes(b"".join(map(member, records)) + cut)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["extract", *map(str, arguments)], env={"COLUMNS": "160"})


def test_a_page_of_an_archive_is_found_by_address_and_shown_with_its_figures(crawl: Path) -> None:
    result = run(crawl, "--url", "http://a.test/1", "--engine", "trafilatura")
    assert result.exit_code == 0, result.stderr
    shown = {line.partition("  ")[0]: line.partition("  ")[2].strip() for line in result.stdout.split("\n")}
    assert shown["page"] == "http://a.test/1"
    assert shown["charset"] == "cp1252"
    assert shown["title"] == "Of foxes"
    assert float(shown["CPU ms"]) > 0
    assert "Page 1: café." in " ".join(result.stdout.split())


def test_two_engines_stand_side_by_side(crawl: Path) -> None:
    result = run(crawl, "--url", "http://a.test/0", "--engine", "trafilatura", "--beside", "resiliparse")
    assert result.exit_code == 0, result.stderr
    assert "words alike" in result.stdout
    assert "≠" in result.stdout  # trafilatura's bullets are hyphens, resiliparse's are dots


def test_json_holds_both_texts_and_the_place(crawl: Path) -> None:
    found = json.loads(run(crawl, "--url", "http://a.test/2", "--beside", "resiliparse", "--json").stdout)
    assert [one["engine"] for one in found["engines"]] == ["trafilatura", "resiliparse"]
    for one in found["engines"]:
        assert one["outcome"] == "text"
        assert "café" in one["text"]
        assert one["characters"] == len(one["text"])
        assert 0 < one["text_per_visible"] <= 1.1
    by_offset = json.loads(run(crawl, "--offset", found["offset"], "--json").stdout)
    assert by_offset["page"] == "http://a.test/2"
    assert by_offset["engines"][0]["text"] == found["engines"][0]["text"]


def test_markdown_keeps_headings_and_lists(crawl: Path) -> None:
    text = json.loads(run(crawl, "--url", "http://a.test/0", "--format", "markdown", "--json").stdout)["engines"][0][
        "text"
    ]
    assert "# Foxes\n" in text
    assert "- red\n- grey" in text


def test_a_file_is_its_only_page_and_takes_the_engine_of_its_kind(tmp_path: Path) -> None:
    (tmp_path / "fox.pdf").write_bytes(hello())
    found = json.loads(run(tmp_path / "fox.pdf", "--json").stdout)["engines"][0]
    assert (found["engine"], found["read_as"], found["charset"]) == ("pypdfium2", "application/pdf", None)
    (tmp_path / "fox.html").write_text(BODY.format(SENTENCE))
    assert "Foxes" in run(tmp_path / "fox.html", "--engine", "cascade").stdout


def test_a_page_that_gives_no_text_says_why(tmp_path: Path) -> None:
    (tmp_path / "deep.html").write_text("<html><body>" + "<div>" * 3000 + "text")
    result = run(tmp_path / "deep.html")
    assert result.exit_code == 0
    assert "too_deep" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{crawl}"], "holds more than one document. Name one, for instance --url http://a.test/0"),
        (["{crawl}", "--url", "http://a.test/9"], "no document fits --url http://a.test/9. It has for instance: http"),
        (["{crawl}", "--offset", "3"], "byte 3: not read, bad_compression: no gzip header here"),
        (["{crawl}", "--offset", "999999999"], "bytes, so no document at --offset 999999999"),
        (["{folder}"], "a folder: name one file of it"),
        (["{folder}/none.html"], "no such file"),
        (["{folder}/lines.jsonl"], "its text lies ready in the file"),
        (["{folder}/cut.warc.gz"], "not read, truncated"),
        (["{folder}/fox.pdf", "--engine", "resiliparse"], "does not read application/pdf. Take pypdfium2 or pymupdf"),
        (["{crawl}", "--engine", "trafilatur"], "no such engine. Did you mean 'trafilatura'?"),
        (["{crawl}", "--engine", "resiliparse", "--format", "markdown"], "Take engine: trafilatura or cascade"),
        (["{crawl}", "--format", "html"], "choose text or markdown"),
    ],
)
def test_a_mistake_is_told_with_place_and_way_out(
    crawl: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "fox.pdf").write_bytes(hello())
    (tmp_path / "lines.jsonl").write_text('{"text": "ready"}\n')
    (tmp_path / "cut.warc.gz").write_bytes(member(record(http(b"<p>x</p>"), url="http://a.test/"))[:-30])
    result = run(*(argument.format(crawl=crawl, folder=tmp_path) for argument in arguments))
    assert (result.exit_code, words in result.stderr) == (2, True), result.stderr
    assert "Traceback" not in result.stderr


def test_the_engine_tamis_shows_what_it_thinks_of_each_block(crawl: Path) -> None:
    arguments = (crawl, "--url", "http://a.test/1", "--engine", "tamis", "--beside", "trafilatura")
    ours, theirs = json.loads(run(*arguments, "--json").stdout)["engines"]
    assert "blocks" not in theirs
    blocks = {block["text"]: block for block in ours["blocks"]}
    body = next(text for text in blocks if text.startswith("Page 1: café."))
    assert blocks[body]["taken"]
    assert blocks[body]["score"] > 0.5 > blocks["Home About us"]["score"]
    assert [text for text, block in blocks.items() if block["taken"]] == [
        line.removeprefix("- ") for line in ours["text"].split("\n")
    ]
    shown = " ".join(run(*arguments).stdout.split())
    assert "words alike" in shown
    assert f"{blocks[body]['score']:.3f} yes Page 1: café." in shown
    assert " - Home About us" in shown
