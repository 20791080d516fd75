"""What both engines make of small pages: order, columns, running headers, cut words, scripts."""

import importlib.util
from typing import Any

import pytest

from stages.extract_pdf import with_pymupdf, with_pypdfium2
from stages.limits import RefusedError

ENGINES = {"pypdfium2": with_pypdfium2, "pymupdf": with_pymupdf}
pymupdf: Any = pytest.importorskip("pymupdf", reason="the pages are written with PyMuPDF, an optional extra")

LEFT = [
    "The left column tells of",
    "rivers and of the towns",
    "that stand beside them, of",
    "bridges and of mills, and",
    "it ends with ferries.",
]
RIGHT = [
    "On the right one reads of",
    "mountains, where no river",
    "is wide and every bridge",
    "is short, and of the snow",
    "that feeds all of them.",
]


@pytest.fixture(params=["pypdfium2", "pymupdf"])
def engine(request: pytest.FixtureRequest) -> str:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is an optional extra and not installed")
    return str(request.param)


def pdf(*pages: list[tuple[float, float, str]], size: float = 11, font: str = "helv", **more: Any) -> bytes:
    """One page for each list of (x, y from the top, text), written in that order."""
    with pymupdf.open() as document:
        for texts in pages:
            page = document.new_page()
            for x, y, text in texts:
                page.insert_text((x, y), text, fontsize=size, fontname=font, **more)
        return bytes(document.tobytes())


def read(engine: str, content: bytes, *, markdown: bool = False) -> str:
    return ENGINES[engine](content, max_pages=100, max_unreadable=0.01, markdown=markdown).text


def column(x: float, lines: list[str], *, top: float = 100) -> list[tuple[float, float, str]]:
    return [(x, top + 14 * number, line) for number, line in enumerate(lines)]


def test_columns_are_read_one_after_the_other_however_the_file_orders_them(engine: str) -> None:
    one_by_one = column(72, LEFT) + column(320, RIGHT)
    line_by_line = [piece for pair in zip(column(72, LEFT), column(320, RIGHT), strict=True) for piece in pair]
    for pieces in (one_by_one, line_by_line):
        text = read(engine, pdf(pieces))
        assert " ".join(text.split()) == " ".join(LEFT + RIGHT), pieces


def test_a_heading_over_both_columns_comes_first_and_a_line_below_them_last(engine: str) -> None:
    across = "A heading that stands over both of the columns of this page and is long"
    below = "And a closing line that runs below both of the columns, from left to right"
    text = read(engine, pdf([(72, 60, across), *column(72, LEFT), *column(320, RIGHT), (72, 220, below)]))
    assert " ".join(text.split()) == " ".join([across, *LEFT, *RIGHT, below])


def test_a_table_is_read_row_by_row(engine: str) -> None:
    rows = [("Apples", "12", "3.50"), ("Pears", "7", "4.10"), ("Plums", "30", "1.25")]
    pieces = [(72 + 120 * at, 100 + 14 * n, cell) for n, row in enumerate(rows) for at, cell in enumerate(row)]
    by_column = sorted(pieces, key=lambda piece: piece[0])
    for order in (pieces, by_column):
        assert read(engine, pdf(order)) == "Apples 12 3.50\nPears 7 4.10\nPlums 30 1.25"


def test_running_headers_and_page_numbers_go_and_other_lines_stay(engine: str) -> None:
    def page(number: int) -> list[tuple[float, float, str]]:
        body = f"Only page {('one', 'two', 'three', 'four')[number]} says this, in a line of its own that is long."
        return [(72, 40, "A Short History of Bridges"), (72, 100, body), (300, 800, str(number + 7))]

    text = read(engine, pdf(*[page(number) for number in range(4)]))
    assert "History" not in text
    assert not any(character.isdigit() for character in text)
    assert text.count("says this") == 4
    # Two of three pages are too few, and a number that is the same everywhere is no page number.
    mixed = [[(72, 40, head), (72, 100, "Some text."), (72, 800, "1999")] for head in ("Bridges", "Bridges", "Mills")]
    text = read(engine, pdf(*mixed))
    assert text.count("Bridges") == 2
    assert text.count("1999") == 3


def test_pages_that_show_nothing_else_keep_their_header(engine: str) -> None:
    assert read(engine, pdf(*[[(72, 40, "Slide")]] * 3)).split() == ["Slide"] * 3


def test_a_line_end_that_the_width_forced_is_a_space_and_another_one_stays(engine: str) -> None:
    prose = [
        "This paragraph has been broken where the next word",
        "would not have fitted on the line, which tells it from",
        "what follows.",
    ]
    listed = ["One", "Two", "Three"]
    text = read(engine, pdf(column(72, [*prose, *listed])))
    assert text == " ".join(prose) + "\n" + "\n".join(listed)


def test_words_cut_at_line_ends_are_whole_by_the_documents_own_words(engine: str) -> None:
    lines = [
        "It is a well-known fact that nobody reads exam-",
        "ples twice, and that a well-",
        "known example is read least, in pre-",
        "and postwar prints of the GNU-",
        "Projekt.",
    ]
    text = " ".join(read(engine, pdf(column(72, lines))).split())
    assert text == (
        "It is a well-known fact that nobody reads examples twice, and that a well-known example is read least, "
        "in pre- and postwar prints of the GNU-Projekt."
    )


def test_a_sentence_goes_on_in_the_next_column_and_on_the_next_page(engine: str) -> None:
    left, right = [*LEFT[:4], "it never really ends but"], ["goes on to the right, and", *RIGHT[1:]]
    text = read(engine, pdf(column(72, left) + column(320, right)))
    assert "it never really ends but goes on" in text


def test_japanese_lines_are_joined_without_a_space(engine: str) -> None:
    lines = ["これは一行目の文章であり次の", "行に続いているので間に空白は", "入らない。"]
    assert read(engine, pdf(column(72, lines), font="japan")) == "".join(lines)


def test_text_that_runs_up_is_read_too(engine: str) -> None:
    content = pdf([(300, 400, "Up the margin it goes")], rotate=90)
    assert read(engine, content) == "Up the margin it goes"


def test_text_of_form_fields_and_notes_is_read(engine: str) -> None:
    with pymupdf.open() as document:
        page = document.new_page()
        page.insert_text((72, 100), "Name:")
        page.add_freetext_annot((72, 200, 300, 230), "A note on the page")
        content = document.tobytes()
    text = read(engine, content)
    assert "Name:" in text
    assert "A note on the page" in text


def test_a_scan_is_no_text(engine: str) -> None:
    with pymupdf.open() as document:
        picture = pymupdf.Pixmap(pymupdf.csGRAY, (0, 0, 20, 20), 0)
        picture.clear_with(200)
        document.new_page().insert_image((0, 0, 500, 700), pixmap=picture)
        content = document.tobytes()
    with pytest.raises(RefusedError) as refused:
        read(engine, content)
    assert refused.value.reason == "no_text"


def test_markdown_keeps_headings_lists_tables_and_code(engine: str) -> None:
    with pymupdf.open() as document:
        page = document.new_page()
        page.insert_text((72, 80), "Of Bridges", fontsize=22)
        for x, y, text in column(72, LEFT, top=120):
            page.insert_text((x, y), text)
        for number, text in enumerate(("- stone", "- wood")):
            page.insert_text((72, 220 + 14 * number), text)
        for number, row in enumerate((("Kind", "Years"), ("Stone", "400"), ("Wood", "40"))):
            for at, cell in enumerate(row):
                page.insert_text((72 + 150 * at, 280 + 14 * number), cell)
        for number, text in enumerate(("for x in y:", "    print(x)")):
            page.insert_text((72, 360 + 14 * number), text, fontname="cour")
        content = document.tobytes()
    text = read(engine, content, markdown=True)
    assert text.startswith("# Of Bridges\n\n")
    assert "- stone\n- wood" in text
    assert "| Kind | Years |\n| --- | --- |\n| Stone | 400 |\n| Wood | 40 |" in text
    assert "```\nfor x in y:\n    print(x)\n```" in text
    assert "#" not in read(engine, content)
