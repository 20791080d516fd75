"""What a run would do: every phase with its key, what is cached, what is left. Nothing is executed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline import shard_flow
from pipeline.engine import Engine
from pipeline.flow import Flow, labels
from pipeline.parts import Commit, Task, committed_units, read_commit
from pipeline.recipe import Recipe
from pipeline.run import pin_slices, plan_splits
from pipeline.runners.inline import InlineRunner
from stages.near_dedup import NearDedupSettings


class NotYetError(Exception):
    """The contents that the next key hashes do not exist yet."""


@dataclass(frozen=True, kw_only=True)
class PlannedPhase:
    """One phase: `units` to do in all, `cached` of them committed."""

    phase: str
    units: int
    cached: int


class Looking(Engine):
    """An engine that executes nothing: it finds what is committed and writes down what is not."""

    def __init__(self, work: str) -> None:
        super().__init__(work, InlineRunner())
        self.planned: list[PlannedPhase] = []

    def run(self, tasks: Sequence[Task]) -> list[Commit]:
        """The commits if all are there; else NotYetError, after the phase has been written down."""
        if not tasks:
            return []
        phase = tasks[0].phase
        done = committed_units(self.files, phase)
        cached = [task for task in tasks if task.unit in done]
        self.planned.append(PlannedPhase(phase=phase, units=len(tasks), cached=len(cached)))
        if len(cached) < len(tasks):
            raise NotYetError(phase)
        commits = [read_commit(self.files, phase, task.unit) for task in tasks]
        self.commits.setdefault(phase, []).extend(commits)
        return commits


def plan(recipe: Recipe, work: str) -> dict[str, Any]:
    """The resolved recipe, the phases with what is cached, and the names of those whose key is not known yet."""
    splits = plan_splits(recipe, work)
    engine = Looking(work)
    flow = Flow(engine=engine, recipe=recipe, splits=splits, pinned=pin_slices(recipe, splits, work, keep=False))
    waiting = False
    steps: list[tuple[str, Callable[[], Any]]] = [*flow.steps()]
    steps += [("publish", flow.publish), ("exchange", partial(_tokens, flow))]
    for kind, step in steps:
        try:
            step()
        except NotYetError:
            waiting = True
            if kind == "exchange":
                break
        except KeyError:
            if not waiting:
                raise
            break  # an exchange hashes the contents of parts that do not exist yet
    return {
        "recipe": recipe.resolved(),
        "input": {"sources": len({split.source.name for split in splits}), "splits": len(splits),
                  "bytes": sum({split.source.name: split.source.size_bytes for split in splits}.values())},
        "phases": [
            {"phase": planned.phase, "units": planned.units, "cached": planned.cached} for planned in engine.planned
        ],
        "curves": [
            {"stage": label, "threshold": entry.settings.threshold, "bands": entry.settings.banding()[0],
             "rows": entry.settings.banding()[1], "proposed": entry.settings.curve()}
            for label, entry in zip(labels(recipe), recipe.stages, strict=True)
            if isinstance(entry.settings, NearDedupSettings)
        ],
        "complete": not waiting,
    }  # fmt: skip


def _tokens(flow: Flow) -> None:
    if flow.recipe.shards or flow.recipe.tokenizer:
        shard_flow.make_shards(flow)
