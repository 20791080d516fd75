"""The corpus from documentation packages, on packages that the test makes itself."""

import gzip
import hashlib
import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator

from benchmarks import corpus
from benchmarks.corpus import Package, listed, page_of, prefix, sample, unpack, write_other_domains, write_package

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb, a Debian tool, is not here")
PARAGRAPH = "A sieve parts the fine from the coarse, and a drum sieve does so quickly. "


def package(folder: Path, *, use: str = "train", with_copyright: bool = True) -> Package:
    """A Debian package with two pages and a link, laid where `download` looks first."""
    root = folder / "tree"
    place = root / "usr/share/doc/sieve-doc"
    (place / "html").mkdir(parents=True)
    (root / "DEBIAN").mkdir()
    control = "Package: sieve-doc\nVersion: 1.0\nArchitecture: all\nMaintainer: A <a@b.example>\nDescription: x\n"
    (root / "DEBIAN/control").write_text(control)
    body = f"<p>{PARAGRAPH * 30}</p>"
    (place / "html/b page.html").write_text(f'<html><meta charset="iso-8859-1"><body>{body}</body></html>')
    (place / "html/a.html.gz").write_bytes(gzip.compress(f"<html><body>{body}second</body></html>".encode(), mtime=0))
    (place / "html/link.html").symlink_to("a.html.gz")
    (place / "html/style.css").write_text("p {}")
    if with_copyright:
        (place / "copyright").write_text("Files: *\nLicense: GPL-2+\n")
    made = folder / "made.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", str(root), str(made)], check=True, capture_output=True)
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    kept = folder / "out/packages"
    kept.mkdir(parents=True)
    made.rename(kept / f"sieve-doc_{digest[:16]}.deb")
    return Package(
        name="sieve-doc", version="1.0", sha256=digest, use=use, languages="en", kind="guide", text_mb=0.01
    )  # fmt: skip


def responses(path: Path) -> list[tuple[str, str, bytes]]:
    with path.open("rb") as stream:
        return [
            (record.headers["WARC-Target-URI"], record.http_headers["Content-Type"], record.reader.read())
            for record in ArchiveIterator(stream)
            if "WARC-Target-URI" in record.headers and record.http_headers
        ]


@needs_dpkg
def test_a_package_becomes_one_response_a_page_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    made = package(tmp_path)
    line = write_package(made, tmp_path / "out", child=None)
    assert line["warcs"] == ["warc/sieve-doc.html.warc.gz"]
    assert (line["html"], line["pdf"], line["licences"]) == (2, 0, ["GPL-2+"])
    path = tmp_path / "out" / line["warcs"][0]
    first = path.read_bytes()
    found = responses(path)
    assert [(url, kind) for url, kind, _ in found] == [
        ("https://doc.debian.example/sieve-doc/sieve-doc/html/a.html", "text/html"),
        ("https://doc.debian.example/sieve-doc/sieve-doc/html/b%20page.html", "text/html; charset=iso-8859-1"),
    ]
    assert found[0][2].endswith(b"second</body></html>")
    assert (tmp_path / "out" / line["copyright"]).read_text().endswith("License: GPL-2+\n")
    write_package(made, tmp_path / "out", child=None)
    assert path.read_bytes() == first


@needs_dpkg
def test_a_held_out_package_becomes_texts_and_no_archive(tmp_path: Path) -> None:
    with corpus.ParserChild() as child:
        line = write_package(package(tmp_path, use="guide"), tmp_path / "out", child=child)
    assert not (tmp_path / "out/warc").exists()
    rows = [json.loads(row) for row in (tmp_path / "out/held_out/guide.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    assert all(row["text"].startswith(PARAGRAPH.strip()) for row in rows)
    assert line["text_bytes"] > 4000
    assert line["held_out"] == ["held_out/guide.jsonl", "held_out/guide-trafilatura.jsonl"]


def test_text_files_become_domains_of_their_own(tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "news.jsonl.gz").write_bytes(gzip.compress(json.dumps({"text": PARAGRAPH * 20}).encode()))
    (texts / "README.md").write_text("no domain")
    assert write_other_domains(texts, tmp_path) == ["held_out/other-news.jsonl"]
    row = json.loads((tmp_path / "held_out/other-news.jsonl").read_text())
    assert row["text"] == (PARAGRAPH * 20).strip()


@needs_dpkg
def test_a_package_without_a_licence_or_with_other_bytes_is_refused(tmp_path: Path) -> None:
    made = package(tmp_path, with_copyright=False)
    with pytest.raises(ValueError, match="its licence is not known"):
        write_package(made, tmp_path / "out", child=None)
    place = next((tmp_path / "out/packages").iterdir())
    place.write_bytes(place.read_bytes() + b"x")
    with pytest.raises(ValueError, match="sha256 is"):
        unpack(corpus.download(made, place.parent), made.name)


def test_a_larger_corpus_holds_every_smaller_one() -> None:
    packages = listed()
    sizes = [[package.name for package in prefix(packages, megabytes=size)] for size in (5, 60, 200, None)]
    for small, large in itertools.pairwise(sizes):
        assert large[: len(small)] == small
    assert sum(package.text_mb for package in prefix(packages, megabytes=60)) >= 60
    assert sum(package.text_mb for package in prefix(packages, megabytes=None)) >= 300


def test_every_package_is_pinned_and_no_held_out_one_is_trained_on() -> None:
    packages = listed()
    assert len({package.name for package in packages}) == len(packages)
    assert all(re.fullmatch(r"[0-9a-f]{64}", package.sha256) and package.version for package in packages)
    domains = {package.use for package in packages} - {"train"}
    assert len(domains) >= 4
    assert not domains & {package.use for package in prefix(packages, megabytes=None)}


def test_a_sample_depends_on_ids_alone_and_cuts_long_texts() -> None:
    texts = [(f"doc{n}", "".join(f"{n} {line}: {PARAGRAPH * 10}\n" for line in range(40))) for n in range(5)]
    drawn = sample(texts, size_bytes=50_000)
    assert drawn == sample(reversed(texts), size_bytes=50_000)
    assert 50_000 <= sum(len(text.encode()) for _, text in drawn) < 65_000
    assert max(len(text.encode()) for _, text in drawn) < 5_000


@pytest.mark.parametrize(
    ("path", "head", "kind", "charset"),
    [
        ("usr/share/doc/a/index.html.de", b'<?xml version="1.0" encoding="UTF-8"?>', "text/html", "UTF-8"),
        ("usr/share/doc/a/x.xhtml", b"", "application/xhtml+xml", None),
        ("usr/share/doc/a/book.pdf", b"%PDF-1.5 charset=x", "application/pdf", None),
    ],
)
def test_a_page_has_the_type_and_character_set_that_it_names(
    path: str, head: bytes, kind: str, charset: str | None
) -> None:
    page = page_of(path, head)
    assert (page.media_type, page.charset) == (kind, charset)
