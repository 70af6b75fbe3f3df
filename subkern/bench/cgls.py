"""What least squares by conjugate gradients costs, the residual in data space: A and A* a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench import cg, linalg
from subkern.bench.krylov import Problem
from subkern.bench.registry import Absent, Case, Setup

OP = "cgls"
STEPS = 10
DAMP = 0.25

Map = Callable[[Tensor], Tensor]


@dataclass
class Pair:
    """An operator and its adjoint, as ours and as torch's lines written with care.

    Attributes:
        operator: ours.
        forward: A without checks and shifts.
        adjoint: A*, likewise.
        image: what is measured; of one sample, as are all.
    """

    operator: Any
    forward: Map
    adjoint: Map
    image: Tensor


def sense(coils: int, h: int, w: int, line: bool, wide: bool) -> Pair:
    """Multi-coil imaging; A without shifts has other phases, and the same A* A."""
    from subkern.imaging import CartesianSense

    problem = Problem(1, coils, h, w, line)
    dtype = torch.complex128 if wide else torch.complex64
    maps, conjugates = problem.maps.to(dtype), problem.conjugates.to(dtype)
    mask, image = problem.shifted_mask.to(dtype.to_real()), problem.z.to(dtype)

    def forward(v: Tensor) -> Tensor:
        return torch.fft.fft2(maps * v[:, None], norm="ortho").mul_(mask)

    def adjoint(k: Tensor) -> Tensor:  # of data, which are 0 where the mask is
        return torch.fft.ifft2(k, norm="ortho").mul_(conjugates).sum(1)

    return Pair(CartesianSense(maps, problem.mask), forward, adjoint, image)


def blur(side: int, wide: bool) -> Pair:
    """Real images out of focus, by transforms of real images."""
    from subkern.imaging import Blur

    dtype = torch.float64 if wide else torch.float32
    bell = torch.exp(-torch.linspace(-2, 2, 9, dtype=torch.float64).square())
    kernel = torch.outer(bell, bell) / bell.sum().square()
    operator = Blur(kernel.float().to(dtype), (side, side))
    response = operator.response[:, : side // 2 + 1]
    conjugate = response.conj().resolve_conj()
    generator = torch.Generator().manual_seed(side)
    image = torch.randn(1, side, side, generator=generator).to(dtype)

    def filtered(by: Tensor, v: Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(v).mul_(by), s=(side, side))

    return Pair(operator, partial(filtered, response), partial(filtered, conjugate), image)


def numbers(v: Tensor) -> Tensor:
    """Pairs of real numbers in place of complex ones, whose norms torch takes very slowly."""
    return torch.view_as_real(v) if v.is_complex() else v


def loop(pair: Pair, y: Tensor, steps: int) -> Tensor:
    """Conjugate gradients for least squares from 0, written with care, in place."""

    def square(v: Tensor) -> Tensor:
        return torch.linalg.vector_norm(numbers(v)).square()

    shift = DAMP * DAMP
    r, p = y.clone(), pair.adjoint(y)
    x, ss = torch.zeros_like(p), square(p)
    for _ in range(steps):
        q = pair.forward(p)
        alpha = ss / (square(q) + shift * square(p))
        numbers(x).addcmul_(alpha, numbers(p))
        numbers(r).addcmul_(alpha, numbers(q), value=-1)
        s = pair.adjoint(r).sub_(x, alpha=shift)
        after = square(s)
        numbers(p).mul_(after / ss).add_(numbers(s))
        ss = after
    return x


def by_scipy(pair: Pair, y: Tensor, steps: int) -> Callable[[], Tensor]:
    """The lsqr of scipy on the same lines; complex numbers are pairs of real ones to it.

    Raises:
        ImportError: the package is not installed.
    """
    from scipy.sparse import linalg as sparse

    def tensor(v: Any, like: Tensor) -> Tensor:
        real = torch.from_numpy(v).to(like.real.dtype).view(numbers(like).shape)
        return torch.view_as_complex(real) if like.is_complex() else real

    def array(v: Tensor) -> Any:
        return numbers(v).flatten().numpy()

    b = array(y)
    operator = sparse.LinearOperator(
        (b.size, numbers(pair.image).numel()),
        matvec=lambda v: array(pair.forward(tensor(v, pair.image))),
        rmatvec=lambda v: array(pair.adjoint(tensor(v, y))),
        dtype=b.dtype,
    )
    exact: dict[str, float] = dict(atol=0.0, btol=0.0, conlim=0.0)
    return lambda: tensor(
        sparse.lsqr(operator, b, damp=DAMP, iter_lim=steps, **exact)[0], pair.image
    )


def setup(make: Callable[[bool], Pair], steps: int, quick: bool) -> Setup:
    """Ours in data space, ours on the normal equations, torch's loop, scipy's lsqr."""
    import subkern

    del quick
    pair, wide = make(False), make(True)
    data = pair.operator.matvec(pair.image)  # in our order, and in that of the lines
    y = pair.forward(pair.image)
    gamma = 1 / DAMP**2

    def ours(steps: int, backend: str) -> Any:
        return subkern.cgls(pair.operator, data, damp=DAMP, maxiter=steps, backend=backend)

    def normal() -> Any:
        b = gamma * pair.operator.adjoint(data)
        return subkern.cg(pair.operator, b, gamma=gamma, maxiter=steps)

    peers: dict[str, Callable[[], Any]] = {"cg": normal, "cleaned": partial(loop, pair, y, steps)}
    absent = []
    try:
        peers["lsqr"] = by_scipy(pair, y, steps)
    except ImportError as error:
        absent.append(Absent("lsqr", str(error)))
    made = linalg.competitors(
        partial(ours, steps),
        partial(ours, 1),
        peers,
        partial(cg.errors, loop(wide, wide.forward(wide.image), steps)),
        "cpu",
        two_threads=True,
        own=("cg",),
    )
    return Setup([*made.variants, *absent])


def traffic(image: int, data: int, number: int, steps: int) -> int:
    """Bytes: maps are read twice, A p and the residual written and read; as many passes of images.

    Args:
        image: numbers.
        data: numbers, as many as of the maps.
        number: bytes of one.
        steps: how many, after an A* to start from.
    """
    return number * ((2 * data + image) + steps * 7 * (data + image))


def _case(name: str, side: int, make: Callable[[bool], Pair], cost: tuple[int, int]) -> Case:
    return Case(
        name=f"{OP}-{name}-b1",
        op=OP,
        shape=f"{side}x{side}",
        dtype="fp32",
        setup=partial(setup, make, STEPS),
        bytes=cost[0],
        flops=cost[1],
    )


def cases() -> list[Case]:
    """Multi-coil imaging under both masks, and real images."""
    coils, n, side = 15, 320, 256
    found = []
    for line in (True, False):
        nbytes = traffic(n * n, coils * n * n, cg.COMPLEX, STEPS)
        flops = cg.operations((1, coils, n, n, False, "sample"), STEPS)
        name = f"{'line' if line else 'plane'}-{n}x{n}-c{coils}"
        make = partial(sense, coils, n, n, line)
        found.append(_case(name, n, make, (nbytes, flops)))
    # Transforms of real images are half of complex ones; A and A* have two each.
    flops = cg.operations((1, 1, side, side, False, "sample"), STEPS)
    nbytes = traffic(side * side, side * side, 4, STEPS)
    return [*found, _case(f"blur-{side}x{side}", side, partial(blur, side), (nbytes, flops))]
