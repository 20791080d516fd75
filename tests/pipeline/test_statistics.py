"""Verdicts on differences in bits per byte: right by hand, right by scipy, and false no more often than they say."""

import math

import numpy as np
import pytest
from scipy import stats

from pipeline.statistics import (
    MACRO,
    Comparison,
    Measured,
    compare,
    comparison_table,
    measured_from,
    pooled_intervals,
    seeds_to_resolve,
    smallest_resolved,
)


def runs(**variants: list[float]) -> Measured:
    """One domain, seeds counted from 0."""
    return {name: {str(seed): {"web": value} for seed, value in enumerate(values)} for name, values in variants.items()}


def only(comparison: Comparison) -> tuple[float, float | None, float | None, str]:
    (difference,) = comparison.macro.differences
    return difference.difference, difference.low, difference.high, difference.verdict


def test_two_variants_agree_with_the_t_test_by_hand() -> None:
    raw, clean = [1.50, 1.52, 1.51], [1.44, 1.45, 1.46]
    comparison = compare(runs(raw=raw, clean=clean), baseline="raw")
    (difference,) = comparison.domains[0].differences
    # sigma 0.01 in each, df 4, t = 2.776, half width 2.776 * 0.01 * sqrt(2/3)
    assert comparison.domains[0].sigma == pytest.approx(0.01)
    assert comparison.domains[0].degrees_of_freedom == 4
    assert difference.difference == pytest.approx(-0.06)
    assert difference.high == pytest.approx(-0.06 + 2.77645 * 0.01 * (2 / 3) ** 0.5, abs=2e-6)
    assert difference.p_value == pytest.approx(stats.ttest_ind(clean, raw).pvalue, abs=5e-5)
    assert difference.verdict == "better"
    assert difference.further_seeds == 0


def test_lower_bits_per_byte_are_better_and_higher_are_worse() -> None:
    low, high = [1.0, 1.001, 1.002], [1.1, 1.101, 1.102]
    assert only(compare(runs(a=high, b=low), baseline="a"))[3] == "better"
    assert only(compare(runs(a=low, b=high), baseline="a"))[3] == "worse"
    assert only(compare(runs(b=low, a=high), baseline="a"))[3] == "better", "the baseline need not come first"


def test_a_difference_below_the_noise_is_not_resolved_and_says_what_would_resolve_it() -> None:
    comparison = compare(runs(a=[1.50, 1.52, 1.54], b=[1.49, 1.51, 1.53]), baseline="a")
    difference, low, high, verdict = only(comparison)
    assert verdict == "not resolved"
    assert low is not None
    assert high is not None
    assert low < 0 < high
    further = comparison.macro.differences[0].further_seeds
    assert further is not None
    needed = further + 3
    for seeds, resolved in ((needed, True), (needed - 1, False)):
        half = stats.t.ppf(0.975, 2 * (seeds - 1)) * 0.02 * (2 / seeds) ** 0.5
        assert bool(half < abs(difference)) is resolved


def test_the_macro_mean_weighs_domains_alike() -> None:
    measured = {
        name: {seed: {"web": web + noise, "code": code + noise} for seed, noise in (("0", 0.0), ("1", 0.01))}
        for name, web, code in (("a", 1.0, 2.0), ("b", 0.9, 2.3))
    }
    comparison = compare(measured, baseline="a")
    assert [domain.domain for domain in comparison.domains] == ["web", "code"]
    assert comparison.macro.domain == MACRO
    assert comparison.macro.differences[0].difference == pytest.approx((-0.1 + 0.3) / 2)


def test_several_variants_are_judged_by_dunnett_with_variance_pooled_over_all() -> None:
    rng = np.random.default_rng(5)
    values = {name: (1.5 + rng.normal(0, 0.01, 3)).tolist() for name in "abcd"}
    comparison = compare(runs(**values), baseline="a")
    expected = stats.dunnett(*(values[name] for name in "bcd"), control=values["a"], rng=np.random.default_rng(1))
    assert comparison.macro.degrees_of_freedom == 8
    assert [d.p_value for d in comparison.macro.differences] == pytest.approx(list(expected.pvalue), abs=2e-4)
    assert compare(runs(**values), baseline="a") == comparison, "the same numbers each time"


def test_under_the_null_a_95_percent_interval_gives_5_percent_false_verdicts() -> None:
    rng = np.random.default_rng(11)
    trials = 20_000
    for variants, seeds in ((2, 3), (4, 3), (2, 2), (3, 5)):
        samples = list(rng.normal(1.5, 0.001, (variants, seeds, trials)))
        pooled = pooled_intervals(samples, confidence=0.95)
        assert pooled.half_widths is not None
        false = np.abs(pooled.differences) > pooled.half_widths
        assert 0.03 < false.mean() < 0.07, (variants, seeds)


def test_seeds_shared_between_variants_make_it_more_careful_never_less() -> None:
    rng = np.random.default_rng(12)
    shared = rng.normal(0, 0.001, (3, 20_000))
    samples = [1.5 + shared + rng.normal(0, 0.001, (3, 20_000)) for _ in range(2)]
    pooled = pooled_intervals(samples, confidence=0.95)
    assert pooled.half_widths is not None
    assert (np.abs(pooled.differences) > pooled.half_widths).mean() < 0.05


def test_with_dunnett_any_false_verdict_among_four_variants_stays_at_5_percent() -> None:
    rng = np.random.default_rng(13)
    samples = rng.normal(1.5, 0.001, (4, 3, 20_000))
    pooled = pooled_intervals(list(samples), confidence=0.95)
    assert pooled.sigma is not None
    largest = np.abs(pooled.differences / (pooled.sigma * (2 / 3) ** 0.5)).max(axis=0)
    # A verdict is given exactly where the largest |t| passes one critical value: bracket it with real verdicts.
    order = largest.argsort()
    low, high = 0, len(order) - 1
    while high - low > 20:
        trial = (low + high) // 2
        values = dict(zip("abcd", samples[:, :, order[trial]].tolist(), strict=True))
        judged = any(d.verdict != "not resolved" for d in compare(runs(**values), baseline="a").macro.differences)
        low, high = (low, trial) if judged else (trial, high)
    assert 0.03 < 1 - low / len(order) < 0.07


def test_the_shared_part_of_the_noise_is_reported() -> None:
    rng = np.random.default_rng(14)
    shared = rng.normal(0, 0.01, 40)
    together = compare(runs(a=list(1.5 + shared), b=list(1.4 + shared)), baseline="a")
    apart = compare(runs(a=list(rng.normal(1.5, 0.01, 40)), b=list(rng.normal(1.5, 0.01, 40))), baseline="a")
    assert together.macro.seed_share == pytest.approx(1.0)
    assert apart.macro.seed_share is not None
    assert apart.macro.seed_share < 0.4


def test_one_seed_each_gives_a_difference_but_no_verdict() -> None:
    comparison = compare(runs(a=[1.5], b=[1.2]), baseline="a")
    difference, *rest = only(comparison)
    assert difference == pytest.approx(-0.3)
    assert rest == [None, None, "not resolved"]
    assert comparison.macro.sigma is None
    assert "one seed each" in comparison_table(comparison)


def test_unequal_numbers_of_seeds_and_no_noise_at_all() -> None:
    assert compare(runs(a=[1.5, 1.51, 1.52], b=[1.4]), baseline="a").macro.degrees_of_freedom == 2
    assert only(compare(runs(a=[1.5, 1.5], b=[1.4, 1.4]), baseline="a"))[3] == "better"
    assert only(compare(runs(a=[1.5, 1.5], b=[1.5, 1.5]), baseline="a"))[3] == "not resolved"


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        ({"b": {"0": {"web": 1.0}}}, "baseline 'a' is not among"),
        ({"a": {}}, "no finished run"),
        ({"a": {"0": {"web": 1.0}}, "b": {"0": {"code": 1.0}}}, "variant 'b', seed 0: scored on"),
        ({"a": {"0": {"web": float("nan")}}}, "variant 'a', seed 0, domain 'web': nan"),
        ({"a": {"0": {"web": float("inf")}}}, "inf bits per byte"),
    ],
)
def test_what_cannot_be_compared_is_named(measured: Measured, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare(measured, baseline="a")


def test_the_baseline_alone_is_a_comparison_without_differences() -> None:
    comparison = compare(runs(a=[1.5, 1.6]), baseline="a")
    assert comparison.macro.differences == ()
    assert comparison.macro.baseline_mean == pytest.approx(1.55)


def test_seeds_to_resolve_gives_up_and_is_stricter_for_more_variants() -> None:
    assert seeds_to_resolve(1e-9, sigma=0.01, variants=2, confidence=0.95) is None
    two = seeds_to_resolve(0.01, sigma=0.01, variants=2, confidence=0.95)
    six = seeds_to_resolve(0.01, sigma=0.01, variants=6, confidence=0.95)
    assert two is not None
    assert six is not None
    assert six > two


def test_the_table_is_plain_text_with_the_macro_mean_last() -> None:
    results = {
        "baseline": "raw",
        "variants": {
            name: {"seeds": {str(s): {"domains": {"web": {"bits_per_byte": v, "bytes": 9}}} for s, v in enumerate(vs)}}
            for name, vs in (("raw", [1.50, 1.52, 1.51]), ("clean", [1.44, 1.45, 1.46]))
        },
    }
    table = comparison_table(compare(measured_from(results), baseline="raw")).split("\n")
    assert table[0].split() == ["domain", "variant", "bits/byte", "difference", "95%", "interval", "p", "verdict"]
    assert table[2].split() == ["web", "raw", "1.5100", "baseline"]
    assert table[3].split() == ["clean", "1.4500", "-0.0600", "-0.0827", "to", "-0.0373", "0.0018", "better"]
    assert table[4].startswith(MACRO)
    assert table[-1] == "noise between seeds: 0.0100 in the macro mean (4 degrees of freedom, pooled over variants)"


def test_the_smallest_resolved_difference_is_resolved_as_often_as_it_says() -> None:
    sigma, seeds, variants = 0.01, 3, 3
    for power in (0.5, 0.8):
        size = smallest_resolved(sigma=sigma, seeds=seeds, variants=variants, confidence=0.95, power=power)
        draw = np.random.default_rng(7)
        samples = draw.normal(0, sigma, (4000, variants, seeds)) + 1
        samples[:, 1] -= size
        means, freedom = samples.mean(axis=2), variants * (seeds - 1)
        spread = np.sqrt(((samples - means[..., None]) ** 2).sum(axis=(1, 2)) / freedom)
        critical = stats.t.ppf(1 - 0.05 / 2 / (variants - 1), freedom)
        resolved = means[:, 0] - means[:, 1] > critical * spread * math.sqrt(2 / seeds)
        assert resolved.mean() == pytest.approx(power, abs=0.03)


def test_with_several_variants_an_interval_excludes_zero_exactly_where_there_is_a_verdict() -> None:
    draw, parted = np.random.default_rng(3), 0
    for _ in range(60):
        samples = {name: (1 + draw.normal(0, 0.01, 3) - shift).tolist() for name, shift in
                   (("base", 0.0), ("a", 0.0), ("b", 0.02), ("c", 0.028))}  # fmt: skip
        for one in compare(runs(**samples), baseline="base").macro.differences:
            assert one.low is not None
            assert one.high is not None
            resolved = one.low > 0 or one.high < 0
            # Both are integrals by quasi-random points: at the very edge they may part.
            if abs(min(abs(one.low), abs(one.high))) > 2e-4:
                assert resolved == (one.verdict != "not resolved")
                parted += resolved
    assert 20 < parted < 160
