import tarfile
from functools import cache
from pathlib import Path

import pytest
import trafilatura

from stages.clean import clean_text
from stages.extract import ExtractSettings, RawRecord, extract_one
from stages.extract_html import DEEPEST, TRAFILATURA_OPTIONS, HtmlText, with_resiliparse, with_trafilatura
from stages.limits import RefusedError, scan_html

GOLD = Path(__file__).parents[3] / "shared" / "data" / "html_gold" / "trafilatura" / "html.tar.xz"
SENTENCE = "The quick brown fox jumps over the lazy dog near the river bank on every sunny day of the year."


def engine(name: str, page: str, *, max_depth: int = 2_000) -> HtmlText:
    scan = scan_html(page, max_attributes=5_000, max_depth=max_depth)
    return {"trafilatura": with_trafilatura, "resiliparse": with_resiliparse}[name](
        page, scan=scan, max_depth=max_depth
    )


def article(inside: str) -> str:
    return (
        f"<html><head><title>A &amp; B\n title</title></head><body><p>Begin. {SENTENCE}</p>{inside}"
        f"<p>Finis. {SENTENCE}</p></body></html>"
    )


@cache
def gold_pages(number: int) -> list[str]:
    if not GOLD.exists():
        pytest.skip(f"the gold pages are not at {GOLD}")
    pages = []
    with tarfile.open(GOLD) as archive:
        for member in archive:
            if member.isfile():
                content = archive.extractfile(member)
                assert content is not None
                pages.append(content.read().decode("utf-8", "replace"))
            if len(pages) == number:
                break
    return pages


def test_ordinary_pages_come_out_as_trafilatura_alone_extracts_them() -> None:
    """Word for word; lines differ, because line breaks of the source are white space to us. trafilatura weighs some
    blocks by their length in characters, so a page in a hundred has a block more or less."""
    others = [
        page
        for page in gold_pages(60)
        if engine("trafilatura", page).text.split()
        != clean_text(trafilatura.extract(page, **TRAFILATURA_OPTIONS) or "").split()
    ]
    assert len(others) <= 1


def test_line_breaks_of_the_source_do_not_cut_sentences() -> None:
    page = (
        "<html><body><article><p><a href='/x'>Name</a><br/>\nThe domain is used by protocols, such as for reverse \n"
        "mapping of addresses, and\x0b for the\x01 delivery \nof numbers.</p>"
        "<pre>one\n  two</pre></article></body></html>"
    )
    lines = engine("trafilatura", page).text.split("\n")
    assert (
        "The domain is used by protocols, such as for reverse mapping of addresses, and for the delivery of numbers."
        in lines
    )
    assert lines[-2:] == ["one", "  two"]


@pytest.mark.parametrize("name", ["trafilatura", "resiliparse"])
def test_real_pages_have_text_and_title(name: str) -> None:
    found = [engine(name, page) for page in gold_pages(20)]
    assert sum(len(page.text) > 500 for page in found) >= 18
    assert sum(page.title is not None for page in found) >= 18
    assert all("<div" not in page.text for page in found)


@pytest.mark.parametrize("name", ["trafilatura", "resiliparse"])
def test_title_is_one_clean_line(name: str) -> None:
    assert engine(name, article("")).title == "A & B title"
    assert engine(name, "<html><body><p>x</p></body></html>").title is None


@pytest.mark.parametrize("name", ["trafilatura", "resiliparse"])
@pytest.mark.parametrize("depth", [200, 254, 256, 300, 1_000, 1_990])
def test_deep_pages_are_kept_whole(name: str, depth: int) -> None:
    text = engine(name, article("<div>" * depth + f"<p>Deep. {SENTENCE}</p>" + "</div>" * depth)).text
    assert [word in text for word in ("Begin.", "Deep.", "Finis.")] == [True, True, True]


@pytest.mark.parametrize("name", ["trafilatura", "resiliparse"])
@pytest.mark.parametrize("depth", [2_001, 5_000, 90_000])
@pytest.mark.timeout(20)
def test_deeper_pages_are_refused(name: str, depth: int) -> None:
    with pytest.raises(RefusedError) as refused:
        engine(name, article("<div>" * depth + f"<p>Deep. {SENTENCE}</p>" + "</div>" * depth))
    assert (refused.value.reason, refused.value.threshold) == ("too_deep", 2_000.0)


@pytest.mark.parametrize("name", ["trafilatura", "resiliparse"])
def test_the_depth_limit_counts_elements_that_are_really_nested(name: str) -> None:
    # Each b is closed by its div's end: never more than two deep, though no b has an end tag.
    unclosed = article("<div><b>word</div>" * 30)
    assert "Finis." in engine("trafilatura", unclosed, max_depth=20).text
    with pytest.raises(RefusedError, match="too_deep"):
        engine(name, article("<div>" * 21), max_depth=20)


def test_the_default_depth_is_within_what_libxml2_keeps() -> None:
    for depth in (DEEPEST - 3, DEEPEST + 3):
        page = article("<div>" * depth + "</div>" * depth)
        scan = scan_html(page, max_attributes=5_000, max_depth=10_000)
        if depth < DEEPEST:
            assert "Finis." in with_trafilatura(page, scan=scan, max_depth=10_000).text
        else:
            with pytest.raises(RefusedError, match="too_deep"):
                with_trafilatura(page, scan=scan, max_depth=10_000)


@pytest.mark.parametrize("name", ["trafilatura", "resiliparse"])
@pytest.mark.parametrize(
    "large",
    [
        "<img alt='' src='data:image/png;base64," + "A" * 11_000_000 + "'>",
        "<script>" + "x = 1; " * 1_600_000 + "</script>",
        "<!--" + "x " * 5_500_000 + "-->",
    ],
    ids=["attribute", "script", "comment"],
)
def test_nothing_behind_ten_megabytes_in_one_piece_is_lost(name: str, large: str) -> None:
    text = engine(name, article(large)).text
    assert "Begin." in text
    assert "Finis." in text


@pytest.mark.parametrize("name", ["trafilatura", "resiliparse"])
def test_entities_name_no_files(name: str) -> None:
    page = (
        '<!DOCTYPE html [<!ENTITY a "ha"><!ENTITY b "&a;&a;"><!ENTITY c "&b;&b;"><!ENTITY d SYSTEM "/etc/hostname">]>'
        + article("<p>&c; and &d; and <iframe src='file:///etc/hostname'></iframe></p>")
    )
    text = engine(name, page).text
    assert "haha" not in text
    assert Path("/etc/hostname").read_text().strip() not in text


@pytest.mark.parametrize("name", ["trafilatura", "resiliparse"])
@pytest.mark.parametrize(
    "hostile",
    [
        "",
        " ",
        "<",
        "</html>",
        "<!-- open",
        "<?xml version='1.0' encoding='utf-16'?><html><body><p>x</p></body></html>",
        "\x00<html>\x00<body>\x00",
        "<html/>",
        "<svg><template>" * 50,
        "<table><tr><td colspan=9007199254740991>x</td></tr></table>",
        "<p>" + "\U0001f600" * 1000,
        "<title>" * 1000,
        "<html>" * 1000,
        "<p>\u202eright to left</p>",
        "<select><option>" * 500,
    ],
    ids=lambda page: repr(page[:20]),
)
def test_odd_pages_give_text_or_nothing(name: str, hostile: str) -> None:
    engine(name, hostile).text.encode()


def test_a_lone_block_is_a_page_too() -> None:
    assert SENTENCE in engine("trafilatura", f"<div><p>{SENTENCE}</p><p>{SENTENCE}</p></div>").text


@pytest.mark.parametrize("name", ["trafilatura", "resiliparse"])
def test_nul_and_lone_surrogates_leave_readable_text_behind(name: str) -> None:
    """As a character reference, as the bytes that Java writes for one, and as a NUL in mid-word."""
    words = "An ordinary sentence stands before it and another ordinary sentence stands behind it. " * 4
    end = b"&#xD800; \xed\xa0\x80 mid\x00dle.</p></article></body></html>"
    page = b"<html><body><article><p>" + words.encode() + end
    record = RawRecord(content=page, media_type="text/html", charset="utf-8", url=None)
    found = extract_one(record, ExtractSettings(engine=name))
    assert found.reason is None
    assert words.strip() in found.text
    assert "\x00" not in found.text
    found.text.encode("utf-8")


@pytest.mark.parametrize("name", ["trafilatura", "resiliparse"])
@pytest.mark.parametrize(
    "end",
    [
        "</body></html><hr><p>Behind. {}</p>",
        "</html>\n<p>Behind. {}",
        "</body></html><html><head><title>no</title></head><body><p>Behind. {}</p></body></html>",
    ],
    ids=["elements", "loose", "a second page"],
)
def test_what_stands_behind_the_end_of_a_page_is_kept_and_its_title_is_the_first(name: str, end: str) -> None:
    found = engine(name, article("").removesuffix("</body></html>") + end.format(SENTENCE))
    assert (found.title, found.cut) == ("A & B title", False)
    assert [word in found.text for word in ("Begin.", "Finis.", "Behind.")] == [True, True, True]


def test_a_page_whose_tree_lacks_text_is_called_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    long = article("") + f"<p>{SENTENCE * 3}</p>"
    assert not engine("trafilatura", long).cut
    monkeypatch.setattr("stages.extract_html._append_what_follows", lambda tree: None)
    assert engine("trafilatura", long).cut


def test_entities_and_scripts_are_no_lost_text() -> None:
    blanks = article("<p>" + "&nbsp;&#160;&#xA0;" * 300 + "</p><script>" + "x = 1; " * 300 + "</script>")
    assert not engine("trafilatura", blanks).cut


STRUCTURED = f"""<html><body><article><h1>Foxes</h1><p>Begin. {SENTENCE} It is <b>quick</b>, see <code>jump()</code>.
</p>
<h2>Kinds</h2><ul><li>red<ul><li>small</li></ul></li><li>grey</li></ul><ol><li>first</li><li>second</li></ol>
<table><tr><th>Name</th><th>Age</th></tr><tr><td>Reynard</td><td>7</td></tr></table>
<pre><code>def jump(over):
    if over:
        return "dog"
</code></pre><p>Finis. {SENTENCE}</p></article></body></html>"""


def test_markdown_keeps_headings_lists_tables_and_code() -> None:
    scan = scan_html(STRUCTURED, max_attributes=5_000, max_depth=2_000)
    lines = with_trafilatura(STRUCTURED, scan=scan, max_depth=2_000, markdown=True).text.split("\n")
    for block in (
        ["# Foxes"],
        ["## Kinds"],
        ["- red", "  - small", "- grey"],
        ["1. first", "2. second"],
        ["| Name | Age |", "|---|---|", "| Reynard | 7 |"],
        ["```", "def jump(over):", "    if over:", '        return "dog"', "```"],
    ):
        at = lines.index(block[0])
        assert lines[at : at + len(block)] == block
    assert any("It is **quick**, see `jump()`." in line for line in lines)


def test_markdown_is_refused_where_an_engine_would_lose_tables() -> None:
    record = RawRecord(content=STRUCTURED.encode(), media_type="text/html")
    for name in ("trafilatura", "cascade"):
        found = extract_one(record, ExtractSettings.model_validate({"engine": name, "format": "markdown"}))
        assert "## Kinds" in found.text
    assert "## Kinds" not in extract_one(record, ExtractSettings()).text
    with pytest.raises(ValueError, match="format: markdown is not possible with engine: resiliparse"):
        ExtractSettings.model_validate({"engine": "resiliparse", "format": "markdown"})
