"""Exact k-th largest element of a tensor."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from subkern.ops._checks import check_backend, check_flag, check_tensor
from subkern.ops._interop import accepts_arrays
from subkern.ops._library import define_op

FLOATS = (torch.float32, torch.bfloat16, torch.float64, torch.float16)


class KthLargest(NamedTuple):
    """An element and its place in the order.

    Attributes:
        value: 0-dim, the k-th largest.
        above: 0-dim int64, elements larger than it, at most k - 1.
        equal: 0-dim int64, elements equal to it; the last k - above of k elements are of these.
    """

    value: Tensor
    above: Tensor
    equal: Tensor


def _fake(x: Tensor, *, k: int, magnitude: bool, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    above, equal = (x.new_empty((), dtype=torch.int64) for _ in range(2))
    return x.new_empty(()), above, equal


_op = define_op(
    "kth_largest",
    "(Tensor x, *, int k, bool magnitude, str backend) -> "
    "(Tensor value, Tensor above, Tensor equal)",
    _fake,
)


def check_scores(op: str, name: str, value: Tensor) -> None:
    """A dense tensor of floating-point numbers that can be put in order."""
    check_tensor(op, name, value)
    if value.dtype not in FLOATS:
        raise TypeError(f"{op}: {name} must be real floating point, got {value.dtype}")


def check_count(op: str, name: str, value: int, low: int, high: int) -> int:
    """A whole number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, (int, torch.SymInt)):
        raise TypeError(f"{op}: {name} must be an integer, got {type(value).__name__}")
    if not low <= value <= high:
        raise ValueError(f"{op}: {name} must be in [{low}, {high}], got {value}")
    return value


@accepts_arrays
def kth_largest(
    x: Tensor,
    k: int,
    *,
    magnitude: bool = False,
    counts: bool = False,
    backend: str | None = None,
) -> Tensor | KthLargest:
    """Find the k-th largest element of a tensor: exact, without sorting it.

    value = sort(x, descending)[k - 1], NaN below everything, -0.0 equal to 0.0. The elements above
    `value` and the first `k - above` of those equal to it are exactly k. On the CPU a sample
    brackets the value, one read of x packs what lies between, and histograms of the monotone
    integer image of float32 finish there; where the bracket misses, they count all of x. On CUDA
    they do so from the start, in one read for each digit of 11 bits or less.
    Results carry no gradient, depend on nothing but x, and are not read back.

    Args:
        x: any shape and strides, float32, bfloat16, float64 or float16; not empty.
        k: 1 (the largest) to the number of elements (the smallest).
        magnitude: order |x| instead; no copy of it is made.
        counts: also return how many are above and how many equal.
        backend: implementation to use; None picks.

    Returns:
        The 0-dim value in the dtype of x (0.0 where it is a zero of either sign), or with
        ``counts=True`` a :class:`KthLargest` of value, above and equal.

    Raises:
        TypeError: an argument of the wrong kind or dtype.
        ValueError: k is not in [1, number of elements].
        BackendUnavailableError: no backend can serve the call, or the one asked for cannot.

    Backends: reference (any device, dtype), cpu and cuda (float32, bfloat16).

    Example:
        >>> import torch, subkern
        >>> x = torch.tensor([3.0, -7.0, 5.0, 3.0])
        >>> subkern.kth_largest(x, 2).item(), subkern.kth_largest(x, 1, magnitude=True).item()
        (3.0, 7.0)
        >>> found = subkern.kth_largest(x, 2, counts=True)
        >>> found.above.item(), found.equal.item()
        (1, 2)
    """
    check_scores("kth_largest", "x", x)
    check_flag("kth_largest", "magnitude", magnitude)
    check_flag("kth_largest", "counts", counts)
    name = check_backend("kth_largest", backend)
    if not x.numel():
        raise ValueError(f"kth_largest: x must not be empty, got shape {tuple(x.shape)}")
    k = check_count("kth_largest", "k", k, 1, x.numel())
    found = KthLargest(*_op(x.detach(), k=k, magnitude=magnitude, backend=name))
    return found if counts else found.value
