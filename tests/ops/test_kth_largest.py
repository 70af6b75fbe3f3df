"""One body for every backend: the k-th largest against a plain sort, ties, NaN, zeros, layouts."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sktest import emulated_cuda
from sktest.backends import device_of, is_simulated

import subkern
from subkern.backends.cpu import kth_largest as cpu

OP = "kth_largest"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Both sides of where the CPU starts to sample; the emulator takes the small ones.
SIZES = [1, 2, 7, 63, 64, 65, 1000, 20_011, 300_007]
KINDS = {
    "normal": lambda n, g: torch.randn(n, generator=g),
    "wide": lambda n, g: torch.exp(20 * torch.randn(n, generator=g)),
    "equal": lambda n, g: torch.full((n,), 0.25),
    "relu": lambda n, g: torch.randn(n, generator=g).relu(),
    "few": lambda n, g: torch.randint(-3, 4, (n,), generator=g).float(),
    "sorted": lambda n, g: torch.linspace(-1, 1, n),
    "falling": lambda n, g: torch.linspace(1, -1, n),
    "subnormal": lambda n, g: torch.randn(n, generator=g) * 1e-39,
    "blocks": lambda n, g: torch.arange(n).div(4096, rounding_mode="floor") % 5 * 1.0,
    "periodic": lambda n, g: (torch.arange(n) % 64).float(),
}


def make(kind, n, dtype, backend):
    x = KINDS[kind](n, torch.Generator().manual_seed(n))
    return x.to(device_of(backend), dtype)


def ranks(n):
    return sorted({1, min(2, n), max(1, n // 100), (n + 1) // 2, max(1, n - n // 7), n})


def truth(x, k, magnitude=False):
    """By a sort of Python's numbers: NaN last, zeros equal."""
    flat = x.double().flatten()
    flat = flat.abs() if magnitude else flat
    numbers = flat[~flat.isnan()]
    if k > numbers.numel():
        return math.nan, numbers.numel(), flat.numel() - numbers.numel()
    value = numbers.sort(descending=True).values[k - 1]
    return value.item(), int((numbers > value).sum()), int((numbers == value).sum())


def check(x, k, backend, magnitude=False):
    found = subkern.kth_largest(x, k, magnitude=magnitude, counts=True, backend=backend)
    value, above, equal = truth(x, k, magnitude)
    case = (tuple(x.shape), x.dtype, k, magnitude)
    assert (found.value.dtype, found.value.shape) == (x.dtype, ()), case
    got = found.value.item()
    assert got == value or (math.isnan(got) and math.isnan(value)), case
    assert got != 0 or math.copysign(1.0, got) == 1.0, case
    assert (found.above.item(), found.equal.item()) == (above, equal), case


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_counts(backend, kind, dtype):
    for n in SIZES[:-2] if is_simulated(backend) else SIZES:
        x = make(kind, n, DTYPES[dtype], backend)
        for k in ranks(n):
            check(x, k, backend)
            check(x, k, backend, magnitude=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_is_smallest_and_infinity_is_a_number(backend, dtype):
    for n in (40, 5000) if is_simulated(backend) else (40, 90_001):
        x = make("normal", n, DTYPES[dtype], backend)
        generator = torch.Generator().manual_seed(1)
        places = torch.randperm(n, generator=generator).to(x.device)
        few = n // 10
        x[places[:few]] = math.nan
        x[places[few : few + 3]] = torch.tensor([-math.nan, math.inf, -math.inf]).to(x)
        for k in (1, 2, n // 2, n - few - 2, n - few - 1, n - few, n):
            for magnitude in (False, True):
                check(x, k, backend, magnitude)


def test_all_nan(backend):
    for n in (1, 100, 5000):
        x = torch.full((n,), math.nan, device=device_of(backend))
        for k in (1, n):
            check(x, k, backend)


@pytest.mark.parametrize("dtype", DTYPES)
def test_zeros_of_both_signs_are_equal(backend, dtype):
    x = torch.tensor([0.0, -0.0] * 3000 + [1.0, -1.0] * 500, device=device_of(backend))
    for k in (1, 500, 501, 4000, 6500, 6501, 7000):
        check(x.to(DTYPES[dtype]), k, backend)


@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts(backend, dtype, guard):
    x = make("normal", 6000, DTYPES[dtype], backend).view(60, 100)
    expanded = x[:1].expand(60, 100)
    for view in (x, x.mT, x[:, ::3], x[5:, :7], x.view(3, 20, 100)[:, 1], expanded, x[0, 0]):
        for k in {1, (view.numel() + 1) // 2, view.numel()}:
            check(view, k, backend)
    check(guard.view(x), 17, backend)


def test_small_shift_of_the_start_changes_nothing(backend):
    x = make("normal", 8193, torch.float32, backend)
    for start in range(5):
        check(x[start:], 4000, backend)


def test_every_schedule_gives_the_same(backend):
    if not (backend == "cuda" and is_simulated(backend)):
        pytest.skip("only the emulator changes the order of blocks")
    x = make("few", 5000, torch.float32, backend)
    for seed in emulated_cuda.SEEDS:
        emulated_cuda.set_seed(seed)
        check(x, 1234, backend)


@settings(max_examples=60)
@given(data=st.data())
def test_any_floats(data):
    n = data.draw(st.integers(1, 200))
    bits = data.draw(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=n, max_size=n))
    x = torch.tensor(bits, dtype=torch.int32).view(torch.float32)
    k, copies = data.draw(st.integers(1, n)), data.draw(st.sampled_from([1, 700]))
    for backend in ("reference", "cpu") if cpu.can_serve(x=x) is None else ("reference",):
        check(x.repeat(copies), k * copies, backend, data.draw(st.booleans()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_dtypes_go_to_the_reference(dtype):
    for k in (1, 250, 500):
        check(torch.randn(500, generator=torch.Generator().manual_seed(0)).to(dtype), k, None)


def test_no_gradient(backend):
    x = make("normal", 50, torch.float32, backend).requires_grad_()
    assert not subkern.kth_largest(x, 3, backend=backend).requires_grad
    assert x.grad is None


def test_numpy_in_numpy_out():
    x = make("normal", 100, torch.float32, "cpu")
    found = subkern.kth_largest(x.numpy(), 5, counts=True)
    assert type(found).__name__ == "KthLargest"
    assert type(found.value).__module__ == "numpy"
    assert float(found.value) == truth(x, 5)[0]


def test_fake_keeps_shapes():
    found = subkern.kth_largest(torch.ones(4, 3, device="meta"), 5, counts=True)
    assert all(t.is_meta and t.shape == () for t in found)
    assert [t.dtype for t in found] == [torch.float32, torch.int64, torch.int64]
