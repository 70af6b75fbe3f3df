"""What a solver asks of a linear operator: N = A* A, and more where there is more to offer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class NormalOperator:
    """N as solvers iterate with it, in a layout of its own.

    Solvers ``enter`` what they are given, work on contiguous tensors (samples, ...) in that layout,
    and ``leave`` with the result. This class is the plainest: no other layout, nothing fused.

    Args:
        normal: v -> N v, for every sample of a batch.
    """

    def __init__(self, normal: Callable[[Tensor], Tensor]):
        self._normal = normal

    def __call__(self, v: Tensor) -> Tensor:
        """N v."""
        return self._normal(v)

    def enter(self, v: Tensor) -> Tensor:
        """An image in N's own layout, contiguous; may share memory with ``v``."""
        return v.contiguous()

    def leave(self, v: Tensor) -> Tensor:
        """The inverse of ``enter``."""
        return v

    def groups(self, coupling: str, samples: int, v: Tensor) -> int:
        """How many sets of scalars a solve has; a group's numbers lie in memory one by one."""
        if coupling == "row":
            raise ValueError(
                "cg: coupling must be 'sample' or 'all' for an operator whose rows are not "
                "independent, got 'row'"
            )
        return 1 if coupling == "all" else samples

    def fused(
        self, v: Tensor, gamma: Tensor | None, coupling: str
    ) -> tuple[Tensor, Tensor] | None:
        """(H v, <v, H v> of each group) in one pass, or None where there is no such kernel."""
        return None

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
        """A whole solve of ``maxiter`` steps in one launch, or None where there is no such kernel.

        Takes what :func:`subkern.reference.cg.cg` takes.

        Returns:
            x, and squared residual norms (float64), iterations and statuses of each group.
        """
        return None


class LinearOperator:
    """A linear map A from images to data and its adjoint; base class of all operators.

    A subclass defines :meth:`matvec` and :meth:`adjoint`, on batches (samples, ...). What it knows
    beyond that it offers by :meth:`normal` and :meth:`normal_operator`. Operators are immutable:
    solvers may keep what they prepare for one.

    Attributes:
        norm_bound: an upper bound of ||A* A||, or None.
    """

    norm_bound: float | None = None

    def matvec(self, x: Tensor) -> Tensor:
        """A x."""
        raise NotImplementedError

    def adjoint(self, y: Tensor) -> Tensor:
        """A* y."""
        raise NotImplementedError

    def normal(self, x: Tensor) -> Tensor:
        """A* A x."""
        return self.adjoint(self.matvec(x))

    def normal_operator(self) -> NormalOperator:
        """N for solvers."""
        return NormalOperator(self.normal)


def as_normal(op: str, operator: Any) -> NormalOperator:
    """What a solver iterates with, of an operator or a plain callable v -> N v."""
    if isinstance(operator, LinearOperator):
        return operator.normal_operator()
    if isinstance(operator, NormalOperator):
        return operator
    if callable(operator):
        return NormalOperator(operator)
    raise TypeError(
        f"{op}: op must be a LinearOperator or a callable v -> N v, got {type(operator).__name__}"
    )


def dot_test(operator: LinearOperator, x: Tensor, y: Tensor, n: int = 8, seed: int = 0) -> float:
    """The worst relative gap between <A x, y> and <x, A* y> for random x and y.

    max |<A x, y> - <x, A* y>| / (||A x|| ||y||), the sums in float64; real and complex numbers are
    drawn where the tensors are complex. A matched pair gives about the rounding of its dtype.

    Args:
        operator: the pair.
        x: an image; its shape, dtype and device alone are used.
        y: data, likewise.
        n: pairs of each kind.
        seed: of the draws.

    Example:
        >>> import torch
        >>> from subkern.imaging import Dense, dot_test
        >>> A = Dense(torch.randn(3, 4))
        >>> dot_test(A, torch.empty(1, 4), torch.empty(1, 3)) < 1e-6
        True
    """
    if not isinstance(operator, LinearOperator):
        raise TypeError(
            f"dot_test: operator must be a LinearOperator, got {type(operator).__name__}"
        )
    generator = torch.Generator().manual_seed(seed)

    def draw(like: Tensor, real: bool) -> Tensor:
        v = torch.randn(like.shape, dtype=like.dtype, generator=generator)
        return (v.real + 0j if real and v.is_complex() else v).to(like.device, like.dtype)

    worst = 0.0
    for real in (True, False):
        for _ in range(n):
            u, v = draw(x, real), draw(y, real)
            Au, Av = operator.matvec(u), operator.adjoint(v)
            wide = torch.complex128 if Au.is_complex() or Av.is_complex() else torch.float64
            left = torch.vdot(Au.flatten().to(wide), v.flatten().to(wide))
            right = torch.vdot(u.flatten().to(wide), Av.flatten().to(wide))
            scale = float(Au.to(wide).norm() * v.to(wide).norm())
            gap = abs(complex(left - right))
            worst = max(worst, gap / scale if scale else (0.0 if gap == 0 else math.inf))
    return worst
