"""The perplexity stage under a bigram model whose probabilities can be added up by hand."""

from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError
from resources import TINY_ARPA

from pipeline.resources import ResourceError, identify_all, load_resources
from stages.perplexity import STAGE, PerplexitySettings

pytest.importorskip("kenlm", reason="needs the extra `perplexity`")


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "tiny.arpa"
    found.write_text(TINY_ARPA, encoding="utf-8")
    return str(found)


def measured(path, texts, **settings):
    chosen = PerplexitySettings(model=path, **settings)
    needed = STAGE.resources(chosen)
    loaded = load_resources(needed, expected=identify_all(needed))
    return STAGE.measure(pa.table({"text": pa.array(texts, pa.large_string())}), chosen, loaded).to_pylist()


def test_perplexity_is_the_inverse_geometric_mean_over_words_and_line_ends(path):
    row = measured(path, ["the river rises"])[0]
    # <s> the -0.25, the river -0.5, river backs off -0.5 and rises -1.5, rises </s> -0.5: -3.25 over four.
    assert row == {"perplexity": round(10 ** (3.25 / 4), 4), "unknown_word_fraction": 0.0}


def test_each_line_is_a_sentence_of_its_own(path):
    one, two = measured(path, ["the river rises", "\n the river rises\n\nthe  river rises \n"])
    assert one == two
    assert measured(path, ["the river rises the river rises"])[0] != one


def test_unknown_words_are_counted_apart(path):
    known, odd, none = measured(path, ["the river", "the qqq", ""])
    assert odd["perplexity"] > known["perplexity"]
    assert (known["unknown_word_fraction"], odd["unknown_word_fraction"]) == (0.0, 0.5)
    assert none == {"perplexity": 0.0, "unknown_word_fraction": 0.0}


def test_case_is_kept_unless_the_model_was_made_of_small_letters(path):
    assert measured(path, ["THE River"])[0]["unknown_word_fraction"] == 1.0
    assert measured(path, ["THE River"], lowercase=True) == measured(path, ["the river"])


def test_nothing_is_dropped_unless_a_recipe_says_so_and_limits_differ_by_language():
    docs = pa.table(
        {
            "perplexity": [5.0, 50.0, 500.0, 500.0],
            "unknown_word_fraction": [0.0, 0.0, 0.0, 0.9],
            "language": ["en", "en", "en", "de"],
        }
    )
    assert STAGE.judge(docs, PerplexitySettings(model="m")).to_pylist()[2]["reason"] is None
    strict = PerplexitySettings(
        model="m",
        min_perplexity=10,
        max_perplexity=100,
        per_language={"de": {"max_perplexity": None, "max_unknown_fraction": 0.5}},
    )
    found = [(row["reason"], row["measured"], row["threshold"]) for row in STAGE.judge(docs, strict).to_pylist()]
    assert found == [
        ("perplexity", 5.0, 10.0),
        (None, None, None),
        ("perplexity", 500.0, 100.0),
        ("unknown_words", 0.9, 0.5),
    ]


def test_another_model_than_the_recipe_names_and_a_damaged_one_are_refused(path):
    with pytest.raises(ResourceError, match="sha256"):
        measured(path, ["the"], sha256="0" * 64)
    Path(path).write_text(TINY_ARPA[: len(TINY_ARPA) // 2], encoding="utf-8")
    with pytest.raises(ResourceError, match="kenlm cannot read"):
        measured(path, ["the"])
    with pytest.raises(ValidationError, match="min_perplexities"):
        PerplexitySettings(model=path, min_perplexities=1)
