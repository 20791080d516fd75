"""The demo's input: a real site, crawled for real, the same bytes each time, with the damage that it promises."""

import json
import pydoc
import re
import sys
import zlib
from contextlib import closing
from pathlib import Path

import pypdfium2
import pytest
from warcio.archiveiterator import ArchiveIterator

from pipeline.demo import held_out
from pipeline.demo.crawl import SITE, CrawlSummary, Fetcher, documentation_server, make_crawl
from pipeline.demo.docs_server import is_left_out
from pipeline.demo.printing import print_pdf
from pipeline.demo.warc import Exchange, damaged, exchange_members

#: Pages that show objects in memory, the environment, the interpreter's own state or what other pages imported.
AWKWARD = ("configparser", "ctypes", "doctest", "os", "sys", "tempfile", "site", "threading", "linecache", "platform")


NOT_FOUND = b"There is no such page."


@pytest.fixture(scope="module")
def crawled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CrawlSummary]:
    folder = tmp_path_factory.mktemp("demo") / "input"
    before = set(sys.modules)
    summary = make_crawl(folder)
    assert not {"tkinter", "turtle", "nntplib"} & (set(sys.modules) - before), "the caller's interpreter stays clean"
    return folder, summary


def members(path: Path) -> list[bytes | None]:
    """Each gzip member inflated; None for one that does not inflate, after which the next signature is looked for."""
    data = path.read_bytes()
    found: list[bytes | None] = []
    while data:
        inflate = zlib.decompressobj(31)
        try:
            found.append(inflate.decompress(data) if data else None)
        except zlib.error:
            found.append(None)
            following = data.find(b"\x1f\x8b\x08\x00\x00\x00\x00\x00", 1)
            data = data[following:] if following > 0 else b""
            continue
        if not inflate.eof:
            found[-1] = None
        data = inflate.unused_data
    return found


def pages(folder: Path) -> dict[str, bytes]:
    """Body by address of every response that can be read, those answered with 404 included."""
    bodies: dict[str, bytes] = {}
    for path in sorted((folder / "crawl").glob("*.warc.gz")):
        for member in members(path):
            if member is not None and b"WARC-Type: response" in member[:200]:
                header, _, block = member.partition(b"\r\n\r\n")
                address = re.search(rb"WARC-Target-URI: (.*)\r\n", header)
                assert address is not None
                bodies[address[1].decode()] = block.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n\r\n")
    return bodies


def test_it_is_a_site_of_several_hundred_pages_and_nothing_but_the_standard_library(
    crawled: tuple[Path, CrawlSummary],
) -> None:
    folder, summary = crawled
    bodies = pages(folder)
    assert 500 < summary.pages < 1000
    assert len(bodies) == summary.pages - 2, "all but the two damaged ones"
    assert b"Index of Modules" in bodies[f"{SITE}/index.html"]
    assert b"class <strong>Thread</strong>" in re.sub(rb"<a [^>]*>|</a>", b"", bodies[f"{SITE}/threading.html"])
    assert f"{SITE}/numpy.html" not in bodies
    names = {address.removeprefix(f"{SITE}/").removesuffix(".html"): body for address, body in bodies.items()}
    assert all(NOT_FOUND in body for name, body in names.items() if is_left_out(name)), "dead links, as on any site"
    assert sum(NOT_FOUND in body for body in bodies.values()) < 100


def test_no_page_tells_where_or_when_it_was_made(crawled: tuple[Path, CrawlSummary]) -> None:
    bodies = pages(crawled[0])
    everything = b"".join(bodies.values())
    assert sys.base_prefix.encode() + b"/lib" not in everything
    if Path(sys.base_prefix).is_relative_to(Path.home()):  # else the test would find nothing, however it is
        # pydoc itself shortens the paths in the long list `sys.modules` before anything can be replaced in them.
        named = {address for address, body in bodies.items() if f"{Path.home()}/".encode() in body}
        assert named <= {f"{SITE}/sys.html"}
    addresses = set(re.findall(rb"at(?: |&nbsp;)0x([0-9a-f]+)", everything))
    assert addresses == {b"7f0000000000"}


def test_other_servers_render_the_same_bytes_in_another_order(crawled: tuple[Path, CrawlSummary]) -> None:
    bodies = pages(crawled[0])
    urls = [f"{SITE}/{name}.html" for name in reversed(AWKWARD)]
    with documentation_server() as port, closing(Fetcher([port])) as fetch:
        again = fetch.all(urls)
        assert fetch.all([f"{SITE}/no_such_module.html"])[0].status == 404
    assert {page.url: page.body for page in again} == {url: bodies[url] for url in urls}


def test_a_sound_file_is_valid_warc_with_a_request_for_each_response(crawled: tuple[Path, CrawlSummary]) -> None:
    with (crawled[0] / "crawl" / "docs-00000.warc.gz").open("rb") as stream:
        kinds = []
        for record in ArchiveIterator(stream, check_digests="raise"):
            record.content_stream().read()
            kinds.append(record.rec_type)
    assert kinds[0] == "warcinfo"
    assert kinds[1:] == ["request", "response"] * (len(kinds) // 2)


def test_the_damage_is_where_the_summary_says(crawled: tuple[Path, CrawlSummary]) -> None:
    folder, summary = crawled
    bad = {path.name: [m is None for m in members(path)] for path in sorted((folder / "crawl").glob("*.gz"))}
    assert [sum(flags) for flags in bad.values()] == [0, 1, 0, 1]
    middle = bad["docs-00001.warc.gz"].index(True)
    assert middle > 10
    assert not any(bad["docs-00001.warc.gz"][middle + 1 :]), "its neighbours come through"
    assert bad["docs-00003.warc.gz"][-1]
    assert (folder / "pdf" / "web-page.pdf").read_bytes().startswith(b"<!DOCTYPE>")
    assert (folder / "pdf" / "empty.pdf").stat().st_size == 0
    with pytest.raises(pypdfium2.PdfiumError, match="password"):
        pypdfium2.PdfDocument(folder / "pdf" / "locked.pdf")
    for sentence in summary.damaged:
        assert (folder / sentence.partition(":")[0]).exists()


def test_pdfs_hold_selectable_text_on_several_pages(crawled: tuple[Path, CrawlSummary]) -> None:
    folder, summary = crawled
    sound = sorted({path.stem for path in (folder / "pdf").iterdir()} - {"web-page", "locked", "empty"})
    assert len(sound) == summary.pdfs == 40
    with closing(pypdfium2.PdfDocument(folder / "pdf" / f"{sound[0]}.pdf")) as document:
        assert len(document) > 1
        text = document[0].get_textpage().get_text_range()
    assert f"Python library: {sound[0]}" in text
    assert "NAME" in text


def test_held_out_pages_are_not_in_the_crawl(crawled: tuple[Path, CrawlSummary]) -> None:
    folder, summary = crawled
    addresses = {
        address.removeprefix(f"{SITE}/").removesuffix(".html")
        for address, body in pages(folder).items()
        if NOT_FOUND not in body
    }
    packages = set(summary.held_out_packages)
    assert len(packages) > 1
    assert not [name for name in addresses if held_out.package_of(name) in packages]
    assert not addresses & {f"topic?key={topic}" for topic in pydoc.Helper.topics}
    assert "topic?key=lambda" in addresses, "keyword pages are crawled"
    printed = {path.stem for path in (folder / "pdf").iterdir()}
    assert not [name for name in printed if held_out.package_of(name) in packages]
    for domain in held_out.DOMAINS:
        lines = (folder / "held_out" / f"{domain}.jsonl").read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line]
        size = sum(len(row["text"].encode()) for row in rows)
        assert size == summary.held_out_bytes[domain]
        assert held_out.TEXT_BYTES <= size <= held_out.TEXT_BYTES + held_out.MAX_DOCUMENT_BYTES
        assert len({row["id"] for row in rows}) == len({row["text"] for row in rows}) == len(rows) >= 10
        assert all("Module Index" not in row["text"][:200] for row in rows), "without the navigation bar"


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(ValueError, match="is not empty"):
        make_crawl(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_damage_ends_one_member_and_leaves_its_length() -> None:
    exchange = Exchange(url=f"{SITE}/a", request=b"GET\r\n\r\n", status=200, header=b"HTTP\r\n\r\n", body=b"abc" * 500)
    _, response = exchange_members(exchange)
    assert zlib.decompress(response, 31).endswith(b"abc\r\n\r\n")
    broken = damaged(response)
    assert len(broken) == len(response)
    with pytest.raises(zlib.error):
        zlib.decompress(broken, 31)


def test_printing_is_the_same_twice_and_survives_any_text() -> None:
    hostile = "\x00 \ud800 漢字 العربية \U0001f600\n" + "x" * 5000 + "\n |  method(self)\n |   |  inner\n" * 3
    first, second = (print_pdf(hostile, title="T") for _ in range(2))
    assert first.pdf == second.pdf
    with closing(pypdfium2.PdfDocument(first.pdf)) as document:
        assert "|" not in document[0].get_textpage().get_text_range()
    locked = [print_pdf("secret", title="T", password="p").pdf for _ in range(2)]
    assert locked[0] == locked[1]
    assert b"secret" not in locked[0]
