"""Which edition a text says that it is."""

import pyarrow as pa
import pytest

from stages.editions import HEAD_CHARACTERS, all_editions, edition, edition_keys, terms_of_addresses


def test_the_first_term_with_its_year_counts_and_else_the_first_year() -> None:
    assert edition("ICS 193, Fall 2017. Last changed in 2018") == "fall 2017"
    assert edition("Updated 2018. Syllabus for SPRING QUARTER, 2016") == "spring 2016"
    assert edition("Annual report 2006-07") == "2006"
    assert edition("Room 2417, phone 824-2013x, 120199 copies") == ""
    assert edition("x" * HEAD_CHARACTERS + " 2017") == ""


@pytest.mark.parametrize(
    "date",
    ["Tuesday, November 3, 2015", "Nov. 3rd 2015", "Thu Nov 5 12:33:22 PST 2015", "3 November 2015", "03-Nov-2015",
     "2015-11-03", "2015/11/3 14:02", "11/03/2015", "3.11.2015", "Dienstag, 3. November 2015",
     "3 de noviembre de 2015", "le 3 novembre 2015", "2015年11月3日", "2015-11-03T08:00:00Z"],
)  # fmt: skip
def test_a_date_with_its_day_says_when_a_page_was_printed_and_not_which_edition_it_is(date: str) -> None:
    assert edition(f"News of the town. {date}. Weather: rain") == ""
    assert edition(f"{date}. ICS 193, Fall 2014") == "fall 2014"
    assert edition(f"Printed {date}. Annual report 2012") == "2012"


def test_terms_and_months_count_in_other_languages_too() -> None:
    assert edition("Vorlesung im Wintersemester 2016/17, Beginn 2016") == "wintersemester 2016"
    assert edition("Seminar, WS 2016/17") != edition("Seminar, SS 2016")
    assert edition("Curso de otoño de 2016") == "otoño 2016"
    assert edition("Boletín, marzo de 2016") == "marzo 2016"
    assert edition("Newsletter - March 2016") == "march 2016"
    assert edition("Rundbrief Dezember 2016") == "dezember 2016"
    assert edition("We marched 2016 miles in 2017") == "2016"


def test_equal_editions_have_equal_keys_and_none_has_zero() -> None:
    keys = edition_keys(pa.array(["Fall 2017 A", "fall term 2017: B", "Winter 2018", "no year", ""]))
    assert keys[0] == keys[1] != keys[2]
    assert keys[3:].tolist() == [0, 0]


def test_behind_a_menu_all_terms_and_years_count_in_their_order() -> None:
    menu = "Home, about, contact. " * 40
    assert edition(f"{menu}Fall 2017") == ""
    assert all_editions(f"{menu}Fall 2017, last changed in 2018") == "fall 2017; 2017; 2018"
    one, two, none = edition_keys(pa.array([f"{menu}Fall 2017", f"{menu}Fall 2018", menu]), everywhere=True)
    assert one != two != none == 0


def test_the_term_in_an_address_counts_as_if_the_text_named_it() -> None:
    named = {
        "https://u.example/~kay/courses/10/su15.html": "summer 2015",
        "https://u.example/ics125_fq99/test.html?s17": "fall 1999",
        "https://u.example/wiki/cs122b-W17/": "winter 2017",
        "https://u.example/courses/sp08": "spring 2008",
        "https://u.example/s3/fs17.html": "",
        "https://u.example/2017/05/s17x?term=/s17/": "",
        "https://u.example/section/s45/": "",
        "http://[x/courses/su15.html": "summer 2015",
        "http://ex\u2100mple.org/courses/su15.html": "summer 2015",
        "http://[1::zz]/su15/": "summer 2015",
    }
    assert terms_of_addresses(pa.array([*named, None])) == [*named.values(), ""]
