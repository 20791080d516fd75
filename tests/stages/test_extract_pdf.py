import importlib.util
import io
import re
import tarfile
import unicodedata
from collections import Counter
from pathlib import Path

import pypdfium2
import pytest
from pdfs import drawing, hello, huge_count, page_tree_loop, pages, text_page, to_unicode, xref_loop

from stages.extract_pdf import PdfText, with_pymupdf, with_pypdfium2
from stages.limits import RefusedError

GOLD = Path(__file__).parents[3] / "shared" / "data" / "pdf" / "gold_debian.tar.xz"
ENGINES = {"pypdfium2": with_pypdfium2, "pymupdf": with_pymupdf}


@pytest.fixture(params=["pypdfium2", "pymupdf"])
def engine(request: pytest.FixtureRequest) -> str:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is an optional extra and not installed")
    return str(request.param)


def read(engine: str, content: bytes, *, max_pages: int = 100) -> PdfText:
    return ENGINES[engine](content, max_pages=max_pages, max_unreadable=0.01)


def reason(engine: str, content: bytes, *, max_pages: int = 100) -> str:
    with pytest.raises(RefusedError) as refused:
        read(engine, content, max_pages=max_pages)
    return refused.value.reason


def text_or_reason(engine: str, content: bytes) -> str:
    """`text` if clean text comes out of a damaged file, else the reason why none does."""
    try:
        text = read(engine, content).text
    except RefusedError as refused:
        return refused.reason
    text.encode()
    assert text
    assert not any(unicodedata.category(character) == "Cc" and character not in "\n\t" for character in text)
    return "text"


def test_pages_are_joined_by_a_blank_line(engine: str) -> None:
    found = read(engine, hello())
    assert found.text == "Hello from the first page. Its second line.\n\nAnd the second page."
    assert found.title == "A small title"
    assert found.detail is None


def test_words_cut_at_line_ends_are_whole(engine: str) -> None:
    text = read(engine, pages([text_page("This is an exam-\nple of a word.")])).text
    assert " ".join(text.split()) == "This is an example of a word."


def test_a_page_without_text_is_no_text_and_says_why(engine: str) -> None:
    with pytest.raises(RefusedError, match="1 pages without text") as refused:
        read(engine, drawing())
    assert refused.value.reason == "no_text"


def test_encrypted_files_are_told_apart(engine: str) -> None:
    pymupdf = pytest.importorskip("pymupdf")
    out = io.BytesIO()
    with pymupdf.open(stream=hello(), filetype="pdf") as document:
        document.save(out, encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="secret", owner_pw="owner")
    assert reason(engine, out.getvalue()) == "encrypted"
    out = io.BytesIO()
    with pymupdf.open(stream=hello(), filetype="pdf") as document:
        document.save(out, encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="", owner_pw="owner")
    assert "Hello" in read(engine, out.getvalue()).text


def test_too_many_pages_are_refused_before_any_is_read(engine: str) -> None:
    with pytest.raises(RefusedError, match="too_large") as refused:
        read(engine, hello(), max_pages=1)
    assert (refused.value.measured, refused.value.threshold) == (2.0, 1.0)


@pytest.mark.timeout(20)
def test_broken_structure_gives_text_or_a_reason(engine: str) -> None:
    for content in (
        b"%PDF-1.7",
        b"%PDF-1.7\n" + bytes(range(256)) * 100,
        hello()[: len(hello()) // 2],
        page_tree_loop(),
        huge_count(),
        xref_loop(),
        hello().replace(b"/Root 1 0 R", b"/Root 9 0 R"),
    ):
        assert text_or_reason(engine, content) in {"text", "parser_error", "no_text", "too_large"}, content[:300]


@pytest.mark.parametrize("mapped", ["0000", "d800", "dc00d800", "0001", "fffe", "00660069"])
def test_odd_character_maps_give_clean_text(engine: str, mapped: str) -> None:
    assert text_or_reason(engine, to_unicode(mapped)) in {"text", "bad_encoding"}


def test_mupdf_is_not_handed_what_stands_before_the_magic() -> None:
    pytest.importorskip("pymupdf")
    assert "Hello" in read("pymupdf", b"<html><body><p>not this</p></body></html>" + hello()).text


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.lower()))


def test_manuals_match_their_text_editions(engine: str) -> None:
    if not GOLD.exists():
        pytest.skip(f"the manuals are not at {GOLD}")
    checked = 0
    with tarfile.open(GOLD) as archive:
        files = {name: archive.getmember(name) for name in archive.getnames()}
        for name in ("gold_debian/project-history.en.pdf", "gold_debian/project-history.es.pdf"):
            content = archive.extractfile(files[name])
            gold = archive.extractfile(files[name.removesuffix(".pdf") + ".gold.txt"])
            assert content is not None
            assert gold is not None
            expected = words(gold.read().decode())
            found = words(read(engine, content.read()).text)
            assert (expected & found).total() / expected.total() > 0.95, name
            checked += 1
    assert checked == 2


def test_pdfium_still_has_the_error_codes_we_read() -> None:
    assert (pypdfium2.raw.FPDF_ERR_PASSWORD, pypdfium2.raw.FPDF_ERR_SECURITY) == (4, 5)
