"""Launches of kernels on groups of vectors: parts of each group, and how they may be read."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from subkern.triton_kernels.configs import (
    GROUP_BLOCK,
    GROUP_SUMS,
    GROUP_WARPS,
    ceil_div,
    group_chunk,
)


class Parts:
    """How the groups of some vectors (groups, n) are handed to programs."""

    def __init__(self, *vectors: Tensor):
        self.groups, self.n = vectors[0].shape
        self.count = ceil_div(self.n, group_chunk(self.n))
        self.grid = (self.groups, self.count)
        # Elements that an aligned access may take, wherever a group begins.
        self.vector = math.gcd(4, self.n, *(v.data_ptr() // v.element_size() for v in vectors))

    def arguments(self) -> dict[str, Any]:
        """What a kernel on parts of groups is told about them."""
        return dict(
            n=self.n,
            VECTOR=self.vector,
            CHUNK=group_chunk(self.n),
            BLOCK=GROUP_BLOCK,
            num_warps=GROUP_WARPS,
        )

    def sums(self, device: torch.device) -> dict[str, Any]:
        """What the kernel that adds up the parts is told; its first entry is where they are."""
        sums = torch.empty(self.grid, dtype=torch.float64, device=device)
        return dict(sums_ptr=sums, parts=self.count, BLOCK=GROUP_SUMS, num_warps=1)
