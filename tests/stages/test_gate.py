"""The cascade's gate: rules out what later stages would not keep, and changes nothing about what it lets through."""

import pytest

from pipeline.parser_child import ParserChild
from pipeline.recipe import RecipeError, load_recipe
from stages.extract import ExtractSettings, RawRecord, extract_one

ENGLISH = "The bridge over the river was built by the people of the town in the summer of that year. " * 8
GERMAN = "Die Brücke über den Fluss wurde von den Leuten der Stadt im Sommer jenes Jahres gebaut. " * 8
CHINESE = "这座桥是那年夏天由镇上的人们建造的，后来成为全省最有名的建筑之一。" * 6

CASCADE = ExtractSettings(engine="cascade", gate_languages=("en",))


def record(text: str, *, menu: str = "") -> RawRecord:
    page = f"<html><body><nav>{menu}</nav><article><h1>Title</h1><p>{text}</p></article></body></html>"
    return RawRecord(content=page.encode(), media_type="text/html", charset="utf-8", url=None)


@pytest.fixture(scope="module")
def child():
    with ParserChild() as made:
        yield made


def test_what_passes_the_gate_is_what_trafilatura_extracts(child):
    for page in (record(ENGLISH), record(ENGLISH, menu=GERMAN[:80])):
        assert child.call(page, CASCADE) == child.call(page, ExtractSettings(engine="trafilatura"))


@pytest.mark.parametrize("text", [GERMAN, CHINESE])
def test_a_page_in_another_language_is_ruled_out_with_its_score(child, text):
    found = child.call(record(text), CASCADE)
    assert found.reason == "gated"
    assert found.measured < found.threshold == 0.05
    assert "not in en" in found.detail
    assert child.call(record(text), ExtractSettings(engine="trafilatura")).reason is None


def test_a_page_with_few_visible_words_is_ruled_out_with_their_number():
    settings = ExtractSettings(engine="cascade", gate_min_words=50)
    found = extract_one(record("Only these few words."), settings)
    assert (found.reason, found.measured, found.threshold) == ("gated", 5.0, 50.0)
    assert extract_one(record(CHINESE), settings).reason is None


def test_a_page_without_sentences_is_ruled_out_with_their_number():
    settings = ExtractSettings(engine="cascade", gate_min_words=0, gate_min_sentences=4)
    menu = "<li>Home page of us</li><li>All of our news</li><li>Contact and opening hours</li>" * 20
    three = "".join(f"<p>This is sentence number {number} of it.</p>" for number in range(3))
    found = extract_one(record(f"<ul>{menu}</ul>{three}"), settings)
    assert (found.reason, found.measured, found.threshold) == ("gated", 3.0, 4.0)
    assert found.detail == "sentences of visible text"
    assert extract_one(record(f"<ul>{menu}</ul>{three}<p>And here is one more of them.</p>"), settings).reason is None


RECIPE = """\
name: t
input: {{paths: [x]}}
stages:
  - {{type: extract, engine: cascade, gate_languages: {gate}, gate_min_words: {words}}}
{later}
"""
LANGUAGE = "  - {type: language, keep: [en]}"
GOPHER = "  - {type: gopher_quality}"


@pytest.mark.parametrize(
    ("gate", "words", "later", "message"),
    [
        ("[en]", 0, "", "gate_languages"),
        ("[de]", 0, LANGUAGE, "gate_languages"),
        ("[en]", 0, "  - {type: language, keep: [en, unknown]}", "gate_languages"),
        ("[en]", 0, "  - {type: language, keep: [en], min_score: 0.01}", "gate_min_language_score"),
        ("[]", 50, LANGUAGE, "gate_min_words"),
        ("[]", 50, "  - {type: gopher_quality, min_words: 20}", "gate_min_words"),
    ],
)
def test_a_gate_that_is_stricter_than_the_recipe_is_refused(tmp_path, gate, words, later, message):
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE.format(gate=gate, words=words, later=later))
    with pytest.raises(RecipeError, match=message):
        load_recipe(path)


@pytest.mark.parametrize(
    ("later", "message"),
    [
        ("", "needs a c4_quality stage"),
        ("  - {type: c4_quality, min_sentences: 3}", "gate_min_sentences 4 is stricter than c4_quality"),
        ("  - {type: c4_quality, require_end_mark: false}", "require_end_mark is False here"),
    ],
)
def test_a_gate_by_sentences_that_the_recipe_does_not_ask_for_is_refused(tmp_path, later, message):
    path = tmp_path / "r.yaml"
    recipe = RECIPE.format(gate="[en]", words=0, later=f"{LANGUAGE}\n{later}")
    path.write_text(recipe.replace("gate_min_words: 0", "gate_min_words: 0, gate_min_sentences: 4"))
    with pytest.raises(RecipeError, match=message):
        load_recipe(path)


def test_a_gate_that_is_looser_than_the_recipe_is_taken(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE.format(gate="[en, de]", words=50, later=f"{LANGUAGE}\n{GOPHER}"))
    assert load_recipe(path).stages[0].settings.engine == "cascade"
