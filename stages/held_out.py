"""Drops documents that share too much with texts held out for measuring: nobody should be tested on what he trained on.

A document is measured by the share of its distinct word n-grams (of the normal form, stages/normalise.py) that occur in
the held-out texts. A text shorter than n words counts as one n-gram.

Source: Brown et al. 2020, "Language models are few-shot learners", appendix C, for n-grams of 13 words; half of them is
our choice, so that a page that quotes a held-out one stays and a copy with another frame around it goes.
"""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa

from stages.schema import SCORE_DECIMALS
from stages.shingles import contained, shingle_sets
from stages.stage import Resource, Rule, Settings, Stage, place, setting, threshold, verdicts

#: Held-out texts that are hashed together: bounds what is in memory besides the index, 8 bytes a word.
_BATCH: Final = 1_000


class HeldOutSettings(Settings):
    """Which texts are held out, and how much of them a document may hold."""

    against: str = place(..., "File of the held-out texts: JSONL(.gz) or Parquet with a `text` column.")
    sha256: str | None = setting(None, "Expected sha256 of that file; null accepts what is there and records it.")
    ngram: int = setting(13, "Words in an n-gram (GPT-3, appendix C).", ge=1, le=64)
    max_held_out_containment: float = threshold(
        0.5, "Share of a document's n-grams that may be in the held-out texts; more drops it.", ge=0, le=1
    )


def build_index(texts: Iterable[str], size: int) -> np.ndarray:
    """uint64: the sorted distinct hashes of all n-grams of `size` words of the texts."""
    found = [np.zeros(0, dtype=np.uint64)]
    remaining = iter(texts)
    while batch := list(islice(remaining, _BATCH)):
        values, _ = shingle_sets(pa.array(batch, pa.large_string()), unit="word", size=size, whole_if_short=True)
        found.append(np.unique(values))
    return np.unique(np.concatenate(found))


def _resources(settings: HeldOutSettings) -> tuple[Resource, ...]:
    return (
        Resource(
            name="held_out",
            kind="held_out",
            reference=settings.against,
            sha256=settings.sha256,
            parameters={"size": settings.ngram},
        ),
    )


_ADDS = pa.schema([pa.field("held_out_containment", pa.float64())])


def measure(docs: pa.Table, settings: HeldOutSettings, resources: Mapping[str, Any]) -> pa.Table:
    """`held_out_containment`: share of distinct n-grams that are held out, in [0, 1]; 0 for a text without words."""
    values, offsets = shingle_sets(docs["text"], unit="word", size=settings.ngram, whole_if_short=True)
    held_out = np.zeros(len(values) + 1, dtype=np.int64)
    held_out[1:] = contained(values, resources["held_out"])
    shared = np.diff(np.cumsum(held_out)[offsets])
    containment = np.round(shared / np.maximum(np.diff(offsets), 1), SCORE_DECIMALS)
    return pa.table([pa.array(containment)], schema=_ADDS)


def judge(docs: pa.Table, settings: HeldOutSettings) -> pa.Table:
    """Rejects a document whose containment is above the limit."""
    containment = docs["held_out_containment"].to_numpy()
    limit = settings.max_held_out_containment
    rule = Rule(reason="held_out", passes=containment <= limit, measured=containment, threshold=limit)
    return verdicts([rule], docs.num_rows)


STAGE = Stage(
    name="held_out",
    settings=HeldOutSettings,
    reads=("text",),
    adds=_ADDS,
    measure=measure,
    judge=judge,
    judges=("held_out_containment",),
    resources=_resources,
    libraries=("numba",),
    modules=("stages.normalise", "stages.shingles"),
)
