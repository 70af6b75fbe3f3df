"""What proximal steps of many weights cost from one Krylov space, and what one weight costs.

All reach the same accuracy: each solver takes as few steps for each weight as that needs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench import cg, krylov, linalg
from subkern.bench.accuracy import Error
from subkern.bench.krylov import Problem
from subkern.bench.registry import Case, Setup

OP = "lanczos_prox"
MANY = tuple(10 ** (2 * i / 7) for i in range(8))  # from 1 to 100
# Images, coils, rows, columns, line mask; weights; steps that the largest of them needs.
Shape = tuple[int, int, int, int, bool]
SHAPES: tuple[tuple[Shape, tuple[float, ...], int], ...] = (
    ((1, 15, 320, 320, True), MANY, 13),
    ((1, 15, 320, 320, False), MANY, 12),
    ((1, 15, 320, 320, True), (10.0,), 9),
    ((1, 15, 320, 320, False), (10.0,), 8),
)
TOLERANCE = 1e-4  # of x, relative to x
EXACT = 1e-9  # of a residual, relative to the right-hand side: what counts as the solution
MOST = 30  # steps in complex128
PLAIN = "subkern-plain"


def errors(exact: Sequence[Tensor], found: Sequence[Tensor]) -> list[Error]:
    """The worst weight's."""
    gaps = [float((x - want).norm() / want.norm()) for x, want in zip(found, exact, strict=True)]
    return [Error("x", max(gaps), TOLERANCE)]


def truths(problem: Problem, weights: Sequence[float]) -> list[Tensor]:
    """Solutions in complex128, each proved by its residual: that bounds the error, as H >= I.

    Raises:
        ArithmeticError: the steps were too few.
    """
    import subkern
    from subkern.imaging import CartesianSense

    z, Aty = (v.to(torch.complex128) for v in (problem.z, problem.Aty))
    operator = CartesianSense(problem.maps.to(z.dtype), problem.mask.double())
    space = subkern.lanczos_prox(operator, z, Aty, MOST, backend="reference")
    found = [space.solve(gamma) for gamma in weights]
    for gamma, x in zip(weights, found, strict=True):
        b = z + gamma * Aty
        left = (b - x - gamma * operator.normal(x)).norm() / b.norm()
        if not left <= EXACT:
            raise ArithmeticError(f"residual must be <= {EXACT:g}, got {float(left):.1e}")
    return found


def fewest(solve: Callable[[int, float], Tensor], exact: Tensor, gamma: float) -> int:
    """Steps until a solver is near enough; an error of conjugate gradients only falls."""

    def near(steps: int) -> bool:
        gap = (solve(steps, gamma) - exact).norm() / exact.norm()
        return bool(gap <= 0.99 * TOLERANCE)  # which other solvers may round otherwise

    return 1 + bisect_left(range(1, MOST), True, key=near)


def setup(shape: Shape, weights: tuple[float, ...], steps: int, where: str, quick: bool) -> Setup:
    """One space, with and without reorthogonalizing; a solve for each weight, ours and torch's."""
    import subkern

    del quick
    problem = Problem(*shape, where=where)
    small = Problem(1, 1, 2, 4, shape[-1], where=where)
    exact = truths(problem, weights)

    def space(
        problem: Problem, steps: int, again: bool = True, backend: str | None = None
    ) -> list[Tensor]:
        made = subkern.lanczos_prox(
            *(problem.operator, problem.z, problem.Aty, steps),
            reorthogonalize=again,
            backend=backend,
        )
        return [made.solve(gamma) for gamma in weights]

    def own(coupling: str, steps: int, gamma: float) -> Tensor:
        return subkern.cg_prox(
            problem.operator,
            problem.z,
            Aty=problem.Aty,
            gamma=gamma,
            maxiter=steps,
            coupling=coupling,
        ).x

    def plain(normal: krylov.Normal, steps: int, gamma: float) -> Tensor:
        return krylov.solve(problem, normal, steps, "sample", gamma)

    def each(solve: Callable[[int, float], Tensor], counts: Sequence[int]) -> Callable[[], Any]:
        return lambda: [solve(k, gamma) for k, gamma in zip(counts, weights, strict=True)]

    def counted(coupling: str) -> list[int]:
        pairs = zip(exact, weights, strict=True)
        return [fewest(partial(own, coupling), x, gamma) for x, gamma in pairs]

    counts = counted("sample")
    by_torch = {"cleaned": krylov.cleaned(problem)}
    mine: dict[str, Callable[[], Any]] = {
        PLAIN: partial(space, problem, steps, False),
        "cg": each(partial(own, "sample"), counts),
    }
    if shape[-1]:
        mine["cg-row"] = each(partial(own, "row"), counted("row"))
        by_torch = {"lines": krylov.lines(problem), **by_torch}
    peers = {name: each(partial(plain, normal), counts) for name, normal in by_torch.items()}
    return linalg.competitors(
        partial(space, problem, steps),
        partial(space, small, 1),
        mine | peers,
        partial(errors, exact),
        where,
        own=mine,
        notes={PLAIN: "without reorthogonalizing", "cg-row": "each row its own scalars"},
    )


def cost(shape: Shape, weights: int, steps: int) -> tuple[int, int]:
    """Bytes and FLOPs: N for the start and every step; the basis.

    A step reads the vectors so far four times to orthogonalize, twice each for the overlaps and for
    what is taken away, and writes one; a weight reads all and writes one.
    """
    images, coils, h, w, line = shape
    v = cg.COMPLEX * images * h * w
    passes = 1 if line else 2
    normals = (steps + 1) * (passes * coils * v // images + 2 * v)
    read = 4 * steps * (steps + 1) // 2 + weights * (steps + 1)
    flops = cg.operations((*shape, "sample"), steps) + 8 * read * (v // cg.COMPLEX)
    return normals + (read + steps + weights) * v, flops


def cases() -> list[Case]:
    """Eight weights, and one."""
    found = []
    for shape, weights, steps in SHAPES:
        images, coils, h, w, line = shape
        nbytes, flops = cost(shape, len(weights), steps)
        kind = "line" if line else "plane"
        found.append(
            Case(
                name=f"{OP}-{kind}-{h}x{w}-c{coils}-b{images}-w{len(weights)}",
                op=OP,
                shape=f"{h}x{w}",
                dtype="fp32",
                setup=partial(setup, shape, weights, steps, "cpu"),
                bytes=nbytes,
                flops=flops,
                batch=images,
            )
        )
    return found
