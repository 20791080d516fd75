"""RefinedWeb's line corrections: which lines go, what is cut, what the rest looks like, and what is dropped."""

import pytest
from rule_cases import measure, verdict

from stages.refinedweb_lines import COUNTERS, STAGE

BEFORE = "The first line is a sentence of prose, and it stays as it is."
AFTER = "  The last line stays, with the white space before it."


def corrected(text: str, **settings) -> str:
    return measure(STAGE, [text], **settings)[0]["text"]


@pytest.mark.parametrize(
    ("line", "column", "words"),
    [
        ("ABOUT US AND OUR TEAM", "uppercase_lines", 5),
        ("ÜBER UNS ÖFFNUNGSZEITEN", "uppercase_lines", 3),
        ("12 345 678", "numeric_lines", 3),
        ("٣٤٥", "numeric_lines", 1),
        *((f"3 {noun}", "counter_lines", 2) for noun in COUNTERS),
        ("★ 1,204.5k Likes !", "counter_lines", 4),
        ("Home", "short_lines", 1),
        ("www.example.org/home", "short_lines", 1),
        ("字", "short_lines", 1),
    ],
)
def test_a_line_goes_and_is_counted_by_its_rule(line, column, words):
    row = measure(STAGE, [f"{BEFORE}\n{line}\n{AFTER}"])[0]
    assert row["text"] == f"{BEFORE}\n{AFTER}"
    assert row[f"refinedweb_{column}"] == 1
    assert row["refinedweb_removed_words"] == words
    assert row["refinedweb_removed_characters"] == len(line) + 1
    everything = words + len(BEFORE.split()) + len(AFTER.split())
    assert row["refinedweb_words"] == everything
    assert row["refinedweb_removed_word_fraction"] == round(words / everything, 4)


@pytest.mark.parametrize(
    "line",
    [
        "ONE HALF of this is lower",  # 8 capitals of 25
        "Three likes",
        "3 likes and 4 shares",
        "3 apples",
        "3likes today",
        "3 likeable",
        "No. 3 likes",
        "Room 101",
        "今天天气很好",  # Chinese: six words, not one
        "เรื่อง",  # Thai letters too
    ],
)
def test_a_line_stays(line):
    assert corrected(f"{BEFORE}\n{line}\n{AFTER}") == f"{BEFORE}\n{line}\n{AFTER}"


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("Sign-in to see all of it", "to see all of it"),
        ("SIGN-IN now please", "now please"),
        ("You have 3 items in cart today", "You have 3 today"),
        ("The mayor spoke on Monday. Read more...", "The mayor spoke on Monday."),
        ("The mayor spoke on Monday. Read more…", "The mayor spoke on Monday."),
        ("Please use sign-in", "Please use sign-in"),
        ("Read more... about the mayor", "Read more... about the mayor"),
        ("Read more xyz", "Read more xyz"),  # the full stops mean themselves
        (
            "Sign-in is a word that begins this line of more than ten",
            "Sign-in is a word that begins this line of more than ten",
        ),
    ],
)
def test_phrases_are_cut_out_of_short_lines(line, left):
    row = measure(STAGE, [f"{BEFORE}\n{line}\n{AFTER}"])[0]
    assert row["text"] == f"{BEFORE}\n{left}\n{AFTER}"
    assert row["refinedweb_edited_lines"] == (line != left)
    assert row["refinedweb_removed_words"] == len(line.split()) - len(left.split())


def test_a_line_of_which_nothing_is_left_goes():
    row = measure(STAGE, [f"{BEFORE}\nRead more...\n{AFTER}"])[0]
    assert (row["text"], row["refinedweb_edited_lines"]) == (f"{BEFORE}\n{AFTER}", 1)
    assert row["refinedweb_removed_words"] == 2


@pytest.mark.parametrize("text", ["", "\n\n  \n", f"\n\n{BEFORE}\n\n\n\n{AFTER}  \n\n", f"{BEFORE}\r\n\t{BEFORE}"])
def test_a_text_of_which_no_line_goes_keeps_every_byte(text):
    row = measure(STAGE, [text])[0]
    assert (row["text"], row["refinedweb_removed_characters"]) == (text, 0)


def test_blank_lines_around_what_goes_become_one():
    assert corrected(f"Menu\n\n{BEFORE}\n\nHome\n\n3 likes\n\n{AFTER}\n\nHome\n") == f"{BEFORE}\n\n{AFTER}"
    assert corrected("Menu\n\nHome\n") == ""


def test_settings_of_lines():
    text = f"{BEFORE}\nHOME PAGE\n7 pies\nMenu\nBack to top of page"
    assert corrected(text, max_uppercase_fraction=1) == f"{BEFORE}\nHOME PAGE\n7 pies\nBack to top of page"
    assert corrected(text, counters=["pie", "pies"]) == f"{BEFORE}\nBack to top of page"
    assert corrected(text, min_words_per_line=0) == f"{BEFORE}\n7 pies\nMenu\nBack to top of page"
    assert corrected(text, beginnings=["back to top"]) == f"{BEFORE}\n7 pies\nof page"
    assert corrected(text, phrases=["top of"]) == f"{BEFORE}\n7 pies\nBack to page"
    assert corrected(text, beginnings=["back to top"], max_words_of_edited_line=4).endswith("Back to top of page")


def test_a_page_of_which_too_much_goes_is_dropped():
    page = "\n".join([BEFORE] * 10)
    assert verdict(STAGE, page + "\n3 likes\nHome")["reason"] is None  # 3 of 143 words
    found = verdict(STAGE, page + "\n3 likes" * 4)  # 8 of 148
    assert (found["reason"], found["measured"], found["threshold"]) == ("removed_words", 0.0541, 0.05)
    assert verdict(STAGE, page + "\n3 likes" * 4, max_removed_word_fraction=0.06)["reason"] is None
    assert verdict(STAGE, "HOME")["measured"] == 1
    assert verdict(STAGE, "")["reason"] is None  # nothing was removed; word counts judge empty texts
