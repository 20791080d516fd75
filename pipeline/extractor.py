"""`tamis extractor train`: learn the judge of the engine `tamis` from pages with gold text, and from a teacher.

Gold sets are folders with `html.tar.xz` (pages SET/ID.html) and `gold.jsonl.gz` (id, url, domain, gold_text); what is
in a set without gold text is not learned from. The teacher is trafilatura, asked about crawled pages in the parser
child. No page of a site that a left-out set holds is learned from either, whichever set it is in.
"""

import gzip
import hashlib
import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import typer
from publicsuffixlist import PublicSuffixList

from pipeline.extractor_training import Example, Training, judge_bytes, train
from pipeline.parser_child import ParserChild
from pipeline.sources.archive import Chain, Limits
from pipeline.sources.listing import Split, list_sources
from pipeline.sources.reader import read_split
from pipeline.sources.records import Document
from stages.charset import decode
from stages.extract import HTML, ExtractSettings, RawRecord

#: Pages of one registered domain that the teacher is asked about: a crawl of one university would drown all others.
PAGES_PER_SITE: Final = 220
#: Larger pages are lists and logs, of whose blocks one page would outweigh a hundred others.
PAGE_BYTES: Final = 2_000_000
#: How much a page counts: what people checked more than what a program thinks.
GOLD_WEIGHT: Final = 2.5
TEACHER_WEIGHT: Final = 1.0

app = typer.Typer(no_args_is_help=True)


@dataclass(frozen=True, kw_only=True)
class GoldPage:
    """A page of a gold set."""

    set: str
    id: str
    page: str
    site: str
    #: The row of gold.jsonl.gz.
    row: dict[str, Any]


_SUFFIXES: Final = PublicSuffixList()


def site_of(url: str | None, domain: str = "") -> str:
    """The registered domain of an address, or of a host name where there is none."""
    host = (urlsplit(url or "").hostname or domain).lower()
    return str(_SUFFIXES.privatesuffix(host) or host)


def gold_pages(folder: Path) -> list[GoldPage]:
    """The pages of one gold set, in the order of gold.jsonl.gz."""
    with tarfile.open(folder / "html.tar.xz", "r:xz") as archive:
        pages = {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}  # type: ignore[union-attr]
    with gzip.open(folder / "gold.jsonl.gz", "rt", encoding="utf-8", newline="\n") as lines:
        rows = [json.loads(line) for line in lines]
    return [
        GoldPage(
            set=folder.name,
            id=row["id"],
            page=decode(pages[f"{folder.name}/{row['id']}.html"], declared=None).text,
            site=site_of(row["url"], row["domain"]),
            row=row,
        )
        for row in rows
    ]


def crawled_pages(paths: Sequence[Path]) -> Iterator[Document]:
    """HTML documents of archives, in order."""
    sources = list_sources([str(path) for path in paths], cache={})
    for source in sources:
        split = Split(source=source, start=0, end=source.size_bytes, known_start=True)
        for found in read_split(split, Chain(), Limits()):
            if isinstance(found, Document) and (found.media_type or "").split(";")[0].strip().lower() in ("", HTML):
                yield found


def taught(paths: Sequence[Path], *, without: frozenset[str]) -> Iterator[Example]:
    """Crawled pages and what trafilatura makes of them; of each site those with the smallest hashes."""
    by_site: dict[str, list[tuple[bytes, Document]]] = {}
    for document in crawled_pages(paths):
        site = site_of(document.url)
        if site in without or not site or len(document.content) > PAGE_BYTES:
            continue
        key = hashlib.sha256((document.url or "").encode() + document.content).digest()
        by_site.setdefault(site, []).append((key, document))
    settings = ExtractSettings(engine="trafilatura")
    with ParserChild() as child:
        for site, documents in sorted(by_site.items()):
            for _, document in sorted(documents, key=lambda each: each[0])[:PAGES_PER_SITE]:
                record = RawRecord(content=document.content, media_type=HTML, charset=document.charset)
                told = child.call(record, settings)
                if told.text:
                    page = decode(document.content, declared=document.charset).text
                    yield Example(page=page, reference=told.text, site=site, weight=TEACHER_WEIGHT)


def examples(gold: Path, crawl: Sequence[Path], *, leave_out: Sequence[str]) -> tuple[list[Example], dict[str, int]]:
    """What to learn from, and how many pages of which source."""
    sets = sorted(path.parent.name for path in gold.glob("*/html.tar.xz"))
    if unknown := [name for name in leave_out if name not in sets]:
        raise ValueError(f"--leave-out {unknown[0]}: {gold} has {', '.join(sets) or 'no sets'}")
    by_set = {name: gold_pages(gold / name) for name in sets}
    without = frozenset(page.site for name in leave_out for page in by_set[name])
    found = [
        (name, Example(page=page.page, reference=page.row["gold_text"], site=page.site, weight=GOLD_WEIGHT))
        for name, pages in by_set.items()
        if name not in leave_out
        for page in pages
        if page.site not in without and page.row.get("gold_text")
    ]
    found += [("teacher", example) for example in taught(crawl, without=without)]
    return [example for _, example in found], dict(Counter(name for name, _ in found))


@app.command("train")
def train_command(
    gold: Annotated[Path, typer.Argument(help="Folder of gold sets, each with html.tar.xz and gold.jsonl.gz.")],
    out: Annotated[Path, typer.Option(help="File to write, NAME.npz.")],
    crawl: Annotated[
        list[Path] | None, typer.Option(help="Archive whose pages trafilatura is asked about; repeatable.")
    ] = None,
    leave_out: Annotated[
        list[str] | None, typer.Option(help="Set from which, and from whose sites, nothing is learned; repeatable.")
    ] = None,
) -> None:
    """Learn the judge of the engine tamis. The same pages and the same versions give the same bytes."""
    try:
        pages, counts = examples(gold, crawl or (), leave_out=leave_out or ())
        data = judge_bytes(train(pages, Training()))
    except (ValueError, ImportError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".partial")
    partial.write_bytes(data)
    partial.replace(out)
    learned = ", ".join(f"{number:,} of {name}" for name, number in counts.items())
    typer.echo(f"judge  {out} ({len(data):,} bytes, sha256 {hashlib.sha256(data).hexdigest()})\nlearned from {learned}")
