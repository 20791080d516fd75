"""Sampling: the same seed gives the same text, and the limits hold."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from token_corpus import tokenizer

from tokenizer.bpe import decode, encode
from train.generate import SampleSettings, choose, generate
from train.model import Transformer, new_model
from train.presets import preset

TOKENIZER = tokenizer()
GREEDY = SampleSettings(temperature=0.0, max_new_tokens=20)


@pytest.fixture(scope="module")
def model() -> Transformer:
    return new_model(preset("tiny").model(TOKENIZER.vocab_size), seed=0)


def test_greedy_text_is_that_of_whole_passes_without_a_cache(model: Transformer) -> None:
    ids = [
        TOKENIZER.end_of_text_id,
        *np.frombuffer(encode(pa.array(["beer"]), TOKENIZER)[0][0].as_py(), "<u2").tolist(),
    ]
    start = len(ids)
    with torch.no_grad():
        while len(ids) < start + 20:
            logits = model.logits(model.hidden(torch.tensor([ids]))[0, -1])[: TOKENIZER.vocab_size]
            ids.append(int(logits.argmax()))
    expected = decode(pa.array([np.array(ids[start:], "<u2").tobytes()], pa.large_binary()), TOKENIZER)[0].as_py()
    assert generate(model, "beer", GREEDY, tokenizer=TOKENIZER) == expected


def test_the_seed_decides(model: Transformer) -> None:
    hot = SampleSettings(temperature=1.0, top_k=0, max_new_tokens=20)
    one, same, other = (generate(model, "", replace(hot, seed=s), tokenizer=TOKENIZER) for s in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize("prompt", ["", "x" * 10_000, "<|endoftext|>", "\x00é"])
def test_any_prompt_is_continued_within_the_models_positions(model: Transformer, prompt: str) -> None:
    generate(model, prompt, replace(GREEDY, max_new_tokens=500), tokenizer=TOKENIZER)
    assert generate(model, prompt, replace(GREEDY, max_new_tokens=0), tokenizer=TOKENIZER) == ""


def test_only_the_likeliest_tokens_are_drawn() -> None:
    logits = torch.log(torch.tensor([0.1, 0.5, 0.15, 0.25]))
    generator = torch.Generator().manual_seed(0)

    def drawn(**changes) -> set[int]:
        settings = SampleSettings(**{"temperature": 1.0, "top_k": 0, **changes})
        return {choose(logits, settings, generator) for _ in range(300)}

    assert drawn() == {0, 1, 2, 3}
    assert drawn(top_k=2) == {1, 3}
    assert drawn(top_p=0.5) == {1}
    assert drawn(top_p=0.6) == {1, 3}
    assert drawn(top_p=0.01) == {1}
    assert drawn(temperature=0.0) == {1}


@pytest.mark.parametrize("changes", [{"top_p": 0.0}, {"top_p": 1.1}, {"temperature": -1.0}, {"top_k": -1}])
def test_impossible_settings_are_refused(changes: dict) -> None:
    with pytest.raises(ValueError, match="top_"):
        SampleSettings(**changes)


def test_beams_draw_nothing(model: Transformer) -> None:
    texts = {generate(model, "beer", replace(GREEDY, beams=4, seed=s), tokenizer=TOKENIZER) for s in (0, 9)}
    assert len(texts) == 1
    with pytest.raises(ValueError, match="beams 0"):
        SampleSettings(beams=0)


def test_a_beam_as_wide_as_the_vocabulary_finds_the_likeliest_pair_of_tokens(model: Transformer) -> None:
    size = TOKENIZER.vocab_size
    with torch.no_grad():
        first = torch.log_softmax(
            model.logits(model.hidden(torch.tensor([[TOKENIZER.end_of_text_id]])))[0, -1, :size], 0
        )
        pairs = torch.tensor([[TOKENIZER.end_of_text_id, token] for token in range(size)])
        second = torch.log_softmax(model.logits(model.hidden(pairs))[:, -1, :size], dim=-1)
    end = TOKENIZER.end_of_text_id
    totals = first[:, None] + second
    found = {(): float(first[end])}
    found |= {(token,): float(totals[token, end]) / 2 for token in range(size) if token != end}
    totals[end], totals[:, end] = -torch.inf, -torch.inf
    pair = divmod(int(totals.argmax()), size)
    found[pair] = float(totals.max()) / 2
    best = np.array(max(found, key=lambda ids: found[ids]), "<u2")
    expected = decode(pa.array([best.tobytes()], pa.large_binary()), TOKENIZER)[0].as_py()
    assert generate(model, "", SampleSettings(max_new_tokens=2, beams=size), tokenizer=TOKENIZER) == expected
