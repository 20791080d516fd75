"""A reduced learning rate that turns a ranking round is told, between any two variants."""

from pipeline.ablation.results import lr_check
from pipeline.statistics import Comparison, compare


def compared(**means: float) -> Comparison:
    seeds = (-0.001, 0.0, 0.001)
    measured = {name: {str(n): {"web": mean + off} for n, off in enumerate(seeds)} for name, mean in means.items()}
    return compare(measured, baseline="base")


def test_no_pair_changes_places() -> None:
    found = lr_check(compared(base=1.0, a=0.9, b=0.8), compared(base=1.2, a=1.1, b=1.05))
    assert found["flips"] == []
    assert found["ranking"] == found["ranking_reduced"] == ["b", "a", "base"]


def test_two_variants_that_both_beat_the_baseline_can_change_places() -> None:
    found = lr_check(compared(base=1.0, a=0.9, b=0.8), compared(base=1.2, a=1.0, b=1.1))
    assert found["ranking_reduced"] == ["a", "b", "base"]
    assert found["flips"] == [
        "b against a: -0.1000 at the learning rate, +0.1000 at a tenth of it; both resolved: do not trust either"
    ]


def test_a_flip_within_the_noise_is_told_as_such() -> None:
    found = lr_check(compared(base=1.0, a=0.9995), compared(base=1.2, a=1.2005))
    assert len(found["flips"]) == 1
    assert "not both resolved" in found["flips"][0]
