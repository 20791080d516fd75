"""Bits per byte: every token once, behind the context the protocol promises, whatever the batching."""

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from token_corpus import TEXTS, tokenizer

from train import evaluate as module
from train.evaluate import evaluate, prepare, protocol, read_domain
from train.loss import token_cross_entropy
from train.model import Transformer, new_model
from train.presets import preset

TOKENIZER = tokenizer()
CONTEXT = 64


@pytest.fixture(scope="module")
def model() -> Transformer:
    made = new_model(preset("tiny").model(TOKENIZER.vocab_size), seed=0)
    with torch.no_grad():
        # Sharper than at the start, so that the context matters.
        for parameter in made.parameters():
            parameter.mul_(3.0)
    return made


def score(model: Transformer, texts: list[str]) -> module.DomainScore:
    held_out = prepare({"domain": texts}, TOKENIZER)
    return evaluate(model, held_out, end_of_text_id=TOKENIZER.end_of_text_id)["domain"]


def by_hand(model: Transformer, text: str) -> float:
    """Each token's nats behind the context that the protocol gives it, one forward pass a token."""
    ids = [TOKENIZER.end_of_text_id, *prepare({"d": [text]}, TOKENIZER)["d"].tokens[0].tolist()]
    total = 0.0
    for position in range(1, len(ids)):
        # Windows begin at multiples of T/2; the first one that reaches the token scores it.
        start = max(0, math.ceil((position - CONTEXT) / (CONTEXT // 2))) * (CONTEXT // 2)
        with torch.no_grad():
            hidden = model.hidden(torch.tensor([ids[start:position]]))[:, -1]
            total += token_cross_entropy(hidden, model.output_weight, torch.tensor([ids[position]])).item()
    return total


@pytest.mark.parametrize("text", ["a", TEXTS[3], TEXTS[3] * 4, "x" * 500])
def test_every_token_is_scored_once_behind_its_context(model: Transformer, text: str) -> None:
    assert score(model, [text]).nats == pytest.approx(by_hand(model, text), rel=1e-4)


def test_documents_longer_than_the_context_get_half_of_it_before_each_token() -> None:
    windows = list(module._windows(np.arange(1, 151), 0, 64))
    scored = [target for _, targets in windows for target in targets.tolist() if target != module.IGNORED]
    assert scored == list(range(1, 151))
    assert [len(inputs) for inputs, _ in windows] == [64, 64, 64, 54]
    for number, (inputs, targets) in enumerate(windows):
        assert inputs.tolist() == list(range(32 * number, 32 * number + len(inputs)))
        assert (targets == module.IGNORED).sum() == (32 if number else 0)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 96, 97])
def test_no_window_is_wasted(length: int) -> None:
    windows = list(module._windows(np.arange(1, length + 1), 0, 64))
    assert len(windows) == 1 + max(0, math.ceil((length - 64) / 32))


def test_the_score_does_not_depend_on_batching_or_neighbours(model: Transformer, monkeypatch) -> None:
    texts = [TEXTS[0][:n] for n in (200, 1, 30, 5)] + [TEXTS[1] * 5]
    together = score(model, texts)
    monkeypatch.setattr(module, "BATCH_TOKENS", 1)
    assert score(model, texts).document_nats == pytest.approx(together.document_nats, rel=1e-5)
    alone = [score(model, [text]).nats for text in texts]
    assert together.document_nats == pytest.approx(alone, rel=1e-5)
    assert together.nats == pytest.approx(sum(alone), rel=1e-5)


def test_bits_are_counted_per_byte_of_the_text(model: Transformer) -> None:
    result = score(model, ["häß", "漢字"])
    assert result.document_bytes == [5, 6]
    assert result.bits_per_byte == pytest.approx(result.nats / math.log(2) / 11)
    assert result.tokens == sum(len(ids) for ids in prepare({"d": ["häß", "漢字"]}, TOKENIZER)["d"].tokens)


def test_a_uniform_model_scores_the_vocabularys_bits(model: Transformer) -> None:
    flat = new_model(preset("tiny").model(TOKENIZER.vocab_size), seed=0)
    with torch.no_grad():
        flat.model.embed_tokens.weight.zero_()
    result = score(flat, ["uniform"])
    assert result.bits_per_byte == pytest.approx(math.log2(flat.settings.vocab_size) * result.tokens / 7, rel=1e-6)


def test_domains_without_text_are_refused() -> None:
    with pytest.raises(ValueError, match="'none' has no documents"):
        prepare({"none": []}, TOKENIZER)
    with pytest.raises(ValueError, match="document 1 of the held-out domain 'd' is empty"):
        prepare({"d": ["a", ""]}, TOKENIZER)


def test_the_protocol_is_recorded_and_documents_identified() -> None:
    stated = protocol(tokenizer=TOKENIZER, context=64)
    assert (stated["context_tokens"], stated["stride_tokens"]) == (64, 32)
    assert json.loads(json.dumps(stated)) == stated
    one, other = (prepare({"d": texts}, TOKENIZER)["d"].sha256 for texts in (["ab", "c"], ["a", "bc"]))
    assert one != other


def test_domains_are_read_from_jsonl_and_text(tmp_path: Path) -> None:
    # U+2028 is no line end; an escaped lone surrogate has no UTF-8 form.
    lines = [json.dumps({"text": "one\u2028more"}, ensure_ascii=False), "", '{"text": ""}', '{"text": "\\ud800!"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert read_domain(tmp_path / "a.jsonl") == ["one\u2028more", "?!"]
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"text": "zipped"}\n'))
    assert read_domain(tmp_path / "b.jsonl.gz") == ["zipped"]
    text = "".join(f"line {n}\n" for n in range(2000))
    (tmp_path / "c.txt").write_text(text)
    pieces = read_domain(tmp_path / "c.txt")
    assert len(pieces) == 5
    assert "\n".join(pieces) == text
    assert all(len(piece) >= module.PIECE_BYTES - 1 for piece in pieces[:-1])
    for bad, named in ((b"{", "line 1"), (b'{"text": "a"}\n{"body": 1}', "line 2"), (b'{"text": 3}', "not a string")):
        (tmp_path / "bad.jsonl").write_bytes(bad)
        with pytest.raises(ValueError, match=named):
            read_domain(tmp_path / "bad.jsonl")
