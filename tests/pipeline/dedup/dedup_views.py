"""Small corpora as views, and the definition of near deduplication in plain Python."""

import hashlib
import itertools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.engine import Engine
from pipeline.files import ATTEMPT_PREFIX
from pipeline.parts import Output, Task
from pipeline.runners.inline import InlineRunner
from pipeline.view import Layer, View
from stages.minhash import band_hashes, sketch
from stages.near_dedup import NearDedupSettings
from stages.schema import DOCUMENT
from stages.shingles import shingle_sets


def write_given(output: Output, *, table: pa.Table) -> dict[str, Any]:
    """Task: a part with this table."""
    output.table("docs", table)
    return {"documents": table.num_rows}


def identity(text: str, copy: int = 0) -> str:
    return hashlib.md5(f"{copy}/{text}".encode(), usedforsecurity=False).hexdigest()


class Corpus:
    """Documents with ids that belong to the text, not to its place."""

    def __init__(
        self,
        texts: Sequence[str],
        *,
        scores: Sequence[float | None] | None = None,
        dates: Sequence[str | None] | None = None,
        sources: Sequence[str] | None = None,
        urls: Sequence[str | None] | None = None,
    ) -> None:
        seen: dict[str, int] = {}
        self.rows: list[dict[str, Any]] = []
        for number, text in enumerate(texts):
            copy = seen[text] = seen.get(text, 0) + 1
            row = {"id": identity(text, copy), "text": text}
            if scores is not None:
                row["quality_score"] = scores[number]
            if dates is not None:
                row["date"] = dates[number]
            if urls is not None:
                row["url"] = urls[number]
            if sources is not None:
                row["source"] = sources[number]
            self.rows.append(row)

    def shuffled(self, seed: int) -> "Corpus":
        other = Corpus([])
        other.rows = random.Random(seed).sample(self.rows, len(self.rows))
        return other

    def only(self, ids: set[str]) -> "Corpus":
        other = Corpus([])
        other.rows = [row for row in self.rows if row["id"] in ids]
        return other

    def view(self, engine: Engine, *, splits: int = 1) -> View:
        """The documents dealt out to this many splits."""
        scored = bool(self.rows) and "quality_score" in self.rows[0]
        schema = DOCUMENT.append(pa.field("quality_score", pa.float64())) if scored else DOCUMENT
        base = Layer(phase="base-0000", columns=tuple(schema.names))
        tasks = []
        for split in range(splits):
            rows = self.rows[split::splits]
            columns = {
                "id": [row["id"] for row in rows],
                "source": [row.get("source", f"s{split}.jsonl") for row in rows],
                "date": [row.get("date") for row in rows],
                "url": [row.get("url") for row in rows],
                "offset": list(range(len(rows))),
                "record": [0] * len(rows),
                "text": [row["text"] for row in rows],
                "quality_score": [row.get("quality_score") for row in rows],
            }
            table = pa.table(
                {field.name: pa.array(columns.get(field.name, [None] * len(rows)), field.type) for field in schema}
            )
            tasks.append(
                Task(
                    phase=base.phase,
                    unit=f"u{split:03d}",
                    function="dedup_views:write_given",
                    arguments={"table": table},
                )
            )
        engine.run(tasks)
        return View(base=base, units=tuple(task.unit for task in tasks))


def make_engine(folder: Any) -> Engine:
    return Engine(str(folder), InlineRunner())


def ledger_rows(engine: Engine, view: View, phase: str) -> list[dict[str, Any]]:
    """All ledger rows of a phase, sorted by id."""
    rows = [row for unit in view.units for row in engine.files.read_table(f"{phase}/{unit}.ledger.parquet").to_pylist()]
    return sorted(rows, key=lambda row: str(row["id"]))


def verdicts(engine: Engine, view: View, phase: str) -> dict[str, tuple[str, float]]:
    """id -> (partner, measured) of every rejected document."""
    return {row["id"]: (row["partner"], row["measured"]) for row in ledger_rows(engine, view, phase)}


def survivor_key(row: dict[str, Any]) -> tuple[float, int, str]:
    score = row.get("quality_score")
    return (-(round(score, 4) if score is not None else float("-inf")), -len(row["text"]), row["id"])


def by_definition(
    corpus: Corpus,
    settings: NearDedupSettings,
    *,
    all_pairs: bool = False,
    pairs: set[frozenset[str]] | None = None,
) -> dict[str, list[tuple[str, float]]]:
    """The definition, word for word: walk in survivor order; remove what is similar to a kept document.

    id of each removed document -> all kept ones before it that are similar and proposed: by a shared band, as all
    pairs, or as one of `pairs` of ids.
    """
    rows = sorted(corpus.rows, key=survivor_key)
    texts = pa.array([row["text"] for row in rows], pa.large_string())
    cut = {"unit": settings.shingle.unit, "size": settings.shingle.size}
    values, offsets = shingle_sets(texts, **cut)
    sets = [set(values[a:b].tolist()) for a, b in itertools.pairwise(offsets.tolist())]
    bands, in_band = settings.banding()
    signatures = sketch(texts, **cut, permutation_count=settings.permutations).signatures
    banded = [set(hashes.tolist()) for hashes in band_hashes(signatures, bands=bands, rows=in_band)]
    kept: list[int] = []
    removed = {}
    for place, row in enumerate(rows):
        similar = []
        for other in kept:
            if pairs is not None:
                proposed = frozenset((row["id"], rows[other]["id"])) in pairs
            else:
                proposed = all_pairs or bool(banded[place] & banded[other])
            if proposed and sets[place] and sets[other]:
                shared = len(sets[place] & sets[other])
                whole = len(sets[place] | sets[other]) if settings.similarity == "jaccard" else len(sets[place])
                measured = round(shared / whole, 4)
                if measured >= settings.threshold:
                    similar.append((rows[other]["id"], measured))
        if similar:
            removed[row["id"]] = similar
        else:
            kept.append(place)
    return removed


def words(count: int, *, seed: int) -> list[str]:
    """A text of `count` words that no other seed's text shares a shingle with."""
    drawn = random.Random(seed)
    return [f"w{drawn.randrange(10**6)}" for _ in range(count)]


def replaced(base: Sequence[str], share: float, *, seed: int) -> list[str]:
    """The words with this share of them replaced, at random places."""
    drawn = random.Random(seed)
    return [f"x{drawn.randrange(10**6)}" if drawn.random() < share else word for word in base]


def planted(clusters: int, members: int, *, seed: int, length: int = 60) -> list[str]:
    """Texts in clusters whose members differ from their base by up to a fifth of their words, and some loners."""
    drawn = random.Random(seed)
    texts = []
    for cluster in range(clusters):
        base = words(drawn.randrange(length // 2, length), seed=seed * 1000 + cluster)
        for member in range(drawn.randrange(1, members + 1)):
            share = drawn.choice([0.0, 0.01, 0.03, 0.1, 0.2])
            texts.append(" ".join(replaced(base, share, seed=member + 100 * cluster)))
    drawn.shuffle(texts)
    return texts


def contents(folder: Path) -> dict[str, str]:
    """sha256 of every file but the commit records, which hold times, and of attempts that were cut off."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".commit.json") and not path.name.startswith(ATTEMPT_PREFIX)
    }
