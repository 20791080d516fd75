"""datatrove's MinHash, to be run by a Python that has datatrove[processing], spacy and orjson.

    python benchmarks/datatrove_minhash.py signatures TEXTS.jsonl      seconds of its signature step's own functions
    python benchmarks/datatrove_minhash.py steps FOLDER_OF_JSONL WORK  seconds of each of its four steps, one worker

Prints JSON. Its defaults: 14 buckets of 8, words by spaCy, 5-grams.
"""

import json
import os
import sys
import time
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers.jsonl import JsonlWriter


def signatures(path: str) -> dict[str, float]:
    """CPU seconds for shingles and signatures of every text, after one warm-up text."""
    texts = [json.loads(line)["text"] for line in Path(path).read_text(encoding="utf-8").split("\n") if line]
    step = MinhashDedupSignature("unused", MinhashConfig())
    step.get_signature(step.get_shingles(texts[0]))
    started = time.process_time()
    for text in texts:
        step.get_signature(step.get_shingles(text))
    return {"seconds": time.process_time() - started, "bytes": sum(len(text.encode()) for text in texts)}


def _cpu() -> float:
    """User and system seconds of this process and of its ended children."""
    found = os.times()
    return found.user + found.system + found.children_user + found.children_system


def steps(folder: str, work: str) -> dict[str, float]:
    """CPU seconds of the four steps with one worker, those of its child processes included."""
    config = MinhashConfig()
    pipelines = {
        "signatures": (1, [JsonlReader(folder), MinhashDedupSignature(f"{work}/sigs", config)]),
        "buckets": (config.num_buckets, [MinhashDedupBuckets(f"{work}/sigs", f"{work}/buckets", config=config)]),
        "cluster": (1, [MinhashDedupCluster(f"{work}/buckets", f"{work}/remove", config=config)]),
        "filter": (1, [JsonlReader(folder), MinhashDedupFilter(f"{work}/remove"), JsonlWriter(f"{work}/kept")]),
    }
    taken = {}
    for name, (tasks, pipeline) in pipelines.items():
        started = _cpu()
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=f"{work}/log-{name}").run()
        taken[name] = _cpu() - started
    return taken


if __name__ == "__main__":
    print(json.dumps(signatures(sys.argv[2]) if sys.argv[1] == "signatures" else steps(sys.argv[2], sys.argv[3])))
