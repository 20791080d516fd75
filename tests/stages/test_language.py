"""The language stage on sentences one can read."""

import gzip
import json
from collections import Counter
from pathlib import Path

import fasttext
import pyarrow as pa
import pytest
from pydantic import ValidationError

from stages.language import LID_176, STAGE, LanguageSettings

DATA = Path(__file__).parents[2] / ".." / "shared" / "data" / "langid" / "sentences_75_languages.jsonl.gz"

TEXTS = {
    "en": "The committee will meet again next week to discuss the new timetable for schools.",
    "de": "Der Ausschuss trifft sich nächste Woche wieder, um den neuen Fahrplan zu besprechen.",
    "zh": "委员会下周将再次开会，讨论学校的新时间表，并听取家长和老师们的意见和建议。",
    "ar": "ستجتمع اللجنة مرة أخرى الأسبوع المقبل لمناقشة الجدول الزمني الجديد للمدارس.",
}


@pytest.fixture(scope="module")
def model():
    return fasttext.load_model(str(Path(__file__).parents[2] / "pipeline/builtin/lid.176.ftz"))


def measured(model, texts, **settings):
    docs = pa.table({"text": pa.array(texts, pa.large_string())})
    return STAGE.measure(docs, LanguageSettings(**settings), {"model": model})


def judged(table, **settings):
    return STAGE.judge(table.select(list(STAGE.judges)), LanguageSettings(**settings)).to_pylist()


def test_languages_are_found(model):
    table = measured(model, list(TEXTS.values()))
    assert table.schema == STAGE.adds
    assert table["language"].to_pylist() == list(TEXTS)
    assert min(table["language_score"].to_pylist()) > 0.65


def test_what_is_too_short_is_unknown(model):
    table = measured(model, ["", "OK", "12345 67890 " * 50, "😀" * 500, "Guten Morgen"])
    assert table["language"].to_pylist() == ["unknown"] * 5
    assert table["language_score"].to_pylist() == [0.0] * 5


def test_min_letters_counts_letters_of_any_script(model):
    assert measured(model, ["Guten Morgen"], min_letters=11)["language"].to_pylist() != ["unknown"]
    assert measured(model, ["Guten Morgen"], min_letters=12)["language"].to_pylist() == ["unknown"]
    assert measured(model, ["委员会下周将再次开会"], min_letters=10)["language"].to_pylist() == ["zh"]


def test_only_the_beginning_is_read(model):
    page = TEXTS["de"] + (" " + TEXTS["en"]) * 20
    assert measured(model, [page])["language"].to_pylist() == ["en"]
    assert measured(model, [page], max_characters=100)["language"].to_pylist() == ["de"]


def test_the_ledger_says_which_language_was_found(model):
    english, german, *_ = judged(measured(model, list(TEXTS.values())))
    assert english["reason"] is None
    assert german["reason"] == "language"
    assert german["detail"] == "found de; kept are en"
    assert german["measured"] > 0.65
    assert german["threshold"] is None


def test_an_unsure_answer_is_dropped_with_score_and_threshold():
    table = pa.table(
        {
            "language": ["en", "en"],
            "language_score": [0.65, 0.6499],
            "second_language": pa.nulls(2, pa.string()),
            "other_script_fraction": [0.0, 0.0],
        }
    )
    kept, dropped = judged(table)
    assert kept["reason"] is None
    assert (dropped["reason"], dropped["measured"], dropped["threshold"]) == ("language", 0.6499, 0.65)
    assert dropped["detail"] == "found en, but not surely enough"


def test_unknown_can_be_kept(model):
    table = measured(model, ["OK"])
    assert judged(table)[0]["reason"] == "language"
    assert judged(table, keep=("en", "unknown"))[0]["reason"] is None


def test_a_misspelt_language_is_refused():
    with pytest.raises(ValidationError, match="knows no language 'eng'"):
        LanguageSettings(keep=("eng",))
    assert LanguageSettings(keep=("eng_Latn",), model="models/glotlid.bin").keep == ("eng_Latn",)


def test_the_known_codes_are_the_models(model):
    assert {label.removeprefix("__label__") for label in model.get_labels()} == LID_176


def test_the_resource_carries_reference_and_sha256():
    (resource,) = STAGE.resources(LanguageSettings(model="my.bin", sha256="0" * 64))
    assert (resource.name, resource.kind, resource.reference, resource.sha256) == (
        "model", "fasttext", "my.bin", "0" * 64,
    )  # fmt: skip
    with pytest.raises(ValidationError):
        LanguageSettings(sha256="abc")


def test_thresholds_do_not_reach_measure():
    assert LanguageSettings.names_of("threshold") == {
        "keep",
        "min_score",
        "max_other_script_fraction",
        "must_agree",
    }


def test_no_rows_give_the_declared_columns(model):
    assert measured(model, []).schema == STAGE.adds
    assert judged(measured(model, [])) == []


def test_batches_do_not_matter(model):
    texts = [*TEXTS.values(), "", "ok", "a\ud7ffb"] * 3
    whole = measured(model, texts).to_pylist()
    assert whole == [row for text in texts for row in measured(model, [text]).to_pylist()]


@pytest.mark.skipif(not DATA.exists(), reason="needs shared/data/langid beside the repository")
def test_news_sentences_of_75_languages(model):
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][::5]
    known = [row for row in rows if row["lang"] in LID_176]
    found = measured(model, [row["text"] for row in known], min_letters=0).to_pylist()
    right = Counter(row["lang"] for row, answer in zip(known, found, strict=True) if row["lang"] == answer["language"])
    asked = Counter(row["lang"] for row in known)
    assert sum(right.values()) / len(known) > 0.85
    for language in ("en", "de", "fr", "ru", "zh", "ar", "hi"):
        assert right[language] / asked[language] > 0.9, language


def test_the_three_likeliest_are_stored(model):
    (row,) = measured(model, [TEXTS["de"]]).to_pylist()
    first, *others = row["language_top"].split(", ")
    assert first == f"de {row['language_score']:.4g}"
    assert len(others) <= 2
    assert measured(model, ["OK"])["language_top"].to_pylist() == [""]


class Second:
    """A second identifier that finds Norwegian in everything, by py3langid's code."""

    def classify(self, line):
        return "nb", 0.87654


def test_a_second_identifier_can_disagree(model):
    text = "Komiteen skal møtes igjen neste uke for å diskutere den nye timeplanen for skolene i byen."
    docs = pa.table({"text": [text, TEXTS["en"], "OK"]})
    settings = LanguageSettings(second="py3langid", must_agree=True, keep=["no", "en", "unknown"])
    table = STAGE.measure(docs, settings, {"model": model, "second": Second()})
    assert table["second_language"].to_pylist() == ["no", "no", None]
    assert table["second_language_score"].to_pylist() == [0.8765, 0.8765, 0.0]
    verdicts = STAGE.judge(table.select(list(STAGE.judges)), settings).to_pylist()
    assert [verdict["reason"] for verdict in verdicts] == [None, "language", None]
    assert verdicts[1]["detail"] == "found en, the second identifier no"
    with pytest.raises(ValidationError, match="needs `second: py3langid`"):
        LanguageSettings(must_agree=True)


def test_another_script_is_measured_and_judged_on_request(model):
    table = measured(model, [TEXTS["en"], TEXTS["en"] + " " + TEXTS["ar"]])
    assert table["other_script_fraction"][0].as_py() == 0.0
    assert 0.3 < table["other_script_fraction"][1].as_py() < 0.6
    assert [verdict["reason"] for verdict in judged(table, min_score=0, keep=["en", "ar"])] == [None, None]
    found = judged(table, min_score=0, keep=["en", "ar"], max_other_script_fraction=0.2)
    assert [verdict["reason"] for verdict in found] == [None, "other_script"]
