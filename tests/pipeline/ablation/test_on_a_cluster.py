"""On a cluster the models are trained by its nodes, and results.json is that of one machine."""

from typing import Any

import pytest
from small_ablation import call, lines, make
from typer.testing import CliRunner

from benchmarks.ray_nodes import ray_nodes
from pipeline.ablation import training
from pipeline.ablation.experiment import load_experiment
from pipeline.ablation.run import ablate
from pipeline.ablation.training import Cluster, Doing, Job, do_task, run_jobs
from pipeline.cli import app
from pipeline.engine import Silent
from pipeline.parts import Output
from pipeline.run import Options
from pipeline.runners import ray_runner

MEMORISATION = "memorisation={{canaries: {}/canaries.jsonl, copies: [2], texts: 1, tokens: 1024, samples: 2}}"
STACKED = ("model.stacked=true", "seeds=2")


def without_times(results: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in results.items() if name != "environment"}


def test_nodes_train_the_models_and_results_are_those_of_one_machine(tmp_path, monkeypatch):
    assert ray_runner  # imported before Ray, it makes a token; here it counts as given
    monkeypatch.delenv("TAMIS_NEW_RAY_TOKEN", raising=False)
    path = make(tmp_path)
    (tmp_path / "canaries.jsonl").write_text(lines(5000, 4, sentences=8))
    asked = (MEMORISATION.format(tmp_path), *STACKED)
    alone = call(path, *asked)

    def no_pool(*_: Any) -> None:
        raise AssertionError("the driver trains a model itself")

    monkeypatch.setattr(training, "_by_processes", no_pool)
    with ray_nodes(2) as (nodes, _):
        options = Options(
            out=str(tmp_path / "out2"), work=str(tmp_path / "work2"), ray_address=nodes.address, workers=0
        )
        together = ablate(load_experiment(path, overrides=asked), options, progress=Silent())
    assert without_times(together) == without_times(alone)
    assert together["environment"]["fixed-pool"].keys() == alone["environment"]["fixed-pool"].keys()
    assert len(list((tmp_path / "work2").glob("train-*/*.commit.json"))) >= 2


def a_job(**changes: Any) -> Job:
    return Job(**{
        "variant": "v", "shards": "/not/there", "seed": 0, "preset": "tiny", "tokens": 512, "domains": (),
        "tokenizer": "/not/there/tokenizer.json", "models": "/not/there/models", **changes,
    })  # fmt: skip


def test_a_node_that_cannot_train_says_what_is_missing(tmp_path, monkeypatch):
    output = Output(None, "train-0", "unit")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=r"/not/there is not seen from node .*: give an --out"):
        do_task(output, does=Doing(), jobs=[a_job()], identities=["i"])
    monkeypatch.setattr(training.torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"model\.device is cuda, and node .* gave the task no GPU"):
        do_task(output, does=Doing(), jobs=[a_job(device="cuda")], identities=["i"])
    here = [str(tmp_path), str(tmp_path / "tokenizer.json")]
    (tmp_path / "tokenizer.json").touch()
    monkeypatch.setattr(Job, "identity", lambda job: "another")
    with pytest.raises(ValueError, match="would train another model: its torch"):
        do_task(output, does=Doing(), jobs=[a_job(shards=here[0], tokenizer=here[1])], identities=["i"])


def test_places_and_devices_that_cannot_be_are_refused_before_any_work(tmp_path, monkeypatch):
    found = CliRunner().invoke(app, ["ablate", str(make(tmp_path)), "--out", "s3://bucket/out"])
    assert found.exit_code == 2
    assert "--out s3://bucket/out: models and their checkpoints need a file system" in found.output
    monkeypatch.setattr(Job, "identity", lambda job: "i")
    monkeypatch.setattr(training.torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match=r"model\.device is cuda, and torch sees no GPU here"):
        run_jobs([a_job(device="cuda")], workers=2, done=lambda *_: None)


class Asked:
    """A runner that remembers what it was given and does nothing."""

    workers = 1

    def run(self, work, tasks):
        self.tasks = tasks
        return iter(())

    def close(self) -> None: ...


def test_a_model_for_a_gpu_asks_for_one_and_the_seeds_of_a_stack_share_it(tmp_path, monkeypatch):
    monkeypatch.setattr(Job, "identity", lambda job: f"{job.variant}-{job.seed}-{job.stacked}")
    jobs = [a_job(device="cuda", seed=seed, stacked=stacked) for seed in (0, 1) for stacked in (False, True)]
    asked = Asked()
    run_jobs(jobs, workers=1, done=lambda *_: None, cluster=Cluster(runner=asked, work=str(tmp_path)))
    assert [task.arguments["identities"] for task in asked.tasks] == [
        ["v-0-False"],
        ["v-0-True", "v-1-True"],
        ["v-1-False"],
    ]
    assert all(task.only_gpu for task in asked.tasks)
    assert len({task.phase for task in asked.tasks}) == 1
    assert len({task.unit for task in asked.tasks}) == 3
