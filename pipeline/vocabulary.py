"""`tamis tokenizer train|eval`: learn a vocabulary from texts or behind a recipe, and measure what one costs.

A sample of texts is drawn by a keyed hash of each text, by weights of their groups, so neither the order nor the names
of files change the vocabulary.
"""

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer
import xxhash
from rich.console import Console
from rich.table import Table

from pipeline.phases.sample import sample_fractions
from pipeline.recipe import Recipe, RecipeError, Tokenizer, load_recipe
from pipeline.run import Options, default_work
from pipeline.run import run as run_recipe
from pipeline.runners.base import TaskFailedError
from pipeline.texts import Text, read_texts, text_files
from tokenizer.evaluate import RARE_BELOW, Measured, measure
from tokenizer.folder import folder_files
from tokenizer.learners import Kind, Normalization, VocabularySettings, learn, lossless
from tokenizer.subjects import subject

#: Key of the draw of texts to learn from.
_SAMPLE_SEED = 0x5A3D
_RECIPES = (".yaml", ".yml")
DEFAULT_SAMPLE_BYTES = 200 << 20


def drawn(texts: Iterator[Text], fractions: Mapping[str, float]) -> Iterator[str]:
    """The texts whose keyed hash falls below their group's fraction."""
    for item in texts:
        place = xxhash.xxh3_64_intdigest(item.text.encode("utf-8", "replace"), _SAMPLE_SEED)
        if place < fractions[item.group] * 2.0**64:
            yield item.text


def train_on_texts(
    files: Sequence[Path], settings: VocabularySettings, *, out: Path, text_column: str = "text", by: str | None = None,
    weights: Mapping[str, float] | None = None, sample_bytes: int = DEFAULT_SAMPLE_BYTES,
) -> dict[str, Any]:  # fmt: skip
    """Learn, write the folder to `out`, and say what was done. Reads the files twice: to weigh, and to learn."""
    sizes: Counter[str] = Counter()
    for item in read_texts(files, text_column=text_column, by=by):
        sizes[item.group] += len(item.text.encode("utf-8", "replace"))
    unknown = sorted(set(weights or {}) - set(sizes))
    if unknown:
        raise ValueError(
            f"--weight {unknown[0]}: there is no such group; there are {', '.join(sorted(sizes)) or 'none'}"
        )
    fractions = sample_fractions(sizes, weights or {}, sample_bytes)
    data = learn(drawn(read_texts(files, text_column=text_column, by=by), fractions), settings)
    out.mkdir(parents=True, exist_ok=True)
    for name, content in folder_files(data, end_of_text=settings.special_tokens[0]).items():
        (out / name).write_bytes(content)
    return {
        "folder": str(out),
        "type": settings.type,
        "vocab_size": len(json.loads(data)["model"]["vocab"]),
        "lossless": lossless(settings),
        "groups": {
            group: {"bytes": size, "fraction": round(fractions[group], 6)} for group, size in sorted(sizes.items())
        },
    }


def train_behind_recipe(recipe: Recipe, *, out: str, work: str | None, runner: str, workers: int) -> dict[str, Any]:
    """The recipe's run up to its vocabulary: everything but the shards. `tokenizer/` lies in `out`."""
    whole = recipe.model_copy(update={"shards": None, "mix": None, "tokenizer": recipe.tokenizer or Tokenizer()})
    manifest = run_recipe(whole, Options(out=out, work=work or default_work(out), runner=runner, workers=workers))
    asked = cast("Tokenizer", whole.tokenizer)
    data = Path(out, "tokenizer", "tokenizer.json").read_bytes()
    return {
        "folder": str(Path(out, "tokenizer")),
        "type": asked.type,
        "vocab_size": len(json.loads(data)["model"]["vocab"]),
        "lossless": asked.path is not None or lossless(asked.vocabulary()),
        "documents": manifest["counts"]["kept"],
    }


def measure_all(
    references: Sequence[str], files: Sequence[Path], *, text_column: str = "text", by: str | None = None
) -> list[Measured]:
    """One measurement a tokenizer, on the same texts. Holds the texts in memory: give a sample of a large corpus."""
    subjects = [subject(reference) for reference in references]
    domains: dict[str, list[str]] = {}
    for item in read_texts(files, text_column=text_column, by=by):
        domains.setdefault(item.group, []).append(item.text)
    if not any(text for texts in domains.values() for text in texts):
        raise ValueError("there is no text to measure on: the files are empty")
    ordered = dict(sorted(domains.items()))
    return [measure(ordered, each) for each in subjects]


app = typer.Typer(help="Learn a vocabulary, or measure what one costs.", no_args_is_help=True, add_completion=False)

Texts = Annotated[str, typer.Option(help="column that holds the text")]
By = Annotated[str | None, typer.Option(help="column that groups texts, e.g. language [default: the file's name]")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]


@app.command("train")
def train_command(
    what: Annotated[
        list[Path], typer.Argument(help="a recipe (.yaml), or files and folders of texts: JSONL, CSV, Parquet, .txt")
    ],
    out: Annotated[
        Path, typer.Option(help="folder for tokenizer.json and its two companions; with a recipe, the run's")
    ],
    kind: Annotated[str, typer.Option("--type", help="bpe, unigram, wordpiece or wordlevel")] = "bpe",
    vocab_size: Annotated[int, typer.Option(help="entries, special tokens included")] = 32_768,
    pre_tokenizer: Annotated[str, typer.Option(help="what a word is: gpt4, gpt2 or digits")] = "gpt4",
    normalization: Annotated[str, typer.Option(help="none, nfc, nfkc or lowercase; all but none lose text")] = "none",
    special_token: Annotated[
        list[str] | None, typer.Option(help="repeatable; the first separates documents [default: <|endoftext|>]")
    ] = None,
    sample_bytes: Annotated[
        int, typer.Option(min=1024, help="bytes of text to learn from, at most")
    ] = DEFAULT_SAMPLE_BYTES,
    text_column: Texts = "text",
    by: By = None,
    weight: Annotated[
        list[str] | None, typer.Option(help="GROUP=NUMBER: share of a group in the sample; repeatable")
    ] = None,
    work: Annotated[str | None, typer.Option(help="with a recipe: folder of cached phases")] = None,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="with a recipe: read this instead; repeatable")
    ] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", help="with a recipe: KEY=VALUE; repeatable")] = None,
    runner: Annotated[str, typer.Option(help="with a recipe: ray or inline")] = "ray",
    workers: Annotated[int, typer.Option(min=1, help="with a recipe: tasks at the same time")] = os.cpu_count() or 1,
    as_json: AsJson = False,
) -> None:
    """Learn a vocabulary from texts, or from the documents that a recipe keeps; write a Hugging Face folder."""
    with _told():
        recipes = [path for path in what if path.suffix in _RECIPES]
        if recipes and len(what) > 1:
            raise ValueError("give one recipe, or texts, not both: a recipe names its own input")
        if runner not in ("ray", "inline"):
            raise ValueError(f"--runner {runner!r}: choose ray or inline")
        if recipes:
            recipe = load_recipe(recipes[0], overrides=sets or [], inputs=inputs or [])
            found = train_behind_recipe(recipe, out=str(out), work=work, runner=runner, workers=workers)
        else:
            settings = VocabularySettings(
                type=cast("Kind", _one_of("--type", kind, ("bpe", "unigram", "wordpiece", "wordlevel"))),
                vocab_size=vocab_size,
                special_tokens=tuple(special_token or ("<|endoftext|>",)),
                pre_tokenizer=cast("Literal['gpt4', 'gpt2', 'digits']", pre_tokenizer),
                normalization=cast(
                    "Normalization", _one_of("--normalization", normalization, ("none", "nfc", "nfkc", "lowercase"))
                ),
            )
            weights = dict(_weight(item) for item in weight or [])
            found = train_on_texts(
                text_files(what), settings, out=out, text_column=text_column, by=by, weights=weights,
                sample_bytes=sample_bytes,
            )  # fmt: skip
        if as_json:
            typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
            return
        typer.echo(f"{found['folder']}: {found['type']}, {found['vocab_size']:,} entries")
        if not found["lossless"]:
            typer.echo("It does not give every text back, so no token shards can be made with it.")


@app.command("eval")
def eval_command(
    tokenizers: Annotated[
        list[str],
        typer.Argument(
            help="tokenizer.json, its folder, a folder with GPT-2's vocab.bpe and encoder.json, or tiktoken:NAME"
        ),
    ],
    texts: Annotated[list[Path], typer.Option(help="file or folder of texts to measure on; repeatable")],
    text_column: Texts = "text",
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Measure tokenizers side by side: bytes per token, fertility, unused and rare entries, numbers, blanks, speed."""
    with _told():
        found = measure_all(tokenizers, text_files(texts), text_column=text_column, by=by)
        if as_json:
            typer.echo(json.dumps([each.as_json() for each in found], indent=1, ensure_ascii=False))
        else:
            _print(found)


def _print(found: Sequence[Measured]) -> None:
    console = Console()
    table = Table("UTF-8 bytes per token (tokens per word)", *(each.name for each in found))
    for domain in found[0].domains:
        table.add_row(domain, *(_ratios(each.domains[domain]) for each in found))
    table.add_row("all", *(_ratios(each.total) for each in found), style="bold")
    console.print(table)
    table = Table("", *(each.name for each in found))
    rows: list[tuple[str, Any]] = [
        ("entries", lambda each: f"{each.vocab_size:,}"),
        ("gives every text back", lambda each: "yes" if each.lossless else "NO"),
        ("entries that occur nowhere", lambda each: f"{each.unused:,} ({each.unused / each.vocab_size:.0%})"),
        (f"entries that occur less than {RARE_BELOW} times", lambda each: f"{each.rare:,}"),
        ("entries of blanks / of digits", lambda each: f"{each.blank_entries:,} / {each.digit_entries:,}"),
        ("MB of text a CPU second", lambda each: "{1:.1f} ({0:.1f} to {2:.1f})".format(*each.megabytes_per_second)),
        ("longest entries", lambda each: "\n".join(repr(piece[:40]) for piece in each.longest[:5])),
    ]
    for name, shown in rows:
        table.add_row(name, *(shown(each) for each in found))
    for probe in ("numbers", "blanks"):
        for text in getattr(found[0], probe):
            table.add_row(repr(text), *("|".join(repr(p)[1:-1] for p in getattr(each, probe)[text]) for each in found))
    console.print(table)


def _ratios(domain: Any) -> str:
    return f"{domain.bytes_per_token:.3f} ({domain.fertility:.2f})"


def _one_of(option: str, value: str, choices: Sequence[str]) -> str:
    if value not in choices:
        raise ValueError(f"{option} {value!r}: choose {', '.join(choices)}")
    return value


def _weight(item: str) -> tuple[str, float]:
    group, equals, value = item.rpartition("=")
    try:
        weight = float(value)
    except ValueError:
        weight = -1.0
    if not equals or not 0 <= weight < float("inf"):
        raise ValueError(f"--weight {item!r}: write GROUP=NUMBER, for example --weight de=0.5")
    return group, weight


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """The user's mistakes end with one message and code 2, a failed run with code 1."""
    try:
        yield
    except TaskFailedError as error:
        typer.echo(f"tamis: {error}", err=True)
        raise typer.Exit(1) from error
    except (RecipeError, ValueError, OSError) as error:
        typer.echo(f"tamis: {error}", err=True)
        raise typer.Exit(2) from error
