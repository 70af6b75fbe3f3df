"""Statistics and rounds of the timer; no test here asserts how long anything took."""

import gc

import pytest
import torch

from subkern.bench.timer import (
    Effort,
    Timing,
    amortised,
    fixed_threads,
    measure,
    percentile,
    summarize,
)


@pytest.mark.parametrize(
    ("samples", "q", "expected"),
    [([3.0], 0.5, 3.0), ([1, 2, 3], 0.5, 2), ([4, 1, 3, 2], 0.5, 2.5), ([0, 10], 0.2, 2),
     ([5, 1, 2, 4, 3], 0.8, 4.2), ([1, 2], 0.0, 1), ([1, 2], 1.0, 2)],
)  # fmt: skip
def test_percentile(samples, q, expected):
    assert percentile(samples, q) == pytest.approx(expected)


@pytest.mark.parametrize(("samples", "q"), [([], 0.5), ([1.0], 1.1), ([1.0], -0.1)])
def test_percentile_bad_input(samples, q):
    with pytest.raises(ValueError, match=r"^percentile: "):
        percentile(samples, q)


def test_summarize_counts():
    timing = summarize([0.3, 0.1, 0.2], calls=30)
    assert (timing.median, timing.samples, timing.calls) == (0.2, 3, 30)
    assert timing.p20 < timing.median < timing.p80


def test_scaled():
    assert Timing(1.0, 0.5, 2.0, 3, 4).scaled(10) == Timing(10.0, 5.0, 20.0, 3, 4)


def test_amortised_formula():
    step, refresh = Timing(1.0, 0.9, 1.1, 15, 150), Timing(101.0, 91.0, 111.0, 3, 3)
    cost = amortised(step, refresh, 200)
    assert cost.median == pytest.approx((199 * 1.0 + 101.0) / 200)
    assert cost.p20 == pytest.approx((199 * 0.9 + 91.0) / 200)
    assert cost.samples == 3
    with pytest.raises(ValueError, match="gap"):
        amortised(step, refresh, 0)


def test_measure_interleaves_variants():
    calls = []
    variants = {name: lambda name=name: calls.append(name) for name in "abc"}
    found = measure(variants, Effort(rounds=3, sample_s=0.0, budget_s=9.0), warmup=1)
    assert calls[:3] == ["a", "b", "c"]
    rounds = ["".join(calls[i : i + 3]) for i in range(3, 12, 3)]
    assert rounds == ["abc", "bca", "cab"]
    assert [timing.samples for timing in found.values()] == [3, 3, 3]


def test_measure_repeats_fast_calls_within_a_sample():
    count = 0

    def fast():
        nonlocal count
        count += 1

    found = measure({"fast": fast}, Effort(rounds=2, sample_s=0.002, budget_s=9.0))
    assert found["fast"].calls > 100
    assert count == found["fast"].calls + 2


def test_measure_keeps_to_its_budget():
    found = measure({"a": lambda: None}, Effort(rounds=50, min_rounds=4, sample_s=0, budget_s=0))
    assert found["a"].samples == 4


def test_fixed_threads_restores():
    before = torch.get_num_threads()
    with fixed_threads(1):
        assert torch.get_num_threads() == 1
        assert not gc.isenabled()
    assert torch.get_num_threads() == before
    assert gc.isenabled()
    with pytest.raises(ValueError, match="count"), fixed_threads(0):
        pass
