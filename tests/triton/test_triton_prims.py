"""Helpers of the kernels: rounding to bfloat16, products, tables of addresses."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import triton
import triton.language as tl
from sktest.backends import device_of, refusal
from sktest.tolerance import assert_close

from subkern.backends.triton import support, tables

if (reason := refusal("adam", "triton")) is not None:
    pytest.skip(reason, allow_module_level=True)

from subkern.triton_kernels import configs
from subkern.triton_kernels.prims import sk_cast, sk_dot, sk_float, sk_nonfinite

DEVICE = device_of("triton")


@triton.jit
def _cast_kernel(x_ptr, out_ptr, back_ptr, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    rounded = sk_cast(tl.load(x_ptr + at), tl.bfloat16)
    tl.store(out_ptr + at, rounded)
    tl.store(back_ptr + at, sk_float(rounded))


@triton.jit
def _dot_kernel(a_ptr, b_ptr, out_ptr, flag_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    at = i[:, None] * BLOCK + i[None, :]
    acc = sk_dot(tl.load(a_ptr + at), tl.load(b_ptr + at), tl.full((BLOCK, BLOCK), 1, tl.float32))
    tl.store(out_ptr + at, acc)
    tl.store(flag_ptr, sk_nonfinite(acc))


def test_rounding_to_nearest_even():
    """Every exponent, ties and both neighbours, infinities, NaN, the largest float32."""
    exponents = torch.arange(0, 256, dtype=torch.int64)[:, None] << 23
    tails = torch.tensor([0, 1, 0x7FFF, 0x8000, 0x8001, 0x17FFF, 0x18000, 0x18001])
    bits = (exponents + tails[None, :]).flatten()
    x = torch.cat([bits, bits | (1 << 31)]).to(torch.int32).view(torch.float32).to(DEVICE)
    out = torch.empty_like(x, dtype=torch.bfloat16)
    back = torch.empty_like(x)
    _cast_kernel[(len(x) // 256,)](x, out, back, BLOCK=256)
    expected = x.bfloat16()
    same = (out == expected) | (out.isnan() & expected.isnan())
    assert same.all(), x[~same][:8]
    assert torch.equal(back.nan_to_num(7.0), expected.float().nan_to_num(7.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_products_accumulate_in_float32(dtype):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(64, 64, generator=generator).to(dtype).to(DEVICE) for _ in range(2))
    out = torch.empty(64, 64, device=DEVICE)
    flag = torch.empty((), dtype=torch.int32, device=DEVICE)
    for poison, expected in ((0.0, 0), (float("nan"), 1), (float("-inf"), 1)):
        if expected:
            a[5, 7] = poison
        _dot_kernel[(1,)](a, b, out, flag, BLOCK=64)
        assert flag == expected
        if not expected:
            assert_close("a b + 1", out, a.double() @ b.double() + 1, 64)


def test_tables_are_kept_while_addresses_repeat(monkeypatch):
    monkeypatch.setattr(tables, "_tables", type(tables._tables)())
    monkeypatch.setattr(tables, "LARGEST", 2)
    device = torch.device(DEVICE, 0) if DEVICE == "cuda" else torch.device("cpu")
    rows = [[1, 2**40], [3, 4]]
    first = tables.table(rows, device)
    assert first.tolist() == rows
    assert tables.table([list(row) for row in rows], device) is first
    # The same numbers in another shape or dtype are another table.
    assert tables.table([[1, 2**40, 3, 4]], device).tolist() == [[1, 2**40, 3, 4]]
    assert tables.table([[1, 2]], device, torch.int32).dtype == torch.int32
    assert len(tables._tables) == 2  # the oldest went
    assert tables.table(rows, device) is not first


def test_tables_of_several_threads(monkeypatch):
    """Steps of two optimizers in two threads share the cache."""
    monkeypatch.setattr(tables, "_tables", type(tables._tables)())
    monkeypatch.setattr(tables, "LARGEST", 1)
    device = torch.device(DEVICE, 0) if DEVICE == "cuda" else torch.device("cpu")

    def hammer(start):
        return all(tables.table([[start + i]], device).item() == start + i for i in range(3000))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(hammer, range(0, 40000, 10000)))
    finally:
        sys.setswitchinterval(before)


def test_a_capture_takes_its_tables_from_the_reserve(monkeypatch):
    """Each has memory of its own, which no later table reuses; beyond the reserve it is pinned."""
    pinned = []
    monkeypatch.setattr(tables, "_captured", [])
    monkeypatch.setattr(tables, "_reserve", [torch.empty(80, dtype=torch.uint8)])
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda t: pinned.append(t) or t)
    cpu, lists = torch.device("cpu"), ([[1, 2**40, 3]], [[4, 5], [6, 7]], [[8]])
    made = [tables._under_capture(("none",), rows, cpu, torch.int64) for rows in lists]
    assert not pinned
    short = tables._under_capture(("none",), [[9, 10, 11]], cpu, torch.int32)
    assert len(pinned) == 1
    assert [t.tolist() for t in (*made, short)] == [*lists, [[9, 10, 11]]]
    assert all(any(t is kept for kept in tables._captured) for t in (*made, short))


def test_the_interpreter_takes_no_gpu_tensors(monkeypatch):
    """It copies arguments to the host, but not what an address in a table points to."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    reason = support._device_refusal(torch.device("cuda", 0))
    assert reason == "serves CPU tensors only under TRITON_INTERPRET=1, got cuda"


@pytest.mark.parametrize("elements", [1000, 1 << 24, 32000 * 4096, 1 << 28, 128256 * 16384])
def test_flags_of_a_tensor_are_few(elements):
    """Every block of Adam's update reads all of them: at most a fifth of what the step moves."""
    blocks = configs.ceil_div(elements, configs.adam_chunk(elements))
    assert 4 * blocks**2 <= (3 * 2 + 4 * 4) * elements / 5
