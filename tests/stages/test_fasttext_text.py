"""What reaches fastText is one line of words, whatever the page holds; what comes back is a score."""

from pathlib import Path

import fasttext
import numpy as np
import pytest

from stages import fasttext_text
from stages.fasttext_text import best_labels, label_scores, one_line, windows

FRENCH = "Bonjour tout le monde, ceci est un texte écrit en français pour des lecteurs curieux."
ENGLISH = "Hello everyone, this is a text that was written in English for curious readers."


@pytest.fixture(scope="module")
def model():
    return fasttext.load_model(str(Path(__file__).parents[2] / "pipeline/builtin/lid.176.ftz"))


def test_white_space_of_any_kind_becomes_one_space():
    assert one_line("  a\n\n b\tc\r\nd\u00a0e\u2028f\u3000g\x00h\x0bi ") == "a b c d e f g h i"


def test_a_text_without_words_is_empty():
    assert [one_line(text) for text in ("", " \n\t", "\x00", "</s>", "\u2028")] == [""] * 5


def test_case_digits_and_punctuation_stay():
    assert one_line("In 1999, THE End.") == "In 1999, THE End."


def test_lower_casing_spells_out_no_marker():
    assert one_line("A </S> __LABEL__HQ É", lowercase=True) == "a hq é"


def test_lone_surrogates_become_question_marks():
    assert one_line("a\ud800b \udfff") == "a?b ?"


def test_fasttexts_own_markers_are_taken_out():
    assert one_line("one </s> two __label__hq three") == "one two hq three"


@pytest.mark.parametrize("text", ["</s", "<</s>/s>", "__label____label__x", "</s>" * 3])
def test_no_marker_is_left_as_a_word(text):
    words = one_line(text).split(" ")
    assert "</s>" not in words
    assert not any(word.startswith("__label__") for word in words)


def test_an_end_marker_does_not_hide_the_rest_of_the_page(model):
    page = f"Bonjour </s> {ENGLISH} {ENGLISH}"
    assert model.predict([page])[0] == [["__label__fr"]]  # what the library does with the raw text
    assert best_labels(model, [one_line(page)])[0] == ["en"]


def test_windows_are_equal_and_lose_nothing():
    line = " ".join(f"w{i}" for i in range(103))
    pieces = windows(line, words=40)
    assert " ".join(pieces) == line
    assert [len(piece.split(" ")) for piece in pieces] == [34, 34, 35]


def test_short_and_empty_lines_are_one_window():
    assert windows("a b c", words=40) == ["a b c"]
    assert windows("", words=40) == [""]


def test_scores_are_probabilities_with_four_decimals(model):
    scores = label_scores(model, [FRENCH, ENGLISH, ""], label="__label__fr")
    assert scores[0] > 0.9
    assert scores[1] < 0.1
    assert scores[2] == 0.0
    assert np.array_equal(scores, np.round(scores, 4))
    assert scores.min() >= 0.0
    assert scores.max() <= 1.0


class Fixed:
    """A model that gives every line the same answer."""

    def __init__(self, labels, probabilities):
        self.answer = labels, np.array(probabilities, dtype=np.float32)

    def get_labels(self):
        return ["__label__a", "__label__b"]

    def predict(self, lines, k):
        return [self.answer[0][:k] for _ in lines], [self.answer[1][:k] for _ in lines]


def test_probabilities_above_one_are_clipped():
    sure = Fixed(["__label__a", "__label__b"], [1.00001, 0.00001])
    assert best_labels(sure, ["x"])[1].tolist() == [1.0]
    assert label_scores(sure, ["x"], label="__label__a").tolist() == [1.0]
    assert label_scores(sure, ["x"], label="__label__b").tolist() == [0.0]


def test_a_line_of_which_the_model_knows_nothing_scores_zero():
    silent = Fixed([], [])  # as fastText answers where not even the end of the line is in the vocabulary
    assert label_scores(silent, ["zzz"], label="__label__a").tolist() == [0.0]
    labels, scores = best_labels(silent, ["zzz"])
    assert (labels, scores.tolist()) == ([""], [0.0])


def test_an_unknown_label_is_refused_with_the_known_ones(model):
    with pytest.raises(ValueError, match=r"no label 'hq'.*176 labels.*__label__af"):
        label_scores(model, ["a"], label="hq")


def test_the_size_of_a_call_does_not_change_an_answer(model, monkeypatch):
    lines = [one_line(text) for text in (FRENCH, ENGLISH, "", "hola amigos", FRENCH[:20])] * 7
    whole = best_labels(model, lines)
    monkeypatch.setattr(fasttext_text, "CALL_CHARACTERS", 100)
    pieces = best_labels(model, lines)
    assert whole[0] == pieces[0]
    assert whole[1].tolist() == pieces[1].tolist()


@pytest.mark.parametrize(
    "text",
    ["\x00" * 1000, "😀" * 1000, "مرحبا " * 100, "same line\n" * 100_000, "x" * 5_000_000, "\ud800", "\u200b\u202e"],
    ids=["nul", "emoji", "rtl", "100000 lines", "5 MB word", "surrogate", "invisible"],
)
def test_hostile_text_is_scored(model, text):
    (label,), scores = best_labels(model, [one_line(text)])
    assert isinstance(label, str)
    assert 0.0 <= scores[0] <= 1.0
