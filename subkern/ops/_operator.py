"""What a solver asks of a linear operator: N = A* A, and more where there is more to offer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from subkern.ops._called import called
from subkern.ops._checks import check_tensor
from subkern.ops._interop import accepts_arrays


class NormalOperator:
    """N as solvers iterate with it, in a layout of its own.

    Solvers ``enter`` what they are given, work on contiguous tensors (samples, ...) in that layout,
    and ``leave`` with the result. This class is the plainest: no other layout, nothing fused.

    Args:
        normal: v -> N v, for every sample of a batch.

    Attributes:
        has_rows: whether the rows of an image are systems of their own.
    """

    has_rows = False
    takes_tensors = True  # a callable that arrays are not handed to

    def __init__(self, normal: Callable[[Tensor], Tensor]):
        self._normal = normal

    def __call__(self, v: Tensor) -> Tensor:
        """N v, contiguous."""
        return called(self._normal, v)

    def check(self, name: str, v: Tensor) -> None:
        """Raise unless ``v`` is a batch of the operator's images; this class takes any."""

    def enter(self, v: Tensor) -> Tensor:
        """An image in N's own layout, contiguous; may share memory with ``v``."""
        return v.contiguous()

    def leave(self, v: Tensor) -> Tensor:
        """The inverse of ``enter``."""
        return v

    def groups(self, coupling: str, samples: int, v: Tensor) -> int:
        """How many sets of scalars a solve has; a group's numbers lie in memory one by one."""
        return 1 if coupling == "all" else samples

    def fused(self, v: Tensor, gamma: Tensor | None, coupling: str) -> tuple[Tensor, Tensor] | None:
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
    solvers may keep what they prepare for one, and tensors that one was made of must not be
    written. What a subclass defines takes NumPy and CuPy arrays too, and answers with them.

    Attributes:
        norm_bound: an upper bound of ||A* A||, or None.
        image_dim: axes of a batch of complex images, for which solvers also take two real channels
            (samples, 2, ...); None where images may be real.
        data_dim: the same for data.
    """

    norm_bound: float | None = None
    image_dim: int | None = None
    data_dim: int | None = None

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        for name in ("__init__", "matvec", "adjoint", "normal", "update", "prox"):
            if name in vars(cls):
                setattr(cls, name, accepts_arrays(vars(cls)[name], cls.__name__))

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


def dot_test(
    operator: LinearOperator | Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor | None = None,
    n: int = 8,
    seed: int = 0,
) -> float:
    """The worst relative gap between <A x, y> and <x, A* y> for random x and y.

    max |<A x, y> - <x, A* y>| / (||A x|| ||y||), the sums in float64; real and complex numbers are
    drawn where the tensors are complex. A matched pair gives about the rounding of its dtype, one
    that answers with NaN or Inf gives Inf.

    Args:
        operator: the pair; without ``y`` also a callable v -> N v.
        x: an image; its shape, dtype and device alone are used.
        y: data, likewise; None tests whether N is Hermitian, <N x, y> = <x, N y>.
        n: pairs of each kind.
        seed: of the draws.

    Example:
        >>> import torch
        >>> from subkern.imaging import Dense, dot_test
        >>> A = Dense(torch.randn(3, 4))
        >>> dot_test(A, torch.empty(1, 4), torch.empty(1, 3)) < 1e-6
        True
    """
    check_tensor("dot_test", "x", x)
    if y is not None:
        check_tensor("dot_test", "y", y)
        if not isinstance(operator, LinearOperator):
            raise TypeError(
                "dot_test: operator must be a LinearOperator where y is given, "
                f"got {type(operator).__name__}"
            )
        pair: tuple[Callable[[Tensor], Tensor], ...] = (operator.matvec, operator.adjoint)
    else:
        normal = as_normal("dot_test", operator)
        pair = (lambda v: normal.leave(normal(normal.enter(v))),) * 2
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"dot_test: n must be a whole number of at least 1, got {n!r}")
    generator = torch.Generator().manual_seed(seed)

    def draw(like: Tensor, real: bool) -> Tensor:
        v = torch.randn(like.shape, dtype=like.dtype, generator=generator)
        return (v.real + 0j if real and v.is_complex() else v).to(like.device, like.dtype)

    def inner(a: Tensor, b: Tensor) -> complex:
        wide = torch.complex128
        return complex(torch.vdot(a.flatten().to(wide), b.flatten().to(wide)))

    worst = 0.0
    with torch.no_grad():
        for real in (True, False):
            for _ in range(n):
                u, v = draw(x, real), draw(x if y is None else y, real)
                Au, Av = pair[0](u), pair[1](v)
                gap = abs(inner(Au, v) - inner(u, Av))
                scale = math.sqrt(inner(Au, Au).real * inner(v, v).real)
                part = 0.0 if gap == 0 else gap / scale if scale else math.inf
                worst = max(worst, part if math.isfinite(part) else math.inf)
    return worst
