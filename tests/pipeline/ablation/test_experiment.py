"""Ablation files: what is refused before any work, and what a variant's recipe becomes."""

from pathlib import Path

import pytest

from pipeline.ablation.experiment import Experiment, load_experiment, variant_recipe
from pipeline.yaml_tree import RecipeError

RECIPE = """\
name: base
input: {paths: ["crawl"]}
stages:
  - {type: extract, engine: resiliparse}
  - {type: language, keep: [en]}
  - {type: exact_dedup}
  - {type: near_dedup, threshold: 0.8}
tokenizer: {type: bpe, vocab_size: 300}
"""
ABLATION = """\
name: dedup
base: BASE
baseline: exact
variants:
  none: {without: [exact_dedup, near_dedup]}
  exact: {without: [near_dedup]}
  near: {set: {stages.near_dedup.threshold: 0.6}, add_input: [more]}
  ruled: {insert: [{after: language, stage: {type: gopher_quality, min_words: 10}}]}
held_out: {wiki: wiki.jsonl}
budget: {tokens: 1000}
"""


def load(folder: Path, *, change: tuple[str, str] = ("", "")) -> Experiment:
    (folder / "base.yaml").write_text(RECIPE)
    path = folder / "ablation.yaml"
    path.write_text(ABLATION.replace("BASE", str(folder / "base.yaml")).replace(*change))
    return load_experiment(path)


def types(experiment: Experiment, name: str, folder: Path) -> list[str]:
    return [entry.type for entry in variant_recipe(experiment, name, held_out=folder / "h.jsonl").stages]


def test_a_variant_is_the_base_without_with_and_with_other_settings(tmp_path: Path) -> None:
    found = load(tmp_path)
    assert types(found, "none", tmp_path) == ["extract", "language", "held_out"]
    assert types(found, "exact", tmp_path) == ["extract", "language", "held_out", "exact_dedup"]
    assert types(found, "ruled", tmp_path)[:3] == ["extract", "language", "gopher_quality"]
    near = variant_recipe(found, "near")
    assert near.stages[3].settings.threshold == 0.6
    assert [Path(path).name for path in near.input.paths] == ["crawl", "more"]
    assert near.name == "dedup-near"
    assert near.shards is not None


def test_the_baseline_comes_first_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    assert load(tmp_path).order == ["exact", "none", "near", "ruled"]


def test_equal_unique_tokens_are_a_cap_of_the_mix(tmp_path: Path) -> None:
    mix = variant_recipe(load(tmp_path), "near", cap_tokens=500).mix
    assert mix is not None
    assert [source.cap for source in mix.sources] == [500]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("baseline: exact", "baseline: exaxt"), "baseline 'exaxt' is not among the variants"),
        (("budget: {tokens: 1000}", "budget: {equal: flops, bytes: 5}"), "takes exactly one of flop, tokens"),
        (("budget: {tokens: 1000}", "budget: {equal: wall, tokens: 5}"), "takes exactly one of seconds"),
        (("budget: {tokens: 1000}", "budget: {tokens: 1000}\ntokenizer: own\nseed: 3"), "Did you mean 'seeds'"),
        (("  none:", "  ../none:"), "cannot be a folder"),
        (
            ("budget: {tokens: 1000}", "budget: {equal: tokens, tokens: 1000}\ntokenizer: own"),
            "gives a coarser vocabulary more text",
        ),
    ],
)
def test_a_wrong_file_is_refused_before_any_work(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load(tmp_path, change=change)


def test_the_line_of_a_wrong_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"ablation\.yaml:10: budget\.token: unknown key\. Did you mean 'tokens'"):
        load(tmp_path, change=("{tokens: 1000}", "{token: 1000}"))


@pytest.mark.parametrize(
    ("change", "variant", "message"),
    [
        (("without: [near_dedup]", "without: [near_dup]"), "exact", "variant 'exact' of dedup .*without near_dup"),
        (("after: language", "after: languages"), "ruled", "insert after languages"),
        (("stages.near_dedup.threshold", "stages.near_dedup.treshold"), "near", "Did you mean 'threshold'"),
    ],
)
def test_a_variant_that_cannot_be_made_is_named(
    tmp_path: Path, change: tuple[str, str], variant: str, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        variant_recipe(load(tmp_path, change=change), variant)
