"""datatrove's four filters, to be run by a Python that has datatrove[processing], spacy and nltk: a peer that stays.

    python benchmarks/datatrove_rules.py TEXTS.jsonl

For each line on standard input, takes every text through Gopher's repetition and quality filters, C4's and FineWeb's,
each at its defaults, and prints the CPU seconds. `all`: every filter on every text, as ours measures. `chain`: a text
goes no further than the first filter that drops it, as in a pipeline of datatrove's.
"""

import json
import sys
import time
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)


def main(path: str) -> None:
    texts = [json.loads(line)["text"] for line in Path(path).read_text(encoding="utf-8").split("\n") if line]
    filters = [GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter(), FineWebQualityFilter()]
    for one in filters:  # loads its tokenizer
        one.filter(Document(text=texts[0], id="warm-up"))
    print("ready", flush=True)
    for line in sys.stdin:
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
