"""`tamis shards inspect|export`: look at token shards, and hand them to other people's training code."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer

from tokenizer.bpe import Tokenizer
from tokenizer.export import FORMATS, Format, documents, export
from tokenizer.shards import ShardSet

_NAME = "tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """One document as it is shown: its row, its ids, and the text of each id where a tokenizer is there."""

    number: int
    doc_id: str
    source: str
    n_bytes: int
    n_tokens: int
    ids: tuple[int, ...]
    pieces: tuple[str, ...] | None


def open_shards(place: str | Path, *, split: str = "train") -> ShardSet:
    """One shard file, a folder of shards (local or s3://), or a run's folder. ShardError (a ValueError) says what is
    wrong."""
    if "://" in str(place):
        return ShardSet.from_folder(str(place), split=split)
    path = Path(place)
    if path.is_file():
        return ShardSet([path], complete=False)
    inside = path / "shards"
    return ShardSet.from_folder(inside if inside.is_dir() else path, split=split)


def find_tokenizer(place: str | Path, shards: ShardSet, *, given: Path | None = None) -> Tokenizer | None:
    """The tokenizer that made the shards: the one given, or the one that a run's folder keeps beside them; None where
    there is none. ValueError where the one given is another than the footers name."""
    path = Path(place)
    near = path if path.is_dir() else path.parent
    places = [given] if given else [near / "tokenizer" / _NAME, near.parent / "tokenizer" / _NAME]
    for place in places:
        file = place / _NAME if place.is_dir() else place
        if file.is_file():
            try:
                return shards.made_by(file.read_bytes())
            except ValueError as error:
                raise ValueError(f"{file}: {error}") from error
    if given:
        raise ValueError(f"{given}: there is no tokenizer.json")
    return None


def inspect(
    shards: ShardSet, tokenizer: Tokenizer | None, *, start: int, documents_shown: int, tokens_shown: int
) -> Iterator[Inspected]:
    """Documents of the set from number `start` on, each with its first tokens."""
    for number, document in enumerate(islice(documents(shards), start, start + documents_shown), start=start):
        ids = tuple(int(token) for token in document.tokens[:tokens_shown])
        yield Inspected(
            number=number,
            doc_id=document.doc_id,
            source=document.source,
            n_bytes=document.n_bytes,
            n_tokens=len(document.tokens),
            ids=ids,
            pieces=None if tokenizer is None else pieces(ids, tokenizer),
        )


def pieces(ids: tuple[int, ...], tokenizer: Tokenizer) -> tuple[str, ...]:
    """What each token adds to the text. A character that several tokens share stands with the last of them, so the
    pieces put together are the text."""
    found, told = [], ""
    for count in range(1, len(ids) + 1):
        text = str(tokenizer.inner.decode(list(ids[:count]), skip_special_tokens=False))
        whole = text if count == len(ids) else text.rstrip("\ufffd")
        found.append(whole[len(told) :])
        told = whole if len(whole) > len(told) else told
    return tuple(found)


app = typer.Typer(help="Look at token shards, or export them.", no_args_is_help=True, add_completion=False)

Shards = Annotated[str, typer.Argument(help="a shard, a folder of shards (local or s3://), or a run's folder")]
Split = Annotated[str, typer.Option(help="train or validation")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]


@app.command("inspect")
def inspect_command(
    path: Shards,
    split: Split = "train",
    start: Annotated[int, typer.Option(min=0, help="number of the first document that is shown")] = 0,
    documents_shown: Annotated[int, typer.Option("--documents", min=0, help="documents that are shown")] = 3,
    tokens_shown: Annotated[int, typer.Option("--tokens", min=1, help="tokens of each document that are shown")] = 60,
    tokenizer: Annotated[Path | None, typer.Option(help="tokenizer.json [default: the one beside the shards]")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what shards hold, and documents with the boundaries of their tokens."""
    with _told():
        shards = open_shards(path, split=split)
        made_by = find_tokenizer(path, shards, given=tokenizer)
        shown = list(inspect(shards, made_by, start=start, documents_shown=documents_shown, tokens_shown=tokens_shown))
        about = _about(shards)
        if as_json:
            typer.echo(json.dumps({**about, "shown": [asdict(each) for each in shown]}, indent=1, ensure_ascii=False))
            return
        for name, value in about.items():
            typer.echo(f"{name:<18}{f'{value:,}' if isinstance(value, int) else value}")
        for each in shown:
            typer.echo(
                f"\n#{each.number} {each.doc_id}  {each.source}  {each.n_bytes:,} bytes, {each.n_tokens:,} tokens"
            )
            cut = " …" if each.n_tokens > len(each.ids) else ""
            typer.echo(
                ("|".join(map(_visible, each.pieces)) if each.pieces is not None else " ".join(map(str, each.ids)))
                + cut
            )


@app.command("export")
def export_command(
    path: Shards,
    out: Annotated[Path, typer.Option(help="new folder for the files")],
    to: Annotated[str, typer.Option(help=", ".join(FORMATS))],
    split: Split = "train",
    as_json: AsJson = False,
) -> None:
    """Write shards in the format of other training code; documents keep their order."""
    with _told():
        done = export(open_shards(path, split=split), out, to=cast("Format", to))
        if as_json:
            typer.echo(json.dumps(asdict(done), indent=1))
        else:
            typer.echo(f"{out}: {done.documents:,} documents, {done.tokens:,} tokens, {len(done.files)} files")


def _about(shards: ShardSet) -> dict[str, Any]:
    metadata = shards.metadata
    longest = max(shards.row_group_tokens, default=0)
    return {
        "split": metadata.split,
        "shards": len(shards.shards),
        "documents": shards.documents,
        "tokens": shards.tokens,
        "bytes of text": shards.bytes,
        "bytes per token": float(np.round(shards.bytes / shards.tokens, 4)) if shards.tokens else 0.0,
        "row groups": len(shards.row_groups),
        "largest row group": longest,
        "ids": shards.dtype.name,
        "vocabulary": metadata.vocab_size,
        "order": metadata.order or "shuffled",
        "end of text": metadata.end_of_text_id,
        "tokenizer sha256": metadata.tokenizer_sha256,
        "fingerprint": shards.fingerprint,
    }


def _visible(piece: str) -> str:
    return repr(piece)[1:-1]


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """A wrong path, option or shard ends with one message and code 2."""
    try:
        yield
    except (ValueError, OSError) as error:
        typer.echo(f"tamis: {error}", err=True)
        raise typer.Exit(2) from error
