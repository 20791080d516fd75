"""Which n-grams of given texts occur in the raw pool: the text as it was extracted, before any rule."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.parts import Output
from pipeline.texts import read_texts
from stages.held_out import build_index
from stages.shingles import contained, shingle_sets


def seen(output: Output, *, base: str, unit: str, files: list[str], ngram: int) -> dict[str, Any]:
    """Task: `seen`: the hashes of the n-grams of the files' texts that occur in one split's extracted text."""
    wanted = build_index((text.text for text in read_texts([Path(file) for file in files])), ngram).hashes
    texts = output.files.read_table(f"{base}/{unit}.docs.parquet", ["text"])["text"]
    hashes, _ = shingle_sets(texts, unit="word", size=ngram, whole_if_short=True)
    there = np.unique(hashes[contained(hashes, wanted)])
    output.table("seen", pa.table({"hash": pa.array(there, pa.uint64())}))
    return {"ngrams": len(there)}
