"""The lists of stop words: that the kernel can find what they hold."""

from typing import get_args

from stages.gopher_quality import GopherQualitySettings
from stages.stop_words import STOP_WORDS
from stages.words import word_hash


def test_each_is_one_word_in_small_letters_and_stands_once():
    for stop_words in STOP_WORDS.values():
        assert len(set(stop_words)) == len(stop_words) == 8
        for word in stop_words:
            assert word == word.lower()
            word_hash(word)  # raises for anything but one word


def test_the_setting_offers_every_language():
    offered = get_args(GopherQualitySettings.model_fields["stop_words"].annotation)
    assert set(offered) == {*STOP_WORDS, "any"}
