"""Text that was encoded twice is told from text in which every letter is meant."""

import pytest

from stages.extract import ExtractSettings, RawRecord, extract_one
from stages.mojibake import mojibake_fraction

CLEAN = {
    "english": "“It’s a café,” she said — naïve façade, 20 °C, £5 · €10 … ½ cup",
    "french": "L’été, où les élèves sont prêts à étudier ; ça va être très agréable à Noël, « enfin ».",
    "german": "„Großer Spaß“ – „süß“, Füße, Öl, Äpfel und Übermut für 5 €",
    "portuguese": "NÃO, A IRMÃ DE JOÃO É CAMPEÃ DO CORAÇÃO: ÀS VEZES À TARDE, PAIXÃO",
    "polish": "Zażółć gęślą jaźń, źdźbło, ŁÓDŹ, „świeżość”",
    "czech": "Příliš žluťoučký kůň úpěl ďábelské ódy. ŽÁDNÝ ŘEŘICHOVÝ ŠÁL",
    "turkish": "Şişli’de ağır ışık, İSTANBUL ÇARŞISI, ÖĞÜT",
    "russian": "Съешь же ещё этих мягких французских булок — «РОССИЯ», СССР, № 5.",
    "ukrainian": "Рішення Ради: Рівне, Рік, Сіль, Світ і їжа, СІМ’Я, РІК",
    "serbian": "Љубав, Његош, Ђорђе, Џеп, РЂ, ћирилица",
    "vietnamese": "Tiếng Việt: ÂM NHẠC, Ăn, Đà Nẵng, ước mơ, ỗ",
    "chinese": "这是一个中文网页，里面有很多汉字。",
}
TWICE = {"german": "cp1252", "french": "cp1252", "polish": "cp1250", "czech": "cp1250", "russian": "cp1251"}


def twice(text: str, codec: str) -> str:
    """What a program makes of UTF-8 that it takes for a single-byte set; bytes without a letter there are dropped."""
    return text.encode().decode(codec, "ignore")


@pytest.mark.parametrize("language", CLEAN)
def test_text_in_which_every_letter_is_meant_has_none(language: str) -> None:
    assert mojibake_fraction(CLEAN[language]) == 0.0


@pytest.mark.parametrize("language", TWICE)
def test_text_that_was_encoded_twice_shows_it(language: str) -> None:
    least = 0.7 if language == "russian" else 0.1
    assert mojibake_fraction(twice(CLEAN[language], TWICE[language])) > least


def test_the_share_is_that_of_the_characters() -> None:
    assert mojibake_fraction("") == 0.0
    assert mojibake_fraction("only ASCII") == 0.0
    assert mojibake_fraction("Itâ€™s") == pytest.approx(3 / 6)
    assert mojibake_fraction("a cafÃ© in Paris") == pytest.approx(2 / 16)


def test_a_documents_share_is_measured_with_its_text() -> None:
    page = f"<html><body><article><p>{twice(CLEAN['french'], 'cp1252') * 3}</p></article></body></html>"
    found = extract_one(RawRecord(content=page.encode(), media_type="text/html"), ExtractSettings(engine="resiliparse"))
    assert found.mojibake_fraction is not None
    assert 0.05 < found.mojibake_fraction < 0.5
    assert found.mojibake_fraction == round(found.mojibake_fraction, 4)
    assert found.charset == "utf-8"
