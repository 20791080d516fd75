"""The measures of the gold sets, on texts whose scores can be counted by hand."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.html_gold import ENGINES, difference, four_gram_scores, gold_pages, report, string_scores
from stages.extract import ExtractSettings

DATA = Path(__file__).parents[3] / "shared" / "data" / "html_gold"
GOLD = "one two three four five six seven"  # four shingles of four words


def test_four_grams_count_shared_runs_of_words():
    scores = four_gram_scores([GOLD], ["menu one two three four five"]).scores()
    # menu-1-2-3, 1-2-3-4 and 2-3-4-5 are found; the latter two of the four expected.
    assert (scores.precision, scores.recall) == (pytest.approx(2 / 3), 0.5)
    assert scores.f1 == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))
    assert scores.f1_interval == pytest.approx(0.0)  # one page can only be drawn again and again


def test_four_grams_are_a_multiset_and_punctuation_is_none():
    assert four_gram_scores(["a b c d"], ["a, b, c, d! a b c d"]).scores().precision == pytest.approx(1 / 5)
    assert four_gram_scores(["a b c d a b c d"], ["a b c d"]).scores().recall == pytest.approx(1 / 5)


def test_a_text_shorter_than_four_words_is_one_shingle():
    assert four_gram_scores(["two words"], ["two words"]).scores().f1 == 1.0
    assert four_gram_scores(["two words"], ["two"]).scores().f1 == 0.0
    assert four_gram_scores(["two words"], ["two"], words=1).scores().recall == 0.5


def test_precision_and_recall_are_means_over_pages_that_can_have_them():
    # The second page has no text found, the third no gold: neither has a precision, or recall, of its own.
    scores = four_gram_scores([GOLD, GOLD, ""], [GOLD, "", GOLD]).scores()
    assert (scores.precision, scores.recall) == (0.5, 0.5)


def test_no_page_found_is_zero_and_no_error():
    scores = four_gram_scores([GOLD, GOLD], ["", ""]).scores()
    assert (scores.precision, scores.recall, scores.f1, scores.f1_interval) == (0.0, 0.0, 0.0, 0.0)


def test_strings_are_counted_over_all_pages_whatever_their_white_space():
    must, must_not = [["the first line", "and more"], ["only this"]], [["Imprint"], ["Menu", "Login"]]
    scores = string_scores(must, must_not, ["the first\n line  Imprint", "Menu: only this"]).scores()
    assert scores.precision == 0.5  # two of four that are there
    assert scores.recall == pytest.approx(2 / 3)


def test_a_difference_is_taken_on_the_same_resamples():
    gold = [GOLD, "eight nine ten eleven twelve", "a b c d e"]
    ours = four_gram_scores(gold, [GOLD, "", "a b c d e"])
    assert difference(ours, ours) == (0.0, 0.0)
    apart, interval = difference(ours, four_gram_scores(gold, gold))
    assert apart == pytest.approx(0.8 - 1.0)
    assert interval > 0


def test_the_interval_grows_as_pages_get_fewer():
    gold, found = [GOLD] * 40, [GOLD, "nothing of it at all"] * 20
    many = four_gram_scores(gold, found)
    assert 0 < many.scores().f1_interval < many.taken(np.arange(8)).scores().f1_interval


@pytest.mark.parametrize("name", ENGINES)
def test_every_row_of_the_table_names_settings_that_exist(name):
    assert ExtractSettings.model_validate(ENGINES[name]).engine in name


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data/html_gold is not there")
def test_the_cascade_finds_what_trafilatura_finds_on_real_pages():
    pages = gold_pages(DATA / "scrapinghub")[:12]
    rows = [row.split(" | ") for row in report("scrapinghub", pages, ["cascade-any-language"])]
    assert [row[1] for row in rows] == ["direct", "cascade-any-language"]
    assert rows[1][7] == "+0.0000 ± 0.0000"
    assert float(rows[0][6]) > 0.9
