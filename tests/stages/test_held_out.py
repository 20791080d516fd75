"""Held-out texts are found in documents, wherever they stand."""

import numpy as np
import pyarrow as pa
import pytest

from stages.held_out import STAGE, HeldOutSettings, build_index, judge, measure

HELD_OUT = ["It was the best of times, it was the worst of times, it was the age of wisdom.", "Call me Ishmael."]
SETTINGS = HeldOutSettings(against="held_out.jsonl.gz", ngram=5)


def containment(*texts: str) -> list[float]:
    index = build_index(HELD_OUT, 5)
    table = measure(pa.table({"text": pa.array(texts, pa.large_string())}), SETTINGS, {"held_out": index})
    return table["held_out_containment"].to_pylist()


def test_measures_the_share_of_a_documents_word_ngrams() -> None:
    own = "this sentence of ten words occurs in no held out text"
    assert containment(HELD_OUT[0].upper(), own, "") == [1.0, 0.0, 0.0]
    quoted = "it was the best of times"  # two of the n-grams of 6 words
    assert containment(quoted) == [1.0]
    assert containment(f"{quoted} a b c d e f") == [0.25]


def test_short_texts_count_whole() -> None:
    assert containment("call me Ishmael!", "call me", "it was the best") == [1.0, 0.0, 0.0]


def test_repeated_ngrams_count_once() -> None:
    assert containment("a b c d e " * 50 + HELD_OUT[0]) == containment("a b c d e a b c d e " + HELD_OUT[0])


def test_judges_above_the_limit() -> None:
    shares = {"held_out_containment": [0.0, 0.5, 0.5001, 1.0, 0.1], "held_out_copied": [0.0, 0.5, 0.0, 1.0, 0.7]}
    verdict = judge(pa.table(shares), SETTINGS)
    assert verdict["reason"].to_pylist() == [None, None, "held_out", "held_out", "held_out_copied"]
    assert verdict["measured"].to_pylist()[2:] == [0.5001, 1.0, 0.7]


def test_a_held_out_text_is_found_in_a_longer_one() -> None:
    page = "It was the best of times, it was the worst of times, it was the age of wisdom."
    other = "we had everything before us we had nothing before us we were all going direct to heaven"
    book = "chapter " + " ".join(f"word{n}" for n in range(500))
    index = build_index([page, other, "Call me Ishmael."], 5)
    half = " ".join(page.split()[:11])

    def copied(*texts: str) -> list[float]:
        table = measure(pa.table({"text": pa.array(texts, pa.large_string())}), SETTINGS, {"held_out": index})
        return table["held_out_copied"].to_pylist()

    whole, none, part, both = copied(f"{book} {page} {book}", book, f"{book} {half} {book}", f"{page} {book} {other}")
    assert (whole, none, both) == (1.0, 0.0, 1.0)
    # 7 of the 13 n-grams of its 17 words.
    assert part == 0.5385
    # A name of three words says nothing, wherever it stands.
    assert copied(f"{book} Call me Ishmael. {book}", "") == [0.0, 0.0]


def test_a_phrase_of_many_held_out_texts_tells_no_copy_of_one() -> None:
    phrase = "this page is part of the manual of the program and may be copied by anybody"
    pages = [f"{phrase} " + " ".join(f"own{n}x{k}" for k in range(30)) for n in range(11)]
    index = build_index(pages, 5)
    texts = pa.array([f"{phrase} and nothing else of them is here", pages[3]], pa.large_string())
    table = measure(pa.table({"text": texts}), SETTINGS, {"held_out": index})
    assert table["held_out_copied"].to_pylist() == [0.0, 1.0]
    # Without the limit of texts every page of the manual would hold a third of each of the others.
    assert table["held_out_containment"].to_pylist()[0] > 0.5


def test_the_index_does_not_depend_on_order_and_may_be_empty() -> None:
    one, other = build_index(HELD_OUT, 5), build_index(iter(HELD_OUT[::-1]), 5)
    assert np.array_equal(one.hashes, other.hashes)
    assert sorted(one.texts.totals) == sorted(other.texts.totals)
    assert len(build_index([], 5).hashes) == 0
    empty = measure(
        pa.table({"text": pa.array(["some text of five words"])}), SETTINGS, {"held_out": build_index([], 5)}
    )
    assert empty.to_pylist() == [{"held_out_containment": 0.0, "held_out_copied": 0.0}]


def test_names_its_resource() -> None:
    (resource,) = STAGE.resources(SETTINGS)
    assert (resource.name, resource.kind, resource.reference) == ("held_out", "held_out", "held_out.jsonl.gz")
    assert dict(resource.parameters) == {"size": 5}
    assert STAGE.settings.names_of("threshold") == {"max_held_out_containment", "max_held_out_copied"}


@pytest.mark.parametrize("text", ["\x00", "\U0001f600" * 1000, "x" * 1_000_000, "\n".join(["line"] * 10_000)])
def test_hostile_text(text: str) -> None:
    assert containment(text) == [0.0]
