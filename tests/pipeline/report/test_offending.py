"""The stretches that a rule objected to, on texts that one can read."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.report.offending import MAX_CHARACTERS, merged, offending, pieces, window, words_in
from stages.reasons import DROP


def marked(reason: str, text: str, *, detail: str | None = None, **judged: Any) -> list[str]:
    row = {"reason": reason, "detail": detail, "measured": None, "threshold": None, **judged}
    return [text[start:end] for start, end in offending(row, text, [])]


def test_lines_that_stood_further_up() -> None:
    text = "Home\nA sentence.\nHome\n\n  Home  \nAnother."
    assert marked("duplicate_lines", text) == ["Home", "  Home  "]
    assert marked("duplicate_paragraphs", "One\ntwo.\n\nThree.\n\nOne\ntwo.") == ["One\ntwo."]


def test_repeated_word_sequences() -> None:
    text = "buy it now please. Then: Buy it now! Or buy it later."
    assert marked("duplicate_ngrams", text, detail="duplicate_3gram_fraction") == ["Buy it now"]
    assert marked("duplicate_ngrams", text, detail="dclm_duplicate_3gram_fraction") == ["buy it now", "Buy it now"]
    assert marked("top_ngram", text, detail="top_2gram_fraction") == ["buy it", "Buy it", "buy it"]
    assert marked("top_ngram", "all words differ here", detail="top_2gram_fraction") == []


def test_symbols_lines_and_pieces() -> None:
    text = "• one\n- two...\nThree is a longer line than thirty characters.\n42 -- # wait… {x}"
    assert marked("bullet_lines", text) == ["• one", "- two..."]
    assert marked("ellipsis_lines", text) == ["- two..."]
    assert marked("symbol_ratio", text, detail="hash signs per word") == ["#"]
    assert marked("symbol_ratio", text, detail="ellipses per word") == ["...", "…"]
    assert marked("symbol_ratio", text) == ["...", "#", "…"], "DCLM counts both"
    assert marked("short_lines", text) == ["• one", "- two...", "42 -- # wait… {x}"]
    assert marked("line_punctuation", 'He said: "Go."\nmenu\nWhy?') == ["menu"]
    assert marked("alpha_words", text) == ["•", "-", "42", "--", "#"]
    assert marked("curly_bracket", text) == ["{", "}"]
    assert marked("lorem_ipsum", "Lorem Ipsum dolor") == ["Lorem Ipsum"]
    assert marked("mean_word_length", "a reallylongword b", measured=12.0, threshold=10.0) == ["reallylongword"]
    assert marked("mean_word_length", "a bc", measured=1.5, threshold=3.0) == []


def test_personal_data_and_listed_words(tmp_path: Path) -> None:
    assert marked("pii", "Write to jane.roe@example.org soon.") == ["jane.roe@example.org"]
    (tmp_path / "en.txt").write_text("wombat\nbad\n")
    row = {"reason": "listed_words", "detail": "en", "measured": 2.0, "threshold": 0.0}
    text = "A Bad day,\nbadly: wombat"
    stage = {"type": "word_list", "lists": [str(tmp_path / "en.txt")]}
    assert [text[start:end] for start, end in offending(row, text, [stage])] == ["Bad", "wombat"]
    gone = {"type": "word_list", "lists": [str(tmp_path / "gone.txt")]}
    assert offending(row, text, [gone]) == []


@pytest.mark.parametrize("reason", DROP)
@pytest.mark.parametrize("text", ["", "\n\n", "a", "\u2028x\r\n#\0…" * 50, "# " * 150_000])
def test_any_reason_and_any_text_give_ranges_in_order(reason: str, text: str) -> None:
    spans = offending({"reason": reason, "detail": "top_2gram_fraction", "measured": 1.0, "threshold": 0.5}, text, [])
    ends = [place for span in spans for place in span]
    assert ends == sorted(ends)
    assert all(0 <= place <= min(len(text), MAX_CHARACTERS) for place in ends)


def test_pieces_are_the_text() -> None:
    spans = merged([(5, 7), (0, 2), (6, 9), (9, 10), (3, 3)])
    assert spans == [(0, 2), (5, 10)]
    assert pieces("0123456789ab", spans) == [("01", True), ("234", False), ("56789", True), ("ab", False)]
    assert words_in("An ax, an AXE.", ["ax", "an"]) == [(0, 2), (3, 5), (7, 9), (10, 12)]
    assert words_in("x", []) == []


def test_a_window_begins_before_the_first_mark() -> None:
    text = "".join(chr(97 + place % 26) for place in range(1000))
    shown, spans = window(text, [(500, 510), (990, 1000)], 100)
    assert len(shown) == 100 + 4
    assert [shown[start:end] for start, end in spans] == [text[500:510]]
    assert window("short # text", [(6, 7)], 100) == ("short # text", [(6, 7)])
    assert window(text, [], 10) == (text[:10] + " …", [])


@pytest.mark.timeout(20)
def test_a_line_of_blanks_or_dots_takes_no_longer_than_another() -> None:
    for text in ("\u3000" * 150_000 + "\nshort", "." * 150_000 + "x\nshort..."):
        assert marked("short_lines", text) == ["short" if text[0] != "." else "short..."]
    assert marked("ellipsis_lines", "." * 150_000 + "x\nshort...") == ["short..."]
