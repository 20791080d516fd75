"""How extraction is scored against gold: by shingles of four words, and by strings that must and must not be there."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

_WORD: Final = re.compile(r"\w+")


def shingles(text: str, words: int = 4) -> Counter[tuple[str, ...]]:
    """A text's runs of `words` words as a multiset; a shorter text is one, an empty one has none."""
    tokens = _WORD.findall(text)
    return Counter(tuple(tokens[at : at + words]) for at in range(max(1, len(tokens) - words + 1)) if tokens)


def four_gram_scores(gold: Sequence[str], found: Sequence[str]) -> tuple[float, float, float]:
    """Precision, recall and F1 as scrapinghub's article-extraction-benchmark counts them: means over pages of each,
    pages without any shingle found left out of precision and those without gold out of recall; F1 of the means."""
    precision, recall = [], []
    for expected, text in zip(gold, found, strict=True):
        true, got = shingles(expected), shingles(text)
        shared = (true & got).total()
        if got:
            precision.append(shared / got.total())
        if true:
            recall.append(shared / true.total())
    return _f1(sum(precision) / max(1, len(precision)), sum(recall) / max(1, len(recall)))


def string_scores(
    must: Sequence[Sequence[str]], must_not: Sequence[Sequence[str]], found: Sequence[str]
) -> tuple[float, float, float]:
    """Precision, recall and F1 as trafilatura's own evaluation counts them: a `must` string that is there is a true
    positive, a missing one a false negative, a `must_not` string that is there a false positive, summed over pages."""
    right = wrong = wanted_total = 0
    for wanted, unwanted, text in zip(must, must_not, found, strict=True):
        there = one_spaced(text)
        right += sum(one_spaced(piece) in there for piece in wanted)
        wrong += sum(one_spaced(piece) in there for piece in unwanted)
        wanted_total += len(wanted)
    return _f1(right / max(1, right + wrong), right / max(1, wanted_total))


def one_spaced(text: str) -> str:
    """`text` with each run of white space as one space."""
    return " ".join(text.split())


def _f1(precision: float, recall: float) -> tuple[float, float, float]:
    return precision, recall, 2 * precision * recall / (precision + recall) if precision + recall else 0.0
