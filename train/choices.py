"""Multiple-choice items by likelihood: bits per byte of the right answer, and how often it is the likeliest.

Small models do not choose better than chance for long, but the likelihood that they give to the right answer falls
smoothly with training: bits per byte of the answer is the figure to compare. Forms of a line of JSON:

    {"query": …, "choices": [one, two, …], "gold": 0}     ARC, PIQA: the answer is one of several
    {"context": …, "continuation": …}                     LAMBADA: one answer, no choice

The model reads the end-of-text token, the question and the answer. A query of ARC's form ends in "Answer:".
"""

import gzip
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from tokenizer.bpe import Tokenizer, encode
from train.evaluate import IGNORED
from train.loss import token_cross_entropy
from train.model import Transformer

#: Tokens of one forward pass, padding included.
BATCH_TOKENS = 16_384


@dataclass(frozen=True, kw_only=True)
class Item:
    """A question, its possible answers, each with its leading space, and which one is right."""

    question: str
    answers: list[str]
    gold: int


@dataclass(frozen=True, kw_only=True)
class ChoiceScore:
    """What one model scored on one file."""

    #: Of the right answers: Σ nats / (ln 2 · Σ UTF-8 bytes of the answers, leading spaces not counted).
    bits_per_byte: float
    #: Share of the items whose right answer has the fewest nats a byte; None where there is nothing to choose.
    accuracy: float | None
    #: What guessing would reach.
    chance: float | None
    items: int
    #: Bits per byte of each item's right answer, in order: for intervals.
    item_bits_per_byte: list[float]


def read_items(path: Path) -> list[Item]:
    """The items of a JSONL file, which may be gzipped. ValueError names the line that has neither form."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    items = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            try:
                items.append(_item(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(
                    f"{path}, line {number}: not an item with choices or a continuation: {error}"
                ) from error
    if not items:
        raise ValueError(f"{path}: no items")
    return items


def _item(row: dict[str, Any]) -> Item:
    if "continuation" in row:
        item = Item(question=row["context"].rstrip(), answers=[" " + row["continuation"].strip()], gold=0)
    else:
        question = f"{row['query'].rstrip()}\nAnswer:"
        item = Item(question=question, answers=[" " + choice.strip() for choice in row["choices"]], gold=row["gold"])
    if not all(answer.strip() for answer in item.answers):
        raise ValueError("an answer is empty")
    if not 0 <= item.gold < len(item.answers):
        raise ValueError(f"gold {item.gold} is none of {len(item.answers)} choices")
    return item


def score_items(model: Transformer, items: Sequence[Item], *, tokenizer: Tokenizer) -> ChoiceScore:
    """Score every answer of every item behind its question, which loses its beginning where both are too long.

    Question and answer are encoded apart, so that the answer's tokens are its own.
    """
    if not items:
        raise ValueError("there are no items to score")
    questions = _ids([item.question for item in items], tokenizer)
    owner = [row for row, item in enumerate(items) for _ in item.answers]
    answers = _ids([answer for item in items for answer in item.answers], tokenizer)
    longest = model.settings.max_position_embeddings
    sequences = [
        _sequence(questions[row], ids, tokenizer.end_of_text_id, longest)
        for row, ids in zip(owner, answers, strict=True)
    ]
    nats = _nats(model, sequences)
    return _score(items, nats)


def _ids(texts: list[str], tokenizer: Tokenizer) -> list[np.ndarray]:
    rows, _ = encode(pa.array(texts, pa.large_string()), tokenizer)
    return [np.frombuffer(row.as_buffer(), tokenizer.dtype).astype(np.int64) for row in rows]


def _sequence(
    question: np.ndarray, answer: np.ndarray, end_of_text: int, longest: int
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of at most `longest` positions; only the answer is scored."""
    # An answer that is too long by itself is scored on its last tokens: no benchmark has one.
    stream = np.concatenate([[end_of_text], question, answer])[-(longest + 1) :]
    targets = stream[1:].copy()
    targets[: max(0, len(targets) - len(answer))] = IGNORED
    return stream[:-1], targets


@torch.no_grad()
def _nats(model: Transformer, sequences: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Of each sequence's targets, float64. Shortest first, so that little is padding."""
    device = model.output_weight.device
    nats = np.zeros(len(sequences))
    order = sorted(range(len(sequences)), key=lambda row: len(sequences[row][0]))
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * len(sequences[order[stop]][0]) <= BATCH_TOKENS:
            stop += 1
        rows = order[start:stop]
        width = len(sequences[rows[-1]][0])
        ids = np.zeros((len(rows), width), np.int64)
        targets = np.full((len(rows), width), IGNORED, np.int64)
        for place, row in enumerate(rows):
            inputs, wanted = sequences[row]
            ids[place, : len(inputs)], targets[place, : len(inputs)] = inputs, wanted
        hidden = model.hidden(torch.from_numpy(ids).to(device)).flatten(0, 1)
        losses = token_cross_entropy(hidden, model.output_weight, torch.from_numpy(targets).flatten().to(device))
        nats[rows] = losses.view(len(rows), width).double().sum(dim=1).cpu().numpy()
        start = stop
    return nats


def _score(items: Sequence[Item], nats: np.ndarray) -> ChoiceScore:
    total, size, right, place = 0.0, 0, 0, 0
    each = []
    for item in items:
        own = nats[place : place + len(item.answers)]
        place += len(item.answers)
        sizes = [len(answer.strip().encode()) for answer in item.answers]
        total, size = total + float(own[item.gold]), size + sizes[item.gold]
        each.append(round(float(own[item.gold]) / math.log(2) / sizes[item.gold], 4))
        right += int(np.argmin(own / sizes)) == item.gold
    chooses = any(len(item.answers) > 1 for item in items)
    chance = sum(1 / len(item.answers) for item in items) / len(items)
    return ChoiceScore(
        bits_per_byte=total / math.log(2) / size,
        accuracy=right / len(items) if chooses else None,
        chance=chance if chooses else None,
        items=len(items),
        item_bits_per_byte=each,
    )
