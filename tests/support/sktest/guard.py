"""Tensors as views into larger buffers whose surroundings must stay untouched."""

from __future__ import annotations

import torch
from torch import Tensor

BAND = 64  # elements on each side: a cache line and more for every dtype
SENTINEL = -77.0  # exact in every floating-point dtype, far from any value of the tests

LAYOUTS = ("contiguous", "transposed", "offset", "strided")


class Guard:
    """Hands out views with guard bands around and between their rows, and checks the bands."""

    def __init__(self) -> None:
        self._watched: list[tuple[Tensor, Tensor]] = []

    def view(self, values: Tensor, layout: str = "contiguous", shift: int = 0) -> Tensor:
        """A copy of ``values`` inside a guarded buffer.

        Layouts of a matrix: "contiguous"; "transposed" (unit stride along columns); "offset" (rows
        longer than the view, starting at an odd element); "strided" (no unit stride).
        Other numbers of dimensions are contiguous. The view starts ``shift`` elements later.
        """
        if layout not in LAYOUTS:
            raise ValueError(f"Guard.view: layout must be one of {LAYOUTS}, got {layout!r}")
        shape = tuple(values.shape)
        if len(shape) != 2 or layout == "contiguous":
            strides = torch.empty(shape, device="meta").stride()
            offset = BAND
        else:
            m, n = shape
            strides = {"transposed": (1, m), "offset": (n + 5, 1), "strided": (3 * n + 1, 3)}[
                layout
            ]
            offset = BAND + (1 if layout != "transposed" else 0)
        offset += shift
        reach = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        length = offset + max(reach, 0) + 1 + BAND
        buffer = torch.full((length,), SENTINEL, dtype=values.dtype, device=values.device)
        inside = torch.zeros(length, dtype=torch.bool, device=values.device)
        view = buffer.as_strided(shape, strides, offset)
        if view.numel():
            inside.as_strided(shape, strides, offset).fill_(True)
            view.copy_(values)
        self._watched.append((buffer, inside))
        return view

    def check(self) -> None:
        """Raises when anything outside the views was written."""
        for buffer, inside in self._watched:
            outside = torch.where(inside, torch.full_like(buffer, SENTINEL), buffer)
            if not torch.equal(outside, torch.full_like(buffer, SENTINEL)):
                where = (outside != SENTINEL).nonzero().flatten().tolist()
                raise AssertionError(f"guard band written at elements {where[:8]} of the buffer")
