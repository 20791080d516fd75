"""datatrove's way from a WARC file to a verdict, to be run by a Python that has datatrove[io,processing] and spacy.

    python benchmarks/datatrove_extract.py pages|text|verdict FOLDER LID_176.ftz

`pages` prints the record ids of the pages that its WARC reader hands on, and nothing else. `text` is its WARC reader
and its Trafilatura step; `verdict` adds a language filter and its own Gopher, C4 and FineWeb filters with their
defaults. Its language filter downloads its model: here its fastText reads the file that is given, as its own backend
does (line breaks become spaces), and asks for 0.65. The extractor's timeout is a minute and not its default of one
second, at which it loses pages on a busy machine: so it does all of the work.

Prints JSON: CPU seconds of the pipeline with its children, pages read, pages with text, addresses kept.
"""

import json
import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import fasttext
import trafilatura  # noqa: F401 - the process that extracts is forked from this one and need not load it
from datatrove.data import Document
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LambdaFilter,
)
from datatrove.pipeline.readers import WarcReader
from datatrove.utils.logging import logger

TIMEOUT_SECONDS = 60.0


def counted(documents: Iterable[Document], counts: dict[str, int], name: str) -> Iterator[Document]:
    """The documents, counted as they pass."""
    counts[name] = 0
    for document in documents:
        counts[name] += 1
        yield document


def main(until: str, folder: str, model: str) -> dict[str, Any]:
    logger.remove()
    languages = fasttext.load_model(model)

    def english(document: Document) -> bool:
        (label,), (score,) = languages.predict(document.text.replace("\n", " "))
        return bool(label == "__label__en" and score >= 0.65)

    filters = [
        LambdaFilter(english),
        GopherQualityFilter(),
        GopherRepetitionFilter(),
        C4QualityFilter(),
        FineWebQualityFilter(),
    ]
    # Both load on first use; a page of its own pays for neither.
    warm = Document(text="This is a page of some words, and that is all there is to it.", id="warm")
    for step in filters:
        list(step.run(iter([warm])))
    before = sum(os.times()[:4])
    counts: dict[str, int] = {}
    documents = counted(WarcReader(folder, glob_pattern="*.warc.gz")(None), counts, "read")
    documents = counted(Trafilatura(timeout=TIMEOUT_SECONDS)(documents), counts, "text")
    for step in filters if until == "verdict" else ():
        documents = step(documents)
    kept = [document.metadata["url"] for document in documents]
    # The process that extracts ends with the step; once it has, its time is among that of ended children.
    for child in multiprocessing.active_children():
        child.join()
    return {"seconds": sum(os.times()[:4]) - before, **counts, "kept": kept}


def pages(folder: str) -> list[str]:
    """The record ids of what its WARC reader takes for pages, by libmagic and cchardet."""
    logger.remove()
    return [document.id for document in WarcReader(folder, glob_pattern="*.warc.gz")(None)]


if __name__ == "__main__":
    print(json.dumps(pages(sys.argv[2]) if sys.argv[1] == "pages" else main(*sys.argv[1:4])))
