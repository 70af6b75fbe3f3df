"""What one application of the normal operator costs: rows alone, and rows, columns and rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from subkern.bench import krylov, linalg
from subkern.bench.accuracy import EPS, Error
from subkern.bench.cg import COMPLEX, operations
from subkern.bench.krylov import Problem
from subkern.bench.registry import Case, Setup
from subkern.bench.targets import Budget, Target

OP = "sense_normal"
# Images, coils, rows, columns, line mask.
SHAPES = (
    (1, 15, 320, 320, False),
    (1, 8, 256, 256, False),
    (1, 32, 384, 384, False),
    (1, 15, 320, 320, True),
)
SPEEDUP = 1.5
# Seconds on an H100: coil images written and read three times at 3 TB/s, and a half.
GPU_BUDGETS = {(1, 15, 320, 320, False): 45e-6}


def errors(exact: Any, found: Any) -> list[Error]:
    """Of N v, relative."""
    gap = (found.to(exact.dtype) - exact).norm() / exact.norm()
    return [Error("Nv", float(gap), 40 * EPS)]


def setup(shape: tuple[int, int, int, int, bool], where: str, quick: bool) -> Setup:
    """Ours, torch written with care, and as released."""
    import subkern
    from subkern.imaging import CartesianSense

    del quick
    problem = Problem(*shape, acceleration=4 if shape[-1] else 8, where=where)

    def ours(problem: Problem, backend: str) -> Any:
        with subkern.backend(backend):
            return problem.operator.normal(problem.z)

    peers = {"lines": krylov.lines} if shape[-1] else {}
    peers |= {"cleaned": krylov.cleaned, "released": krylov.released}
    wide = torch.complex128
    operator = CartesianSense(problem.maps.to(wide), problem.mask.double())
    exact = operator.normal(problem.z.to(wide))
    return linalg.competitors(
        partial(ours, problem),
        partial(ours, Problem(1, 1, 2, 4, shape[-1], where=where)),
        {name: partial(make(problem), problem.z) for name, make in peers.items()},
        partial(errors, exact),
        where,
        two_threads=True,
    )


def cost(shape: tuple[int, int, int, int, bool], where: str = "cpu") -> tuple[int, int]:
    """Bytes and FLOPs: a CPU keeps a coil's image in its cache, a GPU passes it on three times."""
    images, coils, h, w, line = shape
    v = COMPLEX * h * w
    passes = 1 if line else 2 if where == "cpu" else 6
    return passes * coils * v + 2 * images * v, operations((*shape, "sample"), 0)


def _case(shape: tuple[int, int, int, int, bool], where: str, bounds: Any) -> Case:
    images, coils, h, w, line = shape
    total, flops = cost(shape, where)
    return Case(
        name=f"{OP}-{'line' if line else 'plane'}-{h}x{w}-c{coils}-b{images}",
        op=OP,
        shape=f"{h}x{w}",
        dtype="fp32",
        setup=partial(setup, shape, where),
        bytes=total,
        flops=flops,
        targets=bounds,
        batch=images,
    )


def cases() -> list[Case]:
    """Planes, and a line beside them."""
    bounds = (Target("step", "cleaned", "speedup", SPEEDUP),)
    return [_case(shape, "cpu", () if shape[-1] else bounds) for shape in SHAPES]


def gpu_cases(where: str = "cuda", shapes: Sequence[Any] = SHAPES) -> list[Case]:
    """The same on a GPU."""
    found = []
    for shape in shapes:
        seconds = GPU_BUDGETS.get(shape)
        found.append(_case(shape, where, () if seconds is None else (Budget("step", seconds),)))
    return found
