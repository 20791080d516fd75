"""Words in scripts without spaces: letters by themselves, or what a packaged segmenter finds."""

import importlib.util

import pyarrow as pa
import pytest
from pydantic import ValidationError
from rule_cases import measure, verdict

from stages import segmentation, words
from stages.gopher_quality import STAGE as GOPHER
from stages.gopher_repetition import STAGE as REPETITION

CHINESE = "我们昨天去了北京的图书馆，借了三本关于历史的书。"
JAPANESE = "私は昨日図書館で本を借りました。"
THAI = "เราไปห้องสมุดเมื่อวานนี้"
MIXED = "The 图书馆 is open"


def needs(name: str) -> None:
    pytest.importorskip(segmentation._MODULES[name][-1], reason=f"{name} is in the extra `segment`")


def found(text: str, *segmenters: str) -> list[str]:
    """The words of the text, in order."""
    data, offsets, _ = segmentation.word_text(pa.array([text], pa.large_string()), segmenters)
    cut = bytes(data[offsets[0] : offsets[1]]).decode()
    return [word for piece in cut.split(words.SEPARATOR) for word in piece.split() if any(map(str.isalnum, word))]


def count(text: str, **settings) -> int:
    return measure(GOPHER, [text], **settings)[0]["word_count"]


def test_without_a_segmenter_each_letter_is_a_word():
    assert count(CHINESE) == 22
    assert count(MIXED) == 6
    assert measure(GOPHER, [CHINESE])[0]["mean_word_length"] == 1


def test_chinese_words():
    needs("rjieba")
    assert found(CHINESE, "rjieba") == [
        "我们",
        "昨天",
        "去",
        "了",
        "北京",
        "的",
        "图书馆",
        "借",
        "了",
        "三本",
        "关于",
        "历史",
        "的",
        "书",
    ]
    row = measure(GOPHER, [CHINESE], segmenters=["rjieba"])[0]
    assert row["word_count"] == 14
    assert row["mean_word_length"] == round(22 / 14, 4), "the marks between words have no length"
    assert row["character_count"] == len(CHINESE)
    assert row["stop_words_zh"] == 2  # 的, 了
    assert count(MIXED, segmenters=["rjieba"]) == 4


def test_japanese_is_cut_by_its_own_segmenter_or_not_at_all():
    needs("fugashi")
    needs("rjieba")
    assert found(JAPANESE, "fugashi") == ["私", "は", "昨日", "図書", "館", "で", "本", "を", "借り", "まし", "た"]
    assert count(JAPANESE, segmenters=["rjieba"]) == count(JAPANESE), "its Han is not taken for Chinese"
    assert count(CHINESE, segmenters=["fugashi"]) == count(CHINESE)
    both = ["rjieba", "fugashi"]
    assert count(JAPANESE, segmenters=both) == count(JAPANESE, segmenters=["fugashi"])


def test_thai_words():
    needs("pythainlp")
    assert found(THAI, "pythainlp") == ["เรา", "ไป", "ห้องสมุด", "เมื่อวาน", "นี้"]
    assert measure(GOPHER, ["นี่ ที่ และ"], segmenters=["pythainlp"])[0]["stop_words_th"] == 2


def test_other_scripts_are_as_ever():
    needs("rjieba")
    text = "Wir gingen, 12 Leute, ກັບບ້ານ ស្ពាន မြန်မာ: well-known don't"
    one, two = (measure(GOPHER, [text], segmenters=chosen)[0] for chosen in ([], ["rjieba"]))
    assert one == two


def test_repeated_ngrams_are_of_words():
    needs("rjieba")
    text = "这家图书馆很大，很漂亮。" * 6
    plain, cut = (measure(REPETITION, [text], segmenters=chosen)[0] for chosen in ([], ["rjieba"]))
    assert cut["duplicate_line_fraction"] == plain["duplicate_line_fraction"]
    assert cut["top_2gram_fraction"] > plain["top_2gram_fraction"], "two words are longer than two letters"
    assert 0 < cut["duplicate_5gram_fraction"] <= 1


def test_a_run_of_any_length_is_cut_in_pieces():
    needs("rjieba")
    assert measure(GOPHER, ["图书馆" * 40_000], segmenters=["rjieba"])[0]["mean_word_length"] > 2.5


def test_the_versions_are_asked_for_only_by_who_uses_them():
    needs("rjieba")
    assert GOPHER.chosen_libraries(GOPHER.settings()) == ()
    assert GOPHER.chosen_libraries(GOPHER.settings(segmenters=["rjieba"])) == ("rjieba",)
    assert GOPHER.settings(segmenters=["rjieba"]).measuring() == {"segmenters": ["rjieba"]}


def test_a_missing_package_is_told_before_any_work(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValidationError, match=r"rjieba needs the package rjieba.*pip install 'tamis\[segment\]'"):
        GOPHER.settings(segmenters=["rjieba"])


def test_a_verdict_on_chinese():
    needs("rjieba")
    chinese = {"stop_words": "zh", "min_mean_word_length": 1, "segmenters": ["rjieba"]}
    assert verdict(GOPHER, CHINESE * 5, **chinese)["reason"] is None
    assert verdict(GOPHER, CHINESE * 5)["reason"] == "mean_word_length"
