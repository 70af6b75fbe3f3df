"""One body for every backend: the spectral step against the reference in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sktest.backends import device_of, is_simulated
from sktest.guard import Guard
from sktest.tolerance import assert_close

from subkern.ops import sst_adamw_

OP = "sst_adamw"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
NAMES = ("params", "grads", "exp_avgs", "exp_avg_sqs", "steps", "skipped", "tables", "sampled")
OPTIONS = dict(lr=0.02, betas=(0.9, 0.99), eps=1e-3, weight_decay=0.1, warmup=3)
# (rank, singular values, m, n) of each layer.
LAYERS = [(1, 1, 1, 1), (1, 2, 2, 3), (3, 7, 7, 13), (16, 16, 16, 17), (5, 31, 37, 31)]
LAYERS += [(4, 63, 63, 64), (2, 65, 129, 65), (0, 4, 4, 4), (7, 40, 1025, 40)]
SMALL = [(1, 1, 1, 1), (3, 7, 7, 13), (2, 31, 37, 31)]


def make(layers, dtype, seed=0, backend=None, wide=None):
    """Lists before the first step. Gradients keep away from zero, where rounding flips signs."""
    generator = torch.Generator().manual_seed(seed)
    wide = wide or (torch.float64 if dtype == torch.float64 else torch.float32)
    lists = {name: [] for name in NAMES}
    for rank, k, m, n in layers:
        rows = torch.randperm(k, generator=generator)[:rank]
        values = torch.rand(k, generator=generator).to(dtype)
        values[::3] = 0  # ones that the step may want below zero
        lists["params"].append(values)
        for length in (m, n):
            drawn = torch.randn(k, length, generator=generator)
            table = torch.nn.functional.normalize(drawn, dim=1).to(dtype)
            lists["tables"].append(table)
            lists["sampled"].append(rows.clone())
            lists["params"].append(table[rows])
    for p in lists["params"]:
        size = torch.rand(p.shape, generator=generator) + 0.5
        sign = torch.randint(0, 2, p.shape, generator=generator) * 2 - 1
        lists["grads"].append((size * sign).to(dtype))
        lists["exp_avgs"].append(torch.zeros(p.shape, dtype=wide))
        lists["exp_avg_sqs"].append(torch.zeros(p.shape, dtype=wide))
        lists["steps"].append(torch.zeros(()))
        lists["skipped"].append(torch.zeros(()))
    return {name: [t.to(device_of(backend)) for t in ts] for name, ts in lists.items()}


def clone(lists):
    return {name: [t.clone() for t in tensors] for name, tensors in lists.items()}


def double(lists):
    kept = ("steps", "skipped", "sampled")
    return {n: [t.clone() if n in kept else t.double() for t in ts] for n, ts in lists.items()}


def step(lists, backend, **options):
    sst_adamw_(*(lists[name] for name in NAMES), backend=backend, **{**OPTIONS, **options})


def layers_for(backend):
    return SMALL if is_simulated(backend) else LAYERS


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", [{}, dict(warmup=0, weight_decay=0.0), dict(vector_scale=0.0)])
def test_against_float64(backend, dtype, options):
    lists = make(layers_for(backend), DTYPES[dtype], backend=backend)
    for _ in range(1 if is_simulated(backend) else 3):
        truth, before = double(lists), clone(lists)
        step(truth, "reference", **options)
        step(lists, backend, **options)
        for name in NAMES:
            for i, (got, exact) in enumerate(zip(lists[name], truth[name], strict=True)):
                if name in ("steps", "skipped", "sampled", "grads"):
                    assert torch.equal(got.double(), exact.double()), f"{name}[{i}]"
                    continue
                length = max(1, got.shape[-1]) if got.dim() == 2 else 1
                change = exact - before[name][i].double()
                work = torch.float32
                assert_close(f"{name}[{i}]", got, exact, length, work=work, change=change)


def test_float64_on_the_reference():
    lists = make(SMALL, torch.float64)
    step(lists, None)
    assert all(p.dtype == torch.float64 and p.isfinite().all() for p in lists["params"])


def test_first_step_by_hand(backend):
    """The first direction of Adam is the sign of the gradient."""
    device = device_of(backend)
    S, dS = torch.tensor([1.0, 0.05], device=device), torch.tensor([2.0, 3.0], device=device)
    table = torch.eye(3, device=device)
    rows = torch.tensor([2], device=device)
    x, dx = table[2:].clone(), torch.tensor([[4.0, 0.0, 0.0]], device=device)
    params, grads = [S, x], [dS, dx]
    moments = [[torch.zeros_like(p) for p in params] for _ in range(2)]
    counts = [[torch.zeros((), device=device) for _ in params] for _ in range(2)]
    homes = ([table], [rows])
    scales = dict(value_scale=10.0, vector_scale=4.0, warmup=2, weight_decay=0.5, eps=1e-8)
    sst_adamw_(params, grads, *moments, *counts, *homes, lr=0.01, backend=backend, **scales)
    torch.testing.assert_close(S.cpu(), torch.tensor([0.95 - 0.1, 0.0]))
    y = torch.tensor([[-0.02, 0.0, 1.0]])
    torch.testing.assert_close(x.cpu(), y / y.norm())
    assert torch.equal(table[2], x[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_norms_rows_and_signs(backend, dtype):
    lists = make(layers_for(backend), DTYPES[dtype], seed=1, backend=backend)
    before = clone(lists)
    for _ in range(2):
        step(lists, backend)
    vectors = [p for p in lists["params"] if p.dim() == 2]
    columns = (vectors, lists["tables"], before["tables"], lists["sampled"])
    for x, table, old, rows in zip(*columns, strict=True):
        assert torch.equal(table[rows], x)
        rest = torch.ones(len(table), dtype=torch.bool, device=x.device)
        rest[rows] = False
        assert torch.equal(table[rest], old[rest])
        norms = x.double().norm(dim=1)
        assert ((norms - 1).abs() <= torch.finfo(x.dtype).eps * 2).all()
    assert all((p >= 0).all() for p in lists["params"] if p.dim() == 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", ["first", "last"])
def test_a_row_that_is_not_finite_stays_alone(backend, value, place):
    lists = make([(4, 9, 20, 33)], torch.float32, seed=2, backend=backend)
    step(lists, backend)
    others, before = clone(lists), clone(lists)
    at = {"first": 0, "last": -1}[place]
    lists["grads"][0][at] = value
    lists["grads"][1][1, at] = value
    step(lists, backend)
    step(others, backend)
    for name in ("params", "exp_avgs", "exp_avg_sqs"):
        assert torch.equal(lists[name][0], before[name][0]), name
        expected = others[name][1].clone()
        expected[1] = before[name][1][1]
        assert torch.equal(lists[name][1], expected), name
        assert torch.equal(lists[name][2], others[name][2]), name
    assert [int(t) for t in lists["skipped"]] == [1, 1, 0]
    assert [int(t) for t in lists["steps"]] == [2, 2, 2]


def test_without_skipping_it_spreads_in_its_row(backend):
    lists = make([(4, 9, 20, 33)], torch.float32, backend=backend)
    lists["grads"][0][3] = float("nan")
    lists["grads"][1][1, 5] = float("nan")
    step(lists, backend, skip_nonfinite=False)
    assert lists["params"][0].isnan().tolist() == [i == 3 for i in range(9)]
    assert lists["params"][1].isnan().all(dim=1).tolist() == [False, True, False, False]
    assert lists["params"][2].isfinite().all()
    assert not any(lists["skipped"])


def test_a_vector_that_becomes_zero_stays(backend):
    device = device_of(backend)
    table = torch.eye(2, device=device)
    x, g = table[:1].clone(), torch.tensor([[1.0, 0.0]], device=device)
    m, v = torch.zeros_like(x), torch.zeros_like(x)
    t, skips = (torch.zeros((), device=device) for _ in range(2))
    rows = torch.tensor([0], device=device)
    # The first direction is exactly one: 1 - 4 * 0.25 * 1 = 0.
    options = dict(lr=0.25, betas=(0.0, 0.0), eps=1e-8, warmup=0, backend=backend)
    sst_adamw_([x], [g], [m], [v], [t], [skips], [table], [rows], **options)
    assert x.tolist() == [[1.0, 0.0]]
    assert table.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_nothing_outside_is_written(backend):
    lists = make(SMALL, torch.float32, backend=backend)
    guard = Guard()
    kept = ("steps", "skipped", "sampled")
    views = {n: ts if n in kept else [guard.view(t) for t in ts] for n, ts in lists.items()}
    other = clone(views)
    step(views, backend)
    guard.check()
    step(other, backend)
    for name in NAMES:
        assert all(torch.equal(a, b) for a, b in zip(views[name], other[name], strict=True)), name


@settings(max_examples=30)
@given(
    layers=st.lists(
        st.tuples(st.integers(0, 9), st.integers(9, 40), st.integers(40, 3000), st.integers(1, 50)),
        min_size=1,
        max_size=4,
    ),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_bits_depend_on_neither_threads_nor_the_list(layers, dtype):
    lists = make(layers, dtype, seed=len(layers))
    two, apart = clone(lists), clone(lists)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        step(lists, "cpu")
        torch.set_num_threads(2)
        step(two, "cpu")
    finally:
        torch.set_num_threads(before)
    for i in range(len(layers)):
        triple, pair = slice(3 * i, 3 * i + 3), slice(2 * i, 2 * i + 2)
        part = {n: ts[pair if n in ("tables", "sampled") else triple] for n, ts in apart.items()}
        step(part, "cpu")
    for name in NAMES:
        for i, t in enumerate(lists[name]):
            assert torch.equal(t, two[name][i]), f"{name}[{i}] depends on the threads"
            assert torch.equal(t, apart[name][i]), f"{name}[{i}] depends on the grouping"


def test_indices_are_checked_before_anything_is_written():
    for bad in (-1, 9):
        lists = make([(4, 9, 20, 33)], torch.float32)
        lists["sampled"][1][2] = bad
        before = clone(lists)
        with pytest.raises(ValueError, match=rf"sst_adamw: sampled must .*got {bad}"):
            step(lists, "cpu")
        for name in NAMES:
            assert all(map(torch.equal, lists[name], before[name])), name
