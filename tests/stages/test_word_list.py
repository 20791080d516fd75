"""The word lists: what counts as an occurrence, in scripts with spaces and without."""

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline.resources import identify_all, load_resources
from stages.word_list import STAGE, WordListSettings, build_words

LISTS = Path(__file__).parents[2] / ".." / "shared" / "data" / "toxicity" / "word_lists"


def measured(texts, **lists):
    settings = WordListSettings(lists=tuple(f"/some/folder/{name}.txt" for name in lists))
    docs = pa.table({"text": pa.array(texts, pa.large_string())})
    return STAGE.measure(docs, settings, {name: build_words(words) for name, words in lists.items()})


def counts(texts, **lists):
    return measured(texts, **lists)["listed_words"].to_pylist()


def test_whole_words_count_in_any_case_and_parts_of_words_do_not():
    texts = ["An ass.", "ASS, ass!", "a class of asses", "ass_1 and 2ass", "(ass)", "dumb-ass"]
    assert counts(texts, en=["ass"]) == [1, 2, 0, 0, 1, 1]


def test_phrases_count_over_any_white_space():
    assert counts(["a shit\n  list", "a shitlist", "shit list"], en=["shit list"]) == [1, 0, 1]


def test_scripts_without_spaces_count_by_substring():
    assert counts(["他是笨蛋吗", "笨蛋笨蛋", "笨 蛋"], zh=["笨蛋"]) == [1, 2, 0]
    assert counts(["คนโง่มาก"], th=["โง่"]) == [1]


def test_overlapping_entries_count_once_and_the_longest_wins():
    row = measured(["ab cd ef"], en=["ab", "ab cd", "cd ef"]).to_pylist()[0]
    assert (row["listed_words"], row["listed_fraction"]) == (1, round(4 / 6, 4))


def test_an_entry_inside_one_that_does_not_count_still_counts():
    # "bad c" begins a longer word; "bad" is a whole one.
    assert counts(["bad cat"], en=["bad c", "bad"]) == [1]


def test_the_list_with_the_most_is_named():
    table = measured(["un deux", "one deux two", "nothing"], fr=["un", "deux"], en=["one", "two"])
    assert table["listed_in"].to_pylist() == ["fr", "en", None]
    assert table["listed_words"].to_pylist() == [2, 2, 0]
    assert table.schema == STAGE.adds


def test_nothing_is_dropped_unless_asked_and_c4_drops_for_one_word():
    table = measured(["bad", "good"], en=["bad"])
    assert STAGE.judge(table, WordListSettings(lists=("en.txt",)))["reason"].to_pylist() == [None, None]
    dropped, kept = STAGE.judge(table, WordListSettings(lists=("en.txt",), max_listed_words=0)).to_pylist()
    assert (dropped["reason"], dropped["measured"], dropped["threshold"]) == ("listed_words", 1.0, 0.0)
    assert dropped["detail"] == "en"
    assert kept["reason"] is None
    shares = STAGE.judge(table, WordListSettings(lists=("en.txt",), max_listed_fraction=0.5))
    assert shares["reason"].to_pylist() == ["listed_words", None]


def test_mistakes_are_refused():
    with pytest.raises(ValidationError):
        WordListSettings(lists=())
    with pytest.raises(ValueError, match="called the same"):
        STAGE.resources(WordListSettings(lists=("a/en.txt", "b/en.txt.gz")))
    with pytest.raises(ValueError, match="no entry"):
        build_words(["", "  \n"])


def test_lists_are_read_from_files_and_known_by_content_and_name(tmp_path):
    (tmp_path / "en.txt").write_text("bad\nworse\n")
    (tmp_path / "de.txt.gz").write_bytes(gzip.compress(b"schlecht\n"))
    needed = STAGE.resources(WordListSettings(lists=(str(tmp_path / "en.txt"), str(tmp_path / "de.txt.gz"))))
    loaded = load_resources(needed, expected=identify_all(needed))
    docs = pa.table({"text": pa.array(["so schlecht", "worse, bad"], pa.large_string())})
    settings = WordListSettings(lists=("en.txt", "de.txt.gz"))
    assert STAGE.measure(docs, settings, loaded)["listed_in"].to_pylist() == ["de", "en"]
    assert [dict(each.parameters) for each in needed] == [{"name": "en"}, {"name": "de"}]


@pytest.mark.skipif(not LISTS.exists(), reason="needs shared/data/toxicity/word_lists beside the repository")
def test_every_list_of_ldnoobw_finds_its_own_entries():
    for path in sorted(LISTS.glob("*.txt")):
        entries = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        assert min(counts(entries, words=entries)) >= 1, path.name
