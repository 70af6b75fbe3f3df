"""Imaging problems with a known answer, and oracles that share no code with the solvers.

An oracle works in complex128 on one sample: matrices are built column by column from what an
operator does, and the conjugate gradient loop is the textbook's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from subkern.imaging import CartesianSense, LinearOperator

# Ellipses of the modified Shepp-Logan phantom: value, half axes, centre, angle in degrees.
ELLIPSES = (
    (1.0, 0.69, 0.92, 0.0, 0.0, 0.0),
    (-0.8, 0.6624, 0.874, 0.0, -0.0184, 0.0),
    (-0.2, 0.11, 0.31, 0.22, 0.0, -18.0),
    (-0.2, 0.16, 0.41, -0.22, 0.0, 18.0),
    (0.1, 0.21, 0.25, 0.0, 0.35, 0.0),
    (0.1, 0.046, 0.046, 0.0, 0.1, 0.0),
)


def _grid(h: int, w: int) -> tuple[Tensor, Tensor]:
    """Pixel centres in (-1, 1), rows then columns."""
    return tuple(
        torch.meshgrid(
            *((torch.arange(n, dtype=torch.float64) * 2 + 1) / n - 1 for n in (h, w)),
            indexing="ij",
        )
    )  # type: ignore[return-value]


def phantom(h: int, w: int, samples: int = 1) -> Tensor:
    """(samples, h, w) complex128: Shepp-Logan times a smooth phase, another one for each sample."""
    y, x = _grid(h, w)
    image = torch.zeros(h, w, dtype=torch.float64)
    for value, a, b, x0, y0, angle in ELLIPSES:
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        u, v = (x - x0) * c + (y - y0) * s, (y - y0) * c - (x - x0) * s
        image += value * ((u / a) ** 2 + (v / b) ** 2 <= 1)
    phases = [(1 + i) * (0.8 * x + 0.5 * y * y) + 0.4 * i for i in range(samples)]
    return torch.stack([torch.polar(image + 0.05, phase) for phase in phases])


def birdcage(coils: int, h: int, w: int) -> Tensor:
    """(1, coils, h, w) complex128, of unit root sum of squares: a ring of coils of radius 1.5."""
    y, x = _grid(h, w)
    maps = []
    for c in range(coils):
        at = 2 * math.pi * c / coils
        dx, dy = x - 1.5 * math.cos(at), y - 1.5 * math.sin(at)
        maps.append(torch.polar(1 / torch.hypot(dx, dy), torch.atan2(dy, dx) - at))
    S = torch.stack(maps)
    return (S / S.abs().square().sum(0).sqrt())[None]


def mask(kind: str, h: int, w: int, samples: int = 1) -> Tensor:
    """A mask of one of KINDS: 0/1 but for "weighted", about every second line or point."""
    generator = torch.Generator().manual_seed(h + 31 * w)

    def drawn(*shape: int) -> Tensor:
        kept = torch.rand(*shape, generator=generator, dtype=torch.float64) < 0.5
        kept.flatten(1)[:, :: max(kept[0].numel() // 3, 1)] = True  # none is empty
        return kept.double()

    shapes = {
        "line": (1, 1, 1, w),
        "line-h": (1, 1, h, 1),
        "plane": (1, 1, h, w),
        "weighted": (1, 1, 1, w),
        "per-sample": (samples, 1, 1, w),
        "per-sample-plane": (samples, 1, h, w),
    }
    if kind in ("full", "zero"):
        return torch.full((1, 1, h, w), float(kind == "full"), dtype=torch.float64)
    found = drawn(*shapes[kind])
    if kind == "weighted":
        found = found * (0.3 + torch.rand(found.shape, generator=generator, dtype=torch.float64))
    return found.expand(-1, -1, h, w).clone()


KINDS = (
    "line",
    "line-h",
    "plane",
    "weighted",
    "per-sample",
    "per-sample-plane",
    "full",
    "zero",
)


def sense(
    kind: str = "plane",
    h: int = 16,
    w: int = 16,
    coils: int = 4,
    samples: int = 2,
    dtype: torch.dtype = torch.complex64,
    device: str = "cpu",
    **options: object,
) -> CartesianSense:
    """Multi-coil imaging with birdcage maps and a mask of that kind."""
    maps = birdcage(coils, h, w).to(device, dtype)
    return CartesianSense(maps, mask(kind, h, w, samples).to(device), **options)  # type: ignore[arg-type]


def matrix(function: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """(samples, m, n) complex128: the matrices of a linear map of batches, column by column.

    Args:
        function: maps batches like ``like``, every sample by its own matrix.
        like: a batch; its shape, dtype and device count.
    """
    columns, n = [], like[0].numel()
    for j in range(n):
        e = torch.zeros_like(like).flatten(1)
        e[:, j] = 1
        columns.append(function(e.view(like.shape)).flatten(1).to(torch.complex128).cpu())
    return torch.stack(columns, 2)


@dataclass
class Problem:
    """min ||x - z||^2 + gamma ||A x - y||^2 for every sample.

    Attributes:
        A: the operator under test.
        z: centre, in the dtype under test.
        y: data of the truth plus noise.
        gamma: weight.
        H: (samples, n, n) complex128, I + gamma N, from the same operator in complex128.
        b: (samples, n) complex128, z + gamma A* y.
        x: (samples, n) complex128, the solution.
    """

    A: LinearOperator
    z: Tensor
    y: Tensor
    gamma: float
    H: Tensor
    b: Tensor
    x: Tensor

    def flat(self, x: Tensor) -> Tensor:
        """(samples, n) complex128 on the CPU."""
        return x.flatten(1).to("cpu", torch.complex128)

    def energy(self, x: Tensor) -> Tensor:
        """(samples,): the error of ``x`` in the norm of H."""
        e = self.flat(x) - self.x
        return (e.conj() * (self.H @ e[:, :, None])[:, :, 0]).sum(1).real.clamp_min(0).sqrt()

    def residual(self, x: Tensor) -> Tensor:
        """(samples, n): b - H x."""
        return self.b - (self.H @ self.flat(x)[:, :, None])[:, :, 0]

    def off(self, x: Tensor) -> float:
        """The largest relative error of a sample."""
        return float(relative(self.flat(x), self.x).max())

    @property
    def condition(self) -> float:
        """A bound of the condition number of H."""
        assert self.A.norm_bound is not None
        return 1 + self.gamma * self.A.norm_bound


def problem(
    make: Callable[[torch.dtype, str], LinearOperator],
    truth: Tensor,
    gamma: float = 5.0,
    dtype: torch.dtype = torch.complex64,
    device: str = "cpu",
    noise: float = 0.05,
) -> Problem:
    """A problem of the operator that ``make(dtype, device)`` makes, started far from the truth."""
    generator = torch.Generator().manual_seed(7)
    wide = make(torch.complex128, "cpu")
    y = wide.matvec(truth)
    y = y + noise * torch.randn(y.shape, dtype=y.dtype, generator=generator)
    z = truth * 0.3 + 0.3 * torch.randn(truth.shape, dtype=truth.dtype, generator=generator)
    z, y = z.to(dtype), y.to(dtype)  # what both see
    N = matrix(wide.normal, truth)
    H = torch.eye(N.shape[1], dtype=N.dtype) + gamma * N
    Aty = wide.adjoint(y.to(torch.complex128))
    b = (z.to(torch.complex128) + gamma * Aty).flatten(1)
    x = torch.cholesky_solve(b[:, :, None], torch.linalg.cholesky(H))[:, :, 0]
    return Problem(make(dtype, device), z.to(device), y.to(device), gamma, H, b, x)


def hermitian(u: Tensor, v: Tensor) -> Tensor:
    """<u, v> of one sample."""
    return (u.conj() * v).sum().real


def textbook(
    H: Callable[[Tensor], Tensor],
    b: Tensor,
    x: Tensor,
    steps: int,
    dot: Callable[[Tensor, Tensor], Tensor] = hermitian,
) -> Iterator[Tensor]:
    """The iterates x_0 ... x_steps of conjugate gradients (Hestenes and Stiefel) on one sample."""
    r = b - H(x)
    p, rho = r, dot(r, r)
    yield x
    for _ in range(steps):
        q = H(p)
        alpha = rho / dot(p, q)
        x = x + alpha * p
        r = r - alpha * q
        before, rho = rho, dot(r, r)
        p = r + (rho / before) * p
        yield x


def relative(got: Tensor, exact: Tensor) -> Tensor:
    """(samples,): the distance of every sample over its size."""
    got, exact = (v.flatten(1).to("cpu", torch.complex128) for v in (got, exact))
    return (got - exact).norm(dim=1) / exact.norm(dim=1).clamp_min(1e-300)


def rounding(dtype: torch.dtype, condition: float, steps: int = 1) -> float:
    """What rounding may do to the solution of a system, relative to it.

    Every step rounds each number a few times; a system magnifies that by its condition. The factor
    covers transforms (a dozen roundings in a row) and the loss of conjugacy over the steps.
    """
    return 4 * torch.finfo(dtype).eps * condition * math.sqrt(steps)


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Equal bit for bit, where NaN equals NaN."""
    a, b = (torch.view_as_real(v.resolve_conj()) if v.is_complex() else v for v in (a, b))
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    equal = (a == b) & (a.signbit() == b.signbit()) if a.is_floating_point() else a == b
    return bool((equal | (a.isnan() & b.isnan()) if a.is_floating_point() else equal).all())
