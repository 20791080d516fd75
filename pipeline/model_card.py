"""The model card that `tamis classifier train` writes beside a model: what it is, from what, and what it reached.

No date, no machine: same labels and options, same bytes.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.labels import Label
from pipeline.metrics import Evaluation, Interval
from stages.fasttext_text import LABEL_PREFIX


@dataclass(frozen=True, kw_only=True)
class About:
    """What only the one who trains can say."""

    licence: str
    #: What the labels are and where they come from.
    source: str
    use: str


def model_card(
    model: Path,
    sha256: str,
    labels: Sequence[Label],
    *,
    options: Mapping[str, Any],
    rows: tuple[int, int],
    evaluations: Mapping[str, Evaluation],
    about: About,
) -> str:
    """What the model is, what it was made from, what it reached. `rows`: how many were trained on and held out."""
    counts = Counter(each.label for each in labels)
    table = "\n".join(f"| `{LABEL_PREFIX}{name}` | {count:,} |" for name, count in sorted(counts.items()))
    figures = "\n".join(
        f"| {name} | {each.rows:,} | {each.positives:,} | {shown(each.roc_auc)} | {shown(each.pr_auc)} "
        f"| {each.threshold:.4f} | {shown(each.precision)} | {shown(each.recall)} | {each.calibration_error:.3f} |"
        for name, each in evaluations.items()
    )
    settings = ", ".join(f"{name}={value}" for name, value in options.items())
    parts = [
        (
            f"# {model.stem}\n\nA fastText text classifier. File `{model.name}`, "
            f"{model.stat().st_size:,} bytes, sha256 `{sha256}`."
        ),
        f"## Intended use\n\n{about.use}",
        f"## Licence\n\n{about.licence}",
        (
            f"## Data\n\n{about.source}\n\n| label | texts |\n|---|---|\n{table}\n\n"
            f"{rows[0]:,} texts were trained on, {rows[1]:,} held out by a keyed hash of "
            f"their group. Fingerprint of all labels (order does not matter): `{_fingerprint(labels)}`."
        ),
        f"## Training\n\n{settings}. One thread, fixed seed: the same labels give the same file.",
        (
            "## Figures on the held-out part\n\nWith 95 % bootstrap intervals. The threshold is the one with the best "
            "F1; precision and recall are at it. Calibration error: by how much the score is off as a probability, "
            "on average.\n\n"
            "| label | texts | of them positive | ROC area | PR area | threshold | precision | recall | calibration "
            f"error |\n|---|---|---|---|---|---|---|---|---|\n{figures}"
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _fingerprint(labels: Sequence[Label]) -> str:
    digest = hashlib.sha256()
    for line in sorted(f"{each.label}\t{each.group}\t{each.text}" for each in labels):
        digest.update(hashlib.sha256(line.encode("utf-8", "replace")).digest())
    return digest.hexdigest()


def shown(interval: Interval) -> str:
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"
