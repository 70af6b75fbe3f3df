"""Imaging problems and the solvers that ours are compared with: torch as it is written, and well.

All take the same steps with Hermitian inner products on the same problem; with row coupling all
keep one pair of scalars for each row, by broadcasting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from subkern.bench.peers import deepinv

Normal = Callable[[Tensor], Tensor]
ROWS = {"row": (-1,), "sample": (-2, -1)}  # what an inner product sums over


@dataclass
class Problem:
    """Data consistency of multi-coil images: (I + gamma N) x = z + gamma A* y.

    Attributes:
        images: of a batch.
        coils: of an image.
        h: rows.
        w: columns.
        line: the mask has whole columns, one in ``acceleration``; else single points.
        acceleration: of the mask.
        gamma: weight of the data.
        where: device.
    """

    images: int
    coils: int
    h: int
    w: int
    line: bool
    acceleration: int = 4
    gamma: float = 5.0
    where: str = "cpu"

    @cached_property
    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(7 * self.coils + self.w)

    def _draw(self, *shape: int) -> Tensor:
        drawn = torch.randn(shape, dtype=torch.complex64, generator=self._generator)
        return drawn.to(self.where)

    @cached_property
    def maps(self) -> Tensor:
        """Coil sensitivities of unit root sum of squares."""
        maps = self._draw(1, self.coils, self.h, self.w)
        return maps / maps.abs().square().sum(1, keepdim=True).sqrt()

    @cached_property
    def mask(self) -> Tensor:
        """Zeros and ones, the zero frequency in the middle."""
        shape = (1, 1, 1, self.w) if self.line else (1, 1, self.h, self.w)
        drawn = torch.rand(shape, generator=self._generator) * self.acceleration < 1
        return drawn.expand(1, 1, self.h, self.w).float().contiguous().to(self.where)

    @cached_property
    def z(self) -> Tensor:
        """The centre."""
        return self._draw(self.images, self.h, self.w)

    @cached_property
    def Aty(self) -> Tensor:
        """Back projection of the data of another image."""
        return self.operator.normal(self._draw(self.images, self.h, self.w))

    @cached_property
    def operator(self):
        """Ours."""
        from subkern.imaging import CartesianSense

        return CartesianSense(self.maps, self.mask)

    @cached_property
    def conjugates(self) -> Tensor:
        """Conj(S), written out: torch conjugates a view again in every product."""
        return self.maps.conj().resolve_conj()

    @cached_property
    def shifted_mask(self) -> Tensor:
        """The mask with the zero frequency first."""
        return torch.fft.ifftshift(self.mask, dim=(-2, -1))


def released(problem: Problem) -> Normal:
    """A* A as the released code of DDS writes it: A, then A*, each with its shifts."""
    axes = (-2, -1)

    def forward(v: Tensor) -> Tensor:
        moved = torch.fft.ifftshift(problem.maps * v[:, None], dim=axes)
        return problem.mask * torch.fft.fftshift(torch.fft.fft2(moved, norm="ortho"), dim=axes)

    def adjoint(k: Tensor) -> Tensor:
        moved = torch.fft.ifftshift(problem.mask * k, dim=axes)
        images = torch.fft.fftshift(torch.fft.ifft2(moved, norm="ortho"), dim=axes)
        return (torch.conj(problem.maps) * images).sum(1)

    return lambda v: adjoint(forward(v))


def cleaned(problem: Problem) -> Normal:
    """The same without shifts, in place, in two dimensions."""
    maps, conjugates, mask = problem.maps, problem.conjugates, problem.shifted_mask

    def normal(v: Tensor) -> Tensor:
        k = torch.fft.fft2(maps * v[:, None], norm="ortho")
        k *= mask
        images = torch.fft.ifft2(k, norm="ortho")
        images *= conjugates
        return images.sum(1)

    return normal


def lines(problem: Problem) -> Normal:
    """The same under a line mask: transforms of rows alone."""
    maps, conjugates = problem.maps, problem.conjugates
    mask = problem.shifted_mask[:, :, :1]

    def normal(v: Tensor) -> Tensor:
        k = torch.fft.fft(maps * v[:, None], norm="ortho")
        k *= mask
        images = torch.fft.ifft(k, norm="ortho")
        images *= conjugates
        return images.sum(1)

    return normal


def solve(
    problem: Problem, normal: Normal, steps: int, coupling: str, gamma: float | None = None
) -> Tensor:
    """Conjugate gradients from z, written with care: few passes, real inner products.

    Args:
        problem: what to solve.
        normal: its A* A.
        steps: how many.
        coupling: what an inner product sums over.
        gamma: a weight other than the problem's.
    """
    gamma, axes = problem.gamma if gamma is None else gamma, ROWS[coupling]

    def dot(u: Tensor, v: Tensor) -> Tensor:
        return (u.real * v.real + u.imag * v.imag).sum(axes, keepdim=True)

    x = problem.z.clone()
    r = (problem.Aty - normal(x)).mul_(gamma)
    p, rr = r.clone(), dot(r, r)
    for _ in range(steps):
        q = torch.add(p, normal(p), alpha=gamma)
        alpha = rr / dot(p, q)
        x += alpha * p
        r -= alpha * q
        after = dot(r, r)
        p = torch.addcmul(r, p, after / rr)
        rr = after
    return x


def solve_plainly(problem: Problem, normal: Normal, steps: int, coupling: str) -> Tensor:
    """The loop of the released code, with Hermitian inner products in place of its own."""
    gamma, axes = problem.gamma, ROWS[coupling]

    def apply(v: Tensor) -> Tensor:
        return v + gamma * normal(v)

    def dot(u: Tensor, v: Tensor) -> Tensor:
        return (torch.conj(u) * v).sum(axes, keepdim=True).real

    x = problem.z
    r = problem.z + gamma * problem.Aty - apply(x)
    p, rr = r, dot(r, r)
    for _ in range(steps):
        q = apply(p)
        alpha = rr / dot(p, q)
        x = x + alpha * p
        r = r - alpha * q
        after = dot(r, r)
        p = r + (after / rr) * p
        rr = after
    return x


def by_deepinv(problem: Problem, steps: int, coupling: str) -> Callable[[], Tensor]:
    """The package's own solver on its own physics, two-channel images.

    Raises:
        ImportError: the package is not installed.
    """
    package = deepinv()
    size = (problem.h, problem.w)
    physics = package.physics.MultiCoilMRI(mask=problem.mask, coil_maps=problem.maps, img_size=size)

    def two_channels(v: Tensor) -> Tensor:
        return torch.view_as_real(v).permute(0, 3, 1, 2).contiguous()

    z, Aty = two_channels(problem.z), two_channels(problem.Aty)
    alone = [0, 2] if coupling == "row" else [0]

    def apply(v: Tensor) -> Tensor:
        return v + problem.gamma * physics.A_adjoint(physics.A(v))

    def run() -> Tensor:
        x = package.optim.linear.conjugate_gradient(
            apply, z + problem.gamma * Aty, max_iter=steps, tol=0.0, parallel_dim=alone, init=z
        )
        return torch.view_as_complex(x.permute(0, 2, 3, 1).contiguous())

    return run


def truth(problem: Problem, steps: int, coupling: str) -> Tensor:
    """The iterate in complex128."""
    import subkern
    from subkern.imaging import CartesianSense

    wide = torch.complex128
    operator = CartesianSense(problem.maps.to(wide), problem.mask.double())
    return subkern.cg_prox(
        operator,
        problem.z.to(wide),
        Aty=problem.Aty.to(wide),
        gamma=problem.gamma,
        maxiter=steps,
        coupling=coupling,
        backend="reference",
    ).x
