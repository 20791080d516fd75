"""datatrove's four filters, to be run by a Python that has datatrove[processing], spacy and nltk: a peer that stays.

    python benchmarks/datatrove_rules.py TEXTS.jsonl

For each line on standard input, takes every text through Gopher's repetition and quality filters, C4's and FineWeb's,
each at its defaults, and prints the CPU seconds. `all`: every filter on every text, as ours measures. `chain`: a text
goes no further than the first filter that drops it, as in a pipeline of datatrove's. `verdicts`: prints what each of
Gopher's rules says of every text when it is alone, as JSON {rule: [whether the text passes]}.
"""

import json
import sys
import time
from functools import cache
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    gopher_quality_filter,
    gopher_repetition_filter,
)
from datatrove.utils.text import split_into_words

#: What turns every rule of a filter off.
NO_QUALITY = dict.fromkeys(
    (
        "min_doc_words",
        "max_doc_words",
        "min_avg_word_length",
        "max_avg_word_length",
        "max_symbol_word_ratio",
        "max_bullet_lines_ratio",
        "max_ellipsis_lines_ratio",
        "max_non_alpha_words_ratio",
        "min_stop_words",
    )
)
NO_REPETITION = dict.fromkeys(("dup_line_frac", "dup_para_frac", "dup_line_char_frac", "dup_para_char_frac")) | {
    "top_n_grams": (),
    "dup_n_grams": (),
}
QUALITY = {
    "word_count": {"min_doc_words": 50, "max_doc_words": 100_000},
    "mean_word_length": {"min_avg_word_length": 3, "max_avg_word_length": 10},
    "symbol_ratio": {"max_symbol_word_ratio": 0.1},
    "bullet_lines": {"max_bullet_lines_ratio": 0.9},
    "ellipsis_lines": {"max_ellipsis_lines_ratio": 0.3},
    "alpha_words": {"max_non_alpha_words_ratio": 0.8},
    "stop_words": {"min_stop_words": 2},
}
REPETITION = {
    "duplicate_lines": {"dup_line_frac": 0.3},
    "duplicate_paragraphs": {"dup_para_frac": 0.3},
    "duplicate_line_characters": {"dup_line_char_frac": 0.2},
    "duplicate_paragraph_characters": {"dup_para_char_frac": 0.2},
    "top_ngram": {"top_n_grams": ((2, 0.2), (3, 0.18), (4, 0.16))},
    "duplicate_ngrams": {"dup_n_grams": ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))},
}


def alone(texts: list[str]) -> dict[str, list[bool]]:
    """Whether each text passes each rule of Gopher's when there is no other."""
    filters = {name: GopherQualityFilter(**(NO_QUALITY | limits)) for name, limits in QUALITY.items()}
    filters |= {name: GopherRepetitionFilter(**(NO_REPETITION | limits)) for name, limits in REPETITION.items()}
    once = cache(split_into_words)  # every rule of a filter asks for them again
    gopher_quality_filter.split_into_words = once
    gopher_repetition_filter.split_into_words = once
    passed: dict[str, list[bool]] = {name: [] for name in filters}
    for text in texts:
        document = Document(text=text, id="0")
        for name, one in filters.items():
            passed[name].append(one.filter(document) is True)
        once.cache_clear()
    return passed


def main(path: str) -> None:
    texts = [json.loads(line)["text"] for line in Path(path).read_text(encoding="utf-8").split("\n") if line]
    filters = [GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter(), FineWebQualityFilter()]
    for one in filters:  # loads its tokenizer
        one.filter(Document(text=texts[0], id="warm-up"))
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "verdicts":
            print(json.dumps(alone(texts)), flush=True)
            continue
        chained = line.strip() == "chain"
        started = time.process_time()
        for text in texts:
            document = Document(text=text, id="0")  # C4's filter rewrites it
            for one in filters:
                if one.filter(document) is not True and chained:
                    break
        print(time.process_time() - started, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
