import unicodedata

import pytest

from stages.clean import clean_text, clean_title, mend_pdf_text, unreadable_fraction


def test_line_breaks_of_all_kinds_become_newlines() -> None:
    assert clean_text("a\r\nb\rc\x0bd\x0ce\x85f\ng") == "a\nb\nc\nd\ne\nf\ng"


def test_control_characters_go_and_tabs_stay() -> None:
    everything = "x".join(map(chr, range(0x100)))
    left = {character for character in clean_text(f"x{everything}x") if unicodedata.category(character) == "Cc"}
    assert left == {"\n", "\t"}
    assert clean_text("NU\x00L") == "NUL"


def test_the_result_can_always_be_encoded() -> None:
    assert clean_text("a\ud800b\udfffc") == "a\ufffdb\ufffdc"
    clean_text("".join(map(chr, range(0xD700, 0xE100)))).encode()


def test_text_is_not_normalised() -> None:
    assert clean_text("e\u0301 \u00e9") == "e\u0301 \u00e9"


def test_a_title_is_one_line_or_nothing() -> None:
    assert clean_title("  A \r\n title\x00 ") == "A title"
    assert clean_title(" \n\x00") is None
    assert clean_title(None) is None


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0.0),
        ("plain\ttext\n", 0.0),
        ("ab\ufffd\x00", 0.5),
        ("\x1b[0m", 0.0),
        ("é\x80\x9f\xa0", 0.5),
        ("中\x7f\ud800😀", 0.25),
        ("\x01a" * 400_000, 0.5),
    ],
)
def test_share_of_unreadable_characters(text: str, share: float) -> None:
    assert unreadable_fraction(text) == share


def test_ligatures_are_spelled_out() -> None:
    assert mend_pdf_text("o\ufb03ce of \ufb01nal \ufb02ow, \ufb00") == "office of final flow, ff"


@pytest.mark.parametrize(
    ("cut", "whole"),
    [
        ("an exam-\nple of it", "an example\nof it"),
        ("an exam-\r\nple, too", "an example,\ntoo"),
        ("soft exam\u00ad\nple and in\u00adside", "soft example\nand inside"),
        # PDFium leaves the line break out and marks the hyphen.
        ("ein schlüs\ufffesiges GNU\ufffeProjekt", "ein schlüssiges\nGNU-Projekt\n"),
        # The document writes this word with its hyphen elsewhere.
        ("well-known: a well-\nknown fact", "well-known: a well-known\nfact"),
        # And this one without.
        ("lineend, line-end; line-\nend", "lineend, line-end; lineend\n"),
        ("a dash -\nnot a hyphen", "a dash -\nnot a hyphen"),
        ("pages 10-\n20", "pages 10-\n20"),
    ],
)
def test_words_that_a_line_end_cuts_are_put_together(cut: str, whole: str) -> None:
    assert mend_pdf_text(cut) == whole


@pytest.mark.parametrize(
    "hostile", ["a" * 1_000_000, "a-\n" * 200_000, ("a-" + " " * 1000) * 500, "\ufffe" * 300_000, "\ud800" * 1000]
)
@pytest.mark.timeout(10)
def test_hostile_text_takes_linear_time(hostile: str) -> None:
    clean_text(mend_pdf_text(hostile)).encode()
