"""Trains the bundled models again from a folder of labelled data; the same data gives the same bytes.

    python -m benchmarks.train_builtin DATA [--out pipeline/builtin] [--only NAME]

It writes each model (.ftz) with its card (.md) and prints the sha256s, which belong into pipeline/models.py. DATA is
laid out as the cards say. `make models DATA=…` is the same command.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks.builtin_data import LICENCE, english_pages
from benchmarks.builtin_quality import QUALITY, QUALITY_SOURCE, QUALITY_USE, quality_labels, quality_notes
from benchmarks.builtin_toxicity import (
    POSITIVE,
    TOXICITY,
    TOXICITY_ZH,
    chinese_texts,
    english_texts,
    fold_models,
    toxicity_labels,
)
from benchmarks.builtin_toxicity_card import (
    CHINESE_SOURCE,
    CHINESE_USE,
    TOXICITY_SOURCE,
    TOXICITY_USE,
    chinese_notes,
    english_notes,
)
from pipeline.classifier import Trained, train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("pipeline/builtin"))
    parser.add_argument("--only", choices=sorted(MODELS), help="one of the models")
    arguments = parser.parse_args()
    for name, make in MODELS.items():
        if arguments.only in (None, name):
            trained = make(arguments.data, arguments.out / name)
            print(f'    "{name}": "{trained.sha256}",  # {trained.model.stat().st_size} bytes', flush=True)


def quality_en(data: Path, out: Path) -> Trained:
    pages = english_pages(data)
    return train(
        quality_labels(data, pages),
        out=out,
        positive=["hq"],
        options=QUALITY,
        licence=LICENCE,
        source=QUALITY_SOURCE,
        use=QUALITY_USE,
        notes=lambda model: quality_notes(model, data, pages),
    )


def toxicity_en(data: Path, out: Path) -> Trained:
    pages = english_pages(data)
    texts = english_texts(data, pages)
    models = fold_models(texts, TOXICITY)
    return train(
        toxicity_labels(texts),
        out=out,
        positive=[POSITIVE],
        options=TOXICITY,
        licence=LICENCE,
        source=TOXICITY_SOURCE,
        use=TOXICITY_USE,
        notes=lambda model: english_notes(model, data, pages, texts, models),
    )


def toxicity_zh(data: Path, out: Path) -> Trained:
    texts = chinese_texts(data)
    models = fold_models(texts, TOXICITY_ZH)
    return train(
        toxicity_labels(texts),
        out=out,
        positive=[POSITIVE],
        options=TOXICITY_ZH,
        licence=LICENCE,
        source=CHINESE_SOURCE,
        use=CHINESE_USE,
        notes=lambda _: chinese_notes(texts, models),
    )


MODELS: dict[str, Callable[[Path, Path], Trained]] = {
    "quality-en": quality_en,
    "toxicity-en": toxicity_en,
    "toxicity-zh": toxicity_zh,
}

if __name__ == "__main__":
    main()
