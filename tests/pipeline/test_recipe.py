"""A wrong recipe fails before any work and names the key, its line and the nearest right name."""

import pytest

from pipeline.recipe import RecipeError, load_recipe

GOOD = """\
name: t
input: {paths: [x]}
stages:
  - {type: extract}
  - {type: language, keep: [en, no], min_score: 1e-1}
"""


def load(tmp_path, text, **options):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    return load_recipe(path, **options)


def test_norwegian_is_a_language_and_1e_1_a_number(tmp_path):
    settings = load(tmp_path, GOOD).stages[1].settings
    assert settings.keep == ("en", "no")
    assert settings.min_score == 0.1


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("min_score", "min_scor", 5, ["stages[1].min_scor", "unknown key", "'min_score'"]),
        ("type: language", "type: langauge", 5, ["'langauge'", "'language'"]),
        ("name: t", "nam: t", 1, ["nam", "'name'"]),
        ("paths", "path", 2, ["input.path", "'paths'"]),
        ("1e-1", "lots", 5, ["stages[1].min_score", "number", "lots"]),
        ("1e-1", ".nan", 5, ["stages[1].min_score"]),
        ("1e-1", "-3", 5, ["stages[1].min_score", "greater than or equal to 0"]),
        ("1e-1", "0.5, min_score: 0.6", 5, ["stands twice", "min_score"]),
        ("name: t", "name: t\nname: u", 2, ["stands twice"]),
        ("  - {type: extract}\n", "", 3, ["first stage"]),
        ("stages:", "stages: [", 4, ["not YAML"]),
    ],
)
def test_what_is_wrong_and_where(tmp_path, old, new, line, words):
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, GOOD.replace(old, new, 1))
    message = str(caught.value)
    assert f"r.yaml:{line}:" in message
    for word in words:
        assert word in message


def test_a_python_tag_makes_nothing(tmp_path):
    with pytest.raises(RecipeError):
        load(tmp_path, GOOD.replace("name: t", "name: !!python/object/apply:os.system ['touch pwned']"))
    assert not (tmp_path / "pwned").exists()


def test_a_missing_recipe_names_its_neighbour(tmp_path):
    (tmp_path / "web.yaml").write_text(GOOD)
    with pytest.raises(RecipeError, match=r"no such recipe.*'web\.yaml'"):
        load_recipe(tmp_path / "wbe.yaml")


def test_overrides_reach_stages_by_type_and_by_number(tmp_path):
    recipe = load(tmp_path, GOOD, overrides=["stages.language.min_score=0.3", "stages.0.engine=resiliparse", "name=u"])
    assert recipe.stages[1].settings.min_score == 0.3
    assert recipe.stages[0].settings.engine == "resiliparse"
    assert recipe.name == "u"
    assert load(tmp_path, GOOD, overrides=["shards.seed=3", "tokenizer.vocab_size=300"]).shards.seed == 3


def test_shards_without_a_tokenizer_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="shards need a tokenizer"):
        load(tmp_path, GOOD, overrides=["shards.seed=3"])


@pytest.mark.parametrize(
    "override", ["min_score", "stages.quality.min_score=1", "name.x=1", "stages.language.min_scor=1", "name=[}"]
)
def test_a_wrong_override_is_refused(tmp_path, override):
    with pytest.raises(RecipeError):
        load(tmp_path, GOOD, overrides=[override])


def test_the_resolved_recipe_names_every_setting_but_no_path(tmp_path):
    resolved = load(tmp_path, GOOD, inputs=["/somewhere/else"]).resolved()
    assert "paths" not in resolved["input"]
    assert "somewhere" not in str(resolved)
    assert resolved["stages"][1]["min_letters"] > 0
    assert resolved == load(tmp_path, GOOD).resolved()


def test_aliases_cannot_blow_up(tmp_path):
    bomb = "a: &a [x]\n" + "".join(f"b{n}: [{', '.join(['*a'] * 50)}]\n" for n in range(50))
    with pytest.raises(RecipeError, match="aliases"):
        load(tmp_path, bomb)
