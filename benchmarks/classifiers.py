"""How fast the bundled classifiers score, and toxicity-en beside alt-profanity-check on the same rows.

    python -m benchmarks.classifiers speed DATA
    python -m benchmarks.classifiers toxicity DATA --peer PYTHON   the Python of an environment with alt-profanity-check

Ours is the bundled model on the part of its labels that training held out (copies, threads and comments are never
parted), at most ROWS of a source, by hash. The peer learned from Davidson's tweets among others: its figure on them is
not one of unseen texts.
"""

import argparse
import json
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.builtin_data import digest, english_pages, rows
from benchmarks.builtin_toxicity import BOTH_KINDS, LABEL, TOXICITY, english_texts, line_of
from benchmarks.texts import measured, size_of
from pipeline.classifier import is_held_out
from pipeline.metrics import paired_difference, roc_auc
from pipeline.models import builtin_path, load_fasttext
from stages import language, quality, toxicity
from stages.fasttext_text import label_scores

#: Texts of a source that both are asked about.
ROWS = 3_000

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
        (language, language.LanguageSettings(), "lid.176", articles),
        (quality, quality.QualitySettings(), "quality-en", articles),
        (toxicity, toxicity.ToxicitySettings(), "toxicity-en", articles),
        (toxicity, toxicity.ToxicitySettings(), "toxicity-zh", joined),
    ):  # fmt: skip
        model = load_fasttext(builtin_path(f"builtin/{name}"))
        docs = pa.table({"text": pa.array(texts, pa.large_string())})
        found = measured(lambda: stage.measure(docs, settings, {"model": model}), size_of(texts))  # noqa: B023
        print(f"| {stage.__name__.partition('.')[2]}, {name} | {found} |", flush=True)


def beside_peer(data: Path, peer: str) -> None:
    unseen = [
        each
        for each in english_texts(data, english_pages(data))
        if is_held_out(each.group, fraction=TOXICITY.held_out_fraction)
    ]
    by_source = {name: [each for each in unseen if each.source == name] for name in (*BOTH_KINDS, "civil")}
    texts = [each for some in by_source.values() for each in sorted(some, key=lambda text: digest(text.text))[:ROWS]]
    model = load_fasttext(builtin_path("builtin/toxicity-en"))
    ours = label_scores(model, [line_of(each.text) for each in texts], label=LABEL)
    asked = subprocess.run(
        [peer, "-c", _PEER], input=json.dumps([each.text for each in texts]), capture_output=True, text=True, check=True
    )
    theirs = np.array(json.loads(asked.stdout))
    truth = np.array([each.toxic for each in texts])
    print("| source | texts | ours | alt-profanity-check | ours has more (95 % interval) |\n|---|---|---|---|---|")
    found = {}
    for name in by_source:
        place = np.array([each.source == name for each in texts])
        more, _ = paired_difference(ours[place], theirs[place], truth[place])
        areas = [roc_auc(scores[place], truth[place]) for scores in (ours, theirs)]
        found[name] = areas
        shown = f"{more.value:.3f} ({more.low:.3f} to {more.high:.3f})"
        print(f"| {name} | {int(place.sum())} | {areas[0]:.3f} | {areas[1]:.3f} | {shown} |")
    ours_mean, theirs_mean = (float(np.mean([found[name][side] for name in BOTH_KINDS])) for side in (0, 1))
    print(f"| mean of the first three | | {ours_mean:.3f} | {theirs_mean:.3f} | {ours_mean - theirs_mean:.3f} |")


if __name__ == "__main__":
    main()
