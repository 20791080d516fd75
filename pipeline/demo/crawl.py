"""Makes the demo's input without network or data file: crawls Python's documentation over loopback, prints, damages.

    folder/
      crawl/docs-0000N.warc.gz   about 650 pages: a real site, with navigation, and with documentation that classes
                                 inherit and that therefore stands on many pages
      pdf/NAME.pdf               some modules' text documentation, printed
      held_out/DOMAIN.jsonl      what bits per byte are measured on; see pipeline/demo/held_out.py

The same installation of Python makes the same bytes, from whatever folder, environment and account, however often.
"""

import http.client
import pydoc
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from urllib.robotparser import RobotFileParser

from pipeline.demo import docs_server, held_out
from pipeline.demo.printing import print_pdf
from pipeline.demo.warc import Exchange, damaged, exchange_members, warcinfo

#: The site's name in addresses. The port is a different one each time; `.test` is reserved for this (RFC 6761).
SITE = "http://docs.python.test"
USER_AGENT = "tamis-demo/1"
#: pydoc renders at about 2 MB a second; two servers use both cores of a small machine.
SERVERS = 2
#: Several files, so that a run has several splits to share out and one of them to find damaged.
WARC_FILES = 4
PDF_COUNT = 40
#: Pages whose text fills a few sheets of paper, in bytes of HTML.
PDF_MIN_BYTES, PDF_MAX_BYTES = 20_000, 120_000
#: A module takes under a second and all imports about one; this is for a machine that is busy with other things.
_TIMEOUT_SECONDS = 120
_LINK = re.compile(rb'href="([^"#]+)')
#: Pages that only list others.
_LISTS = frozenset({"index", "topics", "keywords"})


@dataclass(frozen=True, kw_only=True)
class CrawlSummary:
    """What `make_crawl` wrote. Sizes are of the files on disk unless a name says otherwise."""

    #: Exchanges in the WARC files, the damaged ones and those answered with 404 included.
    pages: int
    html_bytes: int
    warc_bytes: int
    #: Pages that were fetched and held out: not in the WARC files.
    held_out_pages: int
    #: Packages whose pages are held out.
    held_out_packages: tuple[str, ...]
    #: UTF-8 bytes of text by domain.
    held_out_bytes: dict[str, int]
    pdfs: int
    pdf_pages: int
    pdf_bytes: int
    #: What was damaged on purpose, one sentence each.
    damaged: tuple[str, ...]
    seconds: float


def make_crawl(folder: Path) -> CrawlSummary:
    """Crawl, print, hold out and damage, into a new folder.

    Damaged on purpose, so that a run has something to put into quarantine:

    - `crawl/docs-00001.warc.gz`: one response in mid-file has 16 inverted bytes, so its gzip member does not inflate;
    - `crawl/docs-00003.warc.gz`: ends in the middle of its last response;
    - `pdf/web-page.pdf`: an HTML page under a PDF's name;
    - `pdf/locked.pdf`: a PDF that needs a password;
    - `pdf/empty.pdf`: no bytes at all.

    ValueError if `folder` exists and is not empty; RuntimeError if a server does not start.
    """
    started = time.monotonic()
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; name a folder that does not exist yet")
    with ExitStack() as servers:
        ports = [servers.enter_context(documentation_server()) for _ in range(SERVERS)]
        fetch = servers.enter_context(closing(Fetcher(ports)))
        exchanges = crawl(fetch)
        pages = {_name(exchange.url): exchange for exchange in exchanges}
        modules = {name: page for name, page in pages.items() if _is_module_page(page)}
        texts = {name: held_out.page_text(page.body) for name, page in modules.items()}
        packages = held_out.held_out_packages(texts)
        topics = {name: page for name, page in pages.items() if _is_topic_page(page)}
        set_apart = set(topics) | {name for name in modules if held_out.package_of(name) in packages}
        printable = [
            name
            for name in held_out.keyed_order(set(modules) - set_apart)
            if PDF_MIN_BYTES <= len(modules[name].body) <= PDF_MAX_BYTES
        ]
        # One module a package: `encodings` alone has a hundred that differ in a few lines.
        printed = list({held_out.package_of(name): name for name in reversed(printable)}.values())[-PDF_COUNT:]
        texts_to_print = fetch.all([f"{SITE}/{name}.txt" for name in printed])
    kept = [exchange for exchange in exchanges if _name(exchange.url) not in set_apart]
    warc_bytes = _write_warcs(folder / "crawl", kept)
    pdf_pages, pdf_bytes = _write_pdfs(folder / "pdf", texts_to_print, web_page=pages[printed[0]].body)
    domains = {
        "packages": held_out.sample({name: text for name, text in texts.items() if name in set_apart}),
        "topics": held_out.sample({name: held_out.page_text(page.body) for name, page in topics.items()}),
        "library_source": held_out.library_source(packages),
    }
    held_out.write_domains(folder / "held_out", domains)
    return CrawlSummary(
        pages=len(kept),
        html_bytes=sum(len(exchange.body) for exchange in kept),
        warc_bytes=warc_bytes,
        held_out_pages=len(exchanges) - len(kept),
        held_out_packages=tuple(packages),
        held_out_bytes={
            domain: sum(len(text.encode()) for text in texts.values()) for domain, texts in domains.items()
        },
        pdfs=len(texts_to_print),
        pdf_pages=pdf_pages,
        pdf_bytes=pdf_bytes,
        damaged=(
            "crawl/docs-00001.warc.gz: a response whose gzip member does not inflate",
            "crawl/docs-00003.warc.gz: the last response is cut off",
            "pdf/web-page.pdf: an HTML page under a PDF's name",
            "pdf/locked.pdf: needs a password",
            "pdf/empty.pdf: no bytes",
        ),
        seconds=time.monotonic() - started,
    )


@contextmanager
def documentation_server() -> Iterator[int]:
    """A running docs_server.py in a child of its own; gives the port. The child ends with the block, or with us."""
    # Without an environment there is none to document; no DISPLAY, so that nothing can open a window.
    environment = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    command = [sys.executable, "-S", "-P", "-W", "ignore", docs_server.__file__]
    with (
        tempfile.TemporaryFile() as errors,
        tempfile.TemporaryDirectory() as empty,
        subprocess.Popen(  # noqa: S603 (our own interpreter and script)
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment, cwd=empty
        ) as child,
    ):
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            answer = child.stdout.readline()
            if not answer:
                errors.seek(0)
                said = errors.read().decode(errors="replace").strip()
                raise RuntimeError(f"the documentation server did not start: {said or 'it said nothing'}")
            yield int(answer)
        finally:
            child.stdin.close()
            try:
                child.wait(timeout=5)  # seconds; it has nothing to finish
            except subprocess.TimeoutExpired:
                child.kill()


class Fetcher:
    """Fetches from several servers of the same site at once, one connection each."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS) for port in ports]
        self._idle: SimpleQueue[http.client.HTTPConnection] = SimpleQueue()
        for connection in self._connections:
            self._idle.put(connection)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def all(self, urls: Sequence[str]) -> list[Exchange]:
        """One exchange for each address, in order. OSError if a server goes away."""
        with ThreadPoolExecutor(len(self._connections)) as pool:
            return list(pool.map(self._one, urls))

    def _one(self, url: str) -> Exchange:
        target = url.removeprefix(SITE)
        headers = {"Host": SITE.removeprefix("http://"), "User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
        connection = self._idle.get()
        try:
            connection.request("GET", target, headers=headers)
            response = connection.getresponse()
            body = response.read()
        finally:
            self._idle.put(connection)
        sent = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        received = "".join(f"{name}: {value}\r\n" for name, value in response.getheaders())
        return Exchange(
            url=url,
            request=f"GET {target} HTTP/1.1\r\n{sent}\r\n".encode(),
            status=response.status,
            header=f"HTTP/1.1 {response.status} {response.reason}\r\n{received}\r\n".encode(),
            body=body,
        )


def crawl(fetch: Fetcher) -> list[Exchange]:
    """Every page of the site that links lead to from its front page, breadth first, robots.txt obeyed.

    Pages of one depth are fetched together; their order is that in which links to them were found.
    """
    robots = RobotFileParser()
    (rules,) = fetch.all([f"{SITE}/robots.txt"])
    robots.parse(rules.body.decode().splitlines())
    found = {f"{SITE}/": None}  # a dict keeps the order
    frontier = list(found)
    exchanges: list[Exchange] = []
    while frontier:
        level = fetch.all(frontier)
        exchanges += level
        links = [link for exchange in level for link in _links(exchange)]
        frontier = [link for link in dict.fromkeys(links) if link not in found and robots.can_fetch(USER_AGENT, link)]
        found |= dict.fromkeys(frontier)
    return exchanges


def _links(exchange: Exchange) -> list[str]:
    """Addresses on the same site that the page links to, in its order, style sheets left out."""
    absolute = (
        urllib.parse.urljoin(exchange.url, link.decode()) for link in dict.fromkeys(_LINK.findall(exchange.body))
    )
    return [link for link in absolute if link.startswith(f"{SITE}/") and not link.endswith(".css")]


def _write_warcs(folder: Path, exchanges: Sequence[Exchange]) -> int:
    """WARC_FILES files of about as many exchanges each, in order; two of them damaged. Gives their size in bytes."""
    folder.mkdir(parents=True)
    size = 0
    for number in range(WARC_FILES):
        name = f"docs-{number:05d}.warc.gz"
        part = exchanges[number * len(exchanges) // WARC_FILES : (number + 1) * len(exchanges) // WARC_FILES]
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        members = [
            warcinfo(
                name, {"software": USER_AGENT, "format": "WARC File Format 1.1", "description": f"Python {python}"}
            )
        ]
        for exchange in part:
            members += exchange_members(exchange)
        if number == 1:
            middle = len(part) // 2 * 2  # the response of the exchange in the middle, behind warcinfo and its request
            members[middle] = damaged(members[middle])
        if number == WARC_FILES - 1:
            members[-1] = members[-1][: len(members[-1]) // 2]
        data = b"".join(members)
        (folder / name).write_bytes(data)
        size += len(data)
    return size


def _write_pdfs(folder: Path, texts: Sequence[Exchange], *, web_page: bytes) -> tuple[int, int]:
    """One PDF a text and the three damaged ones. Gives the number of pages of the sound ones and the size of all."""
    folder.mkdir(parents=True)
    pages = 0
    for exchange in texts:
        name = _name(exchange.url)
        printed = print_pdf(exchange.body.decode(), title=f"Python library: {name}")
        (folder / f"{name}.pdf").write_bytes(printed.pdf)
        pages += printed.pages
    locked = print_pdf("This text cannot be read without the password.", title="Locked", password="demo")  # noqa: S106
    (folder / "locked.pdf").write_bytes(locked.pdf)
    (folder / "web-page.pdf").write_bytes(web_page)
    (folder / "empty.pdf").write_bytes(b"")
    return pages, sum(path.stat().st_size for path in folder.iterdir())


def _name(url: str) -> str:
    """What a page is about: a module's dotted name, or `topic?key=NAME`."""
    return url.removeprefix(f"{SITE}/").removesuffix(".html").removesuffix(".txt")


def _is_module_page(exchange: Exchange) -> bool:
    name = _name(exchange.url)
    return exchange.status == 200 and exchange.url.endswith(".html") and name not in _LISTS


def _is_topic_page(exchange: Exchange) -> bool:
    """Keyword pages are not: some repeat a topic's text, which is for the `held_out` stage to find."""
    _, found, topic = exchange.url.partition("/topic?key=")
    return bool(found) and exchange.status == 200 and topic in pydoc.Helper.topics
