"""Answers are scored behind their questions, and only the answers."""

import gzip
import json
import math
from pathlib import Path

import pytest
import torch
from token_corpus import TEXTS, shards_of_texts, tokenizer

from train.choices import Item, read_items, score_items
from train.evaluate import evaluate, prepare
from train.loop import train
from train.model import Transformer, new_model
from train.presets import preset
from train.settings import TrainSettings

TOKENIZER = tokenizer()
BENCHMARKS = Path(__file__).parents[2] / "../shared/data/benchmarks"


@pytest.fixture(scope="module")
def model() -> Transformer:
    return new_model(preset("tiny").model(TOKENIZER.vocab_size), seed=0)


def test_nats_are_those_of_the_whole_text_less_those_of_the_question(model: Transformer) -> None:
    def nats(text: str) -> float:
        held = prepare({"d": [text]}, TOKENIZER)
        return evaluate(model, held, end_of_text_id=TOKENIZER.end_of_text_id)["d"].nats

    item = Item(question="99 bottles of", answers=[" beer", " wine"], gold=1)
    score = score_items(model, [item], tokenizer=TOKENIZER)
    expected = (nats("99 bottles of wine") - nats("99 bottles of")) / math.log(2) / len("wine")
    assert score.bits_per_byte == pytest.approx(expected, rel=1e-4)
    assert score.item_bits_per_byte == [pytest.approx(expected, abs=1e-3)]
    assert score.chance == 0.5


def test_a_trained_model_knows_the_answers(tmp_path: Path) -> None:
    shards = shards_of_texts(tmp_path / "shards", TEXTS)
    settings = TrainSettings.from_preset(preset("tiny"), tokens=60 * 512)
    train(shards, settings, model=preset("tiny").model(280), out=tmp_path, tokenizer=TOKENIZER)
    from train.export import load_model

    model = load_model(tmp_path / "model")
    question = TEXTS[5][: TEXTS[5].index(" of beer")]
    items = [
        Item(question=question, answers=[" of coal", " of beer", " to drink"], gold=1),
        Item(question=question, answers=[" of beer", " and more"], gold=0),
    ]
    score = score_items(model, items, tokenizer=TOKENIZER)
    assert score.accuracy == 1.0
    assert score.chance == pytest.approx((1 / 3 + 1 / 2) / 2)
    wrong = score_items(model, [Item(question=question, answers=[" of coal"], gold=0)], tokenizer=TOKENIZER)
    assert wrong.accuracy is None
    assert wrong.bits_per_byte > score.bits_per_byte + 1


def test_questions_that_are_too_long_lose_their_beginning(model: Transformer) -> None:
    item = Item(question="x" * 5000 + " so it is", answers=[" beer"], gold=0)
    assert math.isfinite(score_items(model, [item], tokenizer=TOKENIZER).bits_per_byte)


def test_order_and_batches_do_not_matter(model: Transformer) -> None:
    items = [Item(question=text[:40], answers=[text[40 : 40 + n]], gold=0) for n, text in enumerate(TEXTS[:9], start=5)]
    together = score_items(model, items, tokenizer=TOKENIZER).item_bits_per_byte
    alone = [score_items(model, [item], tokenizer=TOKENIZER).item_bits_per_byte[0] for item in items]
    assert together == pytest.approx(alone, abs=2e-3)


def test_both_forms_are_read_and_other_lines_named(tmp_path: Path) -> None:
    lines = [
        {"query": "Question: Which?\n", "choices": ["this", " that "], "gold": 1},
        {"context": "He said ", "continuation": "yes"},
    ]
    path = tmp_path / "items.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    assert read_items(path) == [
        Item(question="Question: Which?\nAnswer:", answers=[" this", " that"], gold=1),
        Item(question="He said", answers=[" yes"], gold=0),
    ]
    for bad in (
        {"query": "a"},
        {"query": "a", "choices": ["b"], "gold": 1},
        {"context": "a", "continuation": " "},
        [1],
    ):
        (tmp_path / "bad.jsonl").write_text(json.dumps(lines[1]) + "\n" + json.dumps(bad))
        with pytest.raises(ValueError, match=r"bad\.jsonl, line 2: not an item"):
            read_items(tmp_path / "bad.jsonl")
    (tmp_path / "bad.jsonl").write_text("\n")
    with pytest.raises(ValueError, match="no items"):
        read_items(tmp_path / "bad.jsonl")


@pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the shared benchmarks are not beside the repository")
@pytest.mark.parametrize(("name", "lines"), [("arc_easy", 2376), ("piqa", 1838), ("lambada_openai", 5153)])
def test_published_benchmarks_are_read_and_scored(model: Transformer, name: str, lines: int) -> None:
    items = read_items(BENCHMARKS / f"{name}.jsonl.gz")
    assert len(items) == lines
    with torch.no_grad():
        score = score_items(model, items[:3], tokenizer=TOKENIZER)
    assert 0 < score.bits_per_byte < 20
