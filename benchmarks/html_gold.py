"""Main text of HTML pages against four gold sets: precision, recall and F1 of every engine; prints a table.

    python -m benchmarks.html_gold FOLDER [--engines trafilatura,cascade] [--sets scrapinghub]     FOLDER has html_gold/

Each set is scored by the measure that its makers score by: scrapinghub's article-extraction-benchmark by shingles of
four words (`four_gram_scores`), trafilatura's pages by strings that must and must not be found (`string_scores`).
readability and fundus bring a text and no measure, and are scored by the first. Engines run as in a run, in the parser
child with the recipe's defaults; `direct` is `trafilatura.extract` called on the page's bytes as its own evaluation
does. What gives no text counts as an empty text.
"""

import argparse
import gzip
import json
import re
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import trafilatura

from pipeline.parser_child import ParserChild
from stages.extract import ExtractSettings, RawRecord

SETS: Final = ("scrapinghub", "trafilatura", "readability", "fundus")
#: How trafilatura's own evaluation calls it (tests/eval_common.py of 2.3.1).
DIRECT_OPTIONS: Final[dict[str, Any]] = {
    "include_comments": False,
    "include_tables": True,
    "include_formatting": False,
}
#: What a row of the table runs. The cascade twice: with the gate of a recipe that keeps English, and with the number
#: of visible words alone.
ENGINES: Final[dict[str, dict[str, Any]]] = {
    "trafilatura": {"engine": "trafilatura"},
    "resiliparse": {"engine": "resiliparse"},
    "cascade": {"engine": "cascade", "gate_languages": ("en",)},
    "cascade-any-language": {"engine": "cascade"},
}
#: Resamples of article-extraction-benchmark.
RESAMPLES: Final = 1_000
COLUMNS: Final = (
    "set",
    "engine",
    "pages it keeps",
    "of these without text",
    "precision on these",
    "recall on these",
    "F1 on these",
    "against direct on these",
    "F1, pages ruled out counted as empty",
    "the same by single words",
)
_WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Of one engine on one set; `f1_interval` is half a 95 % interval over resampled pages."""

    precision: float
    recall: float
    f1: float
    f1_interval: float


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What each page contributes, row for row, in the numbers that a measure adds up or averages."""

    #: float64[pages, k]
    rows: np.ndarray
    #: rows [..., pages, k] -> precision, recall and F1, each [...]
    score: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]

    def taken(self, pages: np.ndarray) -> "Tally":
        return Tally(rows=self.rows[pages], score=self.score)

    def scores(self) -> Scores:
        precision, recall, f1 = (float(value) for value in self.score(self.rows))
        spread = self.score(self.rows[_resampled(len(self.rows))])[2]
        return Scores(precision=precision, recall=recall, f1=f1, f1_interval=1.96 * float(np.nanstd(spread, ddof=1)))


def difference(ours: Tally, theirs: Tally) -> tuple[float, float]:
    """F1 of `ours` minus that of `theirs` on the same pages, and half its 95 % interval over the same resamples."""
    drawn = _resampled(len(ours.rows))
    spread = ours.score(ours.rows[drawn])[2] - theirs.score(theirs.rows[drawn])[2]
    apart = float(ours.score(ours.rows)[2] - theirs.score(theirs.rows)[2])
    return apart, 1.96 * float(np.nanstd(spread, ddof=1))


def _resampled(pages: int) -> np.ndarray:
    """int64[RESAMPLES, pages]: the same draw for every engine, so that engines can be compared by it."""
    return np.random.default_rng(0).integers(0, pages, (RESAMPLES, pages))


def four_gram_scores(gold: Sequence[str], found: Sequence[str], *, words: int = 4) -> Tally:
    """The measure of scrapinghub's article-extraction-benchmark (evaluate.py), or the like with another length.

    Words are `\\w+`; a text's shingles are its runs of four words as a multiset (a shorter text is one shingle, an
    empty one has none). A page's precision and recall count shared shingles; the set's are the means over pages, pages
    without any shingle found left out of precision and pages without gold left out of recall; F1 is of these means.
    """
    rows = []
    for expected, text in zip(gold, found, strict=True):
        true, got = _shingles(expected, words), _shingles(text, words)
        rows.append((float((true & got).total()), float(got.total()), float(true.total())))
    return Tally(rows=np.array(rows), score=_mean_of_pages)


def _shingles(text: str, words: int) -> Counter[tuple[str, ...]]:
    tokens = _WORD.findall(text)
    return Counter(tuple(tokens[at : at + words]) for at in range(max(1, len(tokens) - words + 1)) if tokens)


def _mean_of_pages(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shared, found, gold = (rows[..., column] for column in range(3))
    return _f1(_mean_share(shared, found), _mean_share(shared, gold))


def _mean_share(shared: np.ndarray, of: np.ndarray) -> np.ndarray:
    counted = of > 0
    share = np.divide(shared, of, out=np.zeros_like(shared), where=counted)
    pages = counted.sum(-1)
    return np.divide(share.sum(-1), pages, out=np.zeros(pages.shape), where=pages > 0)


def string_scores(must: Sequence[Sequence[str]], must_not: Sequence[Sequence[str]], found: Sequence[str]) -> Tally:
    """The measure of trafilatura's own evaluation: strings that a page's text must hold and must not hold.

    White space of strings and text counts as one space. A `must` string that is there is a true positive, one that is
    missing a false negative, a `must_not` string that is there a false positive; the counts of all pages are added up.
    """
    rows = []
    for wanted, unwanted, text in zip(must, must_not, found, strict=True):
        there = _one_spaced(text)
        right = sum(_one_spaced(piece) in there for piece in wanted)
        wrong = sum(_one_spaced(piece) in there for piece in unwanted)
        rows.append((float(right), float(right + wrong), float(len(wanted))))
    return Tally(rows=np.array(rows), score=_of_sums)


def _one_spaced(text: str) -> str:
    return " ".join(text.split())


def _of_sums(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sums = rows.sum(-2)
    right, found, wanted = (sums[..., column] for column in range(3))
    return _f1(_ratio(right, found), _ratio(right, wanted))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _f1(precision: np.ndarray, recall: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return precision, recall, _ratio(2 * precision * recall, np.asarray(precision + recall))


@dataclass(frozen=True, kw_only=True)
class GoldPage:
    """One page of a gold set: its bytes, and its row of gold.jsonl."""

    id: str
    content: bytes
    gold: Mapping[str, Any]


def gold_pages(folder: Path) -> list[GoldPage]:
    """The pages of one set, in the order of its gold file."""
    with tarfile.open(folder / "html.tar.xz") as archive:
        content = {
            Path(entry.name).name.removesuffix(".html"): handle.read()
            for entry in archive
            if (handle := archive.extractfile(entry) if entry.isfile() else None) is not None
        }
    with gzip.open(folder / "gold.jsonl.gz", "rt", encoding="utf-8", newline="\n") as lines:
        rows = [json.loads(line) for line in lines]
    return [GoldPage(id=row["id"], content=content[row["id"]], gold=row) for row in rows if row["id"] in content]


def tally(pages: Sequence[GoldPage], found: Sequence[str], *, words: int = 4) -> Tally:
    """By must and must-not strings where a set has them, by shingles of `words` words where it has a text."""
    if "with" in pages[0].gold:
        return string_scores([page.gold["with"] for page in pages], [page.gold["without"] for page in pages], found)
    return four_gram_scores([page.gold["gold_text"] for page in pages], found, words=words)


@dataclass
class Answers:
    """What one engine made of one set."""

    texts: list[str] = field(default_factory=list)
    reasons: list[str | None] = field(default_factory=list)

    @property
    def kept(self) -> np.ndarray:
        """Pages that the engine itself looked at: all that no gate ruled out."""
        return np.array([reason != "gated" for reason in self.reasons])


def direct(pages: Sequence[GoldPage]) -> Answers:
    """trafilatura called on each page's bytes."""
    answers = Answers()
    for page in pages:
        text = trafilatura.extract(page.content, **DIRECT_OPTIONS)
        answers.texts.append(text or "")
        answers.reasons.append(None if text else "no_text")
    return answers


def by_engine(pages: Sequence[GoldPage], settings: ExtractSettings, child: ParserChild) -> Answers:
    """An engine of ours, as a run calls it."""
    answers = Answers()
    for page in pages:
        record = RawRecord(content=page.content, media_type="text/html", url=page.gold.get("url"))
        result = child.call(record, settings)
        answers.texts.append(result.text)
        answers.reasons.append(result.reason)
    return answers


def all_answers(pages: Sequence[GoldPage], engines: Sequence[str]) -> Iterator[tuple[str, Answers]]:
    yield "direct", direct(pages)
    with ParserChild() as child:
        for name in engines:
            chosen = ENGINES.get(name, {"engine": name})
            yield name, by_engine(pages, ExtractSettings.model_validate(chosen), child)


def report(name: str, pages: Sequence[GoldPage], engines: Sequence[str]) -> Iterator[str]:
    """The rows of one set's table."""
    base: Tally | None = None
    for engine, answers in all_answers(pages, engines):
        ours = tally(pages, answers.texts)
        base = base or ours
        everything, kept = ours.scores(), answers.kept
        on_kept, theirs = ours.taken(kept), base.taken(kept)
        apart, interval = difference(on_kept, theirs)
        tokens = f"{tally(pages, answers.texts, words=1).scores().f1:.4f}" if "gold_text" in pages[0].gold else ""
        cells = [
            name,
            engine,
            f"{int(kept.sum())} of {len(pages)}",
            str(sum(not text for text in np.array(answers.texts, dtype=object)[kept])),
            f"{on_kept.scores().precision:.4f}",
            f"{on_kept.scores().recall:.4f}",
            f"{on_kept.scores().f1:.4f}",
            "" if engine == "direct" else f"{apart:+.4f} ± {interval:.4f}",
            f"{everything.f1:.4f} ± {everything.f1_interval:.4f}",
            tokens,
        ]
        yield "| " + " | ".join(cells) + " |"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--engines", default=",".join(ENGINES), help="names of the table's rows, or of engines")
    parser.add_argument("--sets", default=",".join(SETS))
    chosen = parser.parse_args(arguments)
    if not (chosen.folder / "html_gold").is_dir():
        sys.exit(f"{chosen.folder}: there is no html_gold/ in it. Name the folder that holds the gold sets.")
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for name in chosen.sets.split(","):
        pages = gold_pages(chosen.folder / "html_gold" / name)
        for row in report(name, pages, chosen.engines.split(",")):
            print(row, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
