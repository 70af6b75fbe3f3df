"""The k-th largest element and how many stand above and beside it, in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor


def kth_largest(x: Tensor, *, k: int, magnitude: bool) -> tuple[Tensor, Tensor, Tensor]:
    """(value, above, equal); see :func:`subkern.ops.kth_largest.kth_largest`."""
    flat = x.reshape(-1)
    if magnitude:
        flat = flat.abs()
    # Ascending order puts NaN last: of the negated elements it is the smallest that stays there.
    value = 0.0 - torch.sort(-flat).values[k - 1]
    is_nan = flat.isnan()
    above = torch.where(value.isnan(), ~is_nan, flat > value).sum()
    equal = torch.where(value.isnan(), is_nan, flat == value).sum()
    return value, above, equal
