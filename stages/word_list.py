"""Words of lists, counted: swear and sex words by language, or any list of your own. No classifier: a measure apart.

One list a language, one entry a line: words or phrases. An entry of a script with spaces counts as a whole word only
("ass" is not in "class"); one of Chinese, Japanese or Thai wherever it stands, since these scripts do not mark words.
Source: the bad-words filter of C4 (Raffel et al. 2020, section 2.2), which drops a page for one word of such a list
(`max_listed_words: 0`). That also removes texts about medicine, sex and people who are insulted with these words
(Dodge et al. 2021), so by default nothing is dropped.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

import ahocorasick
import pyarrow as pa

from stages.fasttext_text import one_line
from stages.schema import SCORE_DECIMALS
from stages.stage import Resource, Rule, Settings, Stage, place, threshold, verdicts

#: Scripts that do not part words by spaces: Thai, Lao, Myanmar, Khmer, kana, Han.
_WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


class WordListSettings(Settings):
    lists: tuple[str, ...] = place(
        ...,
        "files with one word or phrase a line, a file a language; its name without ending is how the list is called. "
        "The LDNOOBW lists (CC BY 4.0) have this form",
        min_length=1,
    )
    max_listed_words: int | None = threshold(
        None, "occurrences of listed words above which a document is dropped; 0 is C4's rule, null drops none", ge=0
    )
    max_listed_fraction: float = threshold(
        1.0,
        "share of the characters other than white space in listed words above which a document is dropped; 1 drops "
        "none",
        ge=0,
        le=1,
    )


ADDS = pa.schema(
    [
        # Occurrences of listed words, of the list that has most of them in this text; overlapping ones count once.
        pa.field("listed_words", pa.int64(), nullable=False),
        # Share of the text's characters other than white space that stand in these occurrences.
        pa.field("listed_fraction", pa.float64(), nullable=False),
        # Which list; null if no listed word occurs.
        pa.field("listed_in", pa.string()),
    ]
)


def build_words(lines: Iterable[str]) -> Any:
    """The automaton that finds the entries of a list. ValueError for a list without an entry."""
    automaton = ahocorasick.Automaton()
    for line in lines:
        entry = one_line(line, lowercase=True)
        if entry:
            automaton.add_word(entry, (len(entry), _bounded(entry[0]), _bounded(entry[-1])))
    if len(automaton) == 0:
        raise ValueError("the word list has no entry: expected one word or phrase a line")
    automaton.make_automaton()
    return automaton


def measure(docs: pa.Table, settings: WordListSettings, resources: Mapping[str, Any]) -> pa.Table:
    """ADDS for each document."""
    names = list_names(settings)
    counts, fractions, found_in = [], [], []
    for text in docs["text"].to_pylist():
        line = one_line(text, lowercase=True)
        best, best_characters, best_name = 0, 0, None
        for name in names:
            spans = occurrences(line, resources[name])
            count = len(spans)
            characters = sum(end - start - line.count(" ", start, end) for start, end in spans)
            if count > best:
                best, best_characters, best_name = count, characters, name
        counts.append(best)
        written = len(line) - line.count(" ")
        fractions.append(round(best_characters / written, SCORE_DECIMALS) if written else 0.0)
        found_in.append(best_name)
    columns = [pa.array(counts, pa.int64()), pa.array(fractions, pa.float64()), pa.array(found_in, pa.string())]
    return pa.table(columns, schema=ADDS)


def judge(docs: pa.Table, settings: WordListSettings) -> pa.Table:
    """Drops documents with more listed words than `max_listed_words` or a greater share than `max_listed_fraction`."""
    fractions = docs["listed_fraction"].to_numpy()
    names = docs["listed_in"].to_pylist()
    limit = settings.max_listed_fraction
    rules = [Rule(reason="listed_words", passes=fractions <= limit, measured=fractions, threshold=limit, detail=names)]
    if settings.max_listed_words is not None:
        counts, most = docs["listed_words"].to_numpy(), settings.max_listed_words
        rules.insert(
            0, Rule(reason="listed_words", passes=counts <= most, measured=counts, threshold=most, detail=names)
        )
    return verdicts(rules, docs.num_rows)


def list_names(settings: WordListSettings) -> list[str]:
    """What the lists are called, in order. ValueError if two are called the same."""
    names = [PurePath(path).name.removesuffix(".gz").removesuffix(".txt") for path in settings.lists]
    if len(set(names)) < len(names):
        raise ValueError(f"two word lists are called the same ({', '.join(names)}): give the files different names")
    return names


def resources(settings: WordListSettings) -> tuple[Resource, ...]:
    return tuple(
        # The name is in what is measured, so it is in the key.
        Resource(name=name, kind="word_list", reference=path, parameters={"name": name})
        for name, path in zip(list_names(settings), settings.lists, strict=True)
    )


def occurrences(line: str, automaton: Any) -> list[tuple[int, int]]:
    """Where entries stand in a line of small letters, in order, the longest where they overlap."""
    spans = []
    for last, (length, bounded_before, bounded_behind) in automaton.iter(line):
        start, end = last + 1 - length, last + 1
        if bounded_before and start > 0 and _bounded(line[start - 1]):
            continue
        if bounded_behind and end < len(line) and _bounded(line[end]):
            continue
        spans.append((start, -end))
    found: list[tuple[int, int]] = []
    for start, negative_end in sorted(spans):
        if not found or start >= found[-1][1]:
            found.append((start, -negative_end))
    return found


def _bounded(character: str) -> bool:
    """Whether a word goes on with this character: a letter, digit or underscore of a script with spaces."""
    return (character.isalnum() or character == "_") and not _WITHOUT_SPACES.match(character)


STAGE = Stage(
    name="word_list",
    settings=WordListSettings,
    adds=ADDS,
    measure=measure,
    judge=judge,
    judges=("listed_words", "listed_fraction", "listed_in"),
    resources=resources,
    libraries=("pyahocorasick",),
    modules=("stages.fasttext_text",),
)
