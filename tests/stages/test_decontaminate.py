"""Benchmark items are found in documents, whatever form they have, and named."""

import gzip
import json
from typing import Any

import pyarrow as pa
import pytest
from rule_cases import PEER_CASES

from stages.decontaminate import STAGE, build_benchmark, item_texts, read_found

QUESTION = "A train leaves the station at nine and travels sixty miles each hour until noon"
ITEMS: list[dict[str, Any]] = [
    {"query": f"Question: {QUESTION}. How far does it go?\nAnswer:", "choices": ["180 miles", "60 miles"], "gold": 0},
    {"context": "Mary had a little lamb whose fleece was white as snow and everywhere", "continuation": "went"},
    {"task_id": "H/7", "prompt": "def add(a, b):\n    return the sum of both", "canonical_solution": "return a + b"},
    {"context_options": ["Sarah was the better surgeon so Sarah", "Sarah was the better surgeon so Maria"],
     "continuation": "always got the easier cases."},
    {"text": "Call me Ishmael."},
]  # fmt: skip


def measured(*texts: str, items: list[dict[str, Any]] = ITEMS, **settings: Any) -> list[dict[str, Any]]:
    chosen = STAGE.settings(**{"against": ("b/exam.jsonl",), "ngram": 5, **settings})
    (resource,) = STAGE.resources(chosen)
    docs = pa.table({"text": pa.array(texts, pa.large_string())})
    return STAGE.measure(docs, chosen, {resource.name: build_benchmark(items, **resource.parameters)}).to_pylist()


def test_an_item_is_found_and_named() -> None:
    page = f"Once more: {QUESTION.upper()}! How far does it go? 180 miles. That was easy."
    rows = measured("Nothing of all this stands here.", page, "", "always got the easier cases, so they say")
    assert rows[0] == {"contamination": 0.0, "contaminating_items": 0, "contaminated_by": None}
    assert rows[1] == {"contamination": 1.0, "contaminating_items": 1, "contaminated_by": "exam:1 18/18"}
    assert rows[2] == rows[0]
    assert rows[3]["contaminated_by"] == "exam:4 1/13"
    assert read_found("exam:1 18/18; b:x y 1/2") == [("exam", "1", 18, 18), ("b", "x y", 1, 2)]


def test_items_are_named_by_their_own_id() -> None:
    assert measured("a, b: return the sum of both return a+b")[0]["contaminated_by"] == "exam:H/7 6/8"


def test_the_form_of_a_benchmark_is_no_part_of_an_item() -> None:
    assert item_texts(ITEMS[0])[0] == f"{QUESTION}. How far does it go?\n180 miles"
    listed = {"query": "Question: Who?\nChoices:\nA. a bank\nB. a mall\nAnswer:", "choices": ["A", "B"], "gold": 1}
    assert item_texts(listed)[0].split() == ["Who?", "a", "bank", "a", "mall", "B"]
    assert item_texts({"other": 1}) == []


def test_common_ngrams_convict_nobody() -> None:
    phrase = "which of the following is the best answer"
    items = [{"text": f"{phrase} {word}"} for word in ("one", "two", "three")]
    assert measured(phrase, items=items)[0]["contaminating_items"] == 3
    assert measured(phrase, items=items, max_items_per_ngram=2)[0]["contaminating_items"] == 0
    assert measured(f"{phrase} two", items=items, max_items_per_ngram=2)[0]["contaminated_by"] == "exam:2 1/1"


def test_short_items_and_empty_benchmarks_are_never_found() -> None:
    assert measured("Call me Ishmael. Some years ago I went to sea.")[0]["contamination"] == 0
    assert measured("any text of five words", items=[])[0]["contamination"] == 0


def test_an_item_of_no_known_form_is_refused_with_its_number() -> None:
    with pytest.raises(ValueError, match="item 2 has none of text, query"):
        build_benchmark([ITEMS[0], {"foo": 1}], ngram=5, max_items_per_ngram=10)


def test_judges_above_the_limit() -> None:
    settings = STAGE.settings(against=("a",), max_item_fraction=0.5)
    table = pa.table({"contamination": [0.0, 0.5, 0.6], "contaminated_by": [None, "a:1 1/2", "a:1 3/5"]})
    found = STAGE.judge(table, settings).to_pylist()
    assert [row["reason"] for row in found] == [None, None, "contaminated"]
    assert (found[2]["measured"], found[2]["threshold"], found[2]["detail"]) == (0.6, 0.5, "a:1 3/5")


def test_two_files_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two files are called arc"):
        STAGE.resources(STAGE.settings(against=("a/arc.jsonl", "b/arc.jsonl.gz")))


def test_every_benchmark_of_the_data_pack_finds_its_own_items() -> None:
    folder = PEER_CASES.parent / "benchmarks"
    if not folder.is_dir():
        pytest.skip("the data pack's benchmarks are not there")
    for path in sorted(folder.glob("*.jsonl.gz")):
        items = [json.loads(line) for line in gzip.decompress(path.read_bytes()).split(b"\n")[:200] if line]
        built = build_benchmark(items, ngram=8, max_items_per_ngram=10)
        pages = [f"Before. {' '.join(item_texts(item))} After." for item in items]
        table = STAGE.measure(
            pa.table({"text": pages}), STAGE.settings(against=("x",), ngram=8), {path.name.partition(".")[0]: built}
        )
        for number, by in enumerate(table["contaminated_by"].to_pylist()):
            if built.items.totals[number]:
                assert by is not None, (path.name, number)
