"""Drops documents that share too much with texts held out for measuring: nobody should be tested on what he trained on.

A document is measured by its distinct word n-grams (of the normal form, stages/normalise.py), both ways: by the share
of them that occur in the held-out texts, and by the share of one held-out text that stands in it, for the text of which
the most does. The first finds a copy with another frame around it, the second one that is a chapter of a book. A text
shorter than n words counts as one n-gram, but is too short to be looked for in a longer one.

Source: Brown et al. 2020, "Language models are few-shot learners", appendix C, for n-grams of 13 words; half of them is
our choice, so that a page that quotes a held-out one stays.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa

from stages.postings import Postings, build_postings
from stages.schema import SCORE_DECIMALS
from stages.shingles import contained, shingle_sets
from stages.stage import Resource, Rule, Settings, Stage, place, setting, threshold, verdicts

#: Held-out texts that are hashed together: bounds what is in memory besides the index, 8 bytes a word.
_BATCH: Final = 1_000
#: n-grams that more held-out texts than this share are phrases of their kind and tell no copy of one (as in
#: stages/decontaminate.py).
_MOST_TEXTS: Final = 10
#: n-grams of its own that a held-out text must have to be looked for in longer ones: a sentence or two.
_LEAST_NGRAMS: Final = 8


class HeldOutSettings(Settings):
    """Which texts are held out, and how much of them a document may hold."""

    against: str = place(..., "File of the held-out texts: JSONL(.gz) or Parquet with a `text` column.")
    sha256: str | None = setting(None, "Expected sha256 of that file; null accepts what is there and records it.")
    ngram: int = setting(13, "Words in an n-gram (GPT-3, appendix C).", ge=1, le=64)
    max_held_out_containment: float = threshold(
        0.5, "Share of a document's n-grams that may be in the held-out texts; more drops it.", ge=0, le=1
    )
    max_held_out_copied: float = threshold(
        0.5,
        "Share of one held-out text's n-grams (of those in at most ten such texts) that may be in a document; more "
        "drops it.",
        ge=0,
        le=1,
    )


@dataclass(frozen=True, kw_only=True)
class HeldOutIndex:
    """The n-grams of the held-out texts."""

    #: uint64, ascending: all, each once.
    hashes: np.ndarray
    #: Those that tell one text from others.
    texts: Postings


def build_index(texts: Iterable[str], size: int) -> HeldOutIndex:
    """The index of the texts by n-grams of `size` words."""
    found = [np.zeros(0, dtype=np.uint64)]
    lengths = [np.zeros(0, dtype=np.int64)]
    # A text that is held out ten times is one text.
    remaining = iter(dict.fromkeys(texts))
    while batch := list(islice(remaining, _BATCH)):
        values, offsets = shingle_sets(pa.array(batch, pa.large_string()), unit="word", size=size, whole_if_short=True)
        found.append(values)
        lengths.append(np.diff(offsets))
    hashes = np.concatenate(found)
    return HeldOutIndex(
        hashes=np.unique(hashes), texts=build_postings(hashes, np.concatenate(lengths), most_owners=_MOST_TEXTS)
    )


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


_ADDS = pa.schema([pa.field("held_out_containment", pa.float64()), pa.field("held_out_copied", pa.float64())])


def measure(docs: pa.Table, settings: HeldOutSettings, resources: Mapping[str, Any]) -> pa.Table:
    """`held_out_containment`: share of distinct n-grams that are held out, in [0, 1]; 0 for a text without words.
    `held_out_copied`: the largest share of one held-out text that stands in the document, in [0, 1]."""
    index: HeldOutIndex = resources["held_out"]
    values, offsets = shingle_sets(docs["text"], unit="word", size=settings.ngram, whole_if_short=True)
    held_out = np.zeros(len(values) + 1, dtype=np.int64)
    held_out[1:] = contained(values, index.hashes)
    shared = np.diff(np.cumsum(held_out)[offsets])
    containment = np.round(shared / np.maximum(np.diff(offsets), 1), SCORE_DECIMALS)
    rows = np.repeat(np.arange(docs.num_rows), np.diff(offsets))
    hits = np.flatnonzero(held_out[1:])
    copied = np.round(_copied(values[hits], rows[hits], index, documents=docs.num_rows), SCORE_DECIMALS)
    return pa.table([pa.array(containment), pa.array(copied)], schema=_ADDS)


def _copied(values: np.ndarray, rows: np.ndarray, index: HeldOutIndex, *, documents: int) -> np.ndarray:
    """float64 by document: the largest share of one text's own n-grams among its `values`; `rows` says whose each
    is."""
    whose, text, shared = index.texts.shared(values, rows)
    totals = index.texts.totals[text]
    long = totals >= _LEAST_NGRAMS
    found = np.zeros(documents)
    np.maximum.at(found, whose[long], shared[long] / totals[long])
    return found


def judge(docs: pa.Table, settings: HeldOutSettings) -> pa.Table:
    """Rejects a document that is held out for the most part, or holds the most part of a held-out text."""
    shares = {name: docs[name].to_numpy() for name in _ADDS.names}
    limits = (settings.max_held_out_containment, settings.max_held_out_copied)
    rules = [
        Rule(reason=reason, passes=share <= limit, measured=share, threshold=limit)
        for reason, share, limit in zip(("held_out", "held_out_copied"), shares.values(), limits, strict=True)
    ]
    return verdicts(rules, docs.num_rows)


STAGE = Stage(
    name="held_out",
    settings=HeldOutSettings,
    reads=("text",),
    adds=_ADDS,
    measure=measure,
    judge=judge,
    judges=("held_out_containment", "held_out_copied"),
    resources=_resources,
    libraries=("numba",),
    modules=("stages.normalise", "stages.postings", "stages.shingles"),
)
