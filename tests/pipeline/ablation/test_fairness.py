"""What each variant's models get: the same of what was asked, and warnings where repeats decide."""

from dataclasses import replace

import pytest

from pipeline.ablation.experiment import Budget
from pipeline.ablation.fairness import Data, allowances, equal_unique, repeats, warnings

BATCH = 10


def data(*, tokens: int = 10_000, size: int = 40_000, flop: int = 100, speed: float | None = None) -> Data:
    return Data(epoch_tokens=tokens, bytes=size, documents=10, vocab_size=256, flop_per_token=flop,
                tokens_per_second=speed)  # fmt: skip


def given(budget: Budget, **variants: Data):
    return allowances(budget, variants, baseline="base", batch_tokens=BATCH)


def test_equal_flops_gives_a_costlier_vocabulary_fewer_tokens() -> None:
    found = given(Budget(tokens=1000), base=data(), wide=data(flop=200))
    assert {name: allowance.tokens for name, allowance in found.items()} == {"base": 1000, "wide": 500}
    assert found["base"].flop == found["wide"].flop == 100_000


def test_equal_bytes_gives_a_finer_vocabulary_more_tokens() -> None:
    found = given(Budget(equal="bytes", tokens=1000), base=data(), fine=data(tokens=20_000))
    assert {name: allowance.tokens for name, allowance in found.items()} == {"base": 1000, "fine": 2000}
    assert found["base"].bytes == found["fine"].bytes == 4000


def test_equal_tokens_and_equal_wall() -> None:
    assert given(Budget(equal="tokens", tokens=1000), base=data(), wide=data(flop=200))["wide"].tokens == 1000
    found = given(Budget(equal="wall", seconds=10), base=data(speed=50), slow=data(speed=20))
    assert (found["base"].tokens, found["slow"].tokens) == (500, 200)
    with pytest.raises(ValueError, match="speed of this machine"):
        given(Budget(equal="wall", seconds=10), base=data())


def test_tokens_are_whole_steps() -> None:
    assert given(Budget(tokens=1004), base=data())["base"].tokens == 1000
    assert given(Budget(tokens=3), base=data())["base"].tokens == BATCH


def test_repeats_are_counted_and_told() -> None:
    found = given(Budget(tokens=12_000), base=data(), small=data(tokens=2_000, size=8_000))
    assert (found["base"].epochs, found["small"].epochs) == (1.2, 6.0)
    assert found["small"].unique_tokens == 2_000
    assert 2_000 < found["small"].effective_tokens < 12_000
    assert repeats(found)
    lines = warnings(found, pool="fixed-pool")
    assert any("small repeats its data 6.0 times" in line for line in lines)
    assert any("small sees its data 6.0 times and base 1.2 times" in line for line in lines)


def test_copies_that_a_mix_wrote_are_no_unique_text() -> None:
    mixed = replace(data(tokens=10_000), copied_tokens=8_000)
    found = given(Budget(tokens=10_000), base=data(), mixed=mixed)
    assert (found["mixed"].epochs, found["mixed"].unique_tokens) == (5.0, 2_000)
    assert found["mixed"].effective_tokens < found["base"].effective_tokens
    assert any("mixed repeats its data 5.0 times" in line for line in warnings(found, pool="fixed-pool"))
    assert equal_unique({"base": data(), "mixed": mixed}) == 2_000 - 10


def test_data_that_is_not_repeated_needs_no_warning() -> None:
    found = given(Budget(tokens=1000), base=data(), other=data(tokens=5000))
    assert not repeats(found)
    assert not warnings(found, pool="fixed-pool")


def test_equal_unique_is_the_least_of_all_without_separators() -> None:
    assert equal_unique({"base": data(), "small": data(tokens=500)}) == 490


def test_a_variant_without_data_is_named() -> None:
    with pytest.raises(ValueError, match="variant 'none' kept no document"):
        given(Budget(tokens=1000), base=data(), none=data(tokens=0))
