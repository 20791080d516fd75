"""The compiled road to fastText's answers: the same windows as the Python functions, the same scores as the library."""

import random

import numpy as np
import pyarrow as pa
import pytest

from pipeline.classifier import Training, train
from pipeline.labels import Label
from pipeline.models import builtin_path, load_fasttext
from stages.fasttext_scores import tables_of, window_scores
from stages.fasttext_text import label_scores, one_line, windows
from stages.fasttext_windows import WHOLE, cut, marks_once
from stages.toxicity import ToxicitySettings, paragraphs

#: What texts are put together from: letters that change when lower-cased, markers, scripts without spaces, all kinds of
#: white space, and words that the models know.
PIECES = [
    *"aAbΣσςİıẞKȺé_<>🙂한", "\u0301", "\x00", "\x85", "\u2028", "\u3000", " ", " ", "\n", "\n", "汉", "字。",
    "カ", "な", "ｶ", "\U00020000", "</s>", "</S>", "__label__", "__LABEL__", "__label____label__x", "<</s>/s>", "ΟΔΟΣ ",
    " the ", " you ", " stupid ", " fuck ", " in ", " The river rises in the north of the town. ",
    " was founded in the twelfth century ", " click here ", " 黑人 ", " 女人 ",
]  # fmt: skip


def texts(number, seed):
    chance = random.Random(seed)
    found = ["".join(chance.choices(PIECES, k=chance.randint(0, 200))) for _ in range(number)]
    return ["", " \n", "\n\n", "</s>", "__label__", "a", *found]


def as_column(found):
    return pa.array(found, pa.large_string())


def cut_one_by_one(found, settings):
    """Windows, windows a paragraph, and paragraphs a document, as the Python functions cut."""
    pieces, of_paragraph, of_document = [], [], []
    for text in found:
        of_document.append(0)
        for paragraph in paragraphs(text, settings):
            of_document[-1] += 1
            pieces += (cut_here := windows(paragraph, words=settings.window_words))
            of_paragraph.append(len(cut_here))
    return pieces, of_paragraph, of_document


@pytest.mark.parametrize("window_words", [5, 8, 40])
@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("split_characters", [True, False])
def test_windows_are_those_of_the_python_functions(window_words, lowercase, split_characters):
    settings = ToxicitySettings(window_words=window_words, lowercase=lowercase, split_characters=split_characters)
    found = texts(400, seed=window_words)
    windows_of_all = cut(
        as_column(found), lowercase=lowercase, split_characters=split_characters, window_words=window_words
    )
    pieces, of_paragraph, of_document = cut_one_by_one(found, settings)
    assert windows_of_all.lines() == pieces
    assert windows_of_all.of_paragraph.tolist() == of_paragraph
    assert windows_of_all.of_document.tolist() == of_document


def test_a_whole_document_is_one_line():
    found = texts(300, seed=1)
    lines = cut(as_column(found), lowercase=False, split_characters=False, window_words=WHOLE)
    assert lines.lines() == [one_line(text) for text in found]


def test_slices_chunks_and_nulls_are_read_as_they_are():
    column = pa.chunked_array([pa.array(["x y", "A B"]).slice(1), pa.array([None, "C\nD"], pa.string())])
    assert cut(column, lowercase=True, split_characters=True, window_words=5).lines() == ["a b", "", "c d"]


@pytest.mark.parametrize("name", ["toxicity-en", "toxicity-zh", "quality-en"])
def test_scores_are_the_librarys(name):
    model = load_fasttext(builtin_path(f"builtin/{name}"))
    assert tables_of(model) is not None  # so this is not the library compared with itself
    label = "__label__hq" if name == "quality-en" else "__label__toxic*"
    lines = cut(as_column(texts(1_500, seed=2)), lowercase=True, split_characters=True, window_words=20)
    ours = window_scores(model, lines, label=label)
    assert len(set(ours.tolist())) > 50
    np.testing.assert_array_equal(ours, label_scores(model, lines.lines(), label=label))


@pytest.mark.parametrize(
    "options",
    [
        # A dimension that is no multiple of four, with all kinds of features.
        Training(dimension=7, word_ngrams=3, min_characters=1, max_characters=4, min_count=1, quantise=False),
        # Neither words' sequences nor characters': a line of unknown words has only its end.
        Training(dimension=3, word_ngrams=1, min_count=1, hash_rows=0, quantise=False),
    ],
)
def test_models_of_other_shapes_are_scored_as_the_library_does(tmp_path, options):
    labels = [
        Label(text=f"{word} {other} é汉", label="good" if word in "abc" else "bad", group=f"{word}{other}")
        for word in "abcdef"
        for other in "uvwxyz"
    ]
    trained = train(labels, out=tmp_path / "own", licence="", source="", use="", options=options)
    model = load_fasttext(trained.model)
    assert tables_of(model) is not None
    lines = cut(as_column([*texts(300, seed=3), "a u", "f z"]), lowercase=False, split_characters=True, window_words=9)
    ours = window_scores(model, lines, label="__label__good")
    np.testing.assert_array_equal(ours, label_scores(model, lines.lines(), label="__label__good"))
    assert ours[-2] != ours[-1]


class Other:
    """No fastText model, but one that answers as they do."""

    def get_labels(self):
        return ["__label__yes"]

    def predict(self, lines, k):
        return [["__label__yes"]] * len(lines), [[0.25 if line == "a b" else 0.5] for line in lines]


def test_what_the_kernel_cannot_score_goes_to_its_library():
    lines = cut(as_column(["A B", "c"]), lowercase=True, split_characters=True, window_words=5)
    assert window_scores(Other(), lines, label="__label__yes").tolist() == [0.25, 0.5]
    quantised = load_fasttext(builtin_path("builtin/lid.176"))
    assert tables_of(quantised) is None
    assert window_scores(quantised, lines, label="__label__en").tolist() == (
        label_scores(quantised, ["a b", "c"], label="__label__en").tolist()
    )


def test_a_label_that_the_model_lacks_is_refused_by_its_name():
    model = load_fasttext(builtin_path("builtin/quality-en"))
    lines = cut(as_column(["a"]), lowercase=True, split_characters=True, window_words=5)
    with pytest.raises(ValueError, match="__label__hqq"):
        window_scores(model, lines, label="__label__hqq")


def test_a_run_of_one_mark_is_one_and_words_stay():
    texts = [
        "a . . . . 9",
        ". . .",
        "",
        "no no no - - -",
        "| | a | |",
        "… … 。 。 ok ok",
        "-- - --",
        "1 1",
        "\u00e9 \u00e9 \u2022 \u2022",
    ]
    windows = cut(as_column(texts), lowercase=False, split_characters=False, window_words=WHOLE)
    found = marks_once(windows)
    assert found.lines() == ["a . 9", ".", "", "no no no -", "| a |", "… 。 ok ok", "-- - --", "1 1", "é é •"]
    assert found.of_document.tolist() == windows.of_document.tolist()


def test_runs_of_marks_end_at_windows():
    lines = marks_once(cut(as_column([". " * 40]), lowercase=False, split_characters=False, window_words=10))
    assert lines.lines() == ["."] * 4
