"""Workers killed in the steps of deduplication below the document, at seeded random moments, on Ray: the same bytes."""

from pathlib import Path

import pytest
from dedup_views import contents
from test_chaos import Killing, ray_runner
from test_span_dedup import EACH, corpus

from pipeline.dedup.spans import span_dedup
from pipeline.engine import Engine
from pipeline.runners.inline import InlineRunner
from pipeline.runners.ray_runner import RayRunner

__all__ = ["ray_runner"]
#: order, ranged, numbers, spans, groups, asks, told, text, ledger
STEPS = 9


def run(engine: Engine, kind: str) -> None:
    span_dedup(engine, corpus(8).view(engine, splits=2), EACH[kind], upstream="test")


def check(runner: RayRunner, folder: Path, *, kind: str, seed: int, steps: range) -> None:
    reference = Engine(str(folder / "reference"), InlineRunner())
    run(reference, kind)
    commits = [commit for group in reference.commits.values() for commit in group]
    seconds = {(commit.phase, commit.unit): commit.observed["seconds"] for commit in commits}
    (folder / "marks").mkdir()
    killing = Killing(runner, folder / "marks", seed=seed, steps=steps, seconds=seconds)
    engine = Engine(str(folder / "work"), killing)
    run(engine, kind)
    phases = [phase for phase in engine.commits if not phase.startswith("base")]
    assert len(phases) == STEPS
    assert killing.killed == [phases[step] for step in steps]
    assert len(list((folder / "marks").iterdir())) == len(steps), "a worker died in each of these steps"
    assert contents(folder / "work") == contents(folder / "reference")


@pytest.mark.parametrize(("kind", "seed"), [("substring", 3)])
def test_a_killed_worker_changes_no_byte(ray_runner: RayRunner, tmp_path: Path, kind: str, seed: int) -> None:
    check(ray_runner, tmp_path, kind=kind, seed=seed, steps=range(seed, STEPS, 4))


@pytest.mark.slow
@pytest.mark.parametrize("kind", EACH)
@pytest.mark.parametrize("seed", range(10))
def test_a_worker_killed_in_every_step_changes_no_byte(
    ray_runner: RayRunner,
    tmp_path: Path,
    kind: str,
    seed: int,
) -> None:
    check(ray_runner, tmp_path, kind=kind, seed=seed, steps=range(STEPS))
