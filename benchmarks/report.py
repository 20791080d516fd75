"""How long `tamis report` takes over a run of a million documents, and how large its page is.

    python -m benchmarks.report [FOLDER] --documents 1e6

The run is written here, not made by the pipeline: parts as `publish` leaves them (16,384 rows, zstd, all columns of the
recipe configs/web.yaml), random words of a Zipf-like vocabulary as texts of about 3 kB, scores drawn at random, a
third of the documents in the ledger with addresses on 100,000 hosts, and clusters of duplicates. Only ids, addresses,
scores and lengths differ from part to part; the words of a part are those of the first one, which the page does not
notice. The work folder is gone, as it is once it was freed.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.files import ROWS_PER_GROUP, ZSTD_LEVEL
from pipeline.recipe import load_recipe
from pipeline.report.page import write_report
from stages.schema import LEDGER
from stages.stage import Stage

ROOT = Path(__file__).parents[1]
HOSTS = 100_000
#: Of what does not survive, in the order of the web recipe: (stage, reason, share).
REJECTED = (
    ("read", "http_status", 0.10), ("language", "language", 0.35), ("gopher_quality", "word_count", 0.15),
    ("gopher_repetition", "duplicate_ngrams", 0.10), ("fineweb_quality", "short_lines", 0.10),
    ("quality", "quality", 0.05), ("exact_dedup", "exact_dup", 0.05), ("near_dedup", "near_dup", 0.10),
)  # fmt: skip


def texts(rng: np.random.Generator, count: int) -> pa.Array:
    """Texts of 3 kB on average, their lengths spread as those of web pages are."""
    words = np.array(["".join(rng.choice(list("etaoinshrdlu"), size)) for size in rng.integers(2, 10, 20_000)])
    drawn = words[np.minimum(rng.zipf(1.3, count * 480), len(words)) - 1]
    ends = np.cumsum(np.clip(rng.lognormal(5.8, 0.9, count), 20, 5000).astype(int)) % len(drawn)
    pieces = []
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        pieces.append(" ".join(drawn[start:end] if start < end else drawn[: max(end, 20)]))
    return pa.array(pieces, pa.large_string())


def score_columns(recipe: Any) -> pa.Schema:
    """Every number that the recipe's stages measure."""
    fields = {}
    for entry in recipe.stages:
        if isinstance(entry.definition, Stage) and entry.definition.adds is not None:
            fields |= {field.name: field for field in entry.definition.adds}
    return pa.schema(
        [one for one in fields.values() if pa.types.is_floating(one.type) or pa.types.is_integer(one.type)]
    )


def identities(rng: np.random.Generator, count: int) -> list[str]:
    return [one.tobytes().hex() for one in rng.integers(0, 256, (count, 16), dtype=np.uint8)]


def place(rng: np.random.Generator, number: int, count: int) -> dict[str, Any]:
    hosts = np.minimum(rng.zipf(1.4, count), HOSTS)
    return {
        "id": identities(rng, count),
        "source": [f"CC-MAIN/{number // 4:05d}.warc.gz"] * count,
        "offset": np.arange(count) * 9_000,
        "record": np.zeros(count, dtype=np.int64),
        "url": [f"https://host{host}.example/{place}" for place, host in enumerate(hosts)],
    }


def make_run(out: Path, documents: int) -> None:
    """Write a finished run's kept/, ledger/ and manifest.json."""
    rng = np.random.default_rng(7)
    recipe = load_recipe(ROOT / "configs" / "web.yaml")
    scores = score_columns(recipe)
    parts, rejected = max(1, documents * 2 // 3 // ROWS_PER_GROUP), documents // 3
    body = texts(rng, ROWS_PER_GROUP)
    reasons: dict[tuple[str, str], int] = {}
    for folder in ("kept", "ledger"):
        (out / folder).mkdir(parents=True)
    kept = parts * ROWS_PER_GROUP
    for number in range(parts):
        columns: dict[str, Any] = {**place(rng, number, ROWS_PER_GROUP), "text": body}
        columns["title"] = columns["url"]
        columns["media_type"] = ["text/html"] * ROWS_PER_GROUP
        columns["language"] = rng.choice(["en", "de", "fr"], ROWS_PER_GROUP, p=[0.9, 0.06, 0.04])
        for one in scores:
            values = rng.random(ROWS_PER_GROUP).round(4)
            columns[one.name] = values if pa.types.is_floating(one.type) else (values * 3000).astype(np.int64)
        _write(out / "kept" / f"part-{number:05d}.parquet", pa.table(columns))
        rows = rejected // parts
        ledger = _ledger(rng, number, rows, columns["id"])
        for reason in zip(ledger["stage"].to_pylist(), ledger["reason"].to_pylist(), strict=True):
            reasons[reason] = reasons.get(reason, 0) + 1
        _write(out / "ledger" / f"part-{number:05d}.parquet", ledger)
    (out / "manifest.json").write_text(json.dumps(_manifest(recipe, kept, reasons, body)))


def _ledger(rng: np.random.Generator, number: int, rows: int, kept: list[str]) -> pa.Table:
    chosen = rng.choice(
        len(REJECTED), rows, p=np.array([share for _, _, share in REJECTED]) / sum(s for *_, s in REJECTED)
    )
    stages, reasons = ([REJECTED[one][place] for one in chosen] for place in (0, 1))
    partners = np.array(kept)[np.minimum(rng.zipf(1.5, rows), len(kept)) - 1]
    copies = [reason.endswith("_dup") for reason in reasons]
    columns = {
        **place(rng, number, rows), "end": pa.nulls(rows, pa.int64()), "stage": stages, "reason": reasons,
        "outcome": ["dropped"] * rows, "measured": rng.random(rows).round(4), "threshold": [0.5] * rows,
        "partner": [partner if copy else None for partner, copy in zip(partners, copies, strict=True)],
        "detail": pa.nulls(rows, pa.string()), "excerpt": ["the first words of a document " * 6] * rows,
    }  # fmt: skip
    return pa.table({name: columns[name] for name in LEDGER.names}).cast(LEDGER)


def _write(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path, compression="zstd", compression_level=ZSTD_LEVEL, row_group_size=ROWS_PER_GROUP)


def _manifest(recipe: Any, kept: int, reasons: dict[tuple[str, str], int], body: pa.Array) -> dict[str, Any]:
    lost = sum(reasons.values())
    mean = sum(len(text) for text in body.to_pylist()) / len(body)
    stages, left = [], kept + lost
    for name in ("read", *(entry.type for entry in recipe.stages)):
        own = {reason: count for (stage, reason), count in reasons.items() if stage == name}
        stages.append({"stage": name, "documents": left, "kept": left - sum(own.values()), "reasons": own,
                       "text_bytes_kept": int((left - sum(own.values())) * mean)})  # fmt: skip
        left -= sum(own.values())
    return {
        "format": 1, "name": "million", "root": "0" * 64, "recipe": recipe.resolved(), "versions": {}, "resources": {},
        "counts": {"documents": kept + lost, "kept": kept, "dropped": lost, "quarantined": 0, "stages": stages,
                   "records_skipped": {}, "nondeterministic_drops": 0, "text_bytes": int(kept * mean), "tokens": None},
        "sources": [], "splits": [], "outputs": {}, "phases": [],
        "observed": {"seconds": 1.0, "work": "gone", "workers": 1, "runner": "inline", "peak_worker_memory_bytes": 0},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and size of the report of a generated run.")
    parser.add_argument("folder", type=Path, nargs="?", help="where to keep the run [default: a folder for the moment]")
    parser.add_argument("--documents", type=float, default=1e6)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = arguments.folder or Path(temporary) / "run"
        if not (out / "manifest.json").exists():
            make_run(out, int(arguments.documents))
        size = sum(path.stat().st_size for path in out.rglob("*.parquet"))
        started, spent = time.perf_counter(), time.process_time()
        page = write_report(out)
        seconds, cpu = time.perf_counter() - started, time.process_time() - spent
        documents = json.loads((out / "manifest.json").read_text())["counts"]["documents"]
        print(
            f"{documents:,} documents in {size / 1e9:.2f} GB of parts: {seconds:.1f} s on the clock, {cpu:.1f} s of CPU"
        )
        print(f"the page has {page.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
