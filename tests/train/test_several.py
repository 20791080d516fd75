"""Models trained together are those trained apart."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from token_corpus import TEXTS, shards_of_texts

from tokenizer.shards import ShardSet
from train.export import load_model
from train.loop import train
from train.presets import preset
from train.settings import TrainSettings
from train.several import Member, train_several

TINY = preset("tiny")
SETTINGS = TrainSettings.from_preset(TINY, tokens=10 * 512, micro_batch_sequences=4)


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("changes", [{}, {"qk_norm": False, "tie_word_embeddings": False}, {"sliding_window": 9}])
def test_together_is_as_apart(shards: ShardSet, tmp_path: Path, changes: dict) -> None:
    other = shards_of_texts(tmp_path / "other", TEXTS[20:])
    members = [
        Member(shards=shards, seed=0, out=tmp_path / "s0"),
        Member(shards=shards, seed=1, out=tmp_path / "s1"),
        Member(shards=other, seed=0, out=tmp_path / "s2"),
    ]
    model = replace(TINY.model(shards.metadata.vocab_size), **changes)
    results = train_several(members, SETTINGS, model=model)
    for number, member in enumerate(members):
        apart = tmp_path / f"apart{number}"
        train(member.shards, replace(SETTINGS, seed=member.seed), model=model, out=apart)
        assert losses(member.out) == pytest.approx(losses(apart), rel=1e-4)
        assert results[number]["final_loss"] == losses(member.out)[-1]
        ids = torch.tensor([[0, 5, 17, 200, 3, 90]])
        with torch.no_grad():
            mine, theirs = (load_model(out / "model").hidden(ids) for out in (member.out, apart))
        assert torch.allclose(mine, theirs, atol=0.02)
    assert len({losses(member.out)[0] for member in members}) == 3
    assert results[0]["together"]["models"] == 3


def test_what_it_cannot_do_is_refused(shards: ShardSet, tmp_path: Path) -> None:
    model = TINY.model(shards.metadata.vocab_size)
    with pytest.raises(ValueError, match="no model to train"):
        train_several([], SETTINGS, model=model)
    member = Member(shards=shards, seed=0, out=tmp_path)
    with pytest.raises(ValueError, match="by adamw and without document_mask"):
        train_several([member], replace(SETTINGS, optimizer="muon"), model=model)
