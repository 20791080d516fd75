"""Train a fastText text classifier from labelled text, and measure one: `tamis classifier train|eval`.

The same labels in any order give the same model bytes: the lines are sorted by a keyed hash, training runs on one
thread from a fixed seed. The texts pass through stages/fasttext_text.py, as they do when a stage scores them. A part
of the labels, chosen by a keyed hash, is never trained on; the model card reports on it.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import fasttext
import numpy as np
import typer

from pipeline.labels import Label, read_labels
from pipeline.metrics import Evaluation, evaluate_scores, plot
from pipeline.model_card import About, model_card, shown
from pipeline.models import BUILTIN_PREFIX, builtin_path, file_sha256, load_fasttext
from stages.fasttext_text import ANY_ENDING, LABEL_PREFIX, label_scores, one_line

#: Keys of the two hashes, so that the held-out part says nothing about the order of training.
_HELD_OUT_KEY: Final = b"tamis classifier held-out"
_ORDER_KEY: Final = b"tamis classifier order"

#: What every label but the positive ones becomes where positive labels are named.
OTHER: Final = "other"


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a model is trained; fastText's own names in brackets."""

    #: Length of a word's vector (dim). Two or three labels need few; DCLM's 100 gains nothing on the bundled tasks.
    dimension: int = 16
    #: Passes over the labels (epoch); more make the scores more extreme.
    epochs: int = 3
    #: First step size, falling to zero (lr).
    learning_rate: float = 0.2
    #: Longest word sequence used as a feature (wordNgrams).
    word_ngrams: int = 1
    #: A word seen less often is not learned (minCount).
    min_count: int = 5
    #: Shortest and longest character sequence used as a feature (minn, maxn); 0 and 0 for none.
    min_characters: int = 0
    max_characters: int = 0
    #: Rows that word and character sequences share by hash (bucket): 8 bytes each in the file at dimension 16.
    hash_rows: int = 200_000
    #: Whether texts are lower-cased; a stage or `evaluate` must then do the same.
    lowercase: bool = False
    #: Whether each Han character and kana is a word (with word_ngrams 2 pairs of them are features). A stage or
    #: `evaluate` must do the same.
    split_characters: bool = False
    #: Whether the file holds 8-bit codes instead of floats. A file of a fraction of the size, for a small loss: 0.003
    #: to 0.009 of ROC area on the bundled toxicity task.
    quantise: bool = True
    seed: int = 0
    #: Share of the labels, by hash of the group, that is held out for the model card.
    held_out_fraction: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Trained:
    model: Path
    card: Path
    sha256: str
    trained_rows: int
    held_out_rows: int
    #: By label, on the held-out part; empty if it is.
    evaluations: dict[str, Evaluation]


def train(
    labels: Sequence[Label],
    *,
    out: Path,
    licence: str,
    source: str,
    use: str,
    positive: Sequence[str] = (),
    options: Training | None = None,
    notes: Callable[[Any], str] | None = None,
) -> Trained:
    """Train, and write `out`.ftz and `out`.md.

    With `positive`, its labels become one (named as the first) and all others `other`; without, labels stay as they
    are. They also stay where a positive one ends with `*` and so means all that begin so: a model that tells the kinds
    apart finds them all together better where they differ.
    `licence`, `source` (what the labels are) and `use` (intended use) go into the card; `notes`, given the finished
    model, writes its last part.
    ValueError if fewer than two labels are left or there are too few words to learn from.
    """
    options = options or Training()
    merged = [_merge(each, positive=positive) for each in labels]
    training = [each for each in merged if not is_held_out(each.group, fraction=options.held_out_fraction)]
    held_out = [each for each in merged if is_held_out(each.group, fraction=options.held_out_fraction)]
    names = sorted({each.label for each in training})
    if len(names) < 2:
        raise ValueError(f"the labels to train on are all {names}: at least two are needed. Check the label column")
    model = _fit(training, options=options)
    out.parent.mkdir(parents=True, exist_ok=True)
    file = out.with_name(out.name + ".ftz")
    partial = out.with_name(out.name + ".partial")
    model.save_model(str(partial))
    _into_place(partial, file)
    sha256 = file_sha256(file)
    loaded = load_fasttext(file, sha256)
    sought = {_clean(positive[0]): positive if _keeps_kinds(positive) else [_clean(positive[0])]} if positive else {}
    evaluations = {
        name: evaluate(
            loaded,
            held_out,
            positive=labels_of,
            lowercase=options.lowercase,
            split_characters=options.split_characters,
        )
        for name, labels_of in (sought or {name: [name] for name in names}).items()
        if any(is_positive(each.label, labels_of) for each in held_out)
    }
    trained = Trained(
        model=file,
        card=out.with_name(out.name + ".md"),
        sha256=sha256,
        trained_rows=len(training),
        held_out_rows=len(held_out),
        evaluations=evaluations,
    )
    card = model_card(
        file,
        trained.sha256,
        merged,
        options=asdict(options),
        rows=(len(training), len(held_out)),
        evaluations=evaluations,
        about=About(licence=licence, source=source, use=use),
    )
    if notes is not None:
        card += "\n" + notes(loaded).strip() + "\n"
    partial.write_text(card, encoding="utf-8")
    _into_place(partial, trained.card)
    return trained


def evaluate(
    model: Any,
    labels: Sequence[Label],
    *,
    positive: Sequence[str],
    model_label: str | None = None,
    threshold: float | None = None,
    lowercase: bool = False,
    split_characters: bool = False,
) -> Evaluation:
    """How well the model's probability of `model_label` finds the rows whose label is in `positive`.

    A label that ends with `*` means all that begin so. Without `model_label` it is the first positive label, as
    `train` names it. ValueError if no row is positive.
    """
    model_label = model_label or LABEL_PREFIX + _clean(positive[0])
    truth = np.array([is_positive(each.label, positive) for each in labels], dtype=bool)
    if not truth.any():
        found = ", ".join(sorted({each.label for each in labels})[:10])
        raise ValueError(f"no row has the label {' or '.join(positive)}; the labels are {found}. Check --positive")
    lines = [one_line(each.text, lowercase=lowercase, split_characters=split_characters) for each in labels]
    scores = label_scores(model, lines, label=model_label)
    return evaluate_scores(scores, truth, threshold=threshold)


def is_positive(label: str, positive: Sequence[str]) -> bool:
    """Whether `positive` names the label, as it stands or by its beginning (`toxic*`)."""
    return any(label == each or (each.endswith(ANY_ENDING) and label.startswith(each[:-1])) for each in positive)


def _keeps_kinds(positive: Sequence[str]) -> bool:
    return any(each.endswith(ANY_ENDING) for each in positive)


def is_held_out(group: str, *, fraction: float) -> bool:
    """Whether a keyed hash puts this group into the held-out `fraction`."""
    return _keyed(group, key=_HELD_OUT_KEY) < int(fraction * 2**64)


def _keyed(text: str, *, key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8, key=key).digest(), "big")


def _clean(label: str) -> str:
    """A label as fastText can hold it: without its prefix, white space as underscores."""
    return "_".join(label.removeprefix(LABEL_PREFIX).split())


def _merge(each: Label, *, positive: Sequence[str]) -> Label:
    if not positive or _keeps_kinds(positive):
        return Label(text=each.text, label=_clean(each.label), group=each.group)
    name = _clean(positive[0]) if each.label in positive else OTHER
    return Label(text=each.text, label=name, group=each.group)


def _fit(training: Sequence[Label], *, options: Training) -> Any:
    """The trained model; the same for the same labels in any order."""
    lines = sorted(
        (
            _keyed(each.text, key=_ORDER_KEY),
            f"{LABEL_PREFIX}{each.label} "
            + one_line(each.text, lowercase=options.lowercase, split_characters=options.split_characters)
            + "\n",
        )
        for each in training
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "training.txt"
        with file.open("w", encoding="utf-8", newline="\n") as writer:
            writer.writelines(line for _, line in lines)
        try:
            model = fasttext.train_supervised(
                str(file),
                dim=options.dimension,
                epoch=options.epochs,
                lr=options.learning_rate,
                wordNgrams=options.word_ngrams,
                minCount=options.min_count,
                minn=options.min_characters,
                maxn=options.max_characters,
                bucket=options.hash_rows,
                seed=options.seed,
                thread=1,
                verbose=0,  # more threads update the weights in the order in which they happen to run
            )
            if options.quantise:
                model.quantize(dsub=2, qnorm=True, thread=1, verbose=0)
        except ValueError as error:
            raise ValueError(
                f"fastText cannot train on these {len(lines)} rows ({error}). It needs at least 256 different words "
                f"that occur {options.min_count} times: give more labels or a smaller min_count"
            ) from error
    return model


def _into_place(partial: Path, final: Path) -> None:
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(final)


app = typer.Typer(
    help="Train a fastText classifier on your own labels, or measure one.", no_args_is_help=True, add_completion=False
)


@app.command("train")
def train_command(
    labels: Annotated[Path, typer.Argument(help="JSONL (.gz), CSV (.gz) or Parquet file, one labelled text a row.")],
    out: Annotated[Path, typer.Option(help="Where to write, without ending: DIR/NAME gives NAME.ftz and NAME.md.")],
    text_column: Annotated[str, typer.Option(help="Column that holds the text.")] = "text",
    label_column: Annotated[str, typer.Option(help="Column that holds the label.")] = "label",
    group_column: Annotated[
        str | None, typer.Option(help="Column whose equal values stay on one side of the held-out split.")
    ] = None,
    positive: Annotated[
        list[str] | None, typer.Option(help="Label to find; repeat to join several. All others become one.")
    ] = None,
    licence: Annotated[str, typer.Option(help="Licence of the model, for its card.")] = "not stated",
    source: Annotated[str, typer.Option(help="What the labels are and where they come from, for the card.")] = "",
    use: Annotated[str, typer.Option(help="Intended use, for the card.")] = "not stated",
    dimension: Annotated[int, typer.Option(help="Length of a word vector.", min=2)] = Training.dimension,
    epochs: Annotated[int, typer.Option(help="Passes over the labels.", min=1)] = Training.epochs,
    learning_rate: Annotated[float, typer.Option(help="First step size.", min=0)] = Training.learning_rate,
    word_ngrams: Annotated[int, typer.Option(help="Longest word sequence as a feature.", min=1)] = Training.word_ngrams,
    min_count: Annotated[int, typer.Option(help="Rarer words are not learned.", min=1)] = Training.min_count,
    characters: Annotated[
        tuple[int, int], typer.Option(help="Shortest and longest character sequence as a feature.", min=0)
    ] = (0, 0),
    hash_rows: Annotated[int, typer.Option(help="Rows shared by sequences.", min=256)] = Training.hash_rows,
    lowercase: Annotated[bool, typer.Option(help="Lower-case the texts; stages must be told so too.")] = False,
    split_characters: Annotated[
        bool, typer.Option(help="Each Han character and kana a word; stages must be told so too.")
    ] = False,
    quantise: Annotated[bool, typer.Option(help="Store 8-bit codes instead of floats.")] = Training.quantise,
    seed: Annotated[int, typer.Option(help="Seed of the first weights.")] = Training.seed,
    held_out: Annotated[
        float, typer.Option(help="Share held out for the card's figures.", min=0, max=0.9)
    ] = Training.held_out_fraction,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Train a classifier on your labels; writes the model and its card."""
    options = Training(
        dimension=dimension,
        epochs=epochs,
        learning_rate=learning_rate,
        word_ngrams=word_ngrams,
        min_count=min_count,
        min_characters=characters[0],
        max_characters=characters[1],
        hash_rows=hash_rows,
        lowercase=lowercase,
        split_characters=split_characters,
        quantise=quantise,
        seed=seed,
        held_out_fraction=held_out,
    )
    with _mistakes_end_in_2():
        rows = list(read_labels(labels, text_column=text_column, label_column=label_column, group_column=group_column))
        trained = train(
            rows,
            out=out,
            licence=licence,
            source=source or f"`{labels.name}`.",
            use=use,
            positive=positive or (),
            options=options,
        )
    if as_json:
        typer.echo(json.dumps(_without_nan(asdict(trained)), default=str))
        return
    typer.echo(f"model  {trained.model} (sha256 {trained.sha256})\ncard   {trained.card}")
    typer.echo(f"labels {trained.trained_rows:,} trained on, {trained.held_out_rows:,} held out")
    for name, each in trained.evaluations.items():
        typer.echo(f"{name}: {_sentence(each)}")


@app.command("eval")
def eval_command(
    model: Annotated[str, typer.Argument(help="Model file, or builtin/NAME.")],
    labels: Annotated[Path, typer.Argument(help="JSONL (.gz), CSV (.gz) or Parquet file, one labelled text a row.")],
    positive: Annotated[list[str], typer.Option(help="Label in the file that counts as positive; repeatable.")],
    text_column: Annotated[str, typer.Option(help="Column that holds the text.")] = "text",
    label_column: Annotated[str, typer.Option(help="Column that holds the label.")] = "label",
    model_label: Annotated[
        str | None, typer.Option(help="The model's label that is the score; default: the first positive one.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Score from which a text counts as found; default: best F1.", min=0, max=1)
    ] = None,
    lowercase: Annotated[bool, typer.Option(help="Lower-case the texts, as the model was trained.")] = False,
    split_characters: Annotated[
        bool, typer.Option(help="Each Han character and kana a word, as the model was trained.")
    ] = False,
    plot_file: Annotated[
        Path | None, typer.Option("--plot", help="Write calibration, precision and recall as a picture: .svg or .png.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as one JSON object.")] = False,
) -> None:
    """Measure a classifier on your labels: areas, precision and recall with 95 % intervals."""
    with _mistakes_end_in_2():
        path = builtin_path(model) if model.startswith(BUILTIN_PREFIX) else Path(model)
        rows = list(read_labels(labels, text_column=text_column, label_column=label_column))
        found = evaluate(
            load_fasttext(path),
            rows,
            positive=positive,
            model_label=model_label,
            threshold=threshold,
            lowercase=lowercase,
            split_characters=split_characters,
        )
        if plot_file is not None:
            plot(found, plot_file, title=f"{model} on {labels.name}")
    if as_json:
        # NaN is no JSON: an area that is not defined (one kind of rows only) is null.
        values = {"model": model, "sha256": file_sha256(path), **asdict(found)}
        typer.echo(json.dumps(_without_nan(values)))
    else:
        typer.echo(_sentence(found))


@contextmanager
def _mistakes_end_in_2() -> Iterator[None]:
    """Turns a ValueError, which is the user's to mend, into its message and exit code 2."""
    try:
        yield
    except ValueError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


def _sentence(each: Evaluation) -> str:
    return (
        f"ROC area {shown(each.roc_auc)}, PR area {shown(each.pr_auc)} on {each.rows:,} texts, {each.positives:,} "
        f"positive. From {each.threshold:.4f} upwards: precision {shown(each.precision)}, recall "
        f"{shown(each.recall)}; finds {each.found_fraction:.1%} of all, misses {each.missed_positives:,} positives, "
        f"takes {each.false_positives:,} others; its probabilities are off by {each.calibration_error:.3f} on average"
    )


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and value != value else value
