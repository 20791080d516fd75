"""The compute multiplier is found where it is known, and its interval holds it as often as it says."""

from pathlib import Path

import numpy as np
import pytest
from small_ablation import call, make

from pipeline.ablation.ladder import Point, fit_ladder

SIZES = {"small": 1e13, "middle": 6e13, "large": 3e14}


def points(multipliers: dict[str, float], *, seeds: int, noise: float, dice: int = 0, bend: float = 0.0) -> list[Point]:
    """Losses of a known law. `noise` is a trunk's in log loss, half of it again for each branch; `bend` a misfit that
    all variants share."""
    draw = np.random.default_rng(dice)
    found = []
    for variant, m in multipliers.items():
        for number, (size, start) in enumerate(SIZES.items()):
            for seed in range(seeds):
                trunk = draw.normal(0, noise)
                for horizon in (1, 2, 4):
                    flop = start * horizon
                    loss = 0.9 + 60 * (m * flop) ** -0.14
                    off = trunk + draw.normal(0, noise / 2) + bend * (-1) ** (number + horizon)
                    found.append(
                        Point(variant=variant, preset=size, seed=seed, horizon=horizon, flop=flop,
                              loss=loss * float(np.exp(off)))
                    )  # fmt: skip
    return found


def test_without_noise_the_law_is_found() -> None:
    found = fit_ladder(points({"base": 1.0, "good": 1.25, "bad": 0.5}, seeds=1, noise=0), baseline="base")
    good, bad = found.multipliers
    assert (good.variant, bad.variant) == ("good", "bad")
    assert good.needs == pytest.approx(0.8, abs=0.002)
    assert bad.needs == pytest.approx(2.0, abs=0.01)
    assert found.asymptote == pytest.approx(0.9, abs=0.01)
    assert found.alpha == pytest.approx(0.14, abs=0.005)
    assert good.low == pytest.approx(good.high, abs=0.005)


def test_a_curve_that_is_no_power_law_does_not_move_the_multiplier() -> None:
    found = fit_ladder(points({"base": 1.0, "good": 1.25}, seeds=1, noise=0, bend=0.004), baseline="base")
    assert found.multipliers[0].needs == pytest.approx(0.8, abs=0.02)
    assert found.misfit > 0.002


@pytest.mark.parametrize(("seeds", "tries", "least"), [(1, 16, 13), (3, 6, 4)])
def test_the_interval_holds_the_truth_as_often_as_it_says(seeds: int, tries: int, least: int) -> None:
    held = 0
    for dice in range(tries):
        drawn = points({"base": 1.0, "good": 1.25}, seeds=seeds, noise=0.001, dice=dice, bend=0.002)
        one = fit_ladder(drawn, baseline="base", refits=15).multipliers[0]
        assert one.low is not None
        assert one.high is not None
        held += one.low <= 0.8 <= one.high
    # At 95 %, fewer than these happen once in 100 times and rarer.
    assert held >= least


def test_a_ladder_with_missing_steps_is_refused() -> None:
    drawn = points({"base": 1.0, "good": 1.25}, seeds=1, noise=0)
    with pytest.raises(ValueError, match="every variant needs every size, seed, length"):
        fit_ladder(drawn[:-1], baseline="base")
    with pytest.raises(ValueError, match="two sizes and three different amounts"):
        fit_ladder([point for point in drawn if point.preset == "small"], baseline="base")


@pytest.mark.slow
def test_an_ablation_climbs_its_ladder(tmp_path: Path) -> None:
    path = make(tmp_path)
    small = (
        (Path(__file__).parents[3] / "configs" / "train" / "tiny.toml")
        .read_text()
        .replace("hidden = 64", "hidden = 32")
    )
    (tmp_path / "small.toml").write_text(small.replace("ffn = 192", "ffn = 64"))
    asked = f"ladder={{presets: [{tmp_path / 'small.toml'}, tiny], horizons: [0.05, 0.1]}}"
    found = call(path, asked)["ladder"]
    assert len(found["points"]) == 2 * 2 * 2
    lengths = {(row["preset"], row["tokens"]) for row in found["points"]}
    assert len(lengths) == 4
    # The two variants differ in nothing here: no duplicate is in the input.
    assert [one["needs"] for one in found["fit"]["multipliers"]] == [pytest.approx(1.0, abs=1e-3)]
    assert "none reaches dedup's loss with 1.00 x the compute" in found["sentence"]
    assert "Over several sizes" in (tmp_path / "out" / "report.html").read_text()
