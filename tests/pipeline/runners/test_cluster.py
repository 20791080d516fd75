"""A cluster by its address: shipped code, nodes that die and join or are not fit; the same bytes as without one."""

import json
from pathlib import Path

import pytest
from corpus import make_crawl

from benchmarks.ray_nodes import ray_nodes
from pipeline.engine import Silent
from pipeline.parts import Task
from pipeline.recipe import RecipeError, load_recipe
from pipeline.run import Options, run
from pipeline.runners.needs import Needs, needs_of, parse_needs
from pipeline.runners.ray_runner import ROOT, ClusterError, RayRunner
from pipeline.runners.worker import Expected, UnfitError, check, code_of, versions_of

RECIPE = """\
name: cluster
input: {{paths: ["{crawl}"]}}
stages:
  - {{type: extract, engine: resiliparse}}
  - {{type: gopher_repetition}}
  - {{type: exact_dedup}}
"""


@pytest.fixture
def token(monkeypatch):
    """As if the cluster's token had been given: the nodes are started with this process's."""
    monkeypatch.delenv("TAMIS_NEW_RAY_TOKEN", raising=False)


def task(unit: str, meeting: Path) -> Task:
    return Task(phase="where-0", unit=unit, function="where_task:where", arguments={"meeting": str(meeting)})


def test_a_cluster_of_two_nodes_gives_the_bytes_of_one_process(tmp_path, token):
    """And runs the driver's code, shipped, on both; refuses what it cannot do; and leaves no marker behind."""
    recipe = tmp_path / "r.yaml"
    recipe.write_text(RECIPE.format(crawl=make_crawl(tmp_path / "crawl", files=2, pages_per_file=4)))
    loaded = load_recipe(recipe)
    alone = run(loaded, Options(out=str(tmp_path / "out"), work=str(tmp_path / "work"), runner="inline"))
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    with ray_nodes(2, path=str(Path(__file__).parent)) as (nodes, _):
        runner = RayRunner(workers=0, address=nodes.address)
        options = Options(out=str(tmp_path / "out2"), work=str(tmp_path / "work2"))
        together = run(loaded, options, runner=runner)
        elsewhere = runner.run(str(tmp_path / "work3"), [task(f"u{n}", meeting) for n in range(8)])
        places = [commit.counts for _, commit in elsewhere]
        runner.close()
    assert together["root"] == alone["root"]
    assert together["observed"]["workers"] == 2
    assert all(phase["executed"] == phase["units"] for phase in together["phases"])
    assert len({place["node"] for place in places}) == 2
    assert all(Path(place["code"]) != ROOT and "working_dir_files" in place["code"] for place in places)
    assert not list(tmp_path.glob("work*/.seen*"))


class Watcher(Silent):
    """Calls back once after so many commits, in the driver's main thread: Ray starts a node in no other."""

    def __init__(self, moments) -> None:
        self._moments, self._count = dict(moments), 0

    def advance(self, phase, commit) -> None:
        self._count += 1
        if then := self._moments.pop(self._count, None):
            then()


def test_two_nodes_killed_in_mid_run_and_one_that_joins_change_nothing(tmp_path, token):
    crawl, path = make_crawl(tmp_path / "crawl", files=3, pages_per_file=8), tmp_path / "r.yaml"
    path.write_text(RECIPE.format(crawl=crawl))
    recipe = load_recipe(path, overrides=["input.split_bytes=1024"])
    alone = run(recipe, Options(out=str(tmp_path / "out"), work=str(tmp_path / "work"), runner="inline"))
    happened = []
    with ray_nodes(2) as (nodes, members):

        def kill(number: int) -> None:
            nodes.kill(members[number])
            happened.append(f"killed {number}")

        def join() -> None:
            nodes.join()
            happened.append("joined")

        watcher = Watcher({4: lambda: kill(0), 8: join, 20: lambda: kill(1)})
        options = Options(
            out=str(tmp_path / "out2"), work=str(tmp_path / "work2"), ray_address=nodes.address, workers=0
        )
        together = run(recipe, options, progress=watcher)
    assert happened == ["killed 0", "joined", "killed 1"]
    assert together["root"] == alone["root"]
    assert sum(phase["executed"] for phase in together["phases"]) > 40


def test_a_cluster_is_refused_before_any_work_when_it_cannot_be_used(monkeypatch):
    with pytest.raises(ClusterError, match="Ray client"):
        RayRunner(workers=1, address="ray://head:10001")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    monkeypatch.setenv("TAMIS_NEW_RAY_TOKEN", "0" * 64)
    with pytest.raises(ClusterError, match=r"no token\. Put the cluster's into ~/\.ray/auth_token"):
        RayRunner(workers=1, address="127.0.0.1:6379")


def test_a_node_with_other_code_other_libraries_or_another_work_folder_is_named(tmp_path):
    fit = Expected(root=None, code=code_of(ROOT), versions=versions_of(["numpy", "not-there"]))
    check(str(tmp_path), fit)
    assert dict(fit.versions).keys() == {"numpy", "python"}
    with pytest.raises(UnfitError, match="other code"):
        check(str(tmp_path), Expected(root=None, code="0" * 16))
    with pytest.raises(UnfitError, match=r"numpy .* instead of 1\.0, xyz missing instead of 2"):
        check(str(tmp_path), Expected(root=None, code=fit.code, versions=(("numpy", "1.0"), ("xyz", "2"))))
    with pytest.raises(UnfitError, match="does not see the work folder"):
        check(str(tmp_path), Expected(root=None, code=fit.code, marker=".seen"))
    (tmp_path / ".seen").touch()
    check(str(tmp_path / "."), Expected(root=None, code=fit.code, marker=".seen"))


def test_what_tasks_need_is_told_by_the_phase():
    needs = parse_needs(["measure-*=cpu:2,memory:1.5GB", "extract=memory:3e", "*=gpu:0.5"][::2])
    assert needs == {"measure-*": Needs(cpus=2, memory_bytes=1_500_000_000), "*": Needs(gpus=0.5)}
    assert needs_of("measure-quality-0123456789abcdef", needs, gpu=True) == needs["measure-*"]
    assert needs_of("extract-0123456789abcdef", needs, gpu=False) == Needs(gpus=0.5)
    assert needs_of("extract-0123456789abcdef", {}, gpu=True) == Needs(gpus=1)
    for wrong in ("extract", "extract=", "extract=disk:3", "extract=memory:3e", "extract=cpu:2GB", "extract=cpu:0"):
        with pytest.raises(RecipeError, match="--need"):
            parse_needs([wrong])


def test_tasks_that_no_machine_can_hold_stop_a_local_run_and_are_named(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(RECIPE.format(crawl=make_crawl(tmp_path / "crawl", files=1, pages_per_file=1)))
    options = Options(
        out=str(tmp_path / "out"), work=str(tmp_path / "work"), workers=1, needs={"extract": Needs(gpus=64)}
    )
    with pytest.raises(ClusterError, match="tasks of extract need GPU 64, and no node has so much: lower --need"):
        run(load_recipe(recipe), options)
    assert not json.loads((tmp_path / "out" / "status.json").read_text())["finished"]
