"""What each of Gopher's rules says of real texts when it is alone: ours beside datatrove's.

    python -m benchmarks.rules_agreement FOLDER --datatrove PYTHON [--texts 1500] [--show 3]

FOLDER holds *.jsonl.gz with a `text` column; --datatrove names the Python of an environment that has
datatrove[processing]==0.10.1, spacy and nltk. --show prints the beginnings of so many texts on which a rule differs.
"""

import argparse
import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from benchmarks.rules import PEER
from benchmarks.texts import texts_below
from stages import gopher_quality, gopher_repetition
from stages.gopher_repetition import REASONS
from stages.stage import Settings

#: Limits of Gopher's quality rules that no text fails.
QUALITY_OFF: Mapping[str, float] = {
    "min_words": 0,
    "max_words": 1 << 40,
    "min_mean_word_length": 0,
    "max_mean_word_length": 1e9,
    "max_hash_sign_ratio": 1e9,
    "max_ellipsis_ratio": 1e9,
    "max_bullet_line_fraction": 1,
    "max_ellipsis_line_fraction": 1,
    "min_alpha_word_fraction": 0,
    "min_stop_words": 0,
}
#: Which of them belong to which rule; the peer's script calls its rules so too.
QUALITY = {
    "word_count": ("min_words", "max_words"),
    "mean_word_length": ("min_mean_word_length", "max_mean_word_length"),
    "symbol_ratio": ("max_hash_sign_ratio", "max_ellipsis_ratio"),
    "bullet_lines": ("max_bullet_line_fraction",),
    "ellipsis_lines": ("max_ellipsis_line_fraction",),
    "alpha_words": ("min_alpha_word_fraction",),
    "stop_words": ("min_stop_words",),
}


def ours(texts: Sequence[str]) -> dict[str, list[bool]]:
    """Whether each text passes each rule when there is no other."""
    table = pa.table({"text": pa.array(texts, pa.large_string())})
    found: dict[str, list[bool]] = {}

    def judge(rule: str, stage: object, measured: pa.Table, settings: Settings) -> None:
        verdict = stage.judge(measured, settings)["reason"]  # type: ignore[attr-defined]
        found[rule] = [reason is None for reason in verdict.to_pylist()]

    quality = gopher_quality.STAGE
    settings = gopher_quality.GopherQualitySettings
    assert quality.measure is not None
    measured = quality.measure(table, settings(), {})
    for rule, limits in QUALITY.items():
        off = {name: limit for name, limit in QUALITY_OFF.items() if name not in limits}
        judge(rule, gopher_quality, measured, settings(**off))
    measured = gopher_repetition.measure(table, gopher_repetition.GopherRepetitionSettings(), {})
    for rule in dict.fromkeys(REASONS.values()):
        off = {f"max_{column}": 1.0 for column, reason in REASONS.items() if reason != rule}
        judge(rule, gopher_repetition, measured, gopher_repetition.GopherRepetitionSettings(**off))
    return found


def theirs(texts: Sequence[str], python: str) -> dict[str, list[bool]]:
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
        file.flush()
        said = subprocess.run(
            [python, str(PEER), file.name], input="verdicts\n", stdout=subprocess.PIPE, text=True, check=True
        ).stdout
    found: dict[str, list[bool]] = json.loads(said.split("\n")[1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--datatrove", required=True)
    parser.add_argument("--texts", type=int, default=1500)
    parser.add_argument("--show", type=int, default=0)
    given = parser.parse_args()
    every = list(texts_below(given.folder))
    texts = every[:: max(1, len(every) // given.texts)][: given.texts]
    mine, peer = ours(texts), theirs(texts, given.datatrove)
    mine["all rules"] = [all(each) for each in zip(*mine.values(), strict=True)]
    peer["all rules"] = [all(each) for each in zip(*peer.values(), strict=True)]
    print(f"{len(texts)} texts\n\n| rule | agree | both drop | ours alone | datatrove alone |\n|---|---|---|---|---|")
    for rule, passed in mine.items():
        pairs = list(zip(passed, peer[rule], strict=True))
        same = sum(one == other for one, other in pairs) / len(pairs)
        counts = (pairs.count((False, False)), pairs.count((False, True)), pairs.count((True, False)))
        print(f"| {rule} | {same:.4f} | {' | '.join(str(count) for count in counts)} |")
    for rule in mine if given.show else ():
        differ = [place for place in range(len(texts)) if mine[rule][place] != peer[rule][place]]
        for place in differ[: given.show]:
            print(f"\n{rule}: {'ours' if peer[rule][place] else 'datatrove'} drops {texts[place][:300]!r}")


if __name__ == "__main__":
    main()
