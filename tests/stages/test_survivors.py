"""Who goes before whom, on documents that one can read."""

import pyarrow as pa
import pytest
from pydantic import ValidationError

from stages.survivors import SurvivorSettings, places

DOCUMENTS = {
    # name: (source, date, text, quality_score)
    "best": ("web/1", "2026-01-03T00:00:00Z", "ab", 0.9),
    "long": ("web/2", "2026-01-02T10:00:00.123Z", "abcdef", 0.5),
    "early": ("books/1", "2026-01-02", "abc", 0.5),
    "bare": ("other", None, "abcd", None),
    "odd": ("web/1", "last Tuesday", "ä" * 5, float("nan")),
}


def order(*criteria: str, sources: tuple[str, ...] = (), without: str = "") -> list[str]:
    """The names from best to worst; whom the criteria leave equal in the order in which they stand above."""
    columns = list(zip(*DOCUMENTS.values(), strict=True))
    table = pa.table(
        dict(zip(("source", "date", "text", "quality_score"), map(pa.array, columns), strict=True))
    )  # fmt: skip
    if without:
        table = table.drop_columns([without])
    found = places(table, SurvivorSettings(survivor=criteria, sources=sources)).tolist()
    return [name for _, name in sorted(zip(found, DOCUMENTS, strict=True), key=lambda pair: pair[0])]


def test_each_criterion_on_its_own():
    assert order("quality") == ["best", "long", "early", "bare", "odd"]
    assert order("longest") == ["long", "odd", "bare", "early", "best"]
    assert order("earliest") == ["early", "long", "best", "bare", "odd"]
    assert order("source_priority", sources=("books/*", "web/?")) == ["early", "best", "long", "odd", "bare"]
    assert order("smallest_id") == list(DOCUMENTS)


def test_the_first_criterion_rules_and_the_next_decides_what_it_leaves_open():
    assert order("quality", "longest") == ["best", "long", "early", "odd", "bare"]
    assert order("quality", "earliest") == ["best", "early", "long", "bare", "odd"]
    assert order("source_priority", "quality", "longest", sources=("web/1",)) == [
        "best",
        "odd",
        "long",
        "early",
        "bare",
    ]


def test_a_table_without_scores_is_ordered_by_the_rest():
    assert order("quality", "longest", without="quality_score") == order("longest")


def test_values_beyond_the_range_count_as_its_end():
    table = pa.table({"quality_score": [-1e9, -838.0, 838.0, 1e9, float("inf"), -float("inf")]})
    low, lower, high, higher, highest, lowest = places(table, SurvivorSettings(survivor=("quality",))).tolist()
    assert low == lowest >= lower > high >= higher == highest


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"survivor": ["quality", "quality"]}, "twice"),
        ({"survivor": ["smallest_id", "quality"]}, "can only come last"),
        ({"survivor": ["quality", "longest", "earliest"]}, "80 bits of 64"),
        ({"survivor": ["source_priority"]}, "need each other"),
        ({"sources": ["web/*"]}, "need each other"),
        ({"survivor": ["newest"]}, "newest"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        SurvivorSettings(**given)
