"""What a difference rests on besides seeds: the documents that were held out, and single domains."""

import math
from typing import Any

import numpy as np
import pytest

from pipeline.ablation.documents import document_intervals, rests_on, without_each_domain
from pipeline.statistics import Comparison, Measured, compare

SEEDS = (-0.001, 0.0, 0.001)


def scores(**differences: list[float]) -> dict[str, Any]:
    """`base` at one bit a byte on ten documents of 100 bytes a domain; `new` off by these amounts a document."""
    nats = {domain: np.full(10, 100 * math.log(2)) for domain in differences}
    made = {"base": nats, "new": {domain: nats[domain] * (1 + np.array(off)) for domain, off in differences.items()}}
    return {
        name: {
            str(seed): {
                domain: {"document_nats": (value + off).tolist(), "document_bytes": [100] * 10}
                for domain, value in one.items()
            }
            for seed, off in enumerate(SEEDS)
        }
        for name, one in made.items()
    }


def measured(**means: dict[str, float]) -> Measured:
    return {
        name: {str(n): {domain: value + off for domain, value in one.items()} for n, off in enumerate(SEEDS)}
        for name, one in means.items()
    }


def told(values: Measured, found: dict[str, Any]) -> list[str]:
    comparison: Comparison = compare(values, baseline="base")
    documents = document_intervals(found, baseline="base", confidence=0.95)
    return rests_on(comparison, documents, without_each_domain(values, baseline="base", confidence=0.95))


def test_documents_that_all_say_the_same_leave_no_doubt() -> None:
    web, macro = document_intervals(scores(web=[-0.1] * 10), baseline="base", confidence=0.95)
    assert web["documents"] == 10
    assert web["differences"]["new"] == {"difference": -0.1, "low": -0.1, "high": -0.1}
    assert macro["differences"] == web["differences"]


def test_the_interval_is_that_of_the_mean_of_so_many_documents() -> None:
    off = [-0.2, 0.0] * 5
    web, _ = document_intervals(scores(web=off), baseline="base", confidence=0.95)
    found = web["differences"]["new"]
    assert found["difference"] == pytest.approx(-0.1)
    half = 1.96 * np.std(off) / math.sqrt(10)
    assert found["low"] == pytest.approx(-0.1 - half, abs=0.015)
    assert found["high"] == pytest.approx(-0.1 + half, abs=0.015)


def test_domains_are_drawn_by_themselves_and_the_same_whatever_others_there_are() -> None:
    one = document_intervals(scores(web=[-0.2, 0.0] * 5), baseline="base", confidence=0.95)
    two = document_intervals(scores(web=[-0.2, 0.0] * 5, code=[0.1] * 10), baseline="base", confidence=0.95)
    assert two[0] == one[0]
    assert two[-1]["differences"]["new"]["difference"] == pytest.approx(0.0)
    widths = [rows[-1]["differences"]["new"] for rows in (one, two)]
    assert widths[1]["high"] - widths[1]["low"] == pytest.approx((widths[0]["high"] - widths[0]["low"]) / 2, abs=1e-5)


def test_other_documents_are_refused() -> None:
    found = scores(web=[0.0] * 10)
    found["new"]["0"]["web"]["document_bytes"] = [99] * 10
    with pytest.raises(ValueError, match="new and base were scored on different documents"):
        document_intervals(found, baseline="base", confidence=0.95)


def test_a_verdict_that_stands_on_one_document_is_told() -> None:
    values = measured(base={"web": 1.0}, new={"web": 0.95})
    assert told(values, scores(web=[-0.05] * 10)) == []
    lines = told(values, scores(web=[-0.5] + [0.0] * 9))
    assert len(lines) == 1
    assert lines[0].startswith("documents: new is better on these held-out documents (-0.0500), and others")


def test_a_verdict_that_stands_on_one_domain_is_told() -> None:
    values = measured(base={"web": 1.0, "code": 1.0, "books": 1.0}, new={"web": 1.0, "code": 0.8, "books": 1.0})
    same = scores(web=[-0.06] * 10)
    assert told(values, same) == ["domains: new is better, but not without code"]
    broad = measured(base={"web": 1.0, "code": 1.0}, new={"web": 0.9, "code": 0.9})
    assert told(broad, same) == []


def test_one_domain_is_never_left_out() -> None:
    values = measured(base={"web": 1.0}, new={"web": 0.9})
    assert without_each_domain(values, baseline="base", confidence=0.95) == {}
