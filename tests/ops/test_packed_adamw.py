"""One body for every backend: AdamW on listed entries, against float64 and against torch's."""

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sktest.backends import device_of, is_simulated
from sktest.tolerance import assert_close

from subkern.ops import carry_state, packed_adamw_, reset_state_

OP = "packed_adamw"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
NAMES = ("params", "grads", "indices", "exp_avgs", "exp_avg_sqs", "steps")
OPTIONS = dict(lr=0.1, betas=(0.9, 0.99), eps=1e-3, weight_decay=0.1)
SHAPES = [(1,), (), (7,), (65,), (31, 37), (2, 3, 5), (50, 300)]
SMALL_SHAPES = SHAPES[:-1]


def make(
    shapes, dtype, backend=None, *, density=0.3, packed=False, own=False, wide=True, shuffled=False
):
    """Lists before a step; gradients keep away from zero, where rounding flips signs."""
    generator = torch.Generator().manual_seed(len(shapes))
    state = torch.float64 if dtype == torch.float64 else torch.float32
    lists = {name: [] for name in NAMES}
    for shape in shapes:
        param = torch.randn(shape, generator=generator)
        at = torch.randperm(param.numel(), generator=generator)
        at = at[: math.ceil(density * param.numel())]
        at = at if shuffled else at.sort().values
        size = (at.numel(),) if packed else shape
        grad = torch.rand(size, generator=generator) + 0.5
        grad *= torch.randint(0, 2, size, generator=generator) * 2 - 1
        count = torch.arange(at.numel()) % 41 * 500.0 if own else torch.zeros(())
        lists["params"].append(param.to(dtype))
        lists["grads"].append(grad.to(dtype))
        lists["indices"].append(at if wide else at.int())
        lists["exp_avgs"].append(0.1 * torch.randn(at.shape, generator=generator).to(state))
        lists["exp_avg_sqs"].append(torch.rand(at.shape, generator=generator).to(state))
        lists["steps"].append(count)
    return {name: [t.to(device_of(backend)) for t in ts] for name, ts in lists.items()}


def clone(lists):
    return {name: [t.clone() for t in tensors] for name, tensors in lists.items()}


def double(lists):
    exact = ("indices", "steps")
    return {
        name: [t.clone() if name in exact else t.double() for t in tensors]
        for name, tensors in lists.items()
    }


def step(lists, backend, **options):
    packed_adamw_(*(lists[name] for name in NAMES), backend=backend, **{**OPTIONS, **options})


def check_steps(lists, backend, steps=2, **options):
    for _ in range(steps):
        truth, before = double(lists), clone(lists)
        step(truth, "reference", **options)
        step(lists, backend, **options)
        for name in NAMES:
            for i, (got, exact) in enumerate(zip(lists[name], truth[name], strict=True)):
                if name in ("grads", "indices"):
                    assert torch.equal(got, before[name][i]), f"{name}[{i}] was written"
                elif name == "steps":
                    assert torch.equal(got, exact), f"{name}[{i}]"
                else:
                    work = torch.float64 if got.dtype == torch.float64 else torch.float32
                    change = exact.double() - before[name][i].double()
                    # 8: the corrections of entries with their own t are computed in float32.
                    assert_close(f"{name}[{i}]", got, exact, 8, work=work, change=change)
        for i, (got, old) in enumerate(zip(lists["params"], before["params"], strict=True)):
            held = torch.ones(got.numel(), dtype=torch.bool, device=got.device)
            held[lists["indices"][i].long()] = False
            assert torch.equal(got.flatten()[held], old.flatten()[held]), f"params[{i}]"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shuffled", [False, True], ids=["ascending", "shuffled"])
@pytest.mark.parametrize("wide", [True, False], ids=["int64", "int32"])
@pytest.mark.parametrize("own", [False, True], ids=["shared-t", "own-t"])
@pytest.mark.parametrize("packed", [False, True], ids=["dense", "packed"])
def test_steps(backend, packed, own, wide, shuffled, dtype):
    lists = make(
        SMALL_SHAPES if is_simulated(backend) else SHAPES,
        DTYPES[dtype],
        backend,
        packed=packed,
        own=own,
        wide=wide,
        shuffled=shuffled,
    )
    check_steps(lists, backend)


@pytest.mark.parametrize("density", [0.0, 1.0])
@pytest.mark.parametrize("own", [False, True], ids=["shared-t", "own-t"])
def test_nothing_and_everything_listed(backend, own, density):
    check_steps(make(SMALL_SHAPES, torch.float32, backend, density=density, own=own), backend)


@pytest.mark.parametrize("options", [dict(betas=(0.0, 0.0)), dict(weight_decay=0.0, eps=1e-8)])
@pytest.mark.parametrize("own", [False, True])
def test_options(backend, own, options):
    check_steps(make(SMALL_SHAPES, torch.float32, backend, own=own), backend, **options)


@pytest.mark.parametrize("own", [False, True], ids=["shared-t", "own-t"])
def test_equals_masked_dense_adamw(backend, own):
    """50 steps of torch's AdamW, the entries outside the mask put back after each."""
    generator = torch.Generator().manual_seed(0)
    shape, steps = (37, 41), 50
    start, mask = torch.randn(shape, generator=generator), torch.rand(shape, generator=generator)
    mask = mask < 0.1
    theirs = torch.nn.Parameter(start.double())
    optimizer = torch.optim.AdamW([theirs], lr=1e-2, weight_decay=0.1)
    device = device_of(backend)
    ours, at = start.to(device), mask.flatten().nonzero()[:, 0].to(device)
    m, v = torch.zeros(at.shape, device=device), torch.zeros(at.shape, device=device)
    t = torch.zeros(at.shape if own else (), device=device)
    for _ in range(steps):
        grad = torch.randn(shape, generator=generator)
        theirs.grad = grad.double()
        optimizer.step()
        with torch.no_grad():
            theirs[~mask] = start.double()[~mask]
        grad = grad.to(device)
        packed_adamw_([ours], [grad], [at], [m], [v], [t], lr=1e-2, weight_decay=0.1,
                      backend=backend)  # fmt: skip
    assert torch.equal(ours.cpu()[~mask], start[~mask])
    error = (ours.cpu()[mask].double() - theirs.detach()[mask]).norm()
    assert error <= 1e-6 * theirs.detach()[mask].norm()
    assert (t == steps).all()


def test_many_counts(backend):
    """Bias corrections from the first step to where they vanish, at the usual betas."""
    at = torch.arange(3000, device=device_of(backend))
    counts = torch.cat([torch.arange(2000), torch.logspace(3.3, 6, 1000).floor()]).to(at.device)
    g = torch.rand(3000, generator=torch.Generator().manual_seed(0)).to(at.device) + 0.5
    lists = dict(zip(NAMES, ([torch.zeros_like(g)], [g], [at], [g * 0.1], [g * g * 1e-3],
                             [counts.float()]), strict=True))  # fmt: skip
    check_steps(lists, backend, steps=1, betas=(0.9, 0.999), eps=1e-8, lr=1.0, weight_decay=0.0)


def test_strides(backend, guard):
    """Flat indices count rows first, whatever the memory; gaps go to the reference."""
    for layout in ("contiguous", "transposed", "strided"):
        lists = make([(31, 37)], torch.float32, backend, shuffled=True)
        lists["params"] = [guard.view(lists["params"][0], layout)]
        lists["grads"] = [guard.view(lists["grads"][0], layout)]
        served = layout == "contiguous" or backend == "reference"
        check_steps(lists, backend if served else None)


def test_float64():
    check_steps(make(SHAPES, torch.float64, own=True), None)


def test_empty_list(backend):
    packed_adamw_([], [], [], [], [], [], lr=0.1, backend=backend)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("own", [False, True])
def test_list_and_order_do_not_change_a_bit(backend, own, dtype):
    shapes = SMALL_SHAPES if is_simulated(backend) else [*SHAPES, (300, 301)]
    lists = make(shapes, DTYPES[dtype], backend, own=own)
    alone, turned = clone(lists), clone(lists)
    step(lists, backend)
    for i in range(len(shapes)):
        step({name: tensors[i : i + 1] for name, tensors in alone.items()}, backend)
    per_entry = ("indices", "exp_avgs", "exp_avg_sqs", *(("steps",) if own else ()))
    for name in per_entry:
        turned[name] = [t.flip(0).contiguous() for t in turned[name]]
    step(turned, backend)
    for name in per_entry:
        turned[name] = [t.flip(0) for t in turned[name]]
    for name in NAMES:
        for i, (x, y, z) in enumerate(zip(lists[name], alone[name], turned[name], strict=True)):
            assert torch.equal(x, y), f"the list changed {name}[{i}]"
            assert torch.equal(x, z), f"the order changed {name}[{i}]"


def test_bad_gradients_stay_where_they_are(backend):
    lists = make([(70,)], torch.float32, backend, density=1.0)
    lists["grads"][0][[3, 69]] = torch.tensor([math.nan, math.inf], device=device_of(backend))
    step(lists, backend)
    for name in ("params", "exp_avgs", "exp_avg_sqs"):
        assert (~lists[name][0].isfinite()).nonzero().flatten().tolist() == [3, 69], name


BAD_INDICES = {
    "negative": ([-1, 0, 3], "be in [0, 20), got -1"),
    "large": ([0, 3, 20], "be in [0, 20), got 20"),
    "large-first": ([20, 3, 0], "be in [0, 20), got 20"),
    "negative-inside": ([5, -7, 3], "be in [0, 20), got -7"),
    "huge": ([0, 2**31 - 1, 1], f"be in [0, 20), got {2**31 - 1}"),
    "twice": ([2, 4, 4, 6], "not repeat, got 4 more than once"),
    "twice-apart": ([4, 9, 1, 4], "not repeat, got 4 more than once"),
}


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("case", BAD_INDICES)
@pytest.mark.parametrize("name", ["reference", "cpu"])
def test_bad_indices_are_refused_before_anything_is_written(name, case, dtype):
    places, words = BAD_INDICES[case]
    lists = make([(4000,), (4, 5)], torch.float32, density=0.5)
    lists["indices"] = [at.to(dtype) for at in lists["indices"]]
    lists["indices"][1] = torch.tensor(places, dtype=dtype)
    for state in NAMES[3:5]:
        lists[state][1] = torch.zeros(len(places))
    before = clone(lists)
    with pytest.raises(
        ValueError, match=f"^packed_adamw: {re.escape(f'indices[1] must {words}')}$"
    ):
        step(lists, name)
    for key in NAMES:
        assert all(map(torch.equal, lists[key], before[key])), key


@settings(max_examples=60)
@given(
    n=st.integers(0, 9000),
    seed=st.integers(0, 10**6),
    where=st.floats(0, 1, exclude_max=True),
    wide=st.booleans(),
)
def test_a_repeat_is_found_wherever_it_is(n, seed, where, wide):
    """Across blocks and vectors, in lists that ascend but for it."""
    at = torch.arange(n + 2, dtype=torch.int64 if wide else torch.int32)
    spot = int(where * (n + 1))
    at[spot + 1] = at[spot] if seed % 2 else at[seed % (spot + 1)]
    w, m, v = torch.zeros(n + 2), torch.zeros(n + 2), torch.zeros(n + 2)
    with pytest.raises(ValueError, match="not repeat"):
        packed_adamw_([w], [w + 1], [at], [m], [v], [torch.zeros(())], lr=0.1, backend="cpu")
    assert not w.any()


def test_version_counters(backend):
    lists = make([(5,), (4, 3)], torch.float32, backend, own=True)
    before = {name: [t._version for t in tensors] for name, tensors in lists.items()}
    step(lists, backend)
    for name, tensors in lists.items():
        for i, t in enumerate(tensors):
            written = name not in ("grads", "indices")
            assert (t._version > before[name][i]) == written, f"{name}[{i}]"


def test_tensor_rate(backend):
    number, tensor = (make([(70,)], torch.float32, backend) for _ in range(2))
    step(number, backend, lr=0.125)
    step(tensor, backend, lr=torch.tensor(0.125))
    assert all(torch.equal(number[name][0], tensor[name][0]) for name in NAMES)


@settings(max_examples=60)
@given(old=st.sets(st.integers(0, 60)), new=st.sets(st.integers(0, 60)), seed=st.integers(0, 99))
def test_carry_and_reset(old, new, seed):
    generator = torch.Generator().manual_seed(seed)
    old, new = (torch.tensor(sorted(s), dtype=torch.int64) for s in (old, new))
    old = old[torch.randperm(old.numel(), generator=generator)]
    m, t = torch.randn(old.numel()), torch.randint(1, 9, (old.numel(),)).float()
    held = dict(zip(old.tolist(), zip(m.tolist(), t.tolist(), strict=True), strict=True))
    carried = carry_state(old, new.int(), m, t)
    expected = [held.get(i, (0.0, 0.0)) for i in new.tolist()]
    assert [list(pair) for pair in zip(*map(torch.Tensor.tolist, carried), strict=True)] == [
        list(pair) for pair in expected
    ]
    reset_state_(old, new, m, t)
    chosen = set(new.tolist())
    for i, value, count in zip(old.tolist(), m.tolist(), t.tolist(), strict=True):
        assert (value, count) == ((0.0, 0.0) if i in chosen else held[i])
