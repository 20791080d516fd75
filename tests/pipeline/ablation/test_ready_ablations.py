"""The ablations that are shipped: each loads, and every variant's recipe resolves and says what its name says."""

from pathlib import Path

import pytest

from pipeline.ablation.experiment import Experiment, load_experiment, variant_recipe
from train.presets import preset

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "configs" / "ablation"
READY = sorted(path for path in FOLDER.glob("*.yaml") if not path.name.startswith("base-"))


def loaded(name: str, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    monkeypatch.chdir(ROOT)  # `base` is seen from the folder of the command
    return load_experiment(FOLDER / f"{name}.yaml")


def test_all_that_were_promised_are_there() -> None:
    promised = {"dedup", "dedup-scope", "extraction", "quality", "toxicity", "pdf-share", "tokenizer", "repeats"}
    assert {path.stem for path in READY} >= promised


@pytest.mark.parametrize("path", READY, ids=lambda path: path.stem)
def test_every_variant_of_a_ready_ablation_resolves(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = loaded(path.stem, monkeypatch)
    assert found.name == path.stem
    assert found.question
    preset(found.model.preset)
    recipes = {name: variant_recipe(found, name, held_out=Path("held.jsonl")) for name in found.variants}
    for recipe in recipes.values():
        assert recipe.shards is not None
        assert "held_out" in {entry.type for entry in recipe.stages}
    decided = [recipe.model_dump(exclude={"name"}) for recipe in recipes.values()]
    assert all(one != other for n, one in enumerate(decided) for other in decided[:n])


@pytest.mark.parametrize("path", READY, ids=lambda path: path.stem)
def test_what_may_be_cut_to_equal_unique_tokens_can_be(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = loaded(path.stem, monkeypatch)
    if found.pools != ("fixed-pool",):
        for name in found.variants:
            assert variant_recipe(found, name, cap_tokens=1000).mix is not None


def test_a_quality_sweep_shares_everything_but_the_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    found = loaded("quality", monkeypatch)
    thresholds = [
        entry.settings.min_score
        for name in found.order
        for entry in variant_recipe(found, name).stages
        if entry.type == "quality"
    ]
    assert thresholds == [0.0, 0.01, 0.1, 0.5]


def test_repeats_are_in_the_loop_and_not_in_the_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mix with `epochs` writes copies, which the report would count as new text."""
    found = loaded("repeats", monkeypatch)
    mixes = [variant_recipe(found, name).mix for name in found.order]
    caps = [mix.sources[0].cap for mix in mixes if mix is not None]
    assert [found.budget.tokens / cap for cap in caps if found.budget.tokens and cap] == [1, 2, 4, 8]
