"""The one place that prepares text for fastText and reads its answers: in training and in scoring alike.

fastText reads one line at a time and gives two tokens a meaning of their own: it stops reading at `</s>`, so that a
page holding that word would be judged by its beginning only, and it takes a word that begins with `__label__` for an
answer. Neither may come from a page.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from stages.schema import SCORE_DECIMALS
from stages.stage import Resource

LABEL_PREFIX = "__label__"
END_OF_LINE = "</s>"

#: Text handed to the library in one call, in characters: its answers are Python objects, so a batch of any size
#: costs the memory of one call.
CALL_CHARACTERS = 16_000_000

#: Begins the name of a folder that holds a Hugging Face sequence classifier.
FOLDER_PREFIX = "hf:"

#: Ends a setting that means every label with this beginning.
ANY_ENDING = "*"

#: Characters of scripts without spaces between words, each a word of its own where a model was trained so: kana, Han
#: and its extensions, half-width kana. Hangul has spaces.
_WITHOUT_SPACES = re.compile(
    "([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff])"
)


def one_line(text: str, *, lowercase: bool = False, split_characters: bool = False) -> str:
    """The text as one line of words with single spaces; empty if there is no word.

    Every run of Unicode white space becomes one space, a lone surrogate a question mark; fastText's own two markers
    become spaces. Digits and punctuation stay, and case unless `lowercase`, so that models trained elsewhere on plain
    lines are scored as they were trained. With `split_characters` every Han character and kana is a word.
    """
    if lowercase:
        text = text.lower()  # first: lower-casing may spell out a marker
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
        if split_characters:
            text = _WITHOUT_SPACES.sub(r" \1 ", text)
    if "\0" in text:
        text = text.replace("\0", " ")
    if END_OF_LINE in text:
        text = text.replace(END_OF_LINE, " ")
    if LABEL_PREFIX in text:
        text = text.replace(LABEL_PREFIX, " ")
    return " ".join(text.split())


def windows(line: str, *, words: int) -> list[str]:
    """The line cut into pieces of nearly equal size, about `words` words each; at least one piece, in order.

    Equal pieces, because a short remainder would be judged on two or three words.
    """
    parts = line.split(" ")
    pieces = max(1, round(len(parts) / words))
    if pieces == 1:
        return [line]
    bounds = [len(parts) * i // pieces for i in range(pieces + 1)]
    return [" ".join(parts[start:end]) for start, end in pairwise(bounds)]


def best_labels(model: Any, lines: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """For each line the likeliest label, without its prefix, and its probability (float64, 4 decimals).

    A line without a word, or with none that the model knows, gets the label "" and 0.0.
    """
    labels: list[str] = []
    scores = np.zeros(len(lines), dtype=np.float64)
    for row, (found, probabilities) in enumerate(_answers(model, lines, k=1)):
        known = bool(lines[row]) and len(found) == 1
        labels.append(found[0].removeprefix(LABEL_PREFIX) if known else "")
        scores[row] = probabilities[0] if known else 0.0
    return labels, as_scores(scores)


def top_labels(model: Any, lines: Sequence[str], *, count: int) -> list[list[tuple[str, float]]]:
    """For each line the likeliest labels, without their prefix, with their probabilities (4 decimals), best first.

    Empty for a line without a word or with none that the model knows; a probability that rounds to 0 is left out.
    """
    found = []
    for line, (labels, probabilities) in zip(lines, _answers(model, lines, k=count), strict=True):
        scores = as_scores(np.asarray(probabilities, dtype=np.float64)).tolist() if line else []
        named = [label.removeprefix(LABEL_PREFIX) for label in labels]
        found.append([(label, score) for label, score in zip(named, scores, strict=False) if score > 0])
    return found


def label_scores(model: Any, lines: Sequence[str], *, label: str) -> np.ndarray:
    """For each line the probability of `label` (float64, 4 decimals, within [0, 1]); with a `*` at its end, that of all
    labels that begin so, together.

    0.0 for a line without a word or with none that the model knows. ValueError if the model has no such label.
    """
    wanted = labels_meant(model, label)
    known = model.get_labels()
    scores = np.zeros(len(lines), dtype=np.float64)
    for row, (found, probabilities) in enumerate(_answers(model, lines, k=len(known))):
        if lines[row]:
            scores[row] = sum(value for name, value in zip(found, probabilities, strict=False) if name in wanted)
    return as_scores(scores)


def labels_meant(model: Any, label: str) -> set[str]:
    """The model's labels that `label` means: itself, or with a `*` at its end all that begin so. ValueError if none."""
    known = model.get_labels()
    if label.endswith(ANY_ENDING):
        meant = {each for each in known if each.startswith(label.removesuffix(ANY_ENDING))}
    else:
        meant = {label} & set(known)
    if not meant:
        some = ", ".join(sorted(known)[:10])
        raise ValueError(f"the model has no label {label!r}: set `label` to one of its {len(known)} labels ({some})")
    return meant


def model_resource(*, reference: str, sha256: str | None) -> tuple[Resource, ...]:
    """What a stage that is judged by one classifier asks the pipeline to load, under the name `model`: a fastText file,
    or with `hf:` the folder of a sequence classifier, which answers in the same way."""
    kind = "sequence_classifier" if reference.startswith(FOLDER_PREFIX) else "fasttext"
    return (Resource(name="model", kind=kind, reference=reference, sha256=sha256),)


def _answers(model: Any, lines: Sequence[str], *, k: int) -> Iterator[tuple[Sequence[str], Sequence[float]]]:
    """Yields (labels, probabilities), best first, for each line in order, by calls of bounded size."""
    start = 0
    while start < len(lines):
        end, characters = start, 0
        while end < len(lines) and (end == start or characters + len(lines[end]) <= CALL_CHARACTERS):
            characters += len(lines[end])
            end += 1
        yield from zip(*model.predict(list(lines[start:end]), k=k), strict=True)
        start = end


def as_scores(scores: np.ndarray) -> np.ndarray:
    """Probabilities as they are stored: within [0, 1], rounded."""
    # fastText answers up to 1.00001: it adds 1e-5 before it takes a logarithm.
    rounded: np.ndarray = np.round(np.clip(scores, 0.0, 1.0), SCORE_DECIMALS)
    return rounded
