"""Language identification: lid.176 and py3langid on news sentences of 75 languages; prints tables for docs/judging.md.

    python -m benchmarks.language sentences.jsonl.gz      lines with `text` and `lang` (ISO 639)

F1 counts what another language's sentence is taken for against precision: once among the web languages alone, once
among all 75, of which lid.176 does not know eight.
"""

import gzip
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from pipeline.resources import identify_all, load_resources
from stages.language import LID_176, SAME_LANGUAGE, STAGE, UNKNOWN

#: The commonest languages of web pages after W3Techs and Common Crawl's own statistics, as far as the data has them.
WEB_LANGUAGES = [
    "en",
    "ru",
    "de",
    "es",
    "ja",
    "fr",
    "zh",
    "pt",
    "it",
    "nl",
    "pl",
    "tr",
    "fa",
    "cs",
    "vi",
    "id",
    "ar",
    "uk",
    "el",
    "hu",
]
#: Languages that are told apart with difficulty, by what one reads for the other.
GROUPS = {
    "Bosnian, Croatian, Serbian": ("bs", "hr", "sr"),
    "Bokmål (no), Nynorsk, Danish, Swedish": ("no", "nn", "da", "sv"),
    "Indonesian, Malay": ("id", "ms"),
    "Czech, Slovak, Slovene": ("cs", "sk", "sl"),
    "Belarusian, Russian, Ukrainian, Bulgarian, Macedonian": ("be", "ru", "uk", "bg", "mk"),
    "Afrikaans, Dutch": ("af", "nl"),
    "Catalan, Portuguese, Spanish": ("ca", "pt", "es"),
}


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What one identifier said of each sentence, and how fast."""

    name: str
    found: list[str]
    scores: list[float]
    megabytes_a_second: float

    def of(self, rows: Sequence[int]) -> "Answers":
        """The answers for these sentences alone."""
        return replace(self, found=[self.found[row] for row in rows], scores=[self.scores[row] for row in rows])

    def f1(self, truth: Sequence[str], language: str) -> float:
        right = sum(one == two == language for one, two in zip(truth, self.found, strict=True))
        total = truth.count(language) + self.found.count(language)
        return 2 * right / total if total else 0.0


def answers(texts: Sequence[str]) -> tuple[Answers, Answers]:
    """lid.176 and py3langid, each timed by itself."""
    docs = pa.table({"text": pa.array(texts, pa.large_string())})
    size = sum(len(text.encode()) for text in texts) / 1e6
    plain, both = STAGE.settings(min_letters=0), STAGE.settings(min_letters=0, second="py3langid")
    needed = STAGE.resources(both)
    loaded = load_resources(needed, expected=identify_all(needed))
    assert STAGE.measure is not None
    STAGE.measure(docs.slice(0, 10), both, loaded)
    started = time.process_time()
    STAGE.measure(docs, plain, loaded)
    first = time.process_time() - started
    started = time.process_time()
    table = STAGE.measure(docs, both, loaded)
    second = time.process_time() - started - first
    return (
        Answers(name="lid.176", found=table["language"].to_pylist(), scores=table["language_score"].to_pylist(),
                megabytes_a_second=size / first),
        Answers(name="py3langid", found=[found or UNKNOWN for found in table["second_language"].to_pylist()],
                scores=table["second_language_score"].to_pylist(), megabytes_a_second=size / second),
    )  # fmt: skip


def main(path: Path) -> None:
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        rows = [json.loads(line) for line in lines]
    truth = [SAME_LANGUAGE.get(row["lang"], row["lang"]) for row in rows]
    both = answers([row["text"] for row in rows])
    print(f"{len(rows)} sentences, {len(set(truth))} languages; " + ", ".join(
        f"{one.name} {one.megabytes_a_second:.1f} MB a CPU second" for one in both))  # fmt: skip
    agree = [index for index, pair in enumerate(zip(both[0].found, both[1].found, strict=True)) if pair[0] == pair[1]]
    right = sum(both[0].found[index] == truth[index] for index in agree)
    print(f"both agree on {len(agree) / len(rows):.3f} of the sentences; of these {right / len(agree):.4f} are right\n")
    common = [index for index, language in enumerate(truth) if language in WEB_LANGUAGES]
    _table(
        "web language, among its like", WEB_LANGUAGES, [one.of(common) for one in both], [truth[row] for row in common]
    )
    print()
    _table("web language, among all", WEB_LANGUAGES, both, truth)
    print()
    for name, group in GROUPS.items():
        _table(name, group, both, truth)
        print()
    _table(
        "other",
        sorted(set(truth) - set(WEB_LANGUAGES) - {one for group in GROUPS.values() for one in group}),
        both,
        truth,
    )
    unknown = [index for index, language in enumerate(truth) if language not in LID_176]
    names = ", ".join(sorted({truth[index] for index in unknown}))
    print(f"\n{len(unknown)} sentences in languages unknown to lid.176 ({names}): answers that pass a least score\n")
    print("| least score | lid.176 | py3langid | both, agreeing |\n|---|---|---|---|")
    for least in (0.3, 0.5, 0.65, 0.8, 0.9):
        passed = [[one.scores[index] >= least for index in unknown] for one in both]
        agreeing = [both[0].found[index] == both[1].found[index] for index in unknown]
        together = sum(a and b for a, b in zip(passed[0], agreeing, strict=True))
        print(
            f"| {least} | "
            + " | ".join(f"{count / len(unknown):.3f}" for count in (*map(sum, passed), together))
            + " |"
        )


def _table(name: str, languages: Sequence[str], both: Sequence[Answers], truth: Sequence[str]) -> None:
    print(f"| {name} | " + " | ".join(f"F1 {one.name}" for one in both) + " |\n|---|---|---|")
    values = [[one.f1(truth, language) for one in both] for language in languages]
    for language, row in zip(languages, values, strict=True):
        print(f"| {language} | " + " | ".join(f"{value:.3f}" for value in row) + " |")
    means = [sum(column) / len(column) for column in zip(*values, strict=True)]
    print("| **macro** | " + " | ".join(f"**{mean:.3f}**" for mean in means) + " |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
