"""The kernels of kth_largest and update_mask: many blocks, schedules, alignment, filled lists."""

import pytest
import torch
from select_cases import (
    kth,
    kth_arguments,
    numbers,
    place,
    problem,
    swap,
    swap_arguments,
)

from subkern.reference.kth_largest import kth_largest as kth_reference
from subkern.reference.update_mask import update_mask as swap_reference

MANY = 3 * 8192 - 5  # three blocks, the last with a part of a run
DIGITS = {torch.float32: 3, torch.bfloat16: 2}
dtypes = pytest.mark.parametrize("dtype", DIGITS, ids=["fp32", "bf16"])


def same(found, expected):
    for got, want in zip(found, expected, strict=True):
        assert torch.equal(got.cpu().nan_to_num(7.0), want.nan_to_num(7.0))


def launches(kernels, op, call):
    """What the call returns, and its launches."""
    before = kernels.module.call_counts()[op]
    found = call()
    return found, kernels.module.call_counts()[op] - before


@dtypes
@pytest.mark.parametrize("kind", ["normal", "few", "hard"])
def test_numbers_of_many_blocks(kernels, kind, dtype):
    x = numbers(MANY, kind, dtype, kernels.device)
    for k, magnitude in ((1, False), (MANY // 10, True), (MANY // 2, False), (MANY, True)):
        found, count = launches(
            kernels, "kth_largest", lambda k=k, m=magnitude: kth(kernels, x, k, m)
        )
        assert count == DIGITS[dtype]
        same(found, kth_reference(x.cpu(), k=k, magnitude=magnitude))
    again = kernels.same_on_every_seed(lambda: kth(kernels, x, MANY // 3))
    same(again, kth_reference(x.cpu(), k=MANY // 3, magnitude=False))


@dtypes
def test_few_numbers_take_one_launch_in_any_alignment(kernels, dtype):
    for n, offset in ((1, 1), (8192, 0), (8192, 1), (4999, 2)):
        x = numbers(n, "hard", dtype, kernels.device, offset)
        for k in (1, (n + 1) // 2):
            found, count = launches(kernels, "kth_largest", lambda x=x, k=k: kth(kernels, x, k))
            assert count == 1
            same(found, kth_reference(x.cpu(), k=k, magnitude=False))


@pytest.mark.parametrize("bits", [0x7FFFFFFF, 0xFFFFFFFF, 0x00000001, 0x80000001, 0x7F7FFFFF])
def test_patterns_at_the_ends(kernels, bits):
    """Every NaN is the smallest; subnormal numbers and the largest keep their place."""
    signed = bits - (1 << 32) if bits >> 31 else bits
    x = torch.tensor([signed], dtype=torch.int32).view(torch.float32)
    x = torch.cat([torch.tensor([1.0, -1.0, 0.0, torch.inf, -torch.inf]), x]).to(kernels.device)
    for k in range(1, 7):
        same(kth(kernels, x, k), kth_reference(x.cpu(), k=k, magnitude=False))


@dtypes
@pytest.mark.parametrize(("kind", "density"), [("normal", 0.1), ("few", 0.6), ("hard", 0.4)])
def test_swaps(kernels, kind, density, dtype):
    for n, offset in ((MANY, 0), (4999, 1)):
        remove, add, mask = problem(n, density, kind, dtype, kernels.device, offset)
        for count in (1, n // 20):
            found, made = launches(
                kernels, "update_mask",
                lambda a=(remove, add, mask, count): swap(kernels, *a),
            )  # fmt: skip
            assert made == (DIGITS[dtype] + 2 if n == MANY else 2)
            truth = swap_reference(remove.cpu(), add.cpu(), mask.cpu(), n_swap=count)
            same(found, [truth[0].byte(), *truth[1:]])
        if n == MANY:
            kernels.same_on_every_seed(lambda a=(remove, add, mask, n // 30): swap(kernels, *a))


@dtypes
@pytest.mark.parametrize("inside", [0, 3, 20_000 - 3, 20_000])
def test_lists_are_filled_where_a_side_has_too_few(kernels, inside, dtype):
    """A kernel cannot raise: what is missing comes from the other side, lower indices first."""
    n, count = 20_000, 9_000
    remove, add, _ = problem(n, 0.5, "few", dtype, kernels.device)
    mask = place(torch.arange(n) < inside, torch.bool, kernels.device)
    updated, removed, added = (t.cpu() for t in swap(kernels, remove, add, mask, count))
    for found, held in ((removed, inside), (added, n - inside)):
        assert (found.diff() > 0).all()
        assert 0 <= found[0] <= found[-1] < n
        own = (found < inside) == (held == inside)
        assert int(own.sum()) == min(held, count)
    expected = mask.cpu().byte()
    expected[removed] = 0
    expected[added] = 1
    assert torch.equal(updated, expected)


KTH = ("x", "value", "above", "equal", "scratch")
SWAP = ("score_remove", "score_add", "mask", "new_mask", "removed", "added", "scratch")
BAD = [
    ("kth_largest", dict(n=0), r"n must be in \[1, 2\^40\)"),
    ("kth_largest", dict(n=2**40), r"n must be in \[1, 2\^40\)"),
    ("kth_largest", dict(k=0), r"k must be in \[1, 40\]"),
    ("kth_largest", dict(k=41), r"k must be in \[1, 40\]"),
    ("update_mask", dict(n=-1), r"n must be in \[1, 2\^40\)"),
    ("update_mask", dict(n=2**40), r"n must be in \[1, 2\^40\)"),
    ("update_mask", dict(n_swap=0), r"n_swap must be in \[1, 40\]"),
    ("update_mask", dict(n_swap=41), r"n_swap must be in \[1, 40\]"),
]
BAD += [("kth_largest", {name: 0}, f"{name} must be the address") for name in KTH]
BAD += [("update_mask", {name: 0}, f"{name} must be the address") for name in SWAP]
for op in ("kth_largest", "update_mask"):
    BAD.append((op, dict(scratch_bytes=100), "scratch_bytes must be at least"))
    BAD.append((op, dict(scratch=4), "scratch must be aligned to 8 bytes"))
    BAD.append((op, dict(dtype=2), "dtype must be 0"))
    BAD.append((op, dict(device=-1), "device must be zero or more"))


@pytest.mark.parametrize(
    ("op", "changes", "message"),
    BAD,
    ids=[f"{op}-{'-'.join(f'{k}={v}' for k, v in c.items())}" for op, c, _ in BAD],
)
def test_arguments(kernels, op, changes, message):
    remove, add, mask = problem(40, 0.5, "normal", torch.float32, kernels.device)
    if op == "kth_largest":
        call, tensors = kth_arguments(kernels, remove, 3)
    else:
        call, tensors = swap_arguments(kernels, remove, add, mask, 3)
    before = [t.clone() for t in tensors]
    launched = kernels.module.call_counts()
    with pytest.raises(ValueError, match=f"^{op}: {message}.*, got "):
        getattr(kernels.module, op)(**call | changes)
    assert kernels.module.call_counts() == launched
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


@pytest.mark.parametrize("n", [-1, 0, 2**40])
def test_workspace(kernels, n):
    with pytest.raises(ValueError, match=r"^update_mask_workspace: n must be in .*, got "):
        kernels.module.update_mask_workspace(n=n)
