"""Groups of vectors, and what the results of kernels on them must not depend on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sktest import emulated_cuda
from sktest.backends import device_of, is_simulated
from sktest.guard import Guard

LENGTHS = (1, 2, 3, 63, 64, 65, 1009, 40_009)  # the last: several blocks of every backend


def vectors(count: int, groups: int, n: int, backend: str, seed: int = 0) -> list[Tensor]:
    """``count`` tensors (groups, n), normal."""
    generator = torch.Generator().manual_seed(seed)
    made = torch.randn(count, groups, n, generator=generator)
    return [one.contiguous() for one in made.to(device_of(backend))]


def bits(t: Tensor) -> Tensor:
    """What equal NaNs are equal in."""
    return t.contiguous().view(torch.int64 if t.dtype == torch.float64 else torch.int32)


def assert_same_bits(message: str, got: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """Results equal one by one, NaNs and signs of zeros included."""
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        assert a.shape == b.shape, f"{message}: result {i}: {tuple(a.shape)}, {tuple(b.shape)}"
        assert torch.equal(bits(a), bits(b)), f"{message}: result {i}"


def assert_independent(
    run: Callable[..., Sequence[Tensor]], tensors: Sequence[Tensor], backend: str
) -> None:
    """Results stay the same to the bit whatever lies beside a group and wherever it lies.

    Args:
        run: takes copies of ``tensors`` and returns what it made or wrote, groups first.
        tensors: groups first.
        backend: the reference makes no such promise, and is only run.
    """

    def copied(part: slice = slice(None), shift: int = 0) -> list[Tensor]:
        guard = Guard()
        found = [*run(*(guard.view(t[part], shift=shift) for t in tensors))]
        guard.check()
        return found

    expected = copied()
    if backend == "reference":
        return
    if backend == "cuda" and is_simulated(backend):
        for seed in emulated_cuda.SEEDS[1:]:
            emulated_cuda.set_seed(seed)
            assert_same_bits(f"schedule {seed}", copied(), expected)
        emulated_cuda.set_seed(0)
    for shift in (1, 2, 3):
        assert_same_bits(f"moved by {shift}", copied(shift=shift), expected)
    for i in range(len(tensors[0])):
        part = slice(i, i + 1)
        assert_same_bits(f"group {i} alone", copied(part), [t[part] for t in expected])
    torch.set_num_threads(1)
    assert_same_bits("one thread", copied(), expected)
    torch.set_num_threads(2)
