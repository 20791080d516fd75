"""The sample that a vocabulary is learned from: weights of sources and languages, whatever the workers and splits."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from corpus import prose

from pipeline.phases.sample import group_of, groups, recipe_fractions
from pipeline.recipe import RecipeError, SampleSource, load_recipe
from pipeline.run import Options, run
from tokenizer.shards import ShardSet

GERMAN = "Der Müller hat {n} alte Brücken über den Fluss gemessen, und der Kapitän ging danach langsam nach Hause."
RECIPE = """
name: sampled
input: {{paths: ["{folder}"], split_bytes: {split_bytes}}}
stages:
  - {{type: extract}}
  - {{type: language, keep: [en, de], min_score: 0.1}}
tokenizer:
  vocab_size: 320
  sample_bytes: 20_000
  sample: {sample}
shards: {{tokens_per_shard: 1_000_000, validation_fraction: 0}}
"""


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    english = [" ".join(prose(n, sentences=4)) for n in range(200)]
    german = [" ".join(GERMAN.format(n=17 * n + k) for k in range(4)) for n in range(200)]
    for name, rows in (("books.jsonl", english[::2] + german[::2]), ("forum.jsonl", english[1::2] + german[1::2])):
        lines = (json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in rows)
        (folder / name).write_text("".join(lines), encoding="utf-8")
    return folder


def vocabulary(texts: Path, place: Path, sample: str, *, split_bytes: int = 1 << 20) -> bytes:
    place.mkdir()
    recipe = place / "recipe.yaml"
    recipe.write_text(RECIPE.format(folder=texts, sample=sample, split_bytes=split_bytes))
    run(load_recipe(recipe), Options(out=str(place / "out"), work=str(place / "work"), runner="inline"))
    return (place / "out" / "tokenizer" / "tokenizer.json").read_bytes()


def drawn(place: Path) -> dict[str, dict]:
    manifest = json.loads((place / "out" / "manifest.json").read_text())
    return {line["group"]: line for line in manifest["vocabulary"]["sample"]}


def test_weights_decide_which_language_is_learned(texts: Path, tmp_path: Path) -> None:
    german = vocabulary(texts, tmp_path / "de", "[{language: de, weight: 1}, {weight: 0}]")
    english = vocabulary(texts, tmp_path / "en", "[{language: de, weight: 0}, {weight: 1}]")
    # "ü" of "Brücken" and "Müller" in the bytes' own signs.
    assert any("Ã¼" in piece for piece in json.loads(german)["model"]["vocab"])
    assert not any("Ã¼" in piece for piece in json.loads(english)["model"]["vocab"])
    assert drawn(tmp_path / "de")["*"]["documents"] == 0
    assert drawn(tmp_path / "en")["* in de"]["documents"] == 0


def test_a_group_gets_its_share_of_the_bytes_to_learn_from(texts: Path, tmp_path: Path) -> None:
    vocabulary(texts, tmp_path / "run", "[{source: 'books*', weight: 3}, {weight: 1}]")
    found = drawn(tmp_path / "run")
    share = found["books*"]["bytes"] / (found["books*"]["bytes"] + found["*"]["bytes"])
    assert share == pytest.approx(0.75, abs=0.15)
    assert sum(line["bytes"] for line in found.values()) == pytest.approx(20_000, rel=0.3)


def test_how_the_input_is_cut_does_not_change_the_vocabulary(texts: Path, tmp_path: Path) -> None:
    sample = "[{language: de, source: 'books*', weight: 2}, {language: en, weight: 1}, {weight: 0.5}]"
    one = vocabulary(texts, tmp_path / "one", sample)
    assert vocabulary(texts, tmp_path / "splits", sample, split_bytes=20_000) == one


def test_the_manifest_says_what_the_vocabulary_makes_of_sources_and_languages(texts: Path, tmp_path: Path) -> None:
    vocabulary(texts, tmp_path / "run", "[{weight: 1}]")
    manifest = json.loads((tmp_path / "run" / "out" / "manifest.json").read_text())
    found = manifest["vocabulary"]["compression"]
    assert set(found["by_language"]) == {"de", "en"}
    assert set(found["by_source"]) == {"books.jsonl", "forum.jsonl"}
    for table in found.values():
        for name in ("documents", "bytes", "tokens"):
            total = manifest["shards"]["train"][name]
            assert sum(line[name] for line in table.values()) == total
    # Counted again from the shards themselves.
    shards = ShardSet.from_folder(tmp_path / "run" / "out" / "shards")
    counts = np.bincount(shards.token_range(0, shards.tokens), minlength=320)
    used = manifest["vocabulary"]["usage"]
    assert (used["entries"], used["unused"]) == (320, int((counts == 0).sum()))
    assert used["rare"] == int(((counts > 0) & (counts < 10)).sum()) == used["decades"][0][1]
    assert used["unused"] + sum(entries for _, entries in used["decades"]) == 320
    assert used["unused"] > 0
    assert used["longest"][0] == max(used["longest"], key=len)


def test_how_the_input_is_cut_does_not_change_what_is_used(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    # Summed two by two, on several levels.
    monkeypatch.setattr("pipeline.shard_flow._USAGE_PARTS", 2)
    for name, split_bytes in (("one", 1 << 20), ("cut", 16_000)):
        vocabulary(texts, tmp_path / name, "[{weight: 1}]", split_bytes=split_bytes)
        found.append(json.loads((tmp_path / name / "out" / "manifest.json").read_text())["vocabulary"]["usage"])
    assert found[0] == found[1]
    phases = json.loads((tmp_path / "cut" / "out" / "manifest.json").read_text())["phases"]
    assert {"usage.level0", "usage.level1"} <= {phase["name"] for phase in phases}


SOURCES = [SampleSource(source="wiki/*", weight=3), SampleSource(language="d?"), SampleSource(weight=0)]


def test_a_document_belongs_to_the_first_group_that_it_matches() -> None:
    assert [group_of(SOURCES, "wiki/a", "de"), group_of(SOURCES, "b", "de"), group_of(SOURCES, "b", None)] == [0, 1, 2]
    documents = pa.table({"source": ["b", "wiki/a"]})
    assert groups(documents, SOURCES).tolist() == [2, 0]


def test_a_group_without_documents_leaves_its_share_to_the_others() -> None:
    assert recipe_fractions(SOURCES, [1000, 1000, 1000], 400) == [0.3, 0.1, 0.0]
    assert recipe_fractions(SOURCES, [0, 1000, 1000], 400) == [0.0, 0.4, 0.0]
    assert recipe_fractions(SOURCES, [10, 1000, 1000], 400) == [1.0, 0.1, 0.0]
    with pytest.raises(ValueError, match="no kept document belongs to a group"):
        recipe_fractions(SOURCES, [0, 0, 1000], 400)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ("[{source: 'a*'}]", "the last group of 'sample' must match every document"),
        ("[{weight: 0}]", "at least one weight"),
        ("[{weight: -1}]", "greater than or equal to 0"),
        ("[{langauge: de}, {}]", "unknown key"),
    ],
)
def test_a_sample_that_cannot_be_is_refused_before_any_work(tmp_path: Path, sample: str, message: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(folder=tmp_path, sample=sample, split_bytes=1024))
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe)


def test_languages_need_a_stage_that_finds_them(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    text = RECIPE.format(folder=tmp_path, sample="[{language: de}, {}]", split_bytes=1024)
    recipe.write_text("\n".join(line for line in text.split("\n") if "type: language" not in line))
    with pytest.raises(RecipeError, match="add a stage of type 'language'"):
        load_recipe(recipe)
