"""Recall and precision of the personal-data patterns on the generated forms, and their speed; prints a table.

python -m benchmarks.pii [texts.jsonl.gz]      with a file: MB of its `text` a CPU second as well
"""

import gzip
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "stages"))

from pii_forms import forms

from stages.pii_patterns import KINDS, findings

FORMS = 1000


def main() -> None:
    print("| kind | forms | near misses | recall | precision |\n|---|---|---|---|---|")
    for kind in KINDS:
        right = found = 0
        for text, value in forms(kind, FORMS):
            spans = [text[start:end] for start, end in findings(text).get(kind, [])]
            right += value in spans
            found += len(spans)
        print(f"| {kind} | {FORMS} | {FORMS} | {right / FORMS:.3f} | {right / found:.3f} |")
    if len(sys.argv) > 1:
        with gzip.open(sys.argv[1], "rt", encoding="utf-8", newline="\n") as lines:
            texts = [json.loads(line)["text"] for line in lines]
        started = time.process_time()
        count = sum(len(spans) for text in texts for spans in findings(text).values())
        seconds = time.process_time() - started
        size = sum(len(text.encode()) for text in texts) / 1e6
        print(f"\n{size:.1f} MB of text, {count} findings: {size / seconds:.1f} MB a CPU second")


if __name__ == "__main__":
    main()
