"""Complex images (B, H, W) and the two-channel real ones (B, 2, H, W) that networks take."""

from __future__ import annotations

import torch
from torch import Tensor


def to_channels(x: Tensor) -> Tensor:
    """(B, *spatial) complex -> (B, 2, *spatial) real, in the same memory."""
    return torch.view_as_real(x.resolve_conj()).movedim(-1, 1)


def to_complex(x: Tensor) -> Tensor:
    """(B, 2, *spatial) real -> (B, *spatial) complex; in the same memory where strides allow."""
    last = x.movedim(1, -1)
    paired = last.stride(-1) == 1 and all(step % 2 == 0 for step in last.stride()[:-1])
    if not (paired and last.storage_offset() % 2 == 0):
        last = last.contiguous()
    return torch.view_as_complex(last)
