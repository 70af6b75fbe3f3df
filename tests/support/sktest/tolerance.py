"""One tolerance rule: from the dtype and the length of the sums to the largest error allowed.

An element computed in ``work`` precision through sums of ``length`` terms, and stored once, may
differ from the exact value by::

    u(stored) |exact|  +  u(work) (OPERATIONS + CHAIN sqrt(length)) scale

u is the unit round-off, scale the largest magnitude in the tensor, in what it was before the step
or in its change: a sum that cancels keeps the error of its terms. Rounding errors are independent,
hence the root. Where an intermediate result is stored in a narrower dtype, ``ROUNDINGS`` of its
unit round-offs of the change are added.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

OPERATIONS = 8  # roundings of the element-wise part: moments, root, division, scale, decay
CHAIN = 4  # standard deviations of a random walk of roundings; also covers blocked sums
ROUNDINGS = 4  # R, direction, product, basis


def unit_roundoff(dtype: torch.dtype) -> float:
    """Largest relative error of rounding to nearest."""
    return torch.finfo(dtype).eps / 2


def work_dtype(stored: torch.dtype) -> torch.dtype:
    """Precision of the arithmetic for a storage dtype: float32, or float64 for float64."""
    return torch.float64 if stored == torch.float64 else torch.float32


def _largest(t: Tensor) -> float:
    return float(t.abs().max()) if t.numel() else 0.0


def relative_bound(work: torch.dtype, length: int) -> float:
    """Error of the arithmetic relative to the largest magnitude."""
    if length < 1:
        raise ValueError(f"relative_bound: length must be at least 1, got {length}")
    return unit_roundoff(work) * (OPERATIONS + CHAIN * math.sqrt(length))


def limit(
    exact: Tensor,
    stored: torch.dtype,
    length: int,
    *,
    work: torch.dtype | None = None,
    intermediate: torch.dtype | None = None,
    change: Tensor | None = None,
) -> Tensor:
    """Largest allowed error of every element of ``exact``.

    Args:
        exact: the truth, float64.
        stored: dtype of the tensor under test.
        length: terms of the longest sum behind an element.
        work: precision of the arithmetic; None follows ``stored``.
        intermediate: dtype of intermediate results, where narrower than ``work``.
        change: what the step added to the tensor, if it is an update; the intermediate results
            are of its size.
    """
    exact = exact.double()
    work = work or work_dtype(stored)
    change = exact if change is None else change.double()
    scale = max(_largest(exact), _largest(change), _largest(exact - change))
    allowed = unit_roundoff(stored) * exact.abs() + relative_bound(work, length) * scale
    if intermediate is not None and unit_roundoff(intermediate) > unit_roundoff(work):
        allowed = allowed + ROUNDINGS * unit_roundoff(intermediate) * _largest(change)
    return allowed


def assert_within(name: str, got: Tensor, exact: Tensor, allowed: Tensor) -> None:
    """Every element of ``got`` is finite and within ``allowed`` of ``exact``."""
    assert got.shape == exact.shape, f"{name}: shape {tuple(got.shape)}, not {tuple(exact.shape)}"
    if not got.numel():
        return
    excess = (got.double() - exact.double()).abs() - allowed
    # A NaN compares false with everything; make it the worst element.
    excess = torch.where(got.isfinite(), excess, torch.full_like(excess, math.inf))
    worst = int(excess.argmax())
    if float(excess.flatten()[worst]) > 0:
        index = tuple(int(i) for i in torch.unravel_index(torch.tensor(worst), got.shape))
        raise AssertionError(
            f"{name}{list(index)}: got {got[index].item()!r}, exact {exact[index].item()!r}, "
            f"allowed error {allowed.expand(got.shape)[index].item():.3e}, "
            f"{int((excess > 0).sum())} of {got.numel()} elements are off"
        )


def assert_close(name: str, got: Tensor, exact: Tensor, length: int, **options) -> None:
    """``got`` equals ``exact`` (float64) within :func:`limit`; the failure names the tensor."""
    assert_within(name, got, exact, limit(exact, got.dtype, length, **options))
