"""Bits of a step depend neither on the number of threads nor on how the list is cut."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sktest.backends import refusal
from sktest.lowrank import WRITTEN, make

from subkern.ops import adam_, kth_largest, packed_adamw_, update_mask

if (reason := refusal("lowrank_adam", "cpu")) is not None:
    pytest.skip(reason, allow_module_level=True)

DTYPES = st.sampled_from([torch.float32, torch.bfloat16])
# Small sizes, and sizes above the thresholds at which the products change their kernel.
SIZES = st.one_of(st.integers(1, 40), st.integers(120, 140), st.integers(250, 700))


def with_threads(count, function):
    torch.set_num_threads(count)
    try:
        return function()
    finally:
        torch.set_num_threads(2)


def assert_same_bits(a, b, message):
    for name in WRITTEN:
        for i, (x, y) in enumerate(zip(getattr(a, name), getattr(b, name), strict=True)):
            assert torch.equal(x, y), f"{name}[{i}] depends on {message}"


@settings(max_examples=60)
@given(
    m=SIZES,
    n=SIZES,
    rank=st.one_of(st.integers(1, 3), st.integers(4, 700)),
    side=st.sampled_from(["left", "right", "full"]),
    rule=st.sampled_from(["galore", "fira"]),
    granularity=st.sampled_from(["column", "matrix"]),
    dtype=DTYPES,
    count=st.integers(1, 3),
)
@example(600, 1801, 136, "left", "fira", "column", torch.float32, 1)
@example(1801, 600, 136, "right", "fira", "column", torch.bfloat16, 1)
@example(700, 650, 600, "full", "fira", "matrix", torch.float32, 1)
@example(1, 5461, 1, "left", "fira", "matrix", torch.float32, 2)
@example(5461, 16, 2, "left", "galore", "column", torch.float32, 1)
@example(129, 129, 129, "left", "galore", "column", torch.float32, 1)
def test_lowrank_adam(m, n, rank, side, rule, granularity, dtype, count):
    rank = min(rank, {"left": m, "right": n, "full": min(m, n)}[side])
    one = make(m, n, rank, side, rule, dtype, count=count, seed=m + 7 * n)
    two, apart = one.clone(), one.clone()
    for _ in range(2):  # the second step runs the limiter
        with_threads(1, lambda: one.step("cpu", granularity=granularity))
        with_threads(2, lambda: two.step("cpu", granularity=granularity))
        for i in range(count):
            apart.part(slice(i, i + 1)).step("cpu", granularity=granularity)
        for problem in (one, two, apart):
            problem.grow(3.0)
    assert_same_bits(one, two, "the threads")
    assert_same_bits(one, apart, "the grouping")


@settings(max_examples=25)
@given(sizes=st.lists(st.integers(1, 300_000), min_size=1, max_size=4), dtype=DTYPES)
def test_adam(sizes, dtype):
    generator = torch.Generator().manual_seed(len(sizes))

    def lists():
        state = [[torch.zeros(n) for n in sizes] for _ in range(2)]
        return [*state, *([torch.zeros(()) for _ in sizes] for _ in range(2))]

    W, G = ([torch.randn(n, generator=generator).to(dtype) for n in sizes] for _ in range(2))
    runs = []
    for threads in (1, 2):
        params, state = [w.clone() for w in W], lists()
        call = [params, G, *state]
        with_threads(threads, lambda call=call: adam_(*call, lr=0.1, backend="cpu"))
        runs.append([params, *state])
    params, state = [w.clone() for w in W], lists()
    for i in range(len(sizes)):
        adam_([params[i]], [G[i]], *([t[i]] for t in state), lr=0.1, backend="cpu")
    runs.append([params, *state])
    for other in runs[1:]:
        for a, b in zip(runs[0], other, strict=True):
            assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("ties", [False, True])
def test_selection(ties):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 300_001, generator=generator)
    if ties:
        x, y = (x * 4).round(), (y * 4).round()
    mask = torch.rand(300_001, generator=generator) < 0.2
    runs = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found = [*kth_largest(x, 30_000, counts=True, backend="cpu")]
        runs.append([*found, *update_mask(x, y, mask, 20_000, backend="cpu")])
    for other in runs[1:]:
        assert all(map(torch.equal, runs[0], other))


@pytest.mark.parametrize("own", [False, True], ids=["shared-t", "own-t"])
def test_packed_adamw(own):
    generator = torch.Generator().manual_seed(0)
    W, G = torch.randn(2, 600, 601, generator=generator)
    at = (torch.rand(W.numel(), generator=generator) < 0.4).nonzero()[:, 0]
    runs = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        w, state = W.clone(), [torch.zeros(at.shape), torch.zeros(at.shape)]
        t = torch.zeros(at.shape if own else ())
        packed_adamw_([w], [G], [at], *([s] for s in state), [t], lr=0.1, backend="cpu")
        runs.append([w, *state, t])
    for other in runs[1:]:
        assert all(map(torch.equal, runs[0], other))
