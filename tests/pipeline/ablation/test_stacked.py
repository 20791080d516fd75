"""The seeds of a variant as one batched model score what they score apart, and are found again."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from token_corpus import TEXTS, counting_shards, shards_of_texts, tokenizer

from pipeline.ablation.experiment import Model
from pipeline.ablation.training import Job, _curve, _together, train_job, train_stack


def make_job(folder: Path) -> Job:
    shards_of_texts(folder / "shards")
    (folder / "tokenizer.json").write_text(tokenizer().inner.to_str())
    (folder / "held.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS[:3]))
    return Job(
        variant="v", shards=str(folder / "shards"), seed=0, preset="tiny", tokens=4096,
        domains=(("songs", str(folder / "held.jsonl")),), tokenizer=str(folder / "tokenizer.json"),
        models=str(folder / "models"), stacked=True,
    )  # fmt: skip


def bits(found: dict[str, Any]) -> float:
    return float(found["domains"]["songs"]["bits_per_byte"])


def test_together_they_score_what_they_score_apart(tmp_path: Path) -> None:
    first = make_job(tmp_path)
    jobs = [first, replace(first, seed=1)]
    together = train_stack(jobs, [job.identity() for job in jobs])
    apart = replace(first, seed=1, stacked=False)
    alone = train_job(apart, apart.identity())
    assert apart.identity() != jobs[1].identity()
    assert bits(together[1]) == pytest.approx(bits(alone), rel=2e-3)
    assert bits(together[0]) != bits(together[1])
    same = ("tokens", "unique_tokens", "epochs", "bytes", "flop", "parameters", "protocol", "learning_rate")
    assert {name: together[1][name] for name in same} == {name: alone[name] for name in same}
    assert len(together[0]["curve"]) == len(alone["curve"])
    before = (tmp_path / "models" / first.identity() / "scores.json").stat().st_mtime_ns
    assert train_stack(jobs, [job.identity() for job in jobs]) == together
    assert (tmp_path / "models" / first.identity() / "scores.json").stat().st_mtime_ns == before


def test_only_seeds_of_one_variant_share_a_stack(tmp_path: Path) -> None:
    first = make_job(tmp_path)
    jobs = [first, replace(first, seed=1), replace(first, variant="w", tokens=8192), replace(first, stacked=False)]
    assert _together({str(n): [job] for n, job in enumerate(jobs)}) == [["0", "1"], ["2"], ["3"]]


def test_muon_is_not_stacked() -> None:
    with pytest.raises(ValueError, match="trained by adamw"):
        Model(stacked=True, optimizer="muon")


def test_a_variant_whose_shards_have_an_order_is_trained_in_it(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    assert job.settings().order == "shuffled"
    counting_shards(tmp_path / "ordered", [30] * 10, order="length ascending, limits 9")
    assert replace(job, shards=str(tmp_path / "ordered")).settings().order == "stored"


def test_a_loss_curve_is_of_all_steps_and_not_of_every_so_many(tmp_path: Path) -> None:
    losses = [float(step % 2) for step in range(1, 241)]
    lines = [json.dumps({"step": step, "loss": loss}) for step, loss in enumerate(losses, start=1)]
    lines[4:8] = [json.dumps({"step": step, "loss": None}) for step in range(5, 9)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    curve = _curve(tmp_path / "metrics.jsonl", 10)
    assert len(curve) == 59
    assert curve[:2] == [[40, 0.5], [120, 0.5]]
    assert {loss for _, loss in curve} == {0.5}
    assert curve[-1][0] == 2400
