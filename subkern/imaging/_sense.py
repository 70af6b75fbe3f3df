"""N of :class:`CartesianSense` in the layout of its kernels: constant axes first, then varied ones.

Under a line mask an image is (samples, rows, n), every row a system of its own; under any other it
is (samples, planes, h, w).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from subkern.backends import registry
from subkern.backends.watched import is_real, is_watched
from subkern.imaging._fourier import fft, ifft
from subkern.ops._operator import NormalOperator
from subkern.ops.sense_normal import sense_normal, sense_pack
from subkern.ops.sense_solve import sense_solve
from subkern.reference._fixed_order import conj_times, times


class SenseNormal(NormalOperator):
    """N v = sum_c conj(S_c) F^-1 mask^2 F S_c v.

    Args:
        maps: ([sets,] samples or 1, coils, *spatial).
        mask: (samples or 1, 1, *spatial), axes along which it is constant may have one element.
        varied: spatial axes that it varies along.
        centered: see :class:`CartesianSense`.
        check: raises unless what it is given, a name and a tensor, are images of the operator.
    """

    def __init__(
        self,
        maps: Tensor,
        mask: Tensor,
        varied: tuple[int, ...],
        centered: bool,
        check: Callable[[str, Tensor], None],
    ):
        self._check, ndim = check, mask.dim() - 2
        constant = tuple(axis for axis in range(ndim) if axis not in varied)
        self._order = (*constant, *varied)
        self._sets = maps.dim() == ndim + 3
        spatial = maps.shape[-ndim:]
        self._spatial = tuple(spatial[axis] for axis in self._order)
        lengths = tuple(spatial[axis] for axis in varied)
        self._line, self._depth = len(varied) == 1, len(varied)

        weights = mask.square()
        for axis in constant:
            weights = weights.narrow(2 + axis, 0, 1)
        weights = weights.expand(
            *mask.shape[:2], *[spatial[axis] if axis in varied else 1 for axis in range(ndim)]
        )
        if centered:
            weights = torch.fft.ifftshift(weights, dim=[2 + axis for axis in varied])
        self._weights = weights.reshape(len(mask), *lengths).contiguous()

        lead = maps.dim() - ndim
        moved = maps.permute(*range(lead), *(lead + axis for axis in self._order))
        rows = 1
        for axis in constant:
            rows *= spatial[axis]
        self._rows = rows
        self._shape = (rows, *lengths)
        self._maps = moved.reshape(*maps.shape[:lead], *self._shape).contiguous()
        if self._sets or self._depth == 3:
            self._kernel_maps = None
        elif self._line:
            self._kernel_maps = self._maps
        else:  # every plane is an image of its own
            planes = self._maps.transpose(1, 2)
            self._kernel_maps = planes.reshape(-1, maps.shape[1], *lengths).contiguous()
        if len(self._weights) > 1 and not self._line and rows > 1:
            self._kernel_weights = self._weights.repeat_interleave(rows, 0)
        else:
            self._kernel_weights = self._weights
        self._packed: dict[str, Tensor] = {}
        self.has_rows = self._line and not self._sets

    def __getstate__(self) -> dict[str, Any]:
        """What kernels prepared may not suit the machine that a copy is loaded on."""
        return {**self.__dict__, "_packed": {}}

    def check(self, name: str, v: Tensor) -> None:
        """Raise unless ``v`` is a batch of images."""
        self._check(name, v)

    def enter(self, v: Tensor) -> Tensor:
        """(samples, [sets,] *spatial) -> (samples, [sets,] rows, *varied)."""
        lead = v.dim() - len(self._order)
        moved = v.permute(*range(lead), *(lead + axis for axis in self._order))
        return moved.reshape(*v.shape[:lead], *self._shape).contiguous()

    def leave(self, v: Tensor) -> Tensor:
        """The inverse of ``enter``."""
        lead = v.dim() - len(self._shape)
        v = v.view(*v.shape[:lead], *self._spatial)
        back = [self._order.index(axis) for axis in range(len(self._order))]
        return v.permute(*range(lead), *(lead + axis for axis in back)).contiguous()

    def groups(self, coupling: str, samples: int, v: Tensor) -> int:
        """Rows are independent under a line mask alone."""
        return samples * self._rows if coupling == "row" else super().groups(coupling, samples, v)

    def __call__(self, v: Tensor) -> Tensor:
        """N v."""
        if self._kernel_maps is None:
            return self._by_torch(v)
        return self._apply(v, None)[0]

    def fused(self, v: Tensor, gamma: Tensor | None, coupling: str) -> tuple[Tensor, Tensor] | None:
        """(H v, <v, H v>) in one op; None for sets of maps and volumes."""
        if self._kernel_maps is None:
            return None
        out, dot = self._apply(v, gamma)
        if coupling == "row":
            return out, dot.flatten()
        dot = dot.reshape(len(v), -1).sum(1) if v.numel() else dot.new_zeros(len(v))
        return out, dot if coupling == "sample" else dot.sum(0, keepdim=True)

    def solve_fixed(
        self,
        rhs: Tensor,
        x0: Tensor | None,
        centre: Tensor | None,
        gamma: Tensor | None,
        *,
        maxiter: int,
        coupling: str,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
        """A whole solve with row coupling in one op."""
        if coupling != "row" or self._kernel_maps is None or not self._line:
            return None
        if x0 is not None and centre is not None:
            return None
        start = x0 if centre is None else centre
        options = dict(prox=centre is not None, maxiter=maxiter)
        maps, weights = self._kernel_maps, self._kernel_weights
        packed, backend = self._prepared(rhs)
        return sense_solve(rhs, start, maps, weights, gamma, packed, **options, backend=backend)

    def _apply(self, v: Tensor, gamma: Tensor | None) -> tuple[Tensor, Tensor]:
        """(H v, its inner products) by the op."""
        images = v if self._line else v.reshape(-1, *v.shape[2:])
        if gamma is not None and not self._line and self._rows > 1:
            gamma = gamma.repeat_interleave(self._rows)
        maps, weights = self._kernel_maps, self._kernel_weights
        assert maps is not None
        packed, backend = self._prepared(v)
        out, dot = sense_normal(images, maps, weights, gamma, packed, backend=backend)
        return out.view(v.shape), dot

    def _prepared(self, v: Tensor) -> tuple[Tensor | None, str]:
        """What the backend that serves these maps made of them, once, and its name."""
        maps, weights = self._kernel_maps, self._kernel_weights
        assert maps is not None
        with registry.unless_absent("sense_pack"):
            call = dict(maps=maps, weights=weights)
            backend = registry.select("sense_pack", maps.device.type, call).backend
        if is_watched() or not is_real(v):
            return None, backend
        if backend not in self._packed:
            self._packed[backend] = sense_pack(maps, weights, backend=backend)
        return self._packed[backend], backend

    def _by_torch(self, v: Tensor) -> Tensor:
        """Sets of maps, and masks that vary along three axes."""
        axes = tuple(range(-self._depth, 0))
        maps = self._maps if self._sets else self._maps[None]
        images = v if self._sets else v[:, None]
        coils = reduce(torch.add, (times(S, images[:, e, None]) for e, S in enumerate(maps)))
        weights = self._weights.view(len(self._weights), 1, 1, *self._weights.shape[1:])
        data = ifft(weights * fft(coils, axes), axes)
        found = torch.stack([conj_times(S, data).sum(1) for S in maps], 1)
        return found if self._sets else found[:, 0]
