"""Thresholds by language: each document is judged by those of its own, and what no language has is refused."""

from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline.recipe import RecipeError, load_recipe
from stages.c4_quality import STAGE as C4
from stages.gopher_quality import STAGE as GOPHER
from stages.stage import Stage

GERMAN = "Der Hund und die Katze schlafen in dem Haus, das ist von den Kindern gebaut worden. " * 4
ENGLISH = "We have been to the market with all of our friends and bought that basket of apples. " * 4


def reasons(stage: Stage, rows: list[tuple[str, str]], **settings) -> list[str | None]:
    """The reason for each (language, text)."""
    assert stage.measure is not None
    assert stage.judge is not None
    chosen = stage.settings(**settings)
    docs = pa.table({"text": pa.array([text for _, text in rows], pa.large_string())})
    measured = stage.measure(docs, chosen.without_thresholds(), {})
    measured = measured.append_column("language", pa.array([language for language, _ in rows]))
    return stage.judge(measured.select(stage.judged(chosen)), chosen)["reason"].to_pylist()


ROWS = [("de", GERMAN), ("en", ENGLISH), ("de", ENGLISH), ("fr", GERMAN), ("en", GERMAN), ("de", GERMAN)]


def test_each_document_has_the_thresholds_of_its_language():
    assert reasons(GOPHER, ROWS) == ["stop_words", None, None, "stop_words", "stop_words", "stop_words"]
    own = {"de": {"stop_words": "de"}, "fr": {"min_stop_words": 0}}
    assert reasons(GOPHER, ROWS, per_language=own) == [None, None, "stop_words", None, "stop_words", None]
    assert reasons(GOPHER, ROWS, per_language={"de": {"min_words": 1000}}) == [
        "word_count", None, "word_count", "stop_words", "stop_words", "word_count",
    ]  # fmt: skip


def test_only_a_stage_with_thresholds_by_language_is_given_the_language():
    assert GOPHER.judged(GOPHER.settings()) == GOPHER.judges
    assert GOPHER.judged(GOPHER.settings(per_language={"de": {"min_words": 1}})) == (*GOPHER.judges, "language")
    assert reasons(GOPHER, [], per_language={"de": {"min_words": 1}}) == []


def test_thresholds_by_language_change_no_measurement():
    assert GOPHER.settings(per_language={"de": {"min_words": 1}}).measuring() == GOPHER.settings().measuring()


@pytest.mark.parametrize(
    ("stage", "changes", "message"),
    [
        (
            GOPHER,
            {"min_word": 3},
            "per_language.de: 'min_word' is no threshold of this stage. Did you mean 'min_w",
        ),
        (GOPHER, {"min_words": -3}, "per_language.de.min_words: .*greater than or equal to 0"),
        (GOPHER, {"stop_words": "xx"}, "per_language.de.stop_words"),
        (GOPHER, {"per_language": {}}, "no threshold"),
        (C4, {"min_words_per_line": 3}, "'min_words_per_line' is no threshold"),  # it changes what is measured
    ],
)
def test_what_is_no_threshold_is_refused(stage, changes, message):
    with pytest.raises(ValidationError, match=message):
        stage.settings(per_language={"de": changes})


def recipe(folder: Path, stages: str) -> Path:
    path = folder / "r.yaml"
    path.write_text(f"name: r\ninput: {{paths: [x]}}\nstages:\n  - {{type: extract}}\n{stages}", encoding="utf-8")
    return path


RULE = "  - type: gopher_quality\n    per_language:\n      no: {stop_words: no}\n"


def test_a_recipe_names_languages_that_it_keeps(tmp_path):
    loaded = load_recipe(recipe(tmp_path, "  - {type: language, keep: [en, no]}\n" + RULE))
    assert loaded.stages[2].settings.for_language("no").stop_words == "no"
    with pytest.raises(RecipeError, match="names 'no', which the language stage does not keep; it keeps en"):
        load_recipe(recipe(tmp_path, "  - {type: language}\n" + RULE))
    with pytest.raises(RecipeError, match="put a stage of type 'language' before it"):
        load_recipe(recipe(tmp_path, RULE))


def test_a_typing_error_is_told_with_its_line(tmp_path):
    with pytest.raises(RecipeError, match=r"r\.yaml:\d+: stages\[2\].*Did you mean 'stop_words'"):
        load_recipe(recipe(tmp_path, "  - {type: language}\n" + RULE.replace("{stop_words", "{stop_word")))
