"""Workers killed in the steps of near deduplication, at seeded random moments, on Ray: the same bytes.

Each death costs seconds, until Ray has another worker: a quick run has one in some steps, the slow ones in every step.
"""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from dedup_views import Corpus, contents, planted, words

from pipeline.dedup.near import near_dedup
from pipeline.engine import Engine
from pipeline.parts import Commit, Task
from pipeline.runners.inline import InlineRunner
from pipeline.runners.ray_runner import RayRunner
from stages.near_dedup import NearDedupSettings, Shingle

SETTINGS = NearDedupSettings(threshold=0.6, shingle=Shingle(size=3), crowded=3)
#: Clusters, and pages of one template that crowd a bucket, so that there is a second round.
CORPUS = Corpus(
    [
        *planted(3, 6, seed=5),
        *(" ".join([*words(60, seed=5), *words(25, seed=1000 + number)]) for number in range(14)),
    ]
)
#: Steps of such a run.
STEPS = 18


class Killing:
    """A Ray runner that has one task of each of some steps killed, once, at a moment within the time that it takes."""

    workers = 2

    def __init__(
        self, inner: RayRunner, marks: Path, *, seed: int, steps: range, seconds: dict[tuple[str, str], float]
    ) -> None:
        self.inner = inner
        self.marks = marks
        self.drawn = random.Random(seed)
        self.seconds = seconds
        self.steps = steps
        self.step = -1
        self.killed: list[str] = []

    def run(self, work: str, tasks: Sequence[Task]) -> Iterator[tuple[int, Commit]]:
        sent = list(tasks)
        self.step += not tasks[0].phase.startswith("base")
        if self.step in self.steps:
            victim = self.drawn.randrange(len(tasks))
            task = tasks[victim]
            mark = self.marks / f"{task.phase}.{task.unit}"
            sent[victim] = Task(
                phase=task.phase,
                unit=task.unit,
                function="chaos_worker:run",
                arguments={
                    "function": task.function,
                    "arguments": task.arguments,
                    "mark": str(mark),
                    "after_seconds": self.drawn.uniform(0, self.seconds[task.phase, task.unit]),
                },
            )
            self.killed.append(task.phase)
        yield from self.inner.run(work, sent)

    def close(self) -> None:
        """The Ray runner is closed by whoever started it."""


def near(engine: Engine) -> None:
    view = CORPUS.view(engine, splits=2)
    near_dedup(engine, view, SETTINGS, upstream="test")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[tuple[str, str], float]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    engine = Engine(str(folder), InlineRunner())
    near(engine)
    commits = [commit for group in engine.commits.values() for commit in group]
    return folder, {(commit.phase, commit.unit): commit.observed["seconds"] for commit in commits}


@pytest.fixture(scope="module")
def ray_runner() -> Iterator[RayRunner]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        runner = RayRunner(workers=2)
        yield runner
        runner.close()


def check(undisturbed: Any, ray_runner: RayRunner, folder: Path, *, seed: int, steps: range) -> None:
    reference, seconds = undisturbed
    (folder / "marks").mkdir()
    runner = Killing(ray_runner, folder / "marks", seed=seed, steps=steps, seconds=seconds)
    engine = Engine(str(folder / "work"), runner)
    near(engine)
    phases = [phase for phase in engine.commits if not phase.startswith("base")]
    assert len(phases) == STEPS
    assert any(".round2." in phase for phase in phases)
    assert runner.killed == [phases[step] for step in steps]
    assert len(list((folder / "marks").iterdir())) == len(steps), "a worker died in each of these steps"
    assert contents(folder / "work") == contents(reference)


@pytest.mark.parametrize("seed", [1, 4])
def test_a_killed_worker_changes_no_byte(undisturbed: Any, ray_runner: RayRunner, tmp_path: Path, seed: int) -> None:
    check(undisturbed, ray_runner, tmp_path, seed=seed, steps=range(seed, STEPS, 9))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_worker_killed_in_every_step_changes_no_byte(
    undisturbed: Any, ray_runner: RayRunner, tmp_path: Path, seed: int
) -> None:
    check(undisturbed, ray_runner, tmp_path, seed=seed, steps=range(STEPS))
