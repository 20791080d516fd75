"""`make bench`: our kernels beside the library that does the same, one run, one core, one input; prints a table.

    python -m benchmarks FOLDER     texts from every *.jsonl.gz below FOLDER that has a `text` column

Where FOLDER holds crawl/assembled/*.warc.gz, extraction follows (benchmarks/extraction.py): what the parser child
costs, and pages beside datatrove if TAMIS_DATATROVE names its Python. `python -m benchmarks.extraction --help` says how
to make one; its `loss` measures what the gate loses, which takes longer.

Each figure is CPU time of this process, the median of several repeats after a warm-up, with the spread beside it.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import datasketch
import numpy as np
import pyarrow as pa
import xxhash

import stages
from benchmarks import extraction
from benchmarks.texts import measured, size_of, take, texts_below
from stages.minhash import sketch
from stages.stage import Stage
from tokenizer.bpe import BPESettings, encode, learn, load

#: Enough for a stable figure on a slow peer, little enough that all of it takes a minute or two.
TEXT_BYTES = 16 << 20
PEER_DOCUMENTS = 300
RULES = ("gopher_quality", "gopher_repetition", "c4_quality", "fineweb_quality")


def signature_rows(texts: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """Our signature kernel beside datasketch 2.0 with the same permutations, token hash and shingles."""
    column = pa.array(texts, pa.large_string())
    ours = measured(lambda: sketch(column, unit="word", size=5, permutation_count=128), size_of(texts))
    few = list(texts[:PEER_DOCUMENTS])

    def peer() -> None:
        for text in few:
            words = text.lower().split()
            shingles = [" ".join(words[at : at + 5]).encode() for at in range(max(1, len(words) - 4))]
            sketch = datasketch.MinHash(num_perm=128, scheme="affine32", hashfunc=xxhash.xxh32_intdigest)
            sketch.update_batch(shingles)

    theirs = measured(peer, size_of(few))
    return [
        (
            "MinHash signatures, 128 permutations, word 5-grams",
            str(ours),
            f"datasketch: {theirs}",
            f"{ours.median / theirs.median:.0f} x",
        )
    ]


def rule_rows(texts: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """All rule stages together, measuring and judging."""
    table = pa.table({"text": pa.array(texts, pa.large_string())})

    def work() -> None:
        done: dict[str, pa.Table] = {}
        for name in RULES:
            stage = stages.CATALOGUE[name]
            assert isinstance(stage, Stage)
            assert stage.measure is not None
            assert stage.judge is not None
            settings = stage.settings()
            made_by = f"{stage.measure.__module__}"
            if made_by not in done:
                done[made_by] = stage.measure(table, settings, {})
            stage.judge(done[made_by], settings)

    return [("Gopher, repetition, C4 and FineWeb rules together", str(measured(work, size_of(texts))), "", "")]


def encode_rows(texts: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """Token encoding beside the library's own batch call."""
    tokenizer = load(learn(texts, BPESettings(vocab_size=8192)))
    few = list(texts[:1000])
    column = pa.array(few, pa.large_string())
    ours = measured(lambda: encode(column, tokenizer), size_of(few))
    theirs = measured(lambda: tokenizer.inner.encode_batch_fast(few, add_special_tokens=False), size_of(few))
    return [
        (
            "token encoding, vocabulary of 8,192",
            str(ours),
            f"tokenizers: {theirs}",
            f"{ours.median / theirs.median:.2f} x",
        )
    ]


def extraction_tables(folder: Path) -> None:
    """The parser child on the first crawl, and every crawl beside datatrove if it is there."""
    crawls = sorted(str(path) for path in (folder / "crawl" / "assembled").glob("*.warc.gz"))
    if not crawls:
        print(f"\nno crawl/assembled/*.warc.gz in {folder}: extraction is left out")
        return
    print()
    extraction.child(crawls[-1], repeats=5)
    peer = os.environ.get("TAMIS_DATATROVE")
    if peer is None:
        print("TAMIS_DATATROVE names no Python with datatrove: pages beside it are left out")
    for crawl in crawls if peer else ():
        print()
        extraction.speed(crawl, datatrove=str(peer), engines=list(extraction.ENGINES), repeats=3, until="verdict")


def main(folder: Path) -> None:
    if not folder.is_dir():
        sys.exit(f"{folder}: no such folder. Name one with *.jsonl.gz files that have a `text` column.")
    texts = take(texts_below(folder), TEXT_BYTES)
    print(f"{len(texts)} texts, {size_of(texts) / 1e6:.1f} MB, numpy {np.__version__}, pyarrow {pa.__version__}\n")
    print("| what | ours, MB per CPU second | the peer | ratio |\n|---|---|---|---|")
    for rows in (signature_rows, rule_rows, encode_rows):
        for row in rows(texts):
            print("| " + " | ".join(row) + " |", flush=True)
    extraction_tables(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data"))
