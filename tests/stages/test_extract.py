import gzip
import random
import subprocess
import sys

import pytest
from pdfs import hello, pages, text_page
from pydantic import ValidationError

from stages.extract import Extracted, ExtractSettings, RawRecord, extract_one
from stages.reasons import REASONS

SENTENCE = "The quick brown fox jumps over the lazy dog near the river bank on every sunny day of the year."
PAGE = f"<!DOCTYPE html><html><head><title>Fox</title></head><body><article><p>{SENTENCE}</p><p>Größe.</p></article>"


def extract(
    content: bytes | str, media_type: str | None = None, charset: str | None = None, **settings: object
) -> Extracted:
    record = RawRecord(
        content=content.encode() if isinstance(content, str) else content, media_type=media_type, charset=charset
    )
    return extract_one(record, ExtractSettings(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ["trafilatura", "resiliparse"])
def test_a_page_gives_title_and_text(engine: str) -> None:
    found = extract(PAGE, "text/html; charset=utf-8", engine=engine)
    assert (found.media_type, found.title, found.reason) == ("text/html", "Fox", None)
    assert SENTENCE in found.text
    assert found.visible_characters == len("".join(("Fox" + SENTENCE + "Größe.").split()))


def test_a_pdf_gives_title_and_text() -> None:
    found = extract(hello(), "application/pdf")
    assert (found.media_type, found.title, found.reason) == ("application/pdf", "A small title", None)
    assert found.text.startswith("Hello from the first page.")


def test_plain_text_passes_through() -> None:
    found = extract("One < two.\r\n\r\nThree\x0b." + SENTENCE, "text/plain")
    assert (found.media_type, found.text) == ("text/plain", "One < two.\n\nThree\n." + SENTENCE)


@pytest.mark.parametrize(
    ("content", "declared", "kind"),
    [
        (PAGE, None, "text/html"),
        (PAGE, "application/octet-stream", "text/html"),
        ("\ufeff \n<!-- c --><HTML><body>" + SENTENCE, None, "text/html"),
        (PAGE.encode("utf-16"), None, "text/html"),
        ("<?xml version='1.0'?>\n" + PAGE, "application/xml", "text/html"),
        (PAGE, "application/xhtml+xml;charset=utf-8", "text/html"),
        (hello(), None, "application/pdf"),
        (hello(), "text/html", "application/pdf"),
        (b"junk before it\n" + hello(), "application/pdf", "application/pdf"),
        (SENTENCE, None, "text/plain"),
        (SENTENCE.encode("utf-16"), None, "text/plain"),
        (PAGE, "text/plain", "text/plain"),
        ("A page about %PDF-1.7 files. " + SENTENCE, "text/html", "text/html"),
    ],
)
def test_a_document_is_what_it_is(content: bytes | str, declared: str | None, kind: str) -> None:
    found = extract(content, declared)
    assert (found.media_type, found.reason) == (kind, None)
    assert "page" in found.text or "fox" in found.text


NOISE = random.Random(7).randbytes(20_000)


@pytest.mark.parametrize(
    ("content", "declared", "reason"),
    [
        (b"", "text/html", "empty"),
        (b" \r\n\x00", None, "empty"),
        (PAGE, "application/pdf", "not_pdf"),
        ("<svg xmlns='http://www.w3.org/2000/svg'/>", "application/pdf", "not_pdf"),
        (b"PK\x03\x04" + NOISE, "application/pdf", "not_pdf"),
        (b" " * 2000 + hello(), "application/x-pdf", "not_pdf"),
        (b"%PDF-1.7\n" + NOISE, "application/pdf", "parser_error"),
        (b"\x89PNG\r\n\x1a\n" + NOISE, "image/png", "media_type"),
        (b"\x89PNG\r\n\x1a\n" + NOISE, None, "media_type"),
        ("<rss><channel/></rss>", "text/xml", "media_type"),
        ('{"a": 1}', "application/json", "media_type"),
        (b"\x89PNG\r\n\x1a\n" + NOISE, "text/html", "bad_encoding"),
        (NOISE, "text/html", "bad_encoding"),
        (NOISE, "text/plain", "bad_encoding"),
        (gzip.compress(NOISE + PAGE.encode()), "text/html", "bad_encoding"),
        ("<html><body><script>x</script></body></html>", "text/html", "no_text"),
        ("\x1b \x0b", "text/plain", "no_text"),
        ("<p " + "a=1 " * 5001 + ">x", "text/html", "too_many_attrs"),
        ("<html>" + "<div>" * 2001 + SENTENCE, "text/html", "too_deep"),
        (pages([text_page("x")] * 3), "application/pdf", "too_large"),
    ],
)
def test_what_gives_no_text_says_why(content: bytes | str, declared: str | None, reason: str) -> None:
    found = extract(content, declared, max_pages=2)
    assert found.reason == reason
    assert reason in REASONS
    assert found.text == ""


def test_a_large_document_is_refused_with_its_size() -> None:
    found = extract(PAGE, "text/html", max_html_bytes=100)
    assert (found.reason, found.measured, found.threshold) == ("too_large", float(len(PAGE.encode())), 100.0)
    assert extract(hello(), "application/pdf", max_pdf_bytes=100).reason == "too_large"
    assert extract(hello(), "application/pdf", max_html_bytes=100).reason is None


def test_compressed_bytes_are_never_inflated_by_a_parser() -> None:
    assert extract(gzip.compress(PAGE.encode() * 50), "text/html").reason == "bad_encoding"


def test_text_never_holds_control_characters() -> None:
    dirty = PAGE.replace("quick", "qu\x00i\x07ck \x9b") + "<p>" + SENTENCE * 5
    for engine in ("trafilatura", "resiliparse"):
        text = extract(dirty, "text/html", engine=engine).text
        assert text
        assert all(character >= " " or character in "\n\t" for character in text)
        assert not any("\x7f" <= character <= "\x9f" for character in text)


@pytest.mark.parametrize(
    "declared", [None, "", ";", "text/html;;;", "TEXT/HTML ", "\x00", "é/ü", "text/html, text/html", "x" * 1000]
)
def test_any_declared_type_is_read_or_refused(declared: str | None) -> None:
    assert extract(PAGE, declared).reason in (None, "media_type")


def test_an_engine_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValidationError, match=r"pip install 'tamis\[pdf-mupdf\]'"):
        ExtractSettings(pdf_engine="pymupdf")
    ExtractSettings(pdf_engine="pypdfium2")


def test_reading_settings_loads_no_parser() -> None:
    code = (
        "import sys; import stages.extract; "
        "print(*sorted({'lxml', 'trafilatura', 'pypdfium2', 'pymupdf'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert loaded == []
