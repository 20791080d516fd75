import pytest

from stages.limits import RefusedError, Scan, scan_html


def scan(page: str, *, max_attributes: int = 100, max_depth: int = 10) -> Scan:
    return scan_html(page, max_attributes=max_attributes, max_depth=max_depth)


def test_visible_characters_are_those_outside_markup() -> None:
    page = """<!DOCTYPE html><html><head><title>Abc</title><style>p > b {color: red}</style>
    <script>if (a < b) { document.write("<p>no</p>") }</script></head>
    <body><!-- no > no --><p title="1 > 0">De <b>f</b></p><?php no ?></body></html>"""
    assert scan(page).visible_characters == len("AbcDef")


@pytest.mark.parametrize(
    ("page", "visible"),
    [
        ("ab<!-- open", 2),
        ("ab<script>open", 2),
        ('ab<p title="open>x', 2),
        ("ab<p", 2),
        ("a < b", 3),
        ("a<!-->b", 2),
        ("<p don't>ab</p>", 2),
        ("<SCRIPT>no</SCRIPT>ab", 2),
        ("<scripture>ab", 2),
        ("a&amp;b&#8217;&#x2019;", 5),
        ("a&nbsp;&nbsp;&#160;&#xa0;&#0032;&emsp;b&nbsp", 2),
        ("a&b", 3),
    ],
)
def test_markup_is_read_as_browsers_read_it(page: str, visible: int) -> None:
    assert scan(page).visible_characters == visible


@pytest.mark.parametrize(
    "attributes",
    [
        " ".join(f"a{n}=1" for n in range(101)),
        " ".join(f"a{n}" for n in range(101)),
        "/".join(f"a{n}" for n in range(101)),
        "".join(f'a{n}="x y"' for n in range(101)),
        " ".join(f"a{n}='>'" for n in range(101)),
    ],
    ids=["values", "names only", "slashes", "no spaces", "quoted angle brackets"],
)
@pytest.mark.parametrize("tag", ["div", "script"])
def test_too_many_attributes_are_refused(attributes: str, tag: str) -> None:
    with pytest.raises(RefusedError) as refused:
        scan(f"<p>text<{tag} {attributes}>more")
    assert (refused.value.reason, refused.value.measured, refused.value.threshold) == ("too_many_attrs", 101.0, 100.0)


def test_as_many_attributes_as_allowed_pass() -> None:
    scan("<p " + " ".join(f'a{n}="some words here"' for n in range(100)) + ">")
    scan("<script>" + "word " * 1000 + "</script>")


@pytest.mark.parametrize(
    ("page", "deeper"),
    [
        ("<div>" * 10 + "</div>" * 10, False),
        ("<div>" * 11 + "</div>" * 11, True),
        ("<div></div>" * 50, False),
        ("<p>one<br><li>two<td>" * 50, False),
        ("<svg>" + "<path d='M0 0'/>" * 50 + "</svg>", False),
        ("<DIV>" * 11, True),
        ("<ul><li>" * 11, True),
    ],
)
def test_nesting_is_ruled_out_or_suspected(page: str, deeper: bool) -> None:
    assert scan(page).may_be_deeper is deeper


@pytest.mark.parametrize(
    "hostile",
    [
        "<" * 1_000_000,
        "<!--" * 300_000,
        "<!--" + "-" * 1_000_000,
        '<a b="' * 200_000,
        "<a b='" * 200_001,
        "<a " + "=" * 1_000_000,
        "<a b=" + " " * 1_000_000,
        "<script>" * 200_000,
        "</" * 500_000,
        "\x00\ud800" * 100_000,
    ],
    ids=lambda hostile: hostile[:8].encode("unicode_escape").decode(),
)
@pytest.mark.timeout(10)
def test_hostile_markup_takes_linear_time(hostile: str) -> None:
    assert scan_html(hostile, max_attributes=10**9, max_depth=2000).visible_characters >= 0
