"""One body for every backend: the unprojected Adam step against the reference in float64."""

import itertools
import math

import pytest
import torch
from sktest.backends import device_of, is_simulated
from sktest.guard import LAYOUTS
from sktest.tolerance import assert_close

from subkern.ops import adam_

OP = "adam"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
NAMES = ("params", "grads", "exp_avgs", "exp_avg_sqs", "steps", "skipped")
OPTIONS = dict(lr=0.5, betas=(0.9, 0.99), eps=1e-3, weight_decay=0.1)
SHAPES = [(), (0,), (1,), (2,), (7,), (63,), (64,), (65,), (3, 0), (1, 1), (31, 37), (2, 3, 5)]
SHAPES += [(5461,), (300, 700)]
SMALL_SHAPES = [*SHAPES[:-1], (30, 170)]


def make(shapes, dtype, seed=0, moment_dtype=None, backend=None):
    """Lists before the first step. Gradients keep away from zero, where rounding flips signs."""
    generator = torch.Generator().manual_seed(seed)
    wide = moment_dtype or (torch.float64 if dtype == torch.float64 else torch.float32)
    lists = {name: [] for name in NAMES}
    for shape in shapes:
        lists["params"].append(torch.randn(shape, generator=generator).to(dtype))
        size = torch.rand(shape, generator=generator) + 0.5
        sign = torch.randint(0, 2, shape, generator=generator) * 2 - 1
        lists["grads"].append((size * sign).to(dtype))
        lists["exp_avgs"].append(torch.zeros(shape, dtype=wide))
        lists["exp_avg_sqs"].append(torch.zeros(shape, dtype=wide))
        lists["steps"].append(torch.zeros(()))
        lists["skipped"].append(torch.zeros(()))
    return {name: [t.to(device_of(backend)) for t in ts] for name, ts in lists.items()}


def clone(lists):
    return {name: [t.clone() for t in tensors] for name, tensors in lists.items()}


def double(lists):
    return {
        name: [t.clone() if name in ("steps", "skipped") else t.double() for t in tensors]
        for name, tensors in lists.items()
    }


def step(lists, backend, **options):
    adam_(*(lists[name] for name in NAMES), backend=backend, **{**OPTIONS, **options})


def check_steps(lists, backend, steps=3, **options):
    for _ in range(steps):
        truth, before = double(lists), clone(lists)
        step(truth, "reference", **options)
        step(lists, backend, **options)
        for name in NAMES:
            for i, (got, exact) in enumerate(zip(lists[name], truth[name], strict=True)):
                if name in ("steps", "skipped", "grads"):
                    expected = before[name][i] if name == "grads" else exact
                    assert torch.equal(got, expected), f"{name}[{i}]: {got} is not {expected}"
                else:
                    work = torch.float64 if got.dtype == torch.float64 else torch.float32
                    change = exact.double() - before[name][i].double()
                    assert_close(f"{name}[{i}]", got, exact, 1, work=work, change=change)
        for grad in lists["grads"]:
            grad.mul_(1.5)


def assert_same_bits(a, b, message):
    for name in NAMES:
        for i, (x, y) in enumerate(zip(a[name], b[name], strict=True)):
            same = torch.equal(torch.nan_to_num(x, 7.5e11), torch.nan_to_num(y, 7.5e11))
            assert same, f"{message}: {name}[{i}]"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("correct_bias", [True, False])
@pytest.mark.parametrize("decay", ["post", "pre"])
def test_options(backend, decay, correct_bias, weight_decay, skip, dtype):
    check_steps(
        make(SMALL_SHAPES if is_simulated(backend) else SHAPES, DTYPES[dtype], backend=backend),
        backend,
        steps=1 if is_simulated(backend) else 3,
        decay=decay,
        correct_bias=correct_bias,
        weight_decay=weight_decay,
        skip_nonfinite=skip,
    )


def test_equals_torch_adamw_where_they_meet(backend):
    """Torch's epsilon sits after the correction: with eps = 0 and decay "pre" both are AdamW."""
    lists = make([(40, 9), (7,)], torch.float32, backend=backend)
    theirs = [torch.nn.Parameter(p.clone()) for p in lists["params"]]
    optimizer = torch.optim.AdamW(theirs, lr=0.05, betas=(0.9, 0.99), eps=0.0, weight_decay=0.1)
    for _ in range(4):
        for p, grad in zip(theirs, lists["grads"], strict=True):
            p.grad = grad.clone()
        optimizer.step()
        step(lists, backend, lr=0.05, eps=0.0, decay="pre")
    for i, (ours, p) in enumerate(zip(lists["params"], theirs, strict=True)):
        assert_close(f"params[{i}]", ours, p.detach().double(), 16)  # 16: four steps on each side


@pytest.mark.parametrize("layouts", list(itertools.product(LAYOUTS, LAYOUTS)), ids="-".join)
def test_strided(backend, layouts, guard):
    """Views; where strides differ the kernels leave the call to the reference."""
    for dtype in DTYPES.values():
        lists = make([(19, 45), (6, 5)], dtype, backend=backend)
        lists["params"] = [guard.view(t, layouts[0]) for t in lists["params"]]
        lists["grads"] = [guard.view(t, layouts[1]) for t in lists["grads"]]
        for name in NAMES[2:4]:
            lists[name] = [guard.view(t, layouts[0]) for t in lists[name]]
        for name in NAMES[4:]:
            lists[name] = [guard.view(t) for t in lists[name]]
        served = layouts[0] == layouts[1] and layouts[0] in ("contiguous", "transposed")
        check_steps(lists, backend if served or backend == "reference" else None)


def test_float64():
    check_steps(make(SHAPES, torch.float64), None)


def test_moments_in_the_dtype_of_the_weights():
    check_steps(make(SHAPES, torch.bfloat16, moment_dtype=torch.bfloat16), "reference")


def test_empty_list(backend):
    adam_([], [], [], [], [], [], lr=0.1, backend=backend)


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_gradient(backend, dtype):
    lists = make([(65,), (3, 4)], DTYPES[dtype], backend=backend)
    start = clone(lists)
    for grad in lists["grads"]:
        grad.zero_()
    check_steps(lists, backend, steps=1, weight_decay=0.0)
    for i in range(2):
        assert torch.equal(lists["params"][i], start["params"][i])
        assert lists["steps"][i] == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_list_equals_one_at_a_time(backend, dtype):
    longest = 1 << (14 if is_simulated(backend) else 17)
    together = make([*SMALL_SHAPES, (longest,)], DTYPES[dtype], backend=backend)
    alone = clone(together)
    step(together, backend)
    for i in range(len(SHAPES) + 1):
        step({name: tensors[i : i + 1] for name, tensors in alone.items()}, backend)
    assert_same_bits(together, alone, "the list changed a result")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_one_bad_member(backend, poison, dtype):
    shapes = [(100,), (5000,), (64,)]
    lists, clean = (
        make(shapes, DTYPES[dtype], backend=backend),
        make(shapes, DTYPES[dtype], backend=backend),
    )
    lists["grads"][1][4999] = poison
    before = clone(lists)
    step(lists, backend)
    step(clean, backend)
    for name in NAMES:
        for i in (0, 2):
            assert torch.equal(lists[name][i], clean[name][i]), f"{name}[{i}] was changed"
    assert lists["skipped"][1] == 1
    lists["skipped"][1].zero_()
    one = {name: tensors[1:2] for name, tensors in lists.items()}
    assert_same_bits(one, {k: v[1:2] for k, v in before.items()}, "the bad parameter")


def test_nonfinite_spreads_when_asked(backend):
    lists = make([(70,), (3,)], torch.float32, backend=backend)
    lists["grads"][0][69] = math.nan
    step(lists, backend, skip_nonfinite=False)
    assert lists["params"][0].isnan().nonzero().tolist() == [[69]]
    assert lists["steps"][0] == 1
    assert lists["skipped"][0] == 0


def test_version_counters(backend):
    lists = make([(5,), (4, 3)], torch.float32, backend=backend)
    before = {name: [t._version for t in tensors] for name, tensors in lists.items()}
    step(lists, backend)
    for name, tensors in lists.items():
        for i, t in enumerate(tensors):
            assert (t._version > before[name][i]) == (name != "grads"), f"{name}[{i}]"


def test_tensor_lr(backend):
    number, tensor = (
        make([(70,)], torch.float32, backend=backend),
        make([(70,)], torch.float32, backend=backend),
    )
    step(number, backend, lr=0.125)
    step(tensor, backend, lr=torch.tensor(0.125, dtype=torch.float64))
    assert_same_bits(number, tensor, "lr as a tensor")
