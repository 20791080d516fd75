"""Which edition a text says that it is."""

import pyarrow as pa

from stages.editions import HEAD_CHARACTERS, all_editions, edition, edition_keys


def test_the_first_term_with_its_year_counts_and_else_the_first_year() -> None:
    assert edition("ICS 193, Fall 2017. Last changed in 2018") == "fall 2017"
    assert edition("Updated 2018. Syllabus for SPRING QUARTER, 2016") == "spring 2016"
    assert edition("Annual report 2006-07") == "2006"
    assert edition("Room 2417, phone 824-2013x, 120199 copies") == ""
    assert edition("x" * HEAD_CHARACTERS + " 2017") == ""


def test_equal_editions_have_equal_keys_and_none_has_zero() -> None:
    keys = edition_keys(pa.array(["Fall 2017 A", "fall term 2017: B", "Winter 2018", "no year", ""]))
    assert keys[0] == keys[1] != keys[2]
    assert keys[3:].tolist() == [0, 0]


def test_behind_a_menu_all_terms_and_years_count_in_their_order() -> None:
    menu = "Home, about, contact. " * 40
    assert edition(f"{menu}Fall 2017") == ""
    assert all_editions(f"{menu}Fall 2017, last changed in 2018") == "fall 2017; 2017; 2018"
    one, two, none = edition_keys(pa.array([f"{menu}Fall 2017", f"{menu}Fall 2018", menu]), named=all_editions)
    assert one != two != none == 0
