"""DCLM's reading of Gopher's rules: where it decides otherwise than Gopher's paper as we read it, and why."""

import pytest
from rule_cases import measure, verdict

from stages import dclm_quality, dclm_repetition, gopher_quality, gopher_repetition

GOOD = "We have been to the market with all of our friends and bought that basket of apples. " * 5


def test_prose_passes():
    assert verdict(dclm_quality.STAGE, GOOD)["reason"] is None


@pytest.mark.parametrize(
    ("text", "reason", "measured", "threshold"),
    [
        ("the end of that", "word_count", 4, 50),
        ("to be " * 50_001, "word_count", 100_002, 100_000),
        ("a to be " * 60, "mean_word_length", 1.6667, 3),
        ("the of " + "interconnections " * 60, "mean_word_length", 15.5645, 10),
        ("#that ...have " * 30, "symbol_ratio", 1, 0.1),
        ("-we have been to the market\n" * 10, "bullet_lines", 1, 0.9),
        ("we have been walking to the market with all of our friends...\n" * 10, "ellipsis_lines", 1, 0.3),
        ("the apples of 1234 5678 that 9012 " * 10, "alpha_words", 0.5714, 0.8),
        ("Wir gingen gestern zusammen zum Markt. " * 10, "stop_words", 0, 2),
    ],
)
def test_each_quality_rule(text, reason, measured, threshold):
    found = verdict(dclm_quality.STAGE, text)
    assert (found["reason"], found["measured"], found["threshold"]) == (reason, measured, threshold)


def test_one_stop_word_twice_is_enough():
    text = "Apples, pears, plums, grapes the cherries, walnuts, almonds. " * 8
    assert verdict(dclm_quality.STAGE, text)["reason"] is None
    assert verdict(gopher_quality.STAGE, text)["reason"] == "stop_words"


def test_punctuation_is_part_of_a_piece():
    text = 'to be (it), "is": go; on! ' * 10
    assert verdict(dclm_quality.STAGE, text)["reason"] is None  # pieces of 3 characters
    assert verdict(gopher_quality.STAGE, text)["reason"] == "mean_word_length"


def test_hash_signs_and_ellipses_are_added_up():
    text = "that have been with friends to the #market for ...apples and pears too, Frank.\n" * 6
    assert verdict(gopher_quality.STAGE, text)["reason"] is None
    found = verdict(dclm_quality.STAGE, text)
    assert (found["reason"], found["measured"]) == ("symbol_ratio", 0.1429)


def test_the_first_copy_counts_too():
    row = measure(dclm_repetition.STAGE, ["abcd\nxy\n\nabcd\nxy\n\nabcd\nlast"])[0]
    assert row["dclm_duplicate_line_fraction"] == round(5 / 6, 4)
    assert row["duplicate_line_fraction"] == 0.5
    assert row["dclm_duplicate_line_character_fraction"] == round(16 / 20, 4)
    assert row["dclm_duplicate_paragraph_fraction"] == round(2 / 3, 4)
    assert row["dclm_duplicate_paragraph_character_fraction"] == round(14 / 23, 4)


def test_only_words_have_characters():
    row = measure(dclm_repetition.STAGE, ["one, two. -- three one, two!"])[0]
    assert row["dclm_top_2gram_fraction"] == round(12 / 17, 4)


def test_the_longest_of_equally_common_ngrams_is_the_top():
    row = measure(dclm_repetition.STAGE, ["a b xxxxxxxx yyyyyyyy a b zzz xxxxxxxx yyyyyyyy"])[0]
    assert row["dclm_top_2gram_fraction"] == round(32 / 39, 4)


def test_overlapping_occurrences_of_the_top_ngram_count_in_full():
    row = measure(dclm_repetition.STAGE, ["a " * 20])[0]
    assert row["dclm_top_2gram_fraction"] == round(19 * 2 / 20, 4)
    assert row["dclm_duplicate_5gram_fraction"] == 1


def test_an_ngram_that_occurs_once_is_none():
    row = measure(dclm_repetition.STAGE, ["six words that never come again"])[0]
    assert {row[column] for column in dclm_repetition.STAGE.judges} == {0}


def plain_count(words: list[str], n: int) -> float:
    """DCLM's share of repeated n-grams, without hashes or shortcuts."""
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    covered = {place for i, gram in enumerate(grams) if grams.count(gram) > 1 for place in range(i, i + n)}
    return round(sum(len(words[i]) for i in covered) / sum(map(len, words)), 4)


def test_the_kernel_agrees_with_the_plain_count():
    words = (
        "the quick brown fox jumps over the lazy dog and " * 3 + "then it rests for a while until evening " * 2
    ).split()
    words[7] = "old"
    row = measure(dclm_repetition.STAGE, [" ".join(words)])[0]
    for n in (5, 6, 7, 8, 9, 10):
        assert row[f"dclm_duplicate_{n}gram_fraction"] == plain_count(words, n), n
    assert plain_count(words, 5) > plain_count(words, 10) > 0


def test_each_repetition_reason_and_a_page_that_only_dclm_drops():
    lines = [
        f"Line number {number} says a thing of its own."
        for number in ["one", "two", "three", "four", "five", "six", "seven"]
    ]
    page = "\n".join([*lines, lines[0], lines[1]])  # 2 of 9 repeat, 4 of 9 are copies
    assert (
        verdict(gopher_repetition.STAGE, page, max_duplicate_line_character_fraction=1)["detail"]
        != "duplicate_line_fraction"
    )
    found = verdict(dclm_repetition.STAGE, page)
    assert (found["reason"], found["detail"], found["measured"]) == (
        "duplicate_lines",
        "dclm_duplicate_line_fraction",
        0.4444,
    )
    once = " ".join(f"w{i}" for i in range(40))
    assert verdict(dclm_repetition.STAGE, f"{once} and {once}")["reason"] == "duplicate_ngrams"
    assert verdict(dclm_repetition.STAGE, "I am Frank, I am Frank, I am Frank")["reason"] == "top_ngram"
