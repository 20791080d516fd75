"""The normal form, on text one can read and against what a peer does."""

import json
import re
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from stages.normalise import normal_forms, text_keys, words_of

PEER = Path(__file__).parents[2] / ".." / "shared" / "data" / "peer_cases" / "datatrove_text_norm.json"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The QUICK, brown\n\tfox -- don't!", "the quick brown fox don t"),
        ("snake_case 1,234.5 x²", "snake_case 1 234 5 x²"),
        ("Cafe\u0301 = CAF\u00c9", "café café"),
        ("STRASSE Straße Σίσυφος", "strasse straße σίσυφοσ"),
        ("İstanbul Ⱥ ﬁ", "istanbul ⱥ ﬁ"),
        ("日本語 is 漢字とkana", "日 本 語 is 漢 字 と kana"),
        ("ภาษาไทย ที่", "ภ า ษ า ไ ท ย ที่"),
        ("नमस्ते दुनिया", "नमस्ते दुनिया"),
        ("한국어 텍스트", "한국어 텍스트"),
        ("soft\u00adhyphen zero\u200bwidth \ufeffmark", "softhyphen zerowidth mark"),
        ("مرحبا بالعالم", "مرحبا بالعالم"),
        ("\u0301lone mark", "\u0301lone mark"),
        ("", ""),
        (" \n\x00\x1f", ""),
        ("!?… \U0001f600\U0001f468\u200d\U0001f469", ""),
    ],
)
def test_normal_form(text: str, words: str) -> None:
    assert words_of(text) == words.split()
    assert normal_forms(pa.array([text]))[0].as_py() == words


def test_the_normal_form_is_its_own() -> None:
    texts = ["A b,C", "日本ab語", "नमस्ते e\u0301 İ ẞ", "\u0e17\u0e35\u0e48\u0e17"]
    once = normal_forms(pa.array(texts))
    assert normal_forms(once).equals(once)


def test_decomposed_text_is_the_same_text_and_neighbours_stay() -> None:
    texts = ["plain", "Việt Nam, 한국어, ộ", None, "é" * 100]
    decomposed = [text and unicodedata.normalize("NFD", text) for text in texts]
    form = normal_forms(pa.array(decomposed, pa.large_string()))
    assert form.equals(normal_forms(pa.array(texts, pa.large_string())))
    assert form.to_pylist() == ["plain", "việt nam 한국어 ộ", "", "é" * 100]


def test_slices_and_chunks_of_a_column_give_the_same() -> None:
    texts = [f"Text number {number}, é" for number in range(50)]
    whole = normal_forms(pa.array(texts)).to_pylist()
    assert normal_forms(pa.array(texts).slice(7, 20)).to_pylist() == whole[7:27]
    assert normal_forms(pa.chunked_array([pa.array(texts[:9]), pa.array(texts[9:])])).to_pylist() == whole
    assert normal_forms(pa.chunked_array([], pa.string())).to_pylist() == []


def test_every_code_point_goes_through() -> None:
    text = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    assert len(words_of(text)) > 80_000
    assert words_of("Ⱥ" * 10_000) == ["ⱥ" * 10_000]  # two bytes become three
    assert words_of("中a" * 1000) == ["中", "a"] * 1000


def test_keys_say_whether_texts_are_the_same() -> None:
    keys, has = text_keys(pa.array(["a b", "A, B!", "a c", "", "!!!"]), normalised=True)
    assert (keys[0] == keys[1]).all()
    assert not (keys[0] == keys[2]).all()
    assert has.tolist() == [True, True, True, False, False]
    assert not (keys[:, 1] & np.uint64(1)).any(), "the lowest bit is never set"
    verbatim, has = text_keys(pa.array(["a b", "A, B!", ""]), normalised=False)
    assert not (verbatim[0] == verbatim[1]).all()
    assert has.tolist() == [True, True, False]


def test_agrees_with_the_peer_but_for_what_it_keeps() -> None:
    """The peer also turns every number into 0, deletes accents (and with them the vowel signs of Hindi), and takes the
    underscore for punctuation. Done to our form as well, nothing else differs."""
    if not PEER.exists():
        pytest.skip(f"the data pack is not there ({PEER})")
    for case in json.loads(PEER.read_text(encoding="utf-8"))["cases"]:
        form = unicodedata.normalize("NFD", " ".join(words_of(case["input"])).replace("_", " "))
        unmarked = "".join(character for character in form if unicodedata.category(character) != "Mn")
        digits = " ".join(re.sub(r"\d+", "0", unmarked).split())
        # "1,234.56" is one number to the peer, and two of ours: compare with runs of numbers as one.
        assert re.sub(r"0( 0)+", "0", digits) == re.sub(r"0( 0)+", "0", case["simplified"]), case["input"]
