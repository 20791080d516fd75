"""Hebrew and Arabic from PDF come out in the order in which they are read, with both engines."""

import importlib.util
import re
from pathlib import Path

import matplotlib as mpl
import pytest

from stages.extract_pdf import with_pymupdf, with_pypdfium2

pymupdf = pytest.importorskip("pymupdf", reason="PyMuPDF, an optional extra, prints the pages")

#: matplotlib brings it; it has Hebrew and Arabic letters.
FONT = str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
HEBREW = "שלום עולם, זה ספר קטן על כפר ליד הים."
ARABIC = "مرحبا بكم، هذا كتاب صغير عن قرية قرب بحر."
ENGINES = {"pypdfium2": with_pypdfium2, "pymupdf": with_pymupdf}


@pytest.fixture(params=["pypdfium2", "pymupdf"])
def engine(request: pytest.FixtureRequest) -> str:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


def seen(line: str) -> str:
    """A right-to-left line as its letters stand on paper from left to right."""
    return re.sub(r"[0-9A-Za-z]+(?: [0-9A-Za-z]+)*", lambda match: match[0][::-1], line[::-1])


def printed(*lines: str) -> bytes:
    """One page; each line ends at the same right edge, its glyphs written from left to right as most programs do."""
    document = pymupdf.open()
    page, font = document.new_page(), pymupdf.Font(fontfile=FONT)
    for number, line in enumerate(map(seen, lines)):
        place = (500 - font.text_length(line, 12), 72 + 18 * number)
        page.insert_text(place, line, fontname="dejavu", fontfile=FONT, fontsize=12)
    return bytes(document.tobytes())


def typeset(line: str) -> bytes:
    """One page by a program that shapes letters and orders words itself: each word is placed on its own."""
    document = pymupdf.open()
    document.new_page().insert_htmlbox(pymupdf.Rect(50, 50, 550, 300), f'<p dir="rtl">{line}</p>')
    return bytes(document.tobytes())


def read(engine: str, content: bytes) -> str:
    return ENGINES[engine](content, max_pages=9, max_unreadable=0.01).text


@pytest.mark.parametrize(
    "line",
    [HEBREW, ARABIC, "המחיר הוא 1234 שקל בשנת 1998.", "הוא קנה Open Office בחנות קטנה ליד הים בשנת 1998."],
    ids=["hebrew", "arabic", "number at the end", "words of another script"],
)
def test_a_line_reads_as_it_was_written(engine: str, line: str) -> None:
    assert read(engine, printed(line)) == line


def test_lines_stay_in_order(engine: str) -> None:
    text = read(engine, printed(HEBREW, "המחיר הוא 1234 שקל בשנת 1998.", HEBREW))
    assert " ".join(text.split()) == f"{HEBREW} המחיר הוא 1234 שקל בשנת 1998. {HEBREW}"


@pytest.mark.parametrize("line", [HEBREW, ARABIC], ids=["hebrew", "arabic"])
def test_words_that_are_placed_one_by_one_keep_their_order(engine: str, line: str) -> None:
    words = re.findall(r"\w+", line)
    assert re.findall(r"\w+", read(engine, typeset(line))) == words
