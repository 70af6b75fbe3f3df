"""Complex images given as two real channels, (samples, 2, ...): real and imaginary parts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def to_complex(v: Tensor) -> Tensor:
    """(samples, 2, ...) real -> (samples, ...) complex; a view where the channels are last."""
    pairs = v.resolve_neg().movedim(1, -1)
    steps = pairs.stride()
    if steps[-1] != 1 or any(step % 2 for step in (*steps[:-1], v.storage_offset())):
        pairs = pairs.clone(memory_format=torch.contiguous_format)
    return torch.view_as_complex(pairs)


def to_channels(v: Tensor) -> Tensor:
    """(samples, ...) complex -> (samples, 2, ...) real, the channels last in memory."""
    return torch.view_as_real(v.resolve_conj()).movedim(-1, 1)


class Layout:
    """Images as the operator takes them: nothing to do."""

    def read(self, v: Tensor) -> Tensor:
        """What the operator takes."""
        return v

    def write(self, v: Tensor) -> Tensor:
        """What the caller gave, of what the operator takes."""
        return v


class Channels(Layout):
    """Two real channels in the place of complex numbers.

    Args:
        like: what the caller gave; results have its order in memory, channels first or last.
    """

    def __init__(self, like: Tensor):
        self._last = like.stride(1) == 1 and not like.is_contiguous()

    def read(self, v: Tensor) -> Tensor:
        """(samples, 2, ...) -> (samples, ...) complex."""
        return to_complex(v)

    def write(self, v: Tensor) -> Tensor:
        """(samples, ...) complex -> (samples, 2, ...)."""
        channels = to_channels(v)
        return channels if self._last else channels.contiguous()


def has_channels(v: object, dim: int | None) -> bool:
    """Whether a tensor holds two real channels where complex ones of ``dim`` axes are wanted."""
    if dim is None or not isinstance(v, Tensor) or not v.is_floating_point():
        return False
    return v.dim() == dim + 1 and v.shape[1] == 2


def layout_of(operator: Any, image: Tensor) -> Layout:
    """How a caller gave the images of an operator."""
    paired = has_channels(image, getattr(operator, "image_dim", None))
    return Channels(image) if paired else Layout()


def read_data(operator: Any, y: Tensor) -> Tensor:
    """Data as the operator takes them."""
    return Channels(y).read(y) if has_channels(y, getattr(operator, "data_dim", None)) else y
