"""What the demo holds out before anything runs: the texts on which bits per byte are measured.

Three domains, none of whose documents is in the crawl:

    packages         pages of some whole packages of the standard library
    topics           pydoc's topic pages (the language reference's chapters)
    library_source   Python source files of packages whose pages are not in the crawl

What other pages share with them (documentation that classes inherit, keyword pages that repeat a topic) is for the
`held_out` stage of the recipe to find: that is the usual case on the real web too.
"""

import hashlib
import json
import sysconfig
import tokenize
from collections.abc import Iterable
from pathlib import Path

from resiliparse.extract.html2text import extract_plain_text

from pipeline.demo.docs_server import LEFT_OUT

DOMAINS = ("packages", "topics", "library_source")
#: Changing it draws other packages, pages and files.
_KEY = b"tamis-demo-4"
#: Packages are held out, in keyed order, until this much text is in them. 150 kB is 15 to 30 documents:
#: enough to tell two tiny models apart, and seconds to score on two cores.
TEXT_BYTES = 150_000
#: A single document may not make up more than a third of its domain.
MAX_DOCUMENT_BYTES = TEXT_BYTES // 3
#: Where pydoc's page template ends and a page's own content begins.
_BELOW_NAVIGATION = '<div style="clear:both;padding-top:.5em;">'
#: Shorter files are licence headers and re-exports.
MIN_SOURCE_BYTES = 2_000


def keyed_order(names: Iterable[str]) -> list[str]:
    """The names in an order that depends on nothing but each name: a draw that adding a name does not reshuffle."""
    return sorted(names, key=lambda name: (hashlib.blake2b(name.encode(), key=_KEY, digest_size=8).digest(), name))


def package_of(module: str) -> str:
    return module.partition(".")[0]


def held_out_packages(page_texts: dict[str, str]) -> list[str]:
    """The packages to hold out, in keyed order, enough for TEXT_BYTES of text.

    `page_texts` maps a module's dotted name to its page's text; only packages with submodules take part.
    """
    packages = {package_of(module) for module in page_texts if "." in module}
    chosen: list[str] = []
    size = 0
    for package in keyed_order(packages):
        if size >= TEXT_BYTES:
            break
        chosen.append(package)
        size += sum(
            len(text.encode())
            for module, text in page_texts.items()
            if package_of(module) == package and len(text.encode()) <= MAX_DOCUMENT_BYTES
        )
    return chosen


def page_text(page: bytes) -> str:
    """The text of a page below the navigation bar that all share, with plain spaces and without empty lines."""
    html = page.decode("utf-8")
    _, _, content = html.partition(_BELOW_NAVIGATION)
    text = str(extract_plain_text(content or html, main_content=False, alt_texts=False, links=False))
    lines = (line.rstrip() for line in text.replace("\xa0", " ").split("\n"))
    return "\n".join(line for line in lines if line)


def library_source(packages: Iterable[str]) -> dict[str, str]:
    """Source files of these packages and of those that the crawl leaves out, in keyed order, up to TEXT_BYTES.

    Keys are paths relative to the library's folder. Test suites take no part: they are data as much as language.
    """
    library = Path(sysconfig.get_paths()["stdlib"])
    paths = {
        path.relative_to(library).as_posix()
        for package in {*packages, *LEFT_OUT} - {"test"}
        for path in (library / package).rglob("*.py")
        if not {"test", "tests", "idle_test"} & set(path.relative_to(library).parts)
    }
    sources: dict[str, str] = {}
    size = 0
    for path in keyed_order(paths):
        length = (library / path).stat().st_size
        if not MIN_SOURCE_BYTES <= length <= MAX_DOCUMENT_BYTES:
            continue
        if size >= TEXT_BYTES:
            break
        with tokenize.open(library / path) as file:  # honours the file's coding line
            sources[path] = file.read()
        size += length
    return sources


def sample(texts: dict[str, str]) -> dict[str, str]:
    """Texts in keyed order up to TEXT_BYTES, none longer than MAX_DOCUMENT_BYTES; no text twice."""
    drawn: dict[str, str] = {}
    seen: set[str] = set()
    size = 0
    for name in keyed_order(texts):
        length = len(texts[name].encode())
        if length > MAX_DOCUMENT_BYTES or texts[name] in seen:
            continue
        if size >= TEXT_BYTES:
            break
        drawn[name] = texts[name]
        seen.add(texts[name])
        size += length
    return drawn


def write_domains(folder: Path, domains: dict[str, dict[str, str]]) -> None:
    """One `DOMAIN.jsonl` a domain in `folder`, one `{"id", "text"}` a line, in the order given."""
    folder.mkdir(parents=True)
    for domain, texts in domains.items():
        lines = [json.dumps({"id": name, "text": text}) for name, text in texts.items()]
        (folder / f"{domain}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
