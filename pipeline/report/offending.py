"""Which stretches of a text the rule that rejected it objected to: what the report and `tamis browse` mark.

For reading, not for judging: the compiled kernels of stages/ count, these few lines find again what they counted, on
one text at a time. Rules that judge a text as a whole (a classifier's score, a language, too few words) mark nothing.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import stages
from pipeline.resources import ResourceError, identify_all, load_resources
from stages.pii_patterns import findings
from stages.stage import Stage
from stages.text_statistics import SHORT_LINE_CHARACTERS
from stages.word_list import occurrences
from stages.words import SENTENCE_ENDS

Span = tuple[int, int]

#: Characters of a text that are searched: repeated n-grams of a text of 100 MB are not worth a minute.
MAX_CHARACTERS: Final = 200_000
_WORD: Final = re.compile(r"[^\W_]+")
_PARAGRAPH: Final = re.compile(r"\S(?:[^\n]|\n(?!\s*\n))*")
_PIECE: Final = re.compile(r"\S+")
_ELLIPSIS: Final = re.compile(r"…|\.{3,}")
_NGRAM: Final = re.compile(r"(dclm_)?(top|duplicate)_(\d+)gram")
_BULLET: Final = re.compile(r"\s*(?:[•‣⁃◦∙▪▫●○■□]|[-*]\s)")
#: Quotation marks that may stand behind a sentence's end.
_CLOSING: Final = "\"'”’»›」』)"


def offending(row: Mapping[str, Any], text: str, recipe_stages: list[Mapping[str, Any]]) -> list[Span]:
    """Character ranges of `text`, ascending and apart, that made the ledger row `row`; empty where no stretch did.

    `recipe_stages` are the manifest's resolved stages: a word list is looked for where the recipe names it, and marks
    nothing if it is gone.
    """
    find = _FINDERS.get(row["reason"])
    text = text[:MAX_CHARACTERS]
    if row["reason"] == "listed_words":
        return merged(_listed(text, row, recipe_stages))
    return merged(find(text, row)) if find else []


def merged(spans: Iterator[Span] | list[Span]) -> list[Span]:
    """Ascending ranges without overlap; those that touch become one."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        elif end > start:
            found.append((start, end))
    return found


def words_in(text: str, words: list[str]) -> list[Span]:
    """Where any of the words stands, whatever its case: what a search marks."""
    if not words:
        return []
    pattern = re.compile("|".join(re.escape(word) for word in words), re.IGNORECASE)
    return merged([found.span() for found in pattern.finditer(text[:MAX_CHARACTERS])])


def pieces(text: str, spans: list[Span]) -> list[tuple[str, bool]]:
    """The text cut where marks begin and end: (piece, whether it is marked)."""
    cut: list[tuple[str, bool]] = []
    place = 0
    for start, end in spans:
        if place < start:
            cut.append((text[place:start], False))
        cut.append((text[start:end], True))
        place = end
    if place < len(text):
        cut.append((text[place:], False))
    return cut


def window(text: str, spans: list[Span], characters: int) -> tuple[str, list[Span]]:
    """At most so many characters of a text, from a little before its first mark on, and the marks in them."""
    start = max(0, spans[0][0] - characters // 4) if spans and spans[0][0] > characters // 2 else 0
    head, tail = "… " if start else "", " …" if start + characters < len(text) else ""
    shown = text[start : start + characters]
    shift = len(head) - start
    inside = [(max(a, start) + shift, min(b, start + characters) + shift) for a, b in spans if a < start + characters]
    return head + shown + tail, [(a, b) for a, b in inside if b > a]


def _lines(text: str) -> Iterator[tuple[str, Span]]:
    begin = 0
    for line in text.split("\n"):
        if stripped := line.strip():
            yield stripped, (begin, begin + len(line))
        begin += len(line) + 1


def _where(passes: Callable[[str], object]) -> Callable[[str, Mapping[str, Any]], Iterator[Span]]:
    """Lines that meet a condition."""
    return lambda text, _: (span for line, span in _lines(text) if passes(line))


def _matches(pattern: re.Pattern[str]) -> Callable[[str, Mapping[str, Any]], Iterator[Span]]:
    return lambda text, _: (found.span() for found in pattern.finditer(text))


def _repeated_lines(text: str, _row: Mapping[str, Any]) -> Iterator[Span]:
    yield from _again(_lines(text))


def _repeated_paragraphs(text: str, _row: Mapping[str, Any]) -> Iterator[Span]:
    yield from _again((found[0].strip(), found.span()) for found in _PARAGRAPH.finditer(text))


def _again(entries: Iterator[tuple[str, Span]]) -> Iterator[Span]:
    """Those that stood further up already."""
    seen: set[str] = set()
    for line, span in entries:
        if line in seen:
            yield span
        seen.add(line)


def _ngrams(text: str, row: Mapping[str, Any]) -> Iterator[Span]:
    """Duplicates from their second occurrence on, the top n-gram and DCLM's duplicates everywhere."""
    named = _NGRAM.search(row["detail"] or "")
    if not named:
        return
    size, words = int(named[3]), [found.span() for found in _WORD.finditer(text)]
    small = [text[start:end].lower() for start, end in words]
    grams = list(zip(*(small[place:] for place in range(size)), strict=False))
    counts = Counter(grams)
    top = next((gram for gram, count in counts.most_common(1) if count > 1), None)
    seen: set[tuple[str, ...]] = set()
    for place, gram in enumerate(grams):
        repeated = counts[gram] > 1 and (named[1] or gram in seen)
        if gram == top if named[2] == "top" else repeated:
            yield words[place][0], words[place + size - 1][1]
        seen.add(gram)


def _symbols(text: str, row: Mapping[str, Any]) -> Iterator[Span]:
    detail = row["detail"] or ""
    patterns = [re.compile("#")] * (not detail.startswith("ellips")) + [_ELLIPSIS] * (not detail.startswith("hash"))
    for pattern in patterns:
        yield from (found.span() for found in pattern.finditer(text))


def _long_words(text: str, row: Mapping[str, Any]) -> Iterator[Span]:
    """Words above the limit, where the mean is above it."""
    if row["measured"] is not None and row["threshold"] is not None and row["measured"] > row["threshold"]:
        yield from (found.span() for found in _WORD.finditer(text) if len(found[0]) > row["threshold"])


def _without_letter(text: str, _row: Mapping[str, Any]) -> Iterator[Span]:
    yield from (found.span() for found in _PIECE.finditer(text) if not any(map(str.isalpha, found[0])))


def _personal(text: str, _row: Mapping[str, Any]) -> Iterator[Span]:
    for spans in findings(text).values():
        yield from ((span[0], span[1]) for span in spans)


def _listed(text: str, row: Mapping[str, Any], recipe_stages: list[Mapping[str, Any]]) -> Iterator[Span]:
    definition = stages.CATALOGUE["word_list"]
    assert isinstance(definition, Stage)
    for stage in recipe_stages:
        if stage["type"] != "word_list":
            continue
        names = definition.settings.model_fields
        settings = definition.settings.model_validate({key: value for key, value in stage.items() if key in names})
        wanted = [one for one in definition.resources(settings) if one.name == row["detail"]]
        try:
            lists = load_resources(wanted, expected=identify_all(wanted))
        except (ResourceError, OSError):
            continue  # the list is not on this machine: nothing is marked, the row still says which one it was
        # One line's offsets are the text's: blanks take the place of line breaks, one for one.
        line = text.lower()
        if len(line) == len(text):
            for automaton in lists.values():
                yield from occurrences(line.replace("\n", " "), automaton)


def _ends_a_sentence(line: str) -> bool:
    return line.rstrip(_CLOSING)[-1:] in SENTENCE_ENDS or line[-1:] in _CLOSING


_FINDERS: Final[Mapping[str, Callable[[str, Mapping[str, Any]], Iterator[Span]]]] = {
    "duplicate_lines": _repeated_lines,
    "duplicate_line_characters": _repeated_lines,
    "character_duplication": _repeated_lines,
    "duplicate_paragraphs": _repeated_paragraphs,
    "duplicate_paragraph_characters": _repeated_paragraphs,
    "duplicate_ngrams": _ngrams,
    "top_ngram": _ngrams,
    "symbol_ratio": _symbols,
    "mean_word_length": _long_words,
    "alpha_words": _without_letter,
    "bullet_lines": _where(_BULLET.match),
    "ellipsis_lines": _where(lambda line: line.endswith(("…", "..."))),
    "line_punctuation": _where(lambda line: not _ends_a_sentence(line)),
    "short_lines": _where(lambda line: len(line) <= SHORT_LINE_CHARACTERS),
    "lorem_ipsum": _matches(re.compile("lorem ipsum", re.IGNORECASE)),
    "curly_bracket": _matches(re.compile("[{}]")),
    "pii": _personal,
}
