"""The held-out texts of an ablation: fixed before any recipe runs, and split by whether the raw pool holds copies.

    <out>/held_out/<domain>.jsonl     what is scored: a sample by a keyed hash of the text, the same for every variant
    <out>/held_out/all.jsonl          all of it: what the `held_out` stage keeps out of every variant's data

Text with near copies in training data punishes deduplication (Lee et al. 2022, section 6.1): models that saw the copies
predict it better. The stage takes the copies out of every variant; and each document is marked by the share of its word
13-grams that occur in the raw pool, so that scores with and without such documents stand apart.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from pipeline.engine import Engine, key_of
from pipeline.keys import source_key
from pipeline.parts import Task
from stages.shingles import contained, shingle_sets
from train.evaluate import read_domain

#: Words of an n-gram, as in stages/held_out.py.
NGRAM = 13
#: Share of a document's n-grams in the raw pool from which on it counts as duplicated there.
DUPLICATED = 0.5
_SAMPLE_SEED = 0x4E1D
_ALL = "all.jsonl"


def draw(domains: Mapping[str, str], out: Path, *, sample_bytes: int) -> dict[str, Path]:
    """Write each domain's sample, documents in the order of a keyed hash until `sample_bytes` are reached; by domain.

    ValueError for a domain without text. The same files give the same samples.
    """
    out.mkdir(parents=True, exist_ok=True)
    places, together = {}, []
    for name, path in domains.items():
        texts = sorted(set(read_domain(Path(path))), key=_place)
        if not texts:
            raise ValueError(f"held_out: {path} holds no text")
        chosen: list[str] = []
        size = 0
        for text in texts:
            if size >= sample_bytes:
                break
            chosen.append(text)
            size += len(text.encode())
        places[name] = out / f"{name}.jsonl"
        _write(places[name], chosen)
        together += chosen
    _write(out / _ALL, together)
    return places


def everything(out: Path) -> Path:
    """The file of all held-out texts of this ablation."""
    return out / _ALL


def _place(text: str) -> tuple[int, str]:
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"), _SAMPLE_SEED), text


def _write(path: Path, texts: Sequence[str]) -> None:
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    if not path.exists() or path.read_text() != lines:
        path.write_text(lines)


def duplicated(engine: Engine, domains: Mapping[str, Path], manifest: Mapping[str, Any]) -> dict[str, list[float]]:
    """Share of each held-out document's 13-grams that occur in the raw pool of a run (its extracted text, before any
    rule), by domain, in the order of the domain's file."""
    texts = {name: read_domain(path) for name, path in domains.items()}
    base, units = manifest["base"], [split["unit"] for split in manifest["splits"]]
    key = key_of(base, texts, NGRAM, source_key(["pipeline.phases.raw_pool"]))
    files = [str(path.absolute()) for path in domains.values()]
    tasks = [
        Task(phase=f"held_out.seen-{key}", unit=unit, function="pipeline.phases.raw_pool:seen",
             arguments={"base": base, "unit": unit, "files": files, "ngram": NGRAM})
        for unit in dict.fromkeys(units)
    ]  # fmt: skip
    commits = engine.run(tasks)
    found = [engine.files.read_table(commit.files["seen"].name)["hash"].to_numpy() for commit in commits]
    index = np.unique(np.concatenate([np.zeros(0, np.uint64), *found]))
    return {name: _shares(pa.array(held, pa.large_string()), index) for name, held in texts.items()}


def _shares(texts: pa.Array, index: np.ndarray) -> list[float]:
    hashes, offsets = shingle_sets(texts, unit="word", size=NGRAM, whole_if_short=True)
    held = np.zeros(len(hashes) + 1, np.int64)
    held[1:] = np.cumsum(contained(hashes, index))
    shared = held[offsets[1:]] - held[offsets[:-1]]
    return [round(float(s), 4) for s in shared / np.maximum(np.diff(offsets), 1)]


def split_scores(found: Mapping[str, Any], shares: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Bits per byte of one model by domain, apart for documents that the raw pool holds copies of (`duplicated`) and
    others (`clean`); null where there is none."""
    return {
        name: {
            part: _bits_per_byte(score, [(share >= DUPLICATED) == wanted for share in shares[name]])
            for part, wanted in (("clean", False), ("duplicated", True))
        }
        for name, score in found["domains"].items()
    }


def _bits_per_byte(score: Mapping[str, Any], chosen: Sequence[bool]) -> dict[str, Any] | None:
    rows = [n for n, take in enumerate(chosen) if take]
    if not rows:
        return None
    nats = sum(score["document_nats"][n] for n in rows)
    size = sum(score["document_bytes"][n] for n in rows)
    return {"bits_per_byte": nats / (float(np.log(2)) * size), "bytes": size, "documents": len(rows)}
