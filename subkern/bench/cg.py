"""What a data-consistency solve costs: line masks on chip, planes, and plain callables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench import krylov, linalg
from subkern.bench.accuracy import EPS, Error
from subkern.bench.krylov import Problem
from subkern.bench.registry import Absent, Case, Setup
from subkern.bench.targets import Budget, Target

OP = "cg"
STEPS = 5
COMPLEX = 8  # bytes
# Whole solves with 5 steps: images, coils, rows, columns, line mask, coupling.
SHAPES: tuple[tuple[int, int, int, int, bool, str], ...] = (
    (1, 15, 320, 320, True, "row"),
    (1, 15, 320, 320, True, "sample"),
    (1, 8, 256, 256, True, "row"),
    (1, 32, 384, 384, True, "row"),
    (8, 4, 256, 256, True, "row"),
    (1, 15, 320, 320, False, "sample"),
)
FLOORS = (
    Target("step", ("lines", "compiled"), "speedup", 2.7),
    Target("step", "cleaned", "speedup", 4.0),
    Target("step", "released", "speedup", 8.0),
    Target("step", "deepinv", "speedup", 8.0),
)
OPAQUE = ((1, 64), (1, 320), (8, 256))  # samples and side of an image
# Seconds on an H100: the arithmetic of a line solve in shared memory; three passes of a plane, six
# times, at 3 TB/s, and a half.
GPU_BUDGETS = {(1, 15, 320, 320, True, "row"): 120e-6, (1, 15, 320, 320, False, "sample"): 300e-6}


def errors(exact: Tensor, found: Any) -> list[Error]:
    """Of x, relative: rounding of a few transforms for every step."""
    x = getattr(found, "x", found)
    gap = (x.to(exact.dtype) - exact).norm() / exact.norm()
    return [Error("x", float(gap), 200 * EPS)]


def setup(
    shape: tuple[int, int, int, int, bool, str], steps: int, where: str, quick: bool
) -> Setup:
    """Ours, torch written with care in one and two dimensions, the released loop, deepinv."""
    import subkern

    del quick
    images, coils, h, w, line, coupling = shape
    problem = Problem(images, coils, h, w, line, where=where)

    def ours(problem: Problem, backend: str) -> Any:
        return subkern.cg_prox(
            problem.operator,
            problem.z,
            Aty=problem.Aty,
            gamma=problem.gamma,
            maxiter=steps,
            coupling=coupling,
            backend=backend,
        )

    best = krylov.lines if line else krylov.cleaned
    peers: dict[str, Callable[[], Any]] = {}
    if line:
        peers["lines"] = partial(krylov.solve, problem, krylov.lines(problem), steps, coupling)
    peers["cleaned"] = partial(krylov.solve, problem, krylov.cleaned(problem), steps, coupling)
    peers["released"] = partial(
        krylov.solve_plainly, problem, krylov.released(problem), steps, coupling
    )
    normal = best(problem)
    peers["compiled"] = torch.compile(lambda: krylov.solve(problem, normal, steps, coupling))
    absent = []
    try:
        peers["deepinv"] = krylov.by_deepinv(problem, steps, coupling)
    except ImportError as error:
        absent.append(Absent("deepinv", str(error)))
    made = linalg.competitors(
        partial(ours, problem),
        partial(ours, Problem(1, 1, 2, 4, line, where=where)),
        peers,
        partial(errors, krylov.truth(problem, steps, coupling)),
        where,
        two_threads=True,
        notes={"compiled": "torch.compile, where it leaves transforms and complex products alone"},
    )
    return Setup([*made.variants, *absent])


def traffic(shape: tuple[int, int, int, int, bool, str], steps: int) -> int:
    """Bytes: a line solve reads maps, centre and data once; a plane all of it for every step."""
    images, coils, h, w, line, coupling = shape
    v = COMPLEX * h * w
    u = coils * v
    if line and coupling == "row":
        return u + images * 3 * v
    once = u + images * 2 * v if line else 2 * u + images * 3 * v
    vectors = images * 8 * v
    return (steps + 1) * once + steps * vectors


def operations(shape: tuple[int, int, int, int, bool, str], steps: int) -> int:
    """Operations: 5 n log2 n for a transform, 8 for a complex product and its sum."""
    images, coils, h, w, line, _ = shape
    points = images * coils * h * w
    depth = torch.tensor(float(w if line else h * w)).log2().item()
    return round((steps + 1) * points * (2 * 5 * depth + 2 * 8))


def _case(shape: tuple[int, int, int, int, bool, str], where: str, bounds: Any) -> Case:
    images, coils, h, w, line, coupling = shape
    kind = f"{'line' if line else 'plane'}-{coupling}"
    return Case(
        name=f"{OP}-{kind}-{h}x{w}-c{coils}-b{images}",
        op=OP,
        shape=f"{h}x{w}",
        dtype="fp32",
        setup=partial(setup, shape, STEPS, where),
        bytes=traffic(shape, STEPS),
        flops=operations(shape, STEPS),
        targets=bounds,
        batch=images,
    )


class Opaque:
    """A stencil on real images that the solver knows nothing of: I + gamma L, L = D* D."""

    def __init__(self, samples: int, side: int, where: str) -> None:
        generator = torch.Generator().manual_seed(side)
        self.b = torch.randn(samples, side, side, generator=generator).to(where)

    def normal(self, v: Tensor) -> Tensor:
        """Four times a point less its neighbours, around the edges."""
        out = 4 * v
        for axis in (1, 2):
            for shift in (1, -1):
                out -= torch.roll(v, shift, axis)
        return out

    def system(self, v: Tensor) -> Tensor:
        """(I + L) v."""
        return v + self.normal(v)

    def solve(self, steps: int = 10) -> Tensor:
        """The loop, written with care."""
        x, r, p = torch.zeros_like(self.b), self.b.clone(), self.b.clone()
        rr = r.square().sum((1, 2), keepdim=True)
        for _ in range(steps):
            q = self.system(p)
            alpha = rr / (p * q).sum((1, 2), keepdim=True)
            x.addcmul_(alpha, p)
            r.addcmul_(alpha, q, value=-1)
            after = r.square().sum((1, 2), keepdim=True)
            p = torch.addcmul(r, p, after / rr)
            rr = after
        return x


def setup_opaque(samples: int, side: int, where: str, quick: bool) -> Setup:
    """Ours and torch's loop, on the same callable."""
    import subkern

    del quick
    problem, small = Opaque(samples, side, where), Opaque(1, 4, where)

    def ours(problem: Opaque, backend: str) -> Any:
        return subkern.cg(problem.system, problem.b, maxiter=10, backend=backend)

    wide = Opaque(samples, side, where)
    wide.b = problem.b.double()
    return linalg.competitors(
        partial(ours, problem),
        partial(ours, small),
        {"cleaned": problem.solve, "compiled": torch.compile(problem.solve)},
        partial(errors, wide.solve()),
        where,
        two_threads=True,
    )


def _opaque_case(samples: int, side: int, where: str) -> Case:
    numbers = samples * side * side
    # A step: the operator reads and writes 2; inner products, residual and direction 10.
    return Case(
        name=f"{OP}-opaque-{side}x{side}-b{samples}",
        op=OP,
        shape=f"{side}x{side}",
        dtype="fp32",
        setup=partial(setup_opaque, samples, side, where),
        bytes=10 * 12 * 4 * numbers,
        flops=10 * 20 * numbers,
        targets=(Target("step", "cleaned", "speedup", 1.0),),
        batch=samples,
    )


def cases() -> list[Case]:
    """Whole solves, then operators that nothing is known of."""
    floors = {SHAPES[0]: FLOORS, SHAPES[1]: FLOORS[3:]}
    solves = [_case(shape, "cpu", floors.get(shape, ())) for shape in SHAPES]
    return [*solves, *(_opaque_case(*shape, "cpu") for shape in OPAQUE)]


def gpu_cases(where: str = "cuda", shapes: Sequence[Any] = SHAPES) -> list[Case]:
    """The same on a GPU."""

    def bounds(shape: Any) -> tuple[Budget, ...]:
        seconds = GPU_BUDGETS.get(shape)
        return () if seconds is None else (Budget("step", seconds),)

    solves = [_case(shape, where, bounds(shape)) for shape in shapes]
    return [*solves, *(_opaque_case(*shape, where) for shape in OPAQUE)]
