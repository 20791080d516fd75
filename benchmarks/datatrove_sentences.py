"""datatrove's sentence deduplication, to be run by a Python that has datatrove[processing], spacy and orjson.

    python benchmarks/datatrove_sentences.py FOLDER_OF_JSONL WORK    CPU seconds of each of its three steps, one worker

Prints JSON. Its defaults: spans of three sentences, sentences by its English tokenizer.
"""

import json
import os
import sys

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup.sentence_dedup import (
    SentDedupConfig,
    SentenceDedupFilter,
    SentenceDedupSignature,
    SentenceFindDedups,
)
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers.jsonl import JsonlWriter


def _cpu() -> float:
    """User and system seconds of this process and of its ended children."""
    found = os.times()
    return found.user + found.system + found.children_user + found.children_system


def steps(folder: str, work: str) -> dict[str, float]:
    """CPU seconds of the three steps with one worker, those of its child processes included."""
    config = SentDedupConfig()
    pipelines = {
        "signatures": [JsonlReader(folder), SentenceDedupSignature(f"{work}/sigs", config=config)],
        "find": [SentenceFindDedups(f"{work}/sigs", f"{work}/dups", config=config)],
        "filter": [
            JsonlReader(folder), SentenceDedupFilter(f"{work}/dups", config=config), JsonlWriter(f"{work}/kept")
        ],
    }  # fmt: skip
    taken = {}
    for name, pipeline in pipelines.items():
        started = _cpu()
        LocalPipelineExecutor(pipeline, tasks=1, workers=1, logging_dir=f"{work}/log-{name}").run()
        taken[name] = round(_cpu() - started, 3)
    return taken


if __name__ == "__main__":
    print(json.dumps(steps(sys.argv[1], sys.argv[2])))
