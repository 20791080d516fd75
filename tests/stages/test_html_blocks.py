"""Blocks of a page: what the standard's tokenizer makes of odd markup, and where one text ends and the next begins."""

import html.entities

import numpy as np
import pytest

from stages import html_names as names
from stages.extract_tamis import blocks_of, rendered, title_of
from stages.html_blocks import FLAGS, LIST_DEPTH, ORDINAL, PATH, most_blocks

NO_WEIGHTS = np.zeros(names.TOKEN_BUCKETS, np.int16)


def read(page):
    return blocks_of(page.encode(), NO_WEIGHTS)


def texts(page):
    blocks = read(page)
    return [blocks.plain(block) for block in range(len(blocks))]


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("plain text", ["plain text"]),
        ("<p>one<p>two", ["one", "two"]),
        ("<P CLASS=x>one</P>two", ["one", "two"]),
        ("<p>a\n  b\t c&nbsp;d", ["a b c d"]),
        ("<p>a<b> b </b>c", ["a b c"]),
        ("<p>a<span>b</span>", ["ab"]),
        ("<p>a<br>b", ["a\nb"]),
        ("<p>a<br><br>b", ["a", "b"]),
        ("<div>a<p>b</div>c", ["a", "b", "c"]),
        ("<ul><li>a<li>b</ul>c", ["a", "b", "c"]),
        ("<dl><dt>a<dd>b</dl>", ["a", "b"]),
        ("<select><option>a<option>b</select>c", ["a", "b", "c"]),
        ("<table><tr><td>a<td>b<tr><td>c</table>d", ["a b", "c", "d"]),
        ("<table><tr><td>a<br>b<td>c</table>", ["a\nb", "c"]),
        ("<table><tr><td>" + "long " * 50 + "<td>c</table>", [("long " * 50).strip(), "c"]),
        ("<table><tr><td>c<td>" + "long " * 50 + "</table>", ["c", ("long " * 50).strip()]),
        ("<table><tr><td><p>a</p><p>b</p><td>c</table>", ["a", "b", "c"]),
        ("<pre>\n a\n  b </pre>", ["a\n  b"]),
        ("<pre>a &lt; b</pre>", ["a < b"]),
    ],
)
def test_where_one_block_ends_and_the_next_begins(page, expected):
    assert texts(page) == expected


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("a < b & c", ["a < b & c"]),
        ("a<!-- <p>no --!>b", ["ab"]),
        ("a<!-->b", ["ab"]),
        ("a<!--->b", ["ab"]),
        ("a<!-- never closed <p>b", ["a"]),
        ("a<!DOCTYPE x>b<?php no ?>c</>d</ bogus>e", ["abcde"]),
        ("<p title='>'>a", ["a"]),
        ('<p title=">" x>a', ["a"]),
        ("<p a=1 b='2' c=\"3\" d>a", ["a"]),
        ("<p =x>a", ["a"]),
        ("a<p", ["a"]),
        ("a<p x='", ["a"]),
        ("<script>if (a<b) '<p>no'</script>a", ["a"]),
        ("<script><!-- <script>no</script> no --></script>a", ["a"]),
        ("<SCRIPT>no</sCript >a", ["a"]),
        ("<style>p{}</style>a<script>never closed", ["a"]),
        ("<textarea><b>&lt;</textarea>a", ["<b><", "a"]),
        ("<textarea>never closed<p>a", ["never closed", "a"]),
        ("<title>never closed<p>a", ["never closed", "a"]),
        ("a\0b\x01c", ["abc"]),
        ("soft\u00adhyphen\u200b", ["softhyphen"]),
    ],
)
def test_odd_markup_is_read_as_the_standard_says(page, expected):
    assert texts(page) == expected


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("&amp;", "&"),
        ("&ampx", "&x"),
        ("&notit;", "¬it;"),
        ("&notin;", "∉"),
        ("&unknown;", "&unknown;"),
        ("&CounterClockwiseContourIntegral;", "∳"),
        ("&nGt;", "≫⃒"),
        ("&#65;&#x42;&#X43", "ABC"),
        ("&#128;&#x99;", "€™"),
        ("&#0;&#xD800;&#x110000;&#99999999999999999999;", "\ufffd\ufffd\ufffd\ufffd"),
        ("&#;&#x;", "&#;&#x;"),
        ("&", "&"),
        ("a&#10;b&#160;c", "a b c"),
        ("&#x1F600;", "😀"),
    ],
)
def test_character_references(reference, expected):
    assert texts(f"<p>{reference}") == [expected]


def test_every_named_reference_is_known():
    for name, meaning in html.entities.html5.items():
        if meaning.strip() and meaning.isprintable():
            assert texts(f"<p>x&{name}") == [f"x{meaning}"], name


def test_what_a_block_stands_in():
    blocks = read(
        "<nav>a</nav><article><p>b</p><blockquote>c</blockquote></article><ol><li>d<li>e<ul><li>f</ul></ol>"
        "<div style='display: none'>g</div><div hidden>h</div><footer>i</footer><form>j</form>"
    )
    flags = blocks.wide[:, FLAGS]
    expected = [names.NAV, names.ARTICLE | names.PARAGRAPH, names.ARTICLE | names.QUOTE]
    expected += [names.LIST | names.ITEM] * 3 + [names.HIDDEN] * 2 + [names.FOOTER, names.FORM]
    assert flags.tolist() == expected
    assert blocks.narrow[3:6, LIST_DEPTH].tolist() == [1, 1, 2]
    assert blocks.narrow[3:6, ORDINAL].tolist() == [1, 2, 0]


def test_blocks_of_one_template_have_one_path():
    blocks = read("<div class=card-12><p>a</div><div class=card-7><p>b</div><div class=other><p>c</div>")
    first, second, third = blocks.wide[:, PATH].tolist()
    assert first == second != third


def test_the_title_is_the_pages_and_not_that_of_a_picture():
    assert title_of(read("<svg><title>Icon</title></svg><title> The\n page &amp; more </title>a")) == "The page & more"
    assert title_of(read("<p>a")) is None


MIXED = """<h2>Head</h2><p>Some <b>bold</b> and <code>x = 1</code>.</p><ul><li>one<li>two<ol><li>deep</ol></ul>
<table><tr><th>a<th>b<tr><td>1<td>x|y</table><pre>def f():
    return 1</pre><blockquote><p>said<br>so</blockquote><p>the end"""


def test_plain_text_has_a_line_for_each_block():
    blocks = read(MIXED)
    assert rendered(blocks, np.ones(len(blocks), bool), markdown=False).split("\n") == [
        "Head", "Some bold and x = 1.", "- one", "- two", "1. deep", "a | b", "1 | x|y", "def f():", "    return 1",
        "said", "so", "the end",
    ]  # fmt: skip


def test_markdown_keeps_what_the_page_marks():
    blocks = read(MIXED)
    assert rendered(blocks, np.ones(len(blocks), bool), markdown=True) == (
        "## Head\n\nSome **bold** and `x = 1`.\n\n- one\n- two\n  1. deep\n\n| a | b |\n|---|---|\n| 1 | x\\|y |\n\n"
        "```\ndef f():\n    return 1\n```\n\n> said\n> so\n\nthe end"
    )


def test_marks_that_do_not_pair_are_left_out_and_fences_outlast_the_code():
    blocks = read("<p>a<b>b<p>c</b>d<pre>x ``` y</pre>")
    assert rendered(blocks, np.ones(len(blocks), bool), markdown=True) == "ab\n\ncd\n\n````\nx ``` y\n````"


def test_a_row_of_empty_cells_has_room_for_its_marks():
    blocks = read("<table><tr><td>a" + "<td>" * 50_000 + "<td>b</table>")
    assert len(blocks) == 1
    every = np.ones(1, bool)
    assert rendered(blocks, every, markdown=False) == "a" + " | " * 50_001 + "b"
    first, second = rendered(blocks, every, markdown=True).split("\n")
    assert first == "| a" + " | " * 50_001 + "b |"
    assert second == "|" + "---|" * 50_002


def test_a_page_of_nothing_but_tags_has_fewer_blocks_and_all_of_its_text():
    words = [f"w{number}" for number in range(40_000)]
    page = "<ul>" + "".join(f"<li>{word}" for word in words) + "</ul><p>the end"
    blocks = read(page)
    assert 0.9 * most_blocks(len(page)) < len(blocks) <= most_blocks(len(page))
    assert len(blocks.parents) <= most_blocks(len(page))
    assert [blocks.plain(block) for block in range(500)] == words[:500]
    every = rendered(blocks, np.ones(len(blocks), bool), markdown=False)
    assert every.replace("- ", "").split() == [*words, "the", "end"]


def test_a_long_page_of_ordinary_blocks_has_them_all():
    page = "<div>" + "".join(f"<p>Paragraph {number} has forty bytes of text.</p>\n" for number in range(30_000))
    assert len(read(page)) == 30_000
