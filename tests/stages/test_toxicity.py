"""The toxicity stage: windows, their mean over the worst fifth, and what the bundled model finds."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline.models import builtin_path, load_fasttext
from stages.toxicity import STAGE, ToxicitySettings, paragraphs

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"

ABUSE = "You are a stupid worthless bitch and everybody hates you, so shut the fuck up, you disgusting idiot."
CLEAN = (
    "The river rises in the hills north of the town and flows through a wide valley, where farmers have grown wheat "
    "and apples since the twelfth century. "
)


@pytest.fixture(scope="module")
def model():
    return load_fasttext(builtin_path("builtin/toxicity-en"))


def measured(model, texts, **settings):
    docs = pa.table({"text": pa.array(texts, pa.large_string())})
    return STAGE.measure(docs, ToxicitySettings(**settings), {"model": model})


class Counting:
    """Scores a window by its share of the word `bad`."""

    def get_labels(self):
        return ["__label__toxic"]

    def predict(self, lines, k):
        shares = [line.split(" ").count("bad") / len(line.split(" ")) for line in lines]
        return [["__label__toxic"] for _ in lines], [np.array([share]) for share in shares]


def test_the_score_is_the_mean_over_the_worst_fifth_of_the_windows():
    words = ["good"] * 400
    words[0:40] = ["bad"] * 40  # one of ten windows
    score = measured(Counting(), [" ".join(words)], window_words=40)["toxicity_score"][0].as_py()
    assert score == 0.5  # two windows are a fifth of ten: 1.0 and 0.0
    assert measured(Counting(), [" ".join(words)], worst_fraction=1.0)["toxicity_score"][0].as_py() == 0.1
    assert measured(Counting(), [" ".join(words)], worst_fraction=0.1)["toxicity_score"][0].as_py() == 1.0


def test_documents_do_not_mix():
    texts = ["bad " * 100, "good " * 100, "", "bad", "good"]
    assert measured(Counting(), texts)["toxicity_score"].to_pylist() == [1.0, 0.0, 0.0, 1.0, 0.0]


def test_abuse_scores_high_in_any_case_and_clean_prose_low(model):
    table = measured(model, [ABUSE, ABUSE.upper(), ABUSE.lower(), CLEAN, CLEAN.upper(), CLEAN * 20])
    assert table.schema == STAGE.adds
    scores = table["toxicity_score"].to_pylist()
    assert min(scores[:3]) > 0.9
    assert max(scores[3:]) < 0.2


def test_a_page_whose_comments_are_full_of_abuse_is_found(model):
    page = CLEAN * 12 + (ABUSE + " ") * 8
    assert measured(model, [page])["toxicity_score"][0].as_py() > 0.5


def test_a_paragraph_stands_for_itself():
    comments = "\n".join(["good " * 30, "bad " * 30, "good " * 30, "good " * 30])
    row = measured(Counting(), [comments]).to_pylist()[0]
    assert row["toxicity_max_paragraph"] == 1.0
    assert row["toxicity_paragraph_fraction"] == 0.25
    assert row["toxicity_score"] == 1.0  # one of four windows is the worst fifth
    table = measured(Counting(), [comments])
    assert STAGE.judge(table, ToxicitySettings(max_score=1.0)).to_pylist()[0]["reason"] is None
    strict = STAGE.judge(table, ToxicitySettings(max_score=1.0, max_paragraph_score=0.9)).to_pylist()[0]
    assert (strict["reason"], strict["measured"], strict["detail"]) == ("toxicity", 1.0, "its most toxic paragraph")
    share = STAGE.judge(table, ToxicitySettings(max_score=1.0, max_toxic_paragraph_fraction=0.2)).to_pylist()[0]
    assert (share["measured"], share["threshold"]) == (0.25, 0.2)


def test_short_lines_are_joined_to_paragraphs_of_half_a_window():
    settings = ToxicitySettings(window_words=10)
    assert paragraphs("one two\nthree four five\n\nsix seven eight nine ten\nlast", settings) == [
        "one two three four five",
        "six seven eight nine ten last",
    ]
    assert paragraphs("", settings) == [""]
    assert paragraphs("今天 好\n", settings) == ["今 天 好"]


def test_naming_people_is_no_abuse(model):
    texts = [
        "The Jewish community in Prague dates from the tenth century.",
        "Muslim and Christian leaders met the mayor on Friday to plan the new library.",
        "The court ruled that gay couples may marry, and the law took effect in June.",
    ]
    assert max(measured(model, texts)["toxicity_score"].to_pylist()) < 0.5


def test_high_scores_are_dropped_with_value_and_threshold():
    table = pa.table(
        {
            "toxicity_score": [0.5, 0.5001],
            "toxicity_max_paragraph": [1.0, 1.0],
            "toxicity_paragraph_fraction": [0.5, 0.5],
        }
    )
    kept, dropped = STAGE.judge(table, ToxicitySettings()).to_pylist()
    assert kept["reason"] is None
    assert (dropped["reason"], dropped["measured"], dropped["threshold"]) == ("toxicity", 0.5001, 0.5)


def test_settings_refuse_what_they_cannot_mean():
    for wrong in ({"max_score": -0.1}, {"window_words": 0}, {"worst_fraction": 0}, {"max_scores": 0.5}):
        with pytest.raises(ValidationError):
            ToxicitySettings(**wrong)


def test_hostile_text_is_scored_and_batches_do_not_matter(model):
    texts = ["", "\x00", "😀" * 1000, "مرحبا " * 50, "same\n" * 100_000, "x" * 1_000_000, "</s>", ABUSE, CLEAN]
    whole = measured(model, texts)["toxicity_score"].to_pylist()
    assert whole[0] == 0.0
    assert all(0.0 <= score <= 1.0 for score in whole)
    assert whole == [measured(model, [text])["toxicity_score"][0].as_py() for text in texts]
    assert measured(model, []).schema == STAGE.adds


@pytest.mark.skipif(not DATA.exists(), reason="needs shared/data beside the repository")
def test_hardly_any_encyclopedia_article_is_flagged(model):
    with gzip.open(DATA / "quality/wikipedia_classes.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    scores = measured(model, texts)["toxicity_score"].to_numpy()
    assert (scores > ToxicitySettings().max_score).mean() <= 0.005
