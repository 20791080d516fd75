"""`tamis extract`: what an engine makes of one page, beside what another makes of it.

The page is a file, or a document of an archive by its address or place. It is read and extracted exactly as in a run:
by the same readers, in the parser child, under the same limits.
"""

import difflib
import itertools
import json
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, get_args

import psutil
import typer
from pydantic import ValidationError
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.dups import side_by_side
from pipeline.models import load_judge
from pipeline.parser_child import STOPPED, ParserChild
from pipeline.sources.archive import Chain, Limits
from pipeline.sources.kinds import HEAD_BYTES, SPLITTABLE, kind_of
from pipeline.sources.listing import InputError, Source, Split
from pipeline.sources.places import open_source
from pipeline.sources.reader import read_split
from pipeline.sources.records import Bad, Document
from stages.charset import decode
from stages.extract import PDF, Extracted, ExtractSettings, RawRecord
from stages.extract_tamis import judged
from stages.reasons import REASONS
from stages.schema import SCORE_DECIMALS

#: Names that a recipe gives engines: for HTML, and for PDF.
HTML_ENGINES: Final[tuple[str, ...]] = get_args(ExtractSettings.model_fields["engine"].annotation)
PDF_ENGINES: Final[tuple[str, ...]] = get_args(ExtractSettings.model_fields["pdf_engine"].annotation)
#: Addresses of an archive that an error names.
_NAMED: Final = 3
#: Addresses that are remembered to find near ones: of larger archives those of the beginning.
_REMEMBERED: Final = 100_000
#: Characters of a block that are shown beside its score: which one it is can be told from its beginning.
_BLOCK_CHARACTERS: Final = 160
#: A page that took longer is not extracted a second time to leave out what only a first one costs.
_REPEAT_SECONDS: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What one engine made of the page."""

    engine: str
    result: Extracted
    #: Of the parser child, for this page; start and import of parsers left out. None if the child died of the page.
    cpu_seconds: float | None
    #: Of the engine tamis: each block in the page's order with its probability of being main text, and whether it is
    #: taken. None for engines that have no such thing.
    blocks: list[tuple[str, float, bool]] | None = None

    def facts(self) -> dict[str, Any]:
        """What is told of it, by name; None where there is nothing to tell."""
        found = self.result
        return {
            "outcome": found.reason or "text",
            "detail": found.detail or (REASONS[found.reason] if found.reason else None),
            "measured": found.measured,
            "threshold": found.threshold,
            "read as": found.media_type,
            "charset": found.charset,
            "title": found.title,
            "characters": len(found.text),
            "words": len(found.text.split()),
            "lines": len(found.text.splitlines()),
            "visible characters": found.visible_characters,
            "text / visible": found.text_fraction,
            "mojibake": found.mojibake_fraction,
            "flags": found.flags,
            "CPU ms": None if self.cpu_seconds is None else round(1000 * self.cpu_seconds, 1),
        }


def settings_for(engine: str | None, form: str) -> ExtractSettings:
    """The extract stage's settings with this engine, all else at its default. InputError for what cannot be."""
    if engine is not None and engine not in (*HTML_ENGINES, *PDF_ENGINES):
        near = difflib.get_close_matches(engine, [*HTML_ENGINES, *PDF_ENGINES], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"--engine {engine!r}: no such engine.{hint} For HTML there are {', '.join(HTML_ENGINES)}; for PDF "
            f"{', '.join(PDF_ENGINES)}."
        )
    chosen = {} if engine is None else {"pdf_engine" if engine in PDF_ENGINES else "engine": engine}
    try:
        return ExtractSettings.model_validate({"format": form, **chosen})
    except ValidationError as error:
        raise InputError("; ".join(str(one["msg"]).removeprefix("Value error, ") for one in error.errors())) from error


def find_page(place: str, *, url: str | None, offset: int | None) -> Document:
    """The document of a file that the address or offset names, or its only one. InputError if there is none."""
    source = _source(place)
    start = offset if offset is not None and source.kind in SPLITTABLE else 0
    if not 0 <= start <= source.size_bytes:
        raise InputError(f"{place}: has {source.size_bytes} bytes, so no document at --offset {offset}")
    split = Split(source=source, start=start, end=source.size_bytes, known_start=True)
    items = (item for item in read_split(split, Chain(), Limits()) if isinstance(item, (Document, Bad)))
    if url is None and offset is None:
        return _only(place, items)
    seen: list[str] = []
    for item in items:
        if (url is None or item.url == url) and (offset is None or item.offset == offset):
            return _readable(place, item)
        if item.url is not None and len(seen) < _REMEMBERED:
            seen.append(item.url)
        if offset is not None and item.offset > offset and start == offset:
            break
    wanted = " and ".join(
        [*([f"--url {url}"] if url is not None else []), *([f"--offset {offset}"] if offset is not None else [])]
    )
    near = difflib.get_close_matches(url or "", seen, n=_NAMED) or seen[:_NAMED]
    named = f" It has for instance: {', '.join(near)}" if near else " It has no addresses: use --offset."
    raise InputError(f"{place}: no document fits {wanted}.{named}")


def _source(place: str) -> Source:
    if "://" not in place and not Path(place).is_file():
        what = "a folder: name one file of it" if Path(place).is_dir() else "no such file"
        raise InputError(f"{place}: {what}")
    name = place.rpartition("/")[2]
    with open_source(place) as opened:
        size, kind = opened.size(), kind_of(bytes(opened.read_at(HEAD_BYTES, 0)), name)
    return Source(name=name, path=place, size_bytes=size, fingerprint="", kind=kind)


def _only(place: str, items: Iterator[Document | Bad]) -> Document:
    first = list(itertools.islice(items, _NAMED + 1))
    if len(first) == 1:
        return _readable(place, first[0])
    named = ", ".join(f"--url {item.url}" if item.url else f"--offset {item.offset}" for item in first[:_NAMED])
    raise InputError(f"{place}: holds more than one document. Name one, for instance {named}")


def _readable(place: str, item: Document | Bad) -> Document:
    where = f"{place}, byte {item.offset}"
    if isinstance(item, Bad):
        raise InputError(f"{where}: not read, {item.reason}: {item.detail or REASONS[item.reason]}")
    if item.text is not None:
        raise InputError(f"{where}: its text lies ready in the file, no engine is asked. Name an HTML or PDF page.")
    return item


def attempt(page: Document, settings: ExtractSettings, engine: str | None) -> Attempt:
    """One engine on one page, in a parser child of its own. InputError if the engine is one for other pages."""
    record = RawRecord(content=page.content, media_type=page.media_type, charset=page.charset, url=page.url)
    with ParserChild() as child:
        child.call(RawRecord(content=b""), settings)  # Starts the child and imports the parsers.
        result, seconds = _timed(child, record, settings)
        if result.reason not in STOPPED and seconds is not None and seconds < _REPEAT_SECONDS:
            result, seconds = _timed(child, record, settings)
    fitting = {PDF: PDF_ENGINES}.get(result.media_type or "", HTML_ENGINES)
    if engine is not None and result.media_type is not None and engine not in fitting:
        raise InputError(f"--engine {engine} does not read {result.media_type}. Take {' or '.join(fitting)}.")
    used = settings.pdf_engine if result.media_type == PDF else settings.engine
    scored = used == "tamis" and result.reason in (None, "no_text")
    return Attempt(engine=engine or used, result=result, cpu_seconds=seconds, blocks=_blocks(page) if scored else None)


def _blocks(page: Document) -> list[tuple[str, float, bool]]:
    """What the judge makes of each block, asked in this process: the engine has no parser that could hang."""
    text = decode(page.content, declared=page.charset).text
    return judged(text.encode("utf-8", "replace"), load_judge()).shown()


def _timed(child: ParserChild, record: RawRecord, settings: ExtractSettings) -> tuple[Extracted, float | None]:
    before, pid = _cpu_seconds(child), child.pid
    result = child.call(record, settings)
    return result, _cpu_seconds(child) - before if child.pid == pid else None


def _cpu_seconds(child: ParserChild) -> float:
    assert child.pid is not None
    if platform.system() == "Linux":
        # The clock of another process's CPU time, as clock_getcpuclockid(3) would give it: to the nanosecond.
        return time.clock_gettime((~child.pid << 3) | 2)
    times = psutil.Process(child.pid).cpu_times()
    return float(times.user + times.system)


def shown(place: str, page: Document, attempts: list[Attempt]) -> Group:
    """What the terminal shows: where the page is, what is known of each text, and the texts."""
    facts = [one.facts() for one in attempts]
    table = Table("", *(one.engine for one in attempts), box=None, pad_edge=False)
    for name in facts[0]:
        cells = [each[name] for each in facts]
        if any(cell is not None for cell in cells):
            table.add_row(name, *(Text(_told(cell)) for cell in cells))
    head = [
        Text(f"page      {page.url or place}"),
        Text(f"where     {place}, byte {page.offset}" + (f", record {page.record}" if page.record else "")),
        Text(
            f"declared  {page.media_type or 'no type'}, charset {page.charset or 'none'}, {len(page.content):,} bytes"
        ),
    ]
    texts = [one.result.text for one in attempts]
    if len(texts) == 1:
        told: list[RenderableType] = [Text(texts[0])]
    else:
        told = [side_by_side(*texts, names=(attempts[0].engine, attempts[1].engine))]
    for one in attempts:
        if one.blocks is not None:
            told += ["", _scores(one.engine, one.blocks)]
    return Group(*head, table, "", *told)


def _scores(engine: str, blocks: list[tuple[str, float, bool]]) -> Table:
    table = Table(f"{engine}: main text?", "taken", "block", box=None, pad_edge=False)
    for text, chance, taken in blocks:
        line = " ".join(text.split())
        shown_text = line if len(line) <= _BLOCK_CHARACTERS else line[:_BLOCK_CHARACTERS] + "…"
        table.add_row(f"{chance:.3f}", "yes" if taken else "-", Text(shown_text))
    return table


def _told_block(text: str, chance: float, taken: bool) -> dict[str, Any]:
    return {"score": round(chance, SCORE_DECIMALS), "taken": taken, "text": text}


def _told(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def as_json(place: str, page: Document, attempts: list[Attempt]) -> str:
    """The same for programs, texts in full."""
    engines = [
        {"engine": one.engine, **one.facts(), "text": one.result.text}
        | ({} if one.blocks is None else {"blocks": [_told_block(*block) for block in one.blocks]})
        for one in attempts
    ]
    told = {"page": page.url, "file": place, "offset": page.offset, "record": page.record,
            "declared_type": page.media_type, "declared_charset": page.charset, "bytes": len(page.content),
            "engines": [{name.replace(" / ", "_per_").replace(" ", "_").lower(): value for name, value in one.items()}
                        for one in engines]}  # fmt: skip
    return json.dumps(told, indent=1, ensure_ascii=False)


def show_extraction(
    place: Annotated[str, typer.Argument(help="an HTML or PDF file, or a WARC, ARC, WACZ, zip or tar that has pages")],
    url: Annotated[str | None, typer.Option(help="the page of an archive that was fetched from here")] = None,
    offset: Annotated[int | None, typer.Option(help="the page of an archive that begins at this byte")] = None,
    engine: Annotated[
        str | None, typer.Option(help=f"HTML: {', '.join(HTML_ENGINES)}; PDF: {', '.join(PDF_ENGINES)}")
    ] = None,
    beside: Annotated[str | None, typer.Option(help="another engine, whose text is shown beside it")] = None,
    form: Annotated[str, typer.Option("--format", help="text or markdown")] = "text",
    json_wanted: Annotated[bool, typer.Option("--json", help="print JSON instead of text")] = False,
) -> None:
    """Show what an engine makes of one page, with lengths, character set, flags and CPU time; beside another's. The
    engine tamis also shows what it thinks of each block."""
    if form not in ("text", "markdown"):
        raise InputError(f"--format {form!r}: choose text or markdown")
    engines = [engine, *([beside] if beside is not None else [])]
    chosen = [settings_for(name, form) for name in engines]
    page = find_page(place, url=url, offset=offset)
    attempts = [attempt(page, settings, name) for settings, name in zip(chosen, engines, strict=True)]
    if json_wanted:
        print(as_json(place, page, attempts))
    else:
        Console().print(shown(place, page, attempts), highlight=False)
