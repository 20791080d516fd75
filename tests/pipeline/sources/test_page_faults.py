"""The faults of pages, PDFs and parsers, each through a whole run of extraction between two pages without fault.

Every test asks the same of the run: the faulty document is whole or a row with its reason, its neighbours are kept,
every document is booked, and `verify` finds each input byte in exactly one place.
"""

import gzip
import random
import socketserver
import threading
import zlib
from functools import partial
from pathlib import Path

import pytest
from extractions import extracted
from pdfs import (
    flate_bomb,
    form_fan_out,
    hello,
    huge_count,
    page_tree_loop,
    to_unicode,
    xref_loop,
)
from warcs import http, member, record

from pipeline.phases import extract as extract_phase

SENTENCE = "The quick brown fox jumps over the lazy dog near the river bank on every sunny day of the year."
FIRST, LAST = "http://a.test/first", "http://a.test/last"
#: A parser is stopped after this much CPU time, and after ten times as much when it is tried again alone.
QUICK = "cpu_seconds: 0.1, memory_bytes: 200000000"
LARGE = 64 << 20
ENGINES = ("trafilatura", "resiliparse")


@pytest.fixture
def extraction(tmp_path):
    return partial(extracted, tmp_path)


def answer(name: str, body: bytes, media_type: str = "text/html") -> bytes:
    return member(record(http(body, headers=f"Content-Type: {media_type}\r\n"), url=f"http://a.test/{name}"))


def between(faults: dict[str, bytes], media_type: str = "text/html") -> dict[str, bytes]:
    """One archive that holds the faulty documents between a first and a last page without fault."""
    good = f"<html><body><article><p>{SENTENCE}</p></article></body></html>".encode()
    middle = [answer(name, body, media_type) for name, body in faults.items()]
    return {"a.warc.gz": b"".join([answer("first", good), *middle, answer("last", good)])}


def page(inside: str) -> bytes:
    return f"<html><body><p>Begin. {SENTENCE}</p>{inside}<p>Finis. {SENTENCE}</p></body></html>".encode()


def outcomes(found) -> dict[str, str]:
    """Name of each document between the first and the last -> its reason, or `kept`."""
    told = {**{row["url"]: "kept" for row in found.kept}, **{row["url"]: row["reason"] for row in found.ledger}}
    assert (told.pop(FIRST), told.pop(LAST)) == ("kept", "kept")
    return {url.removeprefix("http://a.test/"): outcome for url, outcome in told.items()}


def text_of(found, name: str) -> str:
    return next(row["text"] for row in found.kept if row["url"] == f"http://a.test/{name}")


@pytest.mark.parametrize("engine", ENGINES)
def test_F08_100_000_attributes_on_one_tag_cost_one_row(extraction, engine):
    attributes = " ".join(f"a{n}" for n in range(100_000))
    found = extraction(between({"many": page(f"<div {attributes}>x</div>")}), settings=f"engine: {engine}")
    assert outcomes(found) == {"many": "too_many_attrs"}
    assert (found.ledger[0]["measured"], found.ledger[0]["threshold"]) == (100_000.0, 5_000.0)


@pytest.mark.parametrize("engine", ENGINES)
def test_F09_deep_pages_are_kept_with_everything_or_refused(extraction, engine):
    deep = {str(depth): page("<div>" * depth + f"<p>Deep. {SENTENCE}</p>" + "</div>" * depth)
            for depth in (300, 5_000, 90_000)}  # fmt: skip
    deep["4500000"] = b"<html><body>" + b"<div>" * 4_500_000
    found = extraction(between(deep), max_record_bytes=LARGE, settings=f"engine: {engine}")
    assert outcomes(found) == {"300": "kept", "5000": "too_deep", "90000": "too_deep", "4500000": "too_large"}
    assert [word in text_of(found, "300") for word in ("Begin.", "Deep.", "Finis.")] == [True, True, True]
    assert all(row["flags"] is None for row in found.kept)


@pytest.mark.parametrize("engine", ENGINES)
def test_F09_text_behind_the_end_of_the_page_is_kept(extraction, engine):
    behind = page("") + f"<hr><p>Behind. {SENTENCE}</p>".encode()
    found = extraction(between({"behind": behind}), settings=f"engine: {engine}")
    assert outcomes(found) == {"behind": "kept"}
    assert "Behind." in text_of(found, "behind")


@pytest.mark.parametrize("engine", ENGINES)
def test_F10_nothing_behind_ten_megabytes_in_one_piece_is_lost(extraction, engine):
    large = {
        "attribute": page("<img alt='' src='data:image/png;base64," + "A" * 11_000_000 + "'>"),
        "text": page("<p>" + "several plain words " * 550_000 + "</p>"),
    }
    found = extraction(between(large), max_record_bytes=LARGE, settings=f"engine: {engine}")
    assert outcomes(found) == {"attribute": "kept", "text": "kept"}
    for name in large:
        assert ("Begin." in text_of(found, name), "Finis." in text_of(found, name)) == (True, True)
    assert len(text_of(found, "text")) > 10_000_000


def test_F10_a_page_that_the_parser_cut_is_flagged(extraction, monkeypatch):
    """Where libxml2 loses text without a word, the text is kept and says so, and `explain` tells it."""
    from pipeline.explain import explain
    from stages import extract, extract_html

    monkeypatch.setattr(extract_html, "_append_what_follows", lambda tree: None)
    monkeypatch.setattr(extract_phase, "parser_child", lambda: _InThisProcess(extract))
    cut = page("") + f"<hr><p>Behind. {SENTENCE * 3}</p>".encode()
    found = extraction(between({"cut": cut}), settings="engine: trafilatura")
    assert {row["url"].rpartition("/")[2]: row["flags"] for row in found.kept} == {
        "first": None, "cut": "parser_cut", "last": None,
    }  # fmt: skip
    row = next(row for row in found.kept if row["flags"])
    assert row["text_fraction"] < 0.5
    work = Path(found.manifest["observed"]["work"])
    assert "flags parser_cut" in " ".join(explain(str(work.parent / "out"), "http://a.test/cut").split())


class _InThisProcess:
    """Stands where the parser child stands, so that a test can change what the parser does."""

    def __init__(self, extract):
        self._extract = extract

    def call(self, record, settings, budget_factor=1.0):
        return self._extract.extract_one(record, settings)


def test_F11_an_endless_flat_page_is_stopped_and_the_next_is_fine(extraction):
    """300,000 paragraphs and 1,500,000 line breaks do the same to the parser child in its own tests."""
    flat = b"<html><body>" + b"<p><b><i>text" * 500_000
    found = extraction(between({"flat": flat}), max_record_bytes=LARGE, settings=f"engine: resiliparse, {QUICK}")
    assert outcomes(found)["flat"] in ("timeout", "memory")
    assert found.ledger[0]["threshold"] in (1.0, 200e6)
    stopped = found.ledger[0]["reason"] == "timeout"
    assert found.manifest["counts"]["nondeterministic_drops"] == int(stopped)


@pytest.mark.parametrize("engine", ENGINES)
def test_F12_bytes_that_are_no_text_are_never_taken_for_text(extraction, engine):
    noise = random.Random(1).randbytes(200_000)
    odd = {
        "controls": page(f"<p>{SENTENCE * 10} one\0two\x07three\x1b[0m four\x85five\u009fsix</p>"),
        "nul": page("<p>word" + "\0" * 1000 + "</p>"),
        "random": noise,
        "gzip": gzip.compress(page(SENTENCE) * 100 + noise),
        "deflate": zlib.compress(noise),
        "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + noise,
        "jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF\0" + noise,
    }
    found = extraction(between(odd), settings=f"engine: {engine}")
    told = outcomes(found)
    assert {name: told[name] for name in ("controls", "nul")} == {"controls": "kept", "nul": "bad_encoding"}
    assert {told[name] for name in ("random", "gzip", "deflate", "png", "jpeg")} == {"bad_encoding"}
    assert all(row["measured"] > row["threshold"] == 0.01 for row in found.ledger)
    for row in found.kept:
        assert not [letter for letter in row["text"] if ord(letter) < 32 and letter not in "\n\t"]


def test_F13_character_sets_are_found_or_refused(extraction):
    japanese, chinese = "これは日本語の文章です。" * 20, "这是一个中文网页，里面有很多汉字。" * 20
    french, polish = "Les élèves sont prêts à étudier. " * 20, "Źdźbło trawy rosło wśród żółtych łąk. " * 20
    texts = {
        "utf16": (japanese, "utf-16-le", "text/html"),
        "shift_jis": (japanese, "shift_jis", "text/html"),
        "gb18030": (chinese, "gb18030", "text/html; charset=utf-8"),
        "windows-1252": (french, "cp1252", "text/html; charset=utf-8"),
        "windows-1250": (polish, "cp1250", "text/html; charset=iso-8859-1"),
        "utf-8": (french, "utf-8", "text/html; charset=iso-8859-1"),
    }
    files = between({})
    for name, (text, charset, media_type) in texts.items():
        files["a.warc.gz"] += answer(name, page(text).decode().encode(charset), media_type)
    broken = page(french).replace("é".encode(), b"\xc3")
    files["a.warc.gz"] += answer("broken", broken, "text/html; charset=utf-8")
    found = extraction(files, settings="engine: trafilatura")
    assert outcomes(found) == {**dict.fromkeys(texts, "kept"), "broken": "kept"}
    for name, (text, _, _) in texts.items():
        assert text.strip() in text_of(found, name)
    charsets = {row["url"].rpartition("/")[2]: row["charset"] for row in found.kept}
    assert charsets["windows-1250"] == "cp1250"
    assert charsets["shift_jis"] == "cp932"
    assert "\ufffd" not in text_of(found, "broken")  # Taken for the Western set in which every byte is a letter.
    assert all(row["mojibake_fraction"] == 0.0 for row in found.kept if not row["url"].endswith("broken"))


@pytest.mark.parametrize("engine", ENGINES)
def test_F14_entities_and_references_open_no_file_and_no_address(extraction, tmp_path, engine):
    (tmp_path / "secret.txt").write_text("the secret that no page may read")
    hits: list[str] = []

    class Canary(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            hits.append("hit")

    with socketserver.TCPServer(("127.0.0.1", 0), Canary) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address, file = f"http://127.0.0.1:{server.server_address[1]}/x", (tmp_path / "secret.txt").as_uri()
        bomb = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
        faults = {
            "bomb": f'<!DOCTYPE html [<!ENTITY l0 "lol">{bomb}]>'.encode() + page("<p>&l9;</p>"),
            "external": f'<!DOCTYPE html [<!ENTITY e SYSTEM "{file}"><!ENTITY w SYSTEM "{address}">]>'.encode()
            + page("<p>&e; &w;</p>"),
            "references": page(
                f'<iframe src="{file}"></iframe><iframe src="{address}"></iframe><object data="{address}"></object>'
                f'<svg><image href="{address}"/><use href="{file}"/></svg><link rel=import href="{address}">'
                f'<img src="{address}"><xi:include href="{file}" xmlns:xi="http://www.w3.org/2001/XInclude"/>'
            ),
        }
        found = extraction(between(faults), settings=f"engine: {engine}")
        xhtml = extraction(between(faults, "application/xhtml+xml"), settings=f"engine: {engine}")
        server.shutdown()
    for outcome in (found, xhtml):
        assert outcomes(outcome) == dict.fromkeys(faults, "kept")
        assert all("secret" not in row["text"] and len(row["text"]) < 1_000 for row in outcome.kept)
    assert hits == []


@pytest.mark.parametrize("engine", ["pypdfium2", "pymupdf"])
def test_F15_broken_pdfs_have_a_reason_each(extraction, engine):
    locked = b"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O (%s) /U (%s) >> /ID [(a) (a)]" % (b"o" * 32, b"u" * 32)
    faults = {
        "zero": b"",
        "garbage": random.Random(2).randbytes(5_000),
        "magic-only": b"%PDF-1.7\n" + random.Random(3).randbytes(5_000),
        "half": hello()[: len(hello()) // 2],
        "encrypted": hello().replace(b"/Info 5 0 R", locked),
        "tree-loop": page_tree_loop(),
        "xref-loop": xref_loop(),
        "huge-count": huge_count(),
        "whole": hello(),
    }
    found = extraction(between(faults, "application/pdf"), settings=f"pdf_engine: {engine}, {QUICK}")
    told = outcomes(found)
    assert {name: told[name] for name in ("zero", "garbage", "encrypted", "whole")} == {
        "zero": "empty", "garbage": "not_pdf", "encrypted": "encrypted", "whole": "kept",
    }  # fmt: skip
    assert {told[name] for name in ("magic-only", "tree-loop")} <= {"parser_error", "no_text"}
    assert told["half"] == ("parser_error" if engine == "pypdfium2" else "kept")  # MuPDF mends it.
    assert told["xref-loop"] == "kept"
    assert told["huge-count"] in ("kept", "too_large", "parser_error")
    assert found.manifest["counts"]["nondeterministic_drops"] == 0


@pytest.mark.parametrize(
    ("engine", "bomb", "reasons"),
    [
        ("pypdfium2", flate_bomb(400_000_000), {"timeout", "memory"}),
        ("pymupdf", form_fan_out(9), {"timeout"}),
    ],
    ids=["flate", "fan-out"],
)
def test_F16_a_pdf_bomb_is_stopped_and_the_next_pdf_is_fine(extraction, engine, bomb, reasons):
    """Forms that draw themselves and millions of text operators do the same to the parser child in its own tests."""
    found = extraction(between({"bomb": bomb, "next": hello()}, "application/pdf"), max_record_bytes=LARGE,
                       settings=f"pdf_engine: {engine}, {QUICK}")  # fmt: skip
    told = outcomes(found)
    assert told["next"] == "kept"
    assert told["bomb"] in reasons


def test_F17_what_is_called_a_pdf_and_is_none_meets_no_library(extraction):
    html = page("<p>text of a page</p>")
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><text>drawn text</text></svg>'
    packed = b"PK\x03\x04\x14\0\0\0\0\0" + b"mimetypeapplication/epub+zip" + bytes(64)
    faults = {"html": html, "svg": svg, "epub": packed, "zip": b"PK\x05\x06" + bytes(18)}
    for engine in ("pypdfium2", "pymupdf"):
        found = extraction(
            {**between(faults, "application/pdf"), "page.pdf": html, "drawing.pdf": svg},
            settings=f"pdf_engine: {engine}",
        )
        told = {row["url"] or row["source"]: row["reason"] for row in found.ledger}
        named = {f"http://a.test/{name}" for name in faults}
        assert told == dict.fromkeys(named | {"page.pdf", "drawing.pdf"}, "not_pdf")
        assert found.urls == [FIRST, LAST]


@pytest.mark.parametrize("engine", ["pypdfium2", "pymupdf"])
@pytest.mark.parametrize("mapped", ["0000", "D800", "DFFF", "0007"], ids=["NUL", "high", "low", "bell"])
def test_F18_character_maps_to_nothing_readable_give_clean_text(extraction, engine, mapped):
    found = extraction(between({"map": to_unicode(mapped)}, "application/pdf"), settings=f"pdf_engine: {engine}")
    if outcomes(found) == {"map": "kept"}:
        text = text_of(found, "map")
        assert "unit of text" in text.replace("a c", "abc") or "a" in text
        assert not [letter for letter in text if ord(letter) < 32 and letter not in "\n\t"]
        text.encode()
    else:
        assert outcomes(found) == {"map": "bad_encoding"}


#: Written where the parser child imports it at its start: some pages now make the parser die in different ways.
DEADLY = """\
import os, signal
import stages.extract_html as engines

alive = engines.ENGINES["resiliparse"]

def deadly(page, **options):
    for name in ("SIGSEGV", "SIGABRT", "SIGBUS"):
        if "die by " + name in page:
            os.kill(os.getpid(), getattr(signal, name))
    if "die by exit" in page:
        os._exit(3)
    if "die by memory" in page:
        bytearray(1 << 40)
    return alive(page, **options)

engines.ENGINES["resiliparse"] = deadly
"""


def test_F19_a_parser_that_dies_costs_its_document_only(extraction, tmp_path, monkeypatch):
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(DEADLY)
    monkeypatch.syspath_prepend(str(hook))
    monkeypatch.setattr(extract_phase, "_CHILD", [])
    ways = ("SIGSEGV", "exit", "memory")
    faults: dict[str, bytes] = {}
    for way in ways:
        faults |= {way: page(f"<p>die by {way}</p>"), f"after-{way}": page("<p>a page without fault</p>")}
    try:
        found = extraction(between(faults))
    finally:
        extract_phase.parser_child().close()
    told = outcomes(found)
    assert {way: told.pop(way) for way in ways} == {
        "SIGSEGV": "crash", "exit": "crash", "memory": "memory",
    }  # fmt: skip
    assert set(told.values()) == {"kept"}
    details = {row["url"].rpartition("/")[2]: row["detail"] for row in found.ledger}
    assert details["SIGSEGV"] == "the parser ended with SIGSEGV"
    assert details["exit"] == "the parser ended with exit code 3"
