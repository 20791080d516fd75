"""Each column of the shared measure, on text short enough to count by hand."""

import pyarrow as pa
import pytest
from rule_cases import measure

from stages import text_statistics
from stages.fineweb_quality import STAGE as FINEWEB
from stages.gopher_quality import STAGE as GOPHER


def measured(text: str) -> dict:
    return measure(GOPHER, [text])[0]


def test_words_and_their_length():
    row = measured("I can't see été_2026 ...")
    assert (row["character_count"], row["word_count"], row["line_count"]) == (24, 4, 1)
    assert row["mean_word_length"] == (1 + 5 + 3 + 8) / 4


def test_symbols_are_counted_per_word():
    row = measured("# one # two ... three…")
    assert row["hash_sign_ratio"] == pytest.approx(2 / 3, abs=5e-5)
    assert row["ellipsis_ratio"] == pytest.approx(2 / 3, abs=5e-5)


def test_a_run_of_full_stops_is_one_ellipsis():
    assert measured("a ...... b .. c")["ellipsis_ratio"] == pytest.approx(1 / 3, abs=5e-5)


def test_bullets_and_ellipses_of_lines():
    row = measured("• one\n  - two\n* three\n-4 degrees\n*note\n\nfive ...\nsix…  \nseven..")
    assert row["line_count"] == 8
    assert row["bullet_line_fraction"] == 3 / 8
    assert row["ellipsis_line_fraction"] == 2 / 8


def test_alpha_words_are_pieces_between_white_space_with_a_letter():
    assert measured("the ./!*? apple <?//> 42 b2")["alpha_word_fraction"] == 0.5


def test_line_ends():
    row = measured('One.\nTwo?\n"Three"\n‘Four’\n五。\nSix\nSeven,\nEight:')
    assert row["punctuated_line_fraction"] == 5 / 8


def test_short_lines_have_at_most_thirty_characters():
    row = measured("é" * 30 + "\n" + "é" * 31 + "\n   " + "x" * 30 + "   ")
    assert row["short_line_fraction"] == pytest.approx(2 / 3, abs=5e-5)


def test_characters_of_repeated_lines_and_line_breaks():
    row = measured("abcde\nabcde\n\nxyz\nabcde")
    assert row["repeated_line_character_fraction"] == pytest.approx(10 / 18, abs=5e-5)
    assert row["newline_ratio"] == 1.0  # four line breaks, four words


def test_marks_count_as_words_for_the_newline_ratio():
    assert measured("one, two!\nthree")["newline_ratio"] == pytest.approx(1 / 5, abs=5e-5)


def test_different_stop_words_of_each_language():
    row = measured("The the THE of; und die der de la")
    assert row["stop_words_en"] == 2
    assert row["stop_words_de"] == 3
    assert row["stop_words_fr"] == 2
    assert row["stop_words_ru"] == 0


def test_an_empty_text_is_zero_everywhere():
    assert set(measured("").values()) == {0}


def test_a_null_is_an_empty_text():
    docs = pa.table({"text": pa.array(["a", None], pa.large_string())})
    assert text_statistics.measure(docs, GOPHER.settings(), {}).to_pylist()[1] == measured("")


def test_the_two_stages_share_one_measure():
    assert GOPHER.measure is FINEWEB.measure
    assert GOPHER.settings().measuring() == FINEWEB.settings().measuring() == {"segmenters": []}


def test_line_ends_before_the_bar_of_a_cell():
    row = measured("| 一句。 |\n| One. | Two? |  |\n「三。」\n| 菜单 | 首页 |\n|  |\nFour.")
    assert row["ended_cell_line_fraction"] == pytest.approx(4 / 6, abs=5e-5)
    assert row["punctuated_line_fraction"] == pytest.approx(1 / 6, abs=5e-5)
