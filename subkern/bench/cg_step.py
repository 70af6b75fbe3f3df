"""What one step of conjugate gradients costs beside the operator: vectors and their scalars."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.bench import vectors
from subkern.bench.accuracy import EPS, Error
from subkern.bench.registry import Case, Setup, Variant

OP = "cg_step"
# Directions this many times as long as H p make steps that change next to nothing: timed again and
# again, no group may end or overflow.
STRETCH = 1e6
# Of one step: a vector is kept where it was rounded.
BOUND = 8 * EPS

# x, r, p, H p and <r, r>, to the same without H p.
Lines = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, ...]]


def new(wide: torch.dtype, x: Tensor, r: Tensor, p: Tensor, q: Tensor, rr: Tensor) -> Any:
    """A step to new vectors, which is what torch.compile fuses; inner products in a dtype."""
    alpha = rr / (p.to(wide) * q.to(wide)).sum(1, keepdim=True)
    share = alpha.to(x.dtype)
    r = r - share * q
    after = r.to(wide).square().sum(1, keepdim=True)
    return x + share * p, r, r + (after / rr).to(p.dtype) * p, after


def in_place(wide: torch.dtype, x: Tensor, r: Tensor, p: Tensor, q: Tensor, rr: Tensor) -> Any:
    """The same with few passes of eager code, in place."""
    alpha = rr / (p.to(wide) * q.to(wide)).sum(1, keepdim=True)
    share = alpha.to(x.dtype)
    x.addcmul_(share, p)
    r.addcmul_(share, q, value=-1)
    after = r.to(wide).square().sum(1, keepdim=True)
    p.mul_((after / rr).to(p.dtype)).add_(r)
    return x, r, p, after


class Steps:
    """Vectors of a solve, stepped again and again with the same H p.

    Args:
        start: x, r and H p.
        dtype: of the vectors.
    """

    def __init__(self, start: tuple[Tensor, ...], dtype: torch.dtype = torch.float32):
        self.start = tuple(v.to(dtype) for v in start)
        self.begin()

    def begin(self, stretch: float = 1.0) -> None:
        """From the start, with a direction ``stretch`` times H p."""
        x, r, self.q = self.start
        self.x, self.r, self.p, self.taken = x.clone(), r.clone(), stretch * self.q, 0


class ByTorch(Steps):
    """Steps by torch's lines, eager or compiled."""

    def __init__(self, start: tuple[Tensor, ...], wide: torch.dtype, lines: Lines):
        self.wide, self.lines = wide, lines
        super().__init__(start)

    def begin(self, stretch: float = 1.0) -> None:
        """See :class:`Steps`."""
        super().begin(stretch)
        self.rr = self.r.to(self.wide).square().sum(1, keepdim=True)

    def __call__(self) -> Steps:
        """One more step."""
        self.x, self.r, self.p, self.rr = self.lines(self.x, self.r, self.p, self.q, self.rr)
        self.taken += 1
        return self


class Ours(Steps):
    """Steps by the op."""

    def begin(self, stretch: float = 1.0) -> None:
        """See :class:`Steps`."""
        from subkern.ops.cg_step import cg_start

        super().begin(stretch)
        self.state = cg_start(self.r, None, 0.0, 0.0, backend="")

    def __call__(self, backend: str) -> Steps:
        """One more step."""
        from subkern.ops.cg_step import cg_step_

        cg_step_(self.x, self.r, self.p, self.q, None, self.state, backend=backend)
        self.taken += 1
        return self

    def ended(self) -> str | None:
        """What is wrong where a group took fewer steps: its time would be that of no work."""
        from subkern.reference.cg_step import ITERATIONS

        least = int(self.state[:, ITERATIONS].min())
        return None if least == self.taken else f"{self.taken} steps wanted, a group took {least}"


def errors(start: tuple[Tensor, ...], found: Steps) -> list[Error]:
    """Of all three vectors after as many steps in float64, relative, worst of the groups."""
    exact = Steps(start, torch.float64)
    rr = exact.r.square().sum(1, keepdim=True)
    for _ in range(found.taken):
        exact.x, exact.r, exact.p, rr = new(rr.dtype, exact.x, exact.r, exact.p, exact.q, rr)
    worst = []
    for name in ("x", "r", "p"):
        want: Tensor = getattr(exact, name)
        gap = (getattr(found, name).double() - want).norm(dim=1) / want.norm(dim=1)
        worst.append(Error(name, float(gap.max()), found.taken * BOUND))
    return worst


def setup(shape: vectors.Shape, where: str, quick: bool) -> Setup:
    """Ours, torch with inner products as ours, in float32, and compiled."""
    start, wide, narrow = vectors.draw(3, shape, where), torch.float64, torch.float32
    ours = Ours(start)
    peers: dict[str, ByTorch] = {
        "widened": ByTorch(start, wide, partial(in_place, wide)),
        "eager": ByTorch(start, narrow, partial(in_place, narrow)),
        "compiled": ByTorch(start, wide, torch.compile(partial(new, wide), dynamic=False)),
    }
    made = vectors.competitors(ours, Ours(start), peers, partial(errors, start), where, quick)
    for variant in made.variants:
        if isinstance(variant, Variant) and variant.name.startswith("subkern"):
            variant.confirm = ours.ended

    def ready() -> None:
        for steps in (ours, *peers.values()):
            steps.begin(STRETCH)

    return Setup(made.variants, ready=ready)


def cost(numbers: int) -> tuple[int, int]:
    """Bytes and FLOPs: p and q for the curvature; r, q, and r; x, p, r, and x and p."""
    return 4 * 10 * numbers, 10 * numbers


def cases() -> list[Case]:
    """Vectors of a solver; on a GPU the solvers' own cases hold it."""
    return vectors.cases(OP, setup, cost)
