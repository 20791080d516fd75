"""How fast the bundled classifiers score, and toxicity-en beside alt-profanity-check on the same rows.

    python -m benchmarks.classifiers speed DATA
    python -m benchmarks.classifiers toxicity DATA --peer PYTHON   the Python of an environment with alt-profanity-check

Ours is scored by models that saw neither the text nor a near duplicate. The peer learned from Davidson's tweets among
others, so its figure on them is not one of unseen texts.
"""

import argparse
import json
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.builtin_data import english_pages, rows
from benchmarks.builtin_toxicity import BOTH_KINDS, TOXICITY, cross_validated, english_texts, fold_models
from benchmarks.texts import measured, size_of
from pipeline.metrics import paired_difference, roc_auc
from pipeline.models import builtin_path, load_fasttext
from stages import quality, toxicity

_PEER = """
import json, sys
from profanity_check import predict_prob
json.dump([float(score) for score in predict_prob(json.load(sys.stdin))], sys.stdout)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "toxicity"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--peer", help="Python of an environment with alt-profanity-check")
    arguments = parser.parse_args()
    if arguments.what == "speed":
        speed(arguments.data)
    else:
        beside_peer(arguments.data, arguments.peer)


def speed(data: Path) -> None:
    """MB of text a CPU second, on Wikipedia articles and for Chinese on posts."""
    articles = [row["text"] for row in rows(data / "quality/wikipedia_classes.jsonl.gz")]
    posts = [row["text"] for row in rows(data / "toxicity/cold_zh.jsonl.gz")]
    joined = ["\n".join(posts[at : at + 40]) for at in range(0, len(posts), 40)]
    print("| stage and model | MB of text in a CPU second |\n|---|---|")
    for stage, settings, name, texts in (
        (quality, quality.QualitySettings(), "quality-en", articles),
        (toxicity, toxicity.ToxicitySettings(), "toxicity-en", articles),
        (toxicity, toxicity.ToxicitySettings(), "toxicity-zh", joined),
    ):  # fmt: skip
        model = load_fasttext(builtin_path(f"builtin/{name}"))
        docs = pa.table({"text": pa.array(texts, pa.large_string())})
        found = measured(lambda: stage.measure(docs, settings, {"model": model}), size_of(texts))  # noqa: B023
        print(f"| {stage.__name__.partition('.')[2]}, {name} | {found} |", flush=True)


def beside_peer(data: Path, peer: str) -> None:
    texts = english_texts(data, english_pages(data))
    ours = cross_validated(texts, fold_models(texts, TOXICITY))
    asked = subprocess.run(
        [peer, "-c", _PEER], input=json.dumps([each.text for each in texts]), capture_output=True, text=True, check=True
    )
    theirs = np.array(json.loads(asked.stdout))
    truth = np.array([each.toxic for each in texts])
    print("| source | ours | alt-profanity-check | ours has more (95 % interval) |\n|---|---|---|---|")
    for name in (*BOTH_KINDS, "civil"):
        place = np.array([each.source == name for each in texts])
        more, _ = paired_difference(ours[place], theirs[place], truth[place])
        areas = [roc_auc(scores[place], truth[place]) for scores in (ours, theirs)]
        print(f"| {name} | {areas[0]:.3f} | {areas[1]:.3f} | {more.value:.3f} ({more.low:.3f} to {more.high:.3f}) |")


if __name__ == "__main__":
    main()
