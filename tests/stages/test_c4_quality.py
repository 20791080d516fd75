"""C4's cleaning: which lines stay, what is counted, what is dropped, and datatrove's decisions, which must be ours."""

import pytest
from rule_cases import measure, peer_cases, verdict

from stages.c4_lines import ABBREVIATIONS, POLICY_PHRASES
from stages.c4_quality import STAGE
from stages.words import word_hash


def cleaned(text: str, **settings) -> str:
    return measure(STAGE, [text], **settings)[0]["text"]


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("This line has no end mark", "c4_unfinished_lines"),
        ("This line trails off ...", "c4_unfinished_lines"),
        ("This line trails off…", "c4_unfinished_lines"),
        ("Two words.", "c4_short_lines"),
        (f"One word is {'x' * 1001} long.", "c4_long_word_lines"),
        ("Please enable JavaScript to read this.", "c4_javascript_lines"),
        *((f"Here is something about {phrase.upper()} now.", "c4_policy_lines") for phrase in POLICY_PHRASES),
    ],
)
def test_a_line_goes_and_is_counted_by_its_rule(line, column):
    row = measure(STAGE, [f"The first line stays.\n{line}\nThe last line stays."])[0]
    assert row["text"] == "The first line stays.\nThe last line stays."
    assert (row["c4_kept_lines"], row["c4_removed_lines"], row[column]) == (2, 1, 1)
    assert row["c4_removed_characters"] == len(line) + 1


@pytest.mark.parametrize(
    "line",
    ["Is it so?", "It is so!", 'He said "it is so"', "He said ‘it is so’", "今天 天气 很好。", "ये एक वाक्य है।"],
)
def test_a_line_with_an_end_mark_stays(line):
    assert cleaned(line) == line


def test_outer_white_space_and_blank_lines_go():
    row = measure(STAGE, ["\n  Here is one line.  \n\n\t\nHere is another.\n"])[0]
    assert row["text"] == "Here is one line.\nHere is another."
    assert row["c4_removed_lines"] == 0
    assert row["c4_removed_characters"] == 9


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("It was built[1] in 1820.[23][edit]", "It was built in 1820."),
        ("It was built[citation needed] in 1820 [] by him.", "It was built in 1820  by him."),
        ("[1] It was built in 1820. [2]", "It was built in 1820."),
        ("An array a[i] and a [note] stay.", "An array a[i] and a [note] stay."),
    ],
)
def test_citation_marks_are_cut_out(line, expected):
    assert cleaned(line) == expected


def test_settings_of_lines():
    text = "No end mark here\nTwo words.\nThis one has 五百 characters."
    assert cleaned(text, require_end_mark=False) == "No end mark here\nThis one has 五百 characters."
    assert cleaned(text, min_words_per_line=2) == "Two words.\nThis one has 五百 characters."
    assert cleaned(text, max_word_characters=10) == ""
    assert cleaned("[edit]\n[1]", require_end_mark=False, min_words_per_line=0) == ""


@pytest.mark.parametrize(
    ("line", "sentences"),
    [
        ("One sentence here.", 1),
        ("First one. Second one? Third one! And a rest", 4),
        ('He said: "Come here." Then he left.', 2),
        ("Mr. Smith met Dr. J. R. Brown, e.g. in Fig. 3 at noon.", 1),
        ("It cost 3.50 dollars at example.com today.", 1),
        ("He waited ... and waited.", 1),
        ("He waited... Then he left.", 2),
        ("今天天气很好。我们去散步吧！好吗？", 3),
        ("(This is one.) (This is another.)", 2),
        ("What?! No way!!! Really.", 3),
    ],
)
def test_sentences(line, sentences):
    assert measure(STAGE, [line], min_words_per_line=0, require_end_mark=False)[0]["c4_sentences"] == sentences


def test_abbreviations_are_single_words():
    for word in ABBREVIATIONS:
        word_hash(word)


FIVE = "This is a line of good text.\n" * 5


@pytest.mark.parametrize(
    ("text", "reason", "measured", "threshold"),
    [
        (FIVE, None, None, None),
        (FIVE[: len(FIVE) // 5 * 4], "sentence_count", 4, 5),
        (FIVE + "Now comes Lorem Ipsum dolor.", "lorem_ipsum", 1, 0),
        (FIVE + "This is code { too.", "curly_bracket", 1, 0),
        (FIVE + "lorem ipsum and { in a line that goes", None, None, None),
        (FIVE + "A { with JavaScript goes too.", None, None, None),
        ("This site uses cookies.\nPlease enable javascript now.\nMenu", "policy", 2, None),
        ("", "sentence_count", 0, 5),
    ],
)
def test_what_is_dropped(text, reason, measured, threshold):
    found = verdict(STAGE, text)
    assert (found["reason"], found["measured"], found["threshold"]) == (reason, measured, threshold)


def test_long_lines_are_asked_for_only_if_set():
    text = FIVE + ("x" * 199 + " no end mark\n") * 2 + "é" * 200
    assert measure(STAGE, [text])[0]["c4_long_lines"] == 3
    assert verdict(STAGE, text, min_long_lines=3)["reason"] is None
    assert verdict(STAGE, FIVE, min_long_lines=3)["reason"] == "long_lines"


def test_datatrove_decides_alike():
    """Every decision is the same, and so is the text of what is kept."""
    reasons = {
        "lorem_ipsum": "lorem_ipsum",
        "curly_bracket": "curly_bracket",
        "too_few_sentences": "sentence_count",
        "< 3 paragraphs": "long_lines",
        None: None,
    }
    names = {"min_num_sentences": "min_sentences", "min_words_per_line": "min_words_per_line"}
    # datatrove has mC4's rule as a filter of its own, which looks at nothing else.
    paragraphs_only = {"min_long_lines": 3, "min_sentences": 0}
    for case in peer_cases("c4_quality"):
        off = {names[key]: max(value, 0) for key, value in case.get("params", {}).items()}  # theirs is -1 for off
        settings = paragraphs_only if "filter" in case else off
        found = verdict(STAGE, case["text"], **settings)
        assert found["reason"] == reasons[case["expected"]["reason"]], case["text"][:60]
        if case["expected"]["keep"] and "text_after" in case:
            assert cleaned(case["text"], **settings) == case["text_after"]
