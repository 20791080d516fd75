"""Mixing: how often the documents of each source stand in the shards.

    mix.groups-<key>   a part a split: which source of the mix each encoded document belongs to, and what is available
    mix.copies-<key>   a part a split: how often each document is written, by a keyed hash of its id

Between the two the driver turns weights, caps and epochs into one number a source: its epochs. 2.25 epochs write every
document twice and a quarter of them, drawn by hash, once more. Only training shards are mixed: a validation document is
written once, or not at all where its source is drawn below one epoch and it is not drawn.
"""

import math
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import xxhash

from pipeline.parts import Output
from pipeline.recipe import Mix, MixSource
from pipeline.view import View, read_documents

_DRAW_SEED: Final = 0x313C
_HASH_RANGE: Final = 2.0**64
#: Epochs are rounded before anything is drawn by them, so that no sum of floats decides about a document.
EPOCH_DECIMALS: Final = 6
#: Muennighoff et al. 2023 (Scaling Data-Constrained Language Models), equation 5, R*_D as fitted there: repetitions
#: after which a token's worth has fallen to 1/e.
REPETITION_DECAY: Final = 15.387756


def effective_tokens(unique: int, epochs: float) -> int:
    """Unique tokens that would teach as much as these do when they are seen `epochs` times: U + U R* (1 - e^(-R/R*)), R
    repetitions. Up to one epoch that is what is seen."""
    if epochs <= 1:
        return round(unique * epochs)
    return round(unique + unique * REPETITION_DECAY * (1 - math.exp((1 - epochs) / REPETITION_DECAY)))


def _host_of(url: str) -> str:
    """Its host in small letters; empty where it has none that could be."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def group_of(sources: Sequence[MixSource], source: str, url: str | None) -> int:
    """Number of the first source of the mix that a document matches. The last one matches all."""
    host = _host_of(url) if url else ""
    for number, asked in enumerate(sources):
        if fnmatchcase(source, asked.source) and (asked.host is None or fnmatchcase(host, asked.host.lower())):
            return number
    raise AssertionError("the last source of a mix matches every document")


def resolve(mix: Mix, available: Sequence[int]) -> list[float]:
    """Epochs of each source, from what is available of it in tokens or documents, as the mix counts.

    With weights, the mix is as large as it can be while every source keeps its share and none is seen more often than
    its max_epochs or gives more than its cap. ValueError where a source that has a weight has no document.
    """
    most = [
        min(size * (asked.max_epochs if mix.weighted else asked.epochs), math.inf if asked.cap is None else asked.cap)
        for asked, size in zip(mix.sources, available, strict=True)
    ]
    if mix.weighted:
        for asked, size in zip(mix.sources, available, strict=True):
            if asked.weight and not size:
                raise ValueError(
                    f"mix: no document of {asked.label} was kept, so its weight {asked.weight:g} cannot be held"
                )
        total = min(cap / asked.weight for asked, cap in zip(mix.sources, most, strict=True) if asked.weight)
        most = [total * (asked.weight or 0.0) for asked in mix.sources]
    return [round(part / size, EPOCH_DECIMALS) if size else 0.0 for part, size in zip(most, available, strict=True)]


def copies_of(ids: Sequence[str], epochs: np.ndarray) -> np.ndarray:
    """int64[n]: how often each document is written, given its source's epochs."""
    whole = np.floor(epochs)
    places = np.array([xxhash.xxh3_64_intdigest(each.encode(), _DRAW_SEED) for each in ids], dtype=np.uint64)
    return np.asarray(whole + (places < (epochs - whole) * _HASH_RANGE), dtype=np.int64)


def groups(output: Output, *, view: View, unit: str, encoded: str, sources: list[dict[str, Any]]) -> dict[str, Any]:
    """Task: `groups`: the source number of each encoded document. Counts what the training split has of each."""
    asked = [MixSource(**source) for source in sources]
    urls = read_documents(output.files, view, unit, ["url"])["url"].to_pylist()
    table = output.files.read_table(encoded, ["source", "n_tokens", "validation"])
    found = np.array(
        [group_of(asked, source, url) for source, url in zip(table["source"].to_pylist(), urls, strict=True)], np.int64
    )
    output.table("groups", pa.table({"group": found}))
    train = ~table["validation"].to_numpy()
    return {"available": _tally(found[train], table["n_tokens"].to_numpy()[train], len(asked))}


def copies(output: Output, *, unit: str, encoded: str, grouped: str, epochs: list[float]) -> dict[str, Any]:  # noqa: ARG001
    """Task: `copies`: how often each encoded document is written. Counts what is written, left out and repeated."""
    table = output.files.read_table(encoded, ["doc_id", "n_tokens", "validation"])
    found = output.files.read_table(grouped)["group"].to_numpy()
    validation, tokens = table["validation"].to_numpy(), table["n_tokens"].to_numpy()
    times = copies_of(table["doc_id"].to_pylist(), np.array(epochs)[found])
    times = np.where(validation, np.minimum(times, 1), times)
    output.table("copies", pa.table({"copies": times}))
    train, count = ~validation, len(epochs)
    repeats = np.maximum(times - 1, 0)

    def tally(chosen: np.ndarray, weights: np.ndarray) -> dict[str, Any]:
        return _tally(found[chosen], tokens[chosen], count, weights[chosen])

    return {
        "written": tally(train, times),
        "left_out": tally(train, (times == 0).astype(np.int64)),
        "repeated": tally(train, repeats),
        "validation_left_out": tally(validation, (times == 0).astype(np.int64)),
        "tokens": {"train": int((tokens * times)[train].sum()), "validation": int((tokens * times)[validation].sum())},
    }


def _tally(found: np.ndarray, tokens: np.ndarray, count: int, times: np.ndarray | None = None) -> dict[str, Any]:
    """{source number: {documents, tokens}}, each document counted `times`."""
    often = np.ones(len(found), np.int64) if times is None else times
    rows: Iterator[tuple[int, np.ndarray]] = ((number, found == number) for number in range(count))
    return {
        str(number): {"documents": int(often[mine].sum()), "tokens": int((often * tokens)[mine].sum())}
        for number, mine in rows
    }


def mix_text(lines: Sequence[dict[str, Any]]) -> str:
    """The books as a person reads them."""
    return "\n".join(
        f"mix       {line['source']}: {line['epochs']:g} epochs of {line['available']['tokens']:,} tokens; "
        f"{line['written']['tokens']:,} written ({line['repeated']['tokens']:,} of them repeated), "
        f"{line['left_out']['tokens']:,} left out; worth {line['effective_tokens']:,} unique tokens"
        for line in lines
    )
