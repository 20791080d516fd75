"""A small finished run's folder, as the pipeline leaves it: real stages measured and judged it, made-up texts."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages import gopher_quality
from stages.reasons import outcome_of
from stages.schema import DOCUMENT, LEDGER

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\x00 \u202eevil\u202c &amp; \"'"
WORDS = [
    "the",
    "of",
    "and",
    "to",
    "that",
    "with",
    "have",
    "document",
    "crawl",
    "measure",
    "threshold",
    "sieve",
    "42",
    "paper",
]


def documents(count: int) -> pa.Table:
    rng = np.random.default_rng(3)
    texts = [" ".join(rng.choice(WORDS, size)) for size in rng.lognormal(4.6, 0.9, count).astype(int) + 3]
    texts[0] = HOSTILE * 30
    rows = {
        "id": [f"{number:032x}" for number in rng.permutation(count)],
        "source": [f"crawl/file-{number % 3:05d}.warc.gz" for number in range(count)],
        "offset": list(range(0, count * 1000, 1000)),
        "record": [0] * count,
        "url": [f"https://host{number % 7}.example/{number}/{HOSTILE}" for number in range(count)],
        "date": ["2024-01-01T00:00:00Z"] * count,
        "media_type": ["text/html" if number % 5 else "application/pdf" for number in range(count)],
        "title": [None if number % 4 else HOSTILE for number in range(count)],
        "text": texts,
    }
    return pa.table(rows, schema=DOCUMENT)


def make_run(out: Path, *, count: int = 400) -> dict[str, Any]:
    """Write `out` and give its manifest."""
    settings = gopher_quality.GopherQualitySettings()
    docs = documents(count)
    assert gopher_quality.STAGE.measure is not None
    scores = gopher_quality.STAGE.measure(docs.select(["text"]), settings.without_thresholds(), {})
    assert gopher_quality.STAGE.judge is not None
    verdict = gopher_quality.STAGE.judge(scores, settings)
    for name in scores.schema.names:
        docs = docs.append_column(name, scores[name])
    docs = docs.append_column("language", pa.array(["en" if row % 6 else "de" for row in range(count)]))
    docs = docs.append_column("quality_score", pa.array(np.round(np.linspace(0.05, 1, count), 4)))
    alive = np.array([reason is None for reason in verdict["reason"].to_pylist()])
    ledger = [
        _ledger_row(document, "gopher_quality", judged, document["text"][:200])
        for document, judged, lives in zip(docs.to_pylist(), verdict.to_pylist(), alive, strict=True)
        if not lives
    ]
    kept = docs.filter(pa.array(alive))
    survivors = kept.to_pylist()
    duplicate = {"reason": "near_dup", "measured": 0.91, "threshold": 0.75, "detail": None}
    ledger += [
        {**_ledger_row(row, "near_dedup", duplicate, row["text"][:200]), "partner": survivors[0]["id"]}
        for row in survivors[-8:]
    ]
    kept = kept.slice(0, len(survivors) - 8)
    damage = {"reason": "bad_compression", "measured": None, "threshold": None, "detail": f"inflate failed {HOSTILE}"}
    damaged = {"id": "f" * 32, "source": "crawl/file-00001.warc.gz", "offset": 777, "record": 0, "url": None}
    ledger.insert(0, _ledger_row(damaged, "read", damage, None))
    for folder, table in (("kept", kept), ("ledger", pa.Table.from_pylist(ledger, schema=LEDGER))):
        (out / folder).mkdir(parents=True)
        half = table.num_rows // 2
        pq.write_table(table.slice(0, half), out / folder / "part-00000.parquet", row_group_size=50)
        pq.write_table(table.slice(half), out / folder / "part-00001.parquet", row_group_size=50)
    manifest = _manifest(count + 1, kept, ledger, settings.model_dump(mode="json"))
    (out / "manifest.json").write_text(json.dumps(manifest))
    return manifest


def make_results(out: Path) -> dict[str, Any]:
    rng = np.random.default_rng(8)
    variants = {}
    for name, level in (("without-dedup", 1.52), ("with-dedup", 1.49), ("strict", 1.521)):
        seeds = {}
        for seed in range(3):
            scores = {
                domain: level * scale + rng.normal(0, 0.003) for domain, scale in (("packages", 1), ("topics", 1.3))
            }
            curve = [
                [tokens, 2.5 + 6 * np.exp(-tokens / 60_000) + rng.normal(0, 0.02)]
                for tokens in range(8192, 400_000, 8192)
            ]
            domains = {domain: {"bits_per_byte": value, "bytes": 150_000} for domain, value in scores.items()}
            seeds[str(seed)] = {"domains": domains, "curve": curve}
        variants[name] = {"seeds": seeds}
    results = {"format": 1, "baseline": "without-dedup", "variants": variants}
    (out / "results.json").write_text(json.dumps(results))
    return results


def _ledger_row(document: dict[str, Any], stage: str, judged: dict[str, Any], excerpt: str | None) -> dict[str, Any]:
    place = {name: document[name] for name in ("id", "source", "offset", "record", "url")}
    outcome = outcome_of(judged["reason"])
    return {**place, "end": None, "stage": stage, **judged, "outcome": outcome, "partner": None, "excerpt": excerpt}


def _manifest(
    documents_read: int, kept: pa.Table, ledger: list[dict[str, Any]], gopher: dict[str, Any]
) -> dict[str, Any]:
    text_bytes = sum(len(text.encode()) for text in kept["text"].to_pylist())
    left, stages = documents_read, []
    for stage in ("read", "extract", "language", "gopher_quality", "near_dedup"):
        reasons = Counter(row["reason"] for row in ledger if row["stage"] == stage)
        stages.append(
            {
                "stage": stage,
                "documents": left,
                "kept": left - reasons.total(),
                "text_bytes_kept": text_bytes * left // kept.num_rows,
                "reasons": dict(reasons),
            }
        )
        left -= reasons.total()
    return {
        "format": 1,
        "name": "sample",
        "root": "ab" * 32,
        "recipe": {
            "stages": [
                {"type": "extract", "engine": "trafilatura"},
                {"type": "language", "keep": ["en", "de"], "min_score": 0.65},
                {"type": "gopher_quality", **gopher},
                {"type": "quality", "min_score": 0.1, "model": "builtin/quality-en"},
                {"type": "near_dedup", "threshold": 0.75},
            ]
        },
        "counts": {
            "documents": documents_read,
            "kept": kept.num_rows,
            "dropped": len(ledger) - 1,
            "quarantined": 1,
            "stages": stages,
            "records_skipped": {"request": 400, "warcinfo": 3},
            "nondeterministic_drops": 0,
            "tokens": 123_456,
            "text_bytes": text_bytes,
        },
        "sources": [
            {
                "source": f"crawl/file-{number:05d}.warc.gz",
                "size_bytes": 1_234_567,
                "documents": 134,
                "kept": 100,
                "dropped": 33,
                "quarantined": 1,
                "truncated": number == 2,
            }
            for number in range(3)
        ],
        "outputs": {"kept/part-00000.parquet": "cd" * 32},
        "phases": [{"phase": "extract-0f", "name": "extract", "units": 3, "executed": 2, "seconds": 12.34}],
        "versions": {"python": "3.11.7", "trafilatura": "2.3.1"},
        "resources": {"builtin/quality-en": "ef" * 32},
        "observed": {"seconds": 20.5, "peak_worker_memory_bytes": 400_000_000, "workers": 2, "runner": "ray"},
    }
