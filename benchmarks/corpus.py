"""A corpus to try ablations on: WARCs from the HTML and PDF of freely licensed Debian documentation packages.

    python -m benchmarks.corpus FOLDER [--megabytes 60] [--held-out [--texts FOLDER]] [--measure]
    python -m benchmarks.corpus --pin NAME…        lines for corpus_packages.tsv, from the package index

    FOLDER/packages/               the packages as downloaded, each compared with its pinned sha256
    FOLDER/warc/PACKAGE.html.warc.gz, PACKAGE.pdf.warc.gz
                                   one response a page, https://doc.debian.example/PACKAGE/path
    FOLDER/held_out/DOMAIN.jsonl   with --held-out: texts of whole packages that are never written to a WARC; beside it
                                   DOMAIN-trafilatura.jsonl, the same pages read by the other engine
    FOLDER/held_out/other-NAME.jsonl   with --texts: a sample of each text file of that folder
    FOLDER/licences/PACKAGE        each package's own copyright file
    FOLDER/manifest.jsonl          a line a package: version, sha256, licences, pages, sizes

Packages are downloaded with apt-get and read with dpkg-deb, never installed, so it needs a Debian system whose index
has the pinned versions (bookworm). The same packages give the same bytes. `--megabytes` takes packages in the order of
the list until their text, as it was measured once, reaches that size: a larger corpus holds every smaller one.
"""

import argparse
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

from pipeline.demo.warc import Exchange, exchange_members, warcinfo
from pipeline.parser_child import ParserChild
from stages.extract import ExtractSettings, RawRecord
from train.evaluate import read_domain

PACKAGES: Final = Path(__file__).with_name("corpus_packages.tsv")
#: A reserved top-level domain (RFC 2606): no page claims to come from a real site.
SITE: Final = "https://doc.debian.example"
#: Pages by their names: also index.html.de and manual.pdf.gz.
_PAGE: Final = re.compile(r"\.(?P<kind>html?|xhtml|pdf)(\.[a-z]{2,3}([_-][A-Za-z]{2,4})?)?(\.gz)?$")
#: The character set that a page names itself, in a meta element or an XML declaration near its beginning.
_CHARSET: Final = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_\-]+)""", re.IGNORECASE)
_HEAD_BYTES: Final = 2048
#: Of a copyright file's lines in Debian's machine-readable form, and names to look for in one that is prose.
_LICENCE: Final = re.compile(r"^License:\s*(\S[^\n]*)", re.MULTILINE)
_KNOWN_LICENCES: Final = ("GFDL", "GNU Free Documentation License", "GNU General Public License", "Apache License",
                          "Mozilla Public License", "Creative Commons", "BSD", "MIT", "PostgreSQL",
                          "PSF LICENSE AGREEMENT", "public domain", "FreeBSD Documentation License")  # fmt: skip
#: Text of a domain. An ablation scores a sample of 200 kB of it by default.
HELD_OUT_BYTES: Final = 500_000
#: A held-out document is cut at ends of lines into pieces of about this size, so that a book is not one draw: 25 and
#: more of them are in a sample of 100 kB, where pieces of 12 kB were 5 to 8 in one of 50 kB.
_PIECE_BYTES: Final = 4_000
#: Shorter pieces are contents lists and stubs.
_LEAST_PIECE_BYTES: Final = 1_000
_KEY: Final = b"tamis-corpus-1"


@dataclass(frozen=True, kw_only=True)
class Package:
    """One line of corpus_packages.tsv."""

    name: str
    version: str
    sha256: str
    #: `train`, or the held-out domain that the whole package belongs to.
    use: str
    #: Of the pages: codes joined by commas, `many` for more than three.
    languages: str
    #: reference, guide, code, help or mixed: what a reader would call it.
    kind: str
    #: MB of text extracted by resiliparse and pypdfium2, measured once; decides what --megabytes takes.
    text_mb: float


@dataclass(frozen=True, kw_only=True)
class Page:
    """One HTML or PDF file of a package."""

    path: str
    media_type: str
    charset: str | None
    content: bytes

    def url(self, package: str) -> str:
        return f"{SITE}/{package}/{quote(self.path)}"


def listed(path: Path = PACKAGES) -> list[Package]:
    """The pinned packages, in the order in which a growing corpus takes them."""
    rows = [line.split("\t") for line in path.read_text("utf-8").split("\n") if line and not line.startswith("#")]
    return [
        Package(name=name, version=version, sha256=digest, use=use, languages=languages, kind=kind, text_mb=float(text))
        for name, version, digest, use, languages, kind, text in rows
    ]


def prefix(packages: Iterable[Package], *, megabytes: float | None) -> list[Package]:
    """The training packages from the first on until their text reaches `megabytes`; all for None."""
    taken: list[Package] = []
    size = 0.0
    for package in packages:
        if package.use != "train" or (megabytes is not None and size >= megabytes):
            continue
        taken.append(package)
        size += package.text_mb
    return taken


def download(package: Package, folder: Path) -> Path:
    """The package's file in `folder`, downloaded unless it is there. ValueError if its bytes are not those pinned."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{package.name}_{package.sha256[:16]}.deb"
    if not place.exists():
        with tempfile.TemporaryDirectory(dir=folder) as beside:
            asked = f"{package.name}={package.version}"
            done = subprocess.run(["apt-get", "download", "-q", asked], cwd=beside, capture_output=True, text=True)
            found = list(Path(beside).glob("*.deb"))
            if done.returncode or len(found) != 1:
                raise ValueError(
                    f"apt-get has no {asked}: {done.stderr.strip()}\nRun `apt-get update`; if the index has another "
                    f"version by now, replace the line by that of `python -m benchmarks.corpus --pin {package.name}`"
                )
            found[0].rename(place)
    digest = hashlib.sha256(place.read_bytes()).hexdigest()
    if digest != package.sha256:
        raise ValueError(f"{place}: sha256 is {digest}, pinned is {package.sha256}; remove the file")
    return place


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """What is wanted of a package."""

    #: In the order of their paths.
    pages: list[Page]
    #: The package's own copyright file; None if it brings none.
    copyright: str | None


def unpack(archive: Path, package: str) -> Unpacked:
    """The HTML and PDF files of a package, read from its tar stream: nothing is written or installed. Links are left
    out, so that each page comes once."""
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    found: dict[str, Page] = {}
    said: str | None = None
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        with tarfile.open(fileobj=running.stdout, mode="r|") as files:
            for member in files:
                path = member.name.removeprefix("./")
                wanted = _PAGE.search(path) is not None
                file = (
                    files.extractfile(member) if member.isfile() and (wanted or path.endswith("/copyright")) else None
                )
                if file is None:
                    continue
                if wanted:
                    found[path] = page_of(path, file.read())
                elif path == f"usr/share/doc/{package}/copyright":
                    said = file.read().decode("utf-8", "replace")
    if running.returncode:
        raise ValueError(f"dpkg-deb cannot read {archive}")
    return Unpacked(pages=[found[path] for path in sorted(found)], copyright=said)


def page_of(path: str, content: bytes) -> Page:
    """The file as a server would give it: gzip undone, the character set that the page names itself."""
    if path.endswith(".gz"):
        content = gzip.decompress(content)
    match = _PAGE.search(path)
    assert match is not None
    named = path.removesuffix(".gz").removeprefix("usr/share/doc/")
    if match["kind"] == "pdf":
        return Page(path=named, media_type="application/pdf", charset=None, content=content)
    label = _CHARSET.search(content[:_HEAD_BYTES])
    kind = "application/xhtml+xml" if match["kind"] == "xhtml" else "text/html"
    return Page(path=named, media_type=kind, charset=label[1].decode() if label else None, content=content)


def response(page: Page, package: str) -> bytes:
    """The page as one WARC response, a gzip member of its own."""
    kind = page.media_type + (f"; charset={page.charset}" if page.charset else "")
    header = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(page.content)}\r\n\r\n".encode()
    exchange = Exchange(url=page.url(package), request=b"", status=200, header=header, body=page.content)
    return exchange_members(exchange)[1]


def licences(copyright_text: str) -> list[str]:
    """The licences that a copyright file names."""
    named = {name.strip() for name in _LICENCE.findall(copyright_text)}
    return sorted(named or {name for name in _KNOWN_LICENCES if name.lower() in copyright_text.lower()})


def extracted(
    found: Iterable[Page], child: ParserChild, *, engine: Literal["resiliparse", "trafilatura"] = "resiliparse"
) -> Iterator[tuple[Page, str]]:
    """Each page with its text by that engine, or pypdfium2 for PDF; pages without any are left out."""
    settings = ExtractSettings(engine=engine, pdf_engine="pypdfium2")
    for page in found:
        record = RawRecord(content=page.content, media_type=page.media_type, charset=page.charset)
        text = child.call(record, settings).text
        if text:
            yield page, text


def pieces(text: str) -> Iterator[str]:
    """The text cut at ends of lines into pieces of about _PIECE_BYTES; the last one may be short."""
    lines: list[str] = []
    size = 0
    for line in text.split("\n"):
        lines.append(line)
        size += len(line.encode()) + 1
        if size >= _PIECE_BYTES:
            yield "\n".join(lines).strip()
            lines, size = [], 0
    if rest := "\n".join(lines).strip():
        yield rest


def sample(texts: Iterable[tuple[str, str]], *, size_bytes: int = HELD_OUT_BYTES) -> list[tuple[str, str]]:
    """(id, piece) by a keyed hash of the id until `size_bytes` are reached; no piece twice, none shorter than a
    kilobyte."""
    cut: dict[str, str] = {}
    for name, text in texts:
        for number, piece in enumerate(pieces(text)):
            if len(piece.encode()) >= _LEAST_PIECE_BYTES:
                cut.setdefault(piece, f"{name}#{number}")
    order = sorted(
        ((name, piece) for piece, name in cut.items()),
        key=lambda row: (hashlib.blake2b(row[0].encode(), key=_KEY, digest_size=8).digest(), row[0]),
    )
    drawn, size = [], 0
    for name, piece in order:
        if size >= size_bytes:
            break
        drawn.append((name, piece))
        size += len(piece.encode())
    return drawn


def write_package(package: Package, out: Path, *, child: ParserChild | None) -> dict[str, Any]:
    """Write a training package's WARC, or a held-out package's domain; gives its line of the manifest.

    With a parser child the text is extracted and counted; a held-out package needs one.
    """
    unpacked = unpack(download(package, out / "packages"), package.name)
    if unpacked.copyright is None:
        raise ValueError(f"{package.name} brings no copyright file, so its licence is not known: leave it out")
    _write(out / "licences" / package.name, unpacked.copyright.encode())
    found = unpacked.pages
    line: dict[str, Any] = {
        "package": package.name, "version": package.version, "sha256": package.sha256, "use": package.use,
        "languages": package.languages, "kind": package.kind, "licences": licences(unpacked.copyright),
        "copyright": f"licences/{package.name}",
    }  # fmt: skip
    line |= {
        "html": sum(page.media_type != "application/pdf" for page in found),
        "pdf": sum(page.media_type == "application/pdf" for page in found),
        "bytes": sum(len(page.content) for page in found),
    }
    texts = None if child is None else list(extracted(found, child))
    if texts is not None:
        line["text_bytes"] = sum(len(text.encode()) for _, text in texts)
    if package.use == "train":
        line["warcs"] = _write_warcs(package, found, out / "warc")
    else:
        assert child is not None
        assert texts is not None
        line["held_out"] = _write_held_out(package, found, texts, child, out / "held_out")
    return line


def _write_held_out(
    package: Package, found: Sequence[Page], texts: Sequence[tuple[Page, str]], child: ParserChild, folder: Path
) -> list[str]:
    """The domain's sample, and for HTML the same once more as trafilatura reads it: a text that one engine made
    favours models of that engine's text, so a comparison of engines is scored on both."""
    # A manual that comes as HTML and as PDF is one manual: its HTML is scored.
    html = [page for page in found if page.media_type != "application/pdf"]
    forms = {"": [(page, text) for page, text in texts if page.media_type != "application/pdf"] or list(texts)}
    if html:
        forms["-trafilatura"] = list(extracted(html, child, engine="trafilatura"))
    for suffix, form in forms.items():
        _write_domain(folder / f"{package.use}{suffix}.jsonl", ((page.url(package.name), text) for page, text in form))
    return [f"held_out/{package.use}{suffix}.jsonl" for suffix in forms]


def _write_domain(path: Path, texts: Iterable[tuple[str, str]]) -> None:
    rows = [json.dumps({"id": name, "text": text}, ensure_ascii=False) + "\n" for name, text in sample(texts)]
    _write(path, "".join(rows).encode())


def write_other_domains(folder: Path, out: Path) -> list[str]:
    """A domain `other-NAME` for each text file of a folder (.txt, .jsonl, gzipped or not): texts that no package
    and no extraction engine has anything to do with."""
    written = []
    for path in sorted(folder.iterdir()):
        if {".txt", ".jsonl"} & set(path.suffixes):
            name = f"held_out/other-{path.name.partition('.')[0]}.jsonl"
            _write_domain(out / name, ((f"{path.name}/{n}", text) for n, text in enumerate(read_domain(path))))
            written.append(name)
    return written


def _write_warcs(package: Package, found: Sequence[Page], folder: Path) -> list[str]:
    """HTML and PDF apart, so that a mix can weigh them by the names of their files; none that would be empty."""
    names = []
    for kind in ("html", "pdf"):
        members = [
            response(page, package.name) for page in found if (page.media_type == "application/pdf") == (kind == "pdf")
        ]
        if members:
            name = f"{package.name}.{kind}.warc.gz"
            fields = {"software": "tamis benchmarks.corpus", "package": f"{package.name} {package.version}"}
            _write(folder / name, b"".join([warcinfo(name, fields), *members]))
            names.append(f"warc/{name}")
    return names


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}")
    beside.write_bytes(content)
    beside.replace(path)


def build(out: Path, *, megabytes: float | None, held_out: bool, measure: bool) -> list[dict[str, Any]]:
    """Write the corpus; gives the manifest's lines. What an earlier call wrote and this one does not, is removed."""
    packages = listed()
    chosen = prefix(packages, megabytes=megabytes)
    if held_out:
        chosen += [package for package in packages if package.use != "train"]
    out.mkdir(parents=True, exist_ok=True)
    for old in ("warc", "held_out") if held_out else ("warc",):
        shutil.rmtree(out / old, ignore_errors=True)
    lines = []
    with ParserChild() as child:
        for package in chosen:
            needed = child if measure or package.use != "train" else None
            lines.append(write_package(package, out, child=needed))
            _say(lines[-1])
    text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
    _write(out / "manifest.jsonl", text.encode())
    return lines


def _say(line: dict[str, Any]) -> None:
    size = f", {line['text_bytes'] / 1e6:.1f} MB of text" if "text_bytes" in line else ""
    print(f"{line['package']:<28} {line['html']:>6} HTML {line['pdf']:>3} PDF{size}", flush=True)


def pinned(names: Sequence[str]) -> list[str]:
    """Lines of corpus_packages.tsv for these packages as the index has them now; what nobody can look up is `?`."""
    shown = subprocess.run(
        ["apt-cache", "show", "--no-all-versions", *names], check=True, capture_output=True, text=True
    )
    lines = []
    for block in shown.stdout.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|SHA256): (.*)$", block, re.MULTILINE))
        if fields:
            lines.append("\t".join([fields["Package"], fields["Version"], fields["SHA256"], "train", "?", "?", "0"]))
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpus", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="where the corpus is written")
    parser.add_argument("--megabytes", type=float, help="of text, at least; default: all packages")
    parser.add_argument("--held-out", action="store_true", help="also the held-out domains")
    parser.add_argument("--texts", type=Path, help="with --held-out: folder of text files that become domains too")
    parser.add_argument("--measure", action="store_true", help="also extract and count the text of training packages")
    parser.add_argument("--pin", nargs="+", metavar="NAME", help="print pinned lines for these packages, nothing else")
    asked = parser.parse_args(arguments)
    if asked.pin:
        print("\n".join(pinned(asked.pin)))
        return 0
    if asked.folder is None:
        parser.error("name a folder")
    try:
        if asked.texts is not None and not (asked.held_out and asked.texts.is_dir()):
            raise ValueError(f"--texts {asked.texts}: needs --held-out, and a folder")
        lines = build(asked.folder, megabytes=asked.megabytes, held_out=asked.held_out, measure=asked.measure)
        if asked.texts is not None:
            print("\n".join(write_other_domains(asked.texts, asked.folder)))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    measured = sum(line.get("text_bytes", 0) for line in lines if line["use"] == "train")
    if measured:
        print(f"{measured / 1e6:.1f} MB of text to train on")
    return 0


if __name__ == "__main__":
    sys.exit(main())
