"""Several lengths of training from one run: the decays of `wsd` branch off one stable part.

With warm-up, stable part and decay a run of 1 C and one of 4 C are the same until the shorter one's decay begins. So
the trunk is trained once, at a constant rate, and each horizon starts from its checkpoint; what comes out is, to the
bit, what a run of that length alone gives. Four horizons of 1, 2, 4 and 8 C with a decay of 20 % cost 9.4 C, not 15 C.
"""

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tokenizer.bpe import Tokenizer
from tokenizer.shards import ShardSet
from train import checkpoint
from train.loop import train
from train.metrics import Progress
from train.model import ModelSettings
from train.ranks import Ranks
from train.settings import TrainSettings


def train_horizons(
    shards: ShardSet,
    settings: TrainSettings,
    *,
    horizons: Sequence[int],
    model: ModelSettings,
    out: Path,
    tokenizer: Tokenizer | None = None,
    progress: Progress | None = None,
) -> dict[int, dict[str, Any]]:
    """Train to each of `horizons` (tokens) in out/tokens-N, the trunk in out/trunk. Gives results.json by tokens.

    All horizons have the warm-up of the shortest one unless `warmup_steps` is set. Interrupted, the same call goes on.
    Raises ValueError where the schedule is not wsd, or a decay would begin within the warm-up.
    """
    if settings.schedule != "wsd" or not horizons or min(horizons) < 1:
        raise ValueError("horizons are token counts of a run with the schedule wsd")
    shortest = replace(settings, tokens=min(horizons))
    warmup = settings.warmup_steps
    if warmup is None:
        warmup = math.ceil(settings.warmup_fraction * shortest.steps)
    results = {}
    # Where the trunk stands must not change between a look at it and what is done then.
    with Ranks.from_environment(settings.device).alone(out):
        for tokens in sorted(set(horizons)):
            branch = replace(settings, tokens=tokens, warmup_steps=warmup)
            start = _decay_begins(branch)
            if start < warmup:
                raise ValueError(f"the decay of {tokens} tokens begins at step {start}, within the {warmup} of warm-up")
            folder = out / f"tokens-{tokens}"
            if start and checkpoint.latest(folder / "checkpoints") is None:
                longest = replace(settings, tokens=max(horizons), warmup_steps=warmup, schedule="constant")
                _grow(shards, longest, start, model, out / "trunk", progress)
                _branch(out / "trunk", folder, branch, start)
            results[tokens] = train(shards, branch, model=model, out=folder, tokenizer=tokenizer, progress=progress)
    return results


def _decay_begins(settings: TrainSettings) -> int:
    """The first step whose rate is not that of the stable part."""
    return settings.steps - max(1, math.ceil(settings.decay_fraction * settings.steps))


def _grow(
    shards: ShardSet, settings: TrainSettings, stop: int, model: ModelSettings, out: Path, progress: Progress | None
) -> None:
    """Bring the trunk to this step."""
    found = checkpoint.latest(out / "checkpoints")
    done = 0 if found is None else int(found[1]["step"])
    if done < stop:
        train(shards, settings, model=model, out=out, max_steps=stop - done, progress=progress)


def _branch(trunk: Path, folder: Path, settings: TrainSettings, start: int) -> None:
    """Make the trunk's newest checkpoint, which has to be of step `start`, the branch's own, with the beginning of its
    curve."""
    found = checkpoint.latest(trunk / "checkpoints")
    assert found is not None
    path, state = found
    if int(state["step"]) != start:
        raise ValueError(
            f"{trunk} is at step {state['step']}, and a horizon of {settings.steps} steps branches at {start}: a "
            "horizon shorter than one that is already there needs another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    curve = (trunk / "metrics.jsonl").read_bytes()[: state["metrics_bytes"]]
    (folder / "metrics.jsonl").write_bytes(curve)
    partial = folder / "checkpoints" / f".partial-{path.name}"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(path, partial)
    # What the trunk states beside its settings (the number of ranks) is the branch's too.
    stated = {**state, "settings": {**state["settings"], **settings.deciding(mixture=False)}}
    (partial / checkpoint.STATE).write_text(json.dumps(stated, indent=1, sort_keys=True) + "\n")
    partial.rename(folder / "checkpoints" / path.name)
