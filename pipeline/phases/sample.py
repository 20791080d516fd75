"""The sample that a vocabulary is learned from: drawn by a keyed hash of the document id, by weights of its groups.

    sample.sizes-<key>   a part a split: bytes of text of each group of the recipe's tokenizer.sample

The driver turns sizes and weights into one fraction a group; learning takes documents whose hash falls below theirs. So
the sample depends on the documents, the weights and `sample_bytes`, not on how the input was cut or by how many workers
it was read.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.parts import Output
from pipeline.recipe import SampleSource
from pipeline.view import View, read_documents


def sample_fractions(sizes: Mapping[str, int], weights: Mapping[str, float], sample_bytes: int) -> dict[str, float]:
    """Share of each group's texts to learn from, so that the sample has about `sample_bytes` with groups in proportion
    to their weights (1 for a group without; where no group has one, all texts alike). A group that has less gives all
    it has."""
    if not weights:
        return dict.fromkeys(sizes, min(1.0, sample_bytes / max(1, sum(sizes.values()))))
    weighed = {group: weights.get(group, 1.0) for group in sizes}
    total = sum(weighed.values())
    return {
        group: min(1.0, sample_bytes * weighed[group] / total / max(1, size)) if total else 0.0
        for group, size in sizes.items()
    }


def recipe_fractions(sources: Sequence[SampleSource], sizes: Sequence[int], sample_bytes: int) -> list[float]:
    """The fraction of each group of a recipe. Groups without a document leave their share to the others. ValueError
    where all that have documents weigh nothing: there would be no text to learn from."""
    there = {str(number): size for number, size in enumerate(sizes) if size}
    weights = {name: sources[int(name)].weight for name in there}
    if not any(weights.values()):
        raise ValueError("tokenizer.sample: no kept document belongs to a group whose weight is above 0")
    found = sample_fractions(there, weights, sample_bytes)
    return [found.get(str(number), 0.0) for number in range(len(sources))]


def group_of(sources: Sequence[SampleSource], source: str, language: str | None) -> int:
    """Number of the first group that a document matches. The last one matches all."""
    for number, asked in enumerate(sources):
        if fnmatchcase(source, asked.source) and (
            asked.language is None or fnmatchcase(language or "", asked.language)
        ):
            return number
    raise AssertionError("the last group of a sample matches every document")


def groups(documents: pa.Table, sources: Sequence[SampleSource]) -> np.ndarray:
    """int64[n]: the group of each document of a table with `source`, and `language` where that is known."""
    languages = documents["language"].to_pylist() if "language" in documents.column_names else [None] * len(documents)
    pairs = zip(documents["source"].to_pylist(), languages, strict=True)
    return np.array([group_of(sources, source, language) for source, language in pairs], dtype=np.int64)


def grouping_columns(view: View) -> list[str]:
    """What `groups` reads, as far as the view has it."""
    return ["source", *(["language"] if "language" in view.columns else [])]


def sizes(output: Output, *, view: View, unit: str, sources: list[dict[str, Any]]) -> dict[str, Any]:
    """Task without a file: counts UTF-8 bytes and documents of each group of one split."""
    asked = [SampleSource(**source) for source in sources]
    documents = read_documents(output.files, view, unit, [*grouping_columns(view), "text"])
    found = groups(documents, asked)
    lengths = pc.binary_length(documents["text"]).to_numpy()
    return {
        "groups": {
            str(number): {"documents": int((found == number).sum()), "bytes": int(lengths[found == number].sum())}
            for number in range(len(asked))
        }
    }
