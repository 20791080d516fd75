"""Gopher's quality rules: each one on text that breaks it alone, and how often datatrove decides alike."""

import pytest
from rule_cases import peer_cases, verdict

from stages.gopher_quality import STAGE

GOOD = "We have been to the market with all of our friends and bought that basket of apples. " * 5


def test_prose_passes():
    assert verdict(STAGE, GOOD)["reason"] is None


@pytest.mark.parametrize(
    ("text", "reason", "measured", "threshold"),
    [
        ("the end of that", "word_count", 4, 50),
        ("to be " * 50_001, "word_count", 100_002, 100_000),
        ("a to be " * 60, "mean_word_length", 1.6667, 3),
        ("the of " + "interconnections " * 60, "mean_word_length", 15.5645, 10),
        ("# that # have " * 30, "symbol_ratio", 1, 0.1),
        ("that have... " * 30, "symbol_ratio", 0.5, 0.1),
        ("• we have been to the market\n" * 10, "bullet_lines", 1, 0.9),
        ("we have been walking to the market with all of our friends...\n" * 10, "ellipsis_lines", 1, 0.3),
        ("the apples of 1234 5678 that 9012 " * 10, "alpha_words", 0.5714, 0.8),
        ("Wir gingen gestern zusammen zum Markt. " * 10, "stop_words", 0, 2),
    ],
)
def test_each_rule(text, reason, measured, threshold):
    found = verdict(STAGE, text)
    assert (found["reason"], found["measured"], found["threshold"]) == (reason, measured, threshold)


def test_limits_are_inclusive():
    assert verdict(STAGE, "that have " * 25)["reason"] is None  # 50 words
    assert verdict(STAGE, "that have " * 25, min_words=51)["reason"] == "word_count"


@pytest.mark.parametrize(("language", "kept"), [("de", True), ("any", True), ("en", False)])
def test_stop_words_of_other_languages(language, kept):
    text = "Der Hund und die Katze schlafen in dem Haus, das ist von den Kindern gebaut worden. " * 4
    assert (verdict(STAGE, text, stop_words=language)["reason"] is None) == kept


def test_agreement_with_datatrove():
    """Ten recorded decisions. Our words differ (datatrove's are spaCy's tokens); on these cases nothing hangs on it."""
    reasons = {
        "gopher_short_doc": "word_count",
        "gopher_below_avg_threshold": "mean_word_length",
        "gopher_above_avg_threshold": "mean_word_length",
        "gopher_too_many_hashes": "symbol_ratio",
        "gopher_too_many_ellipsis": "symbol_ratio",
        "gopher_below_alpha_threshold": "alpha_words",
        "gopher_enough_stop_words": "stop_words",
        None: None,
    }
    cases = peer_cases("gopher_quality")
    names = {"min_doc_words": "min_words", "max_doc_words": "max_words"}
    agreed = [
        verdict(STAGE, case["text"], **{names[key]: value for key, value in case["params"].items()})["reason"]
        == reasons[case["expected"]["reason"]]
        for case in cases
    ]
    print(f"agreement with datatrove's Gopher quality: {sum(agreed)} of {len(cases)}")
    assert all(agreed)
