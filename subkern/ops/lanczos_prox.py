"""One Krylov space for proximal steps of many weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from subkern.backends import registry
from subkern.ops._called import called
from subkern.ops._channels import Layout, layout_of
from subkern.ops._checks import check_flag, check_number
from subkern.ops._interop import GivesArrays, accepts_arrays
from subkern.ops._krylov import (
    back_projection,
    check_alike,
    check_data,
    check_steps,
    check_vector,
    check_weights,
    dot,
    forced,
)
from subkern.ops._operator import LinearOperator, NormalOperator, as_normal
from subkern.ops.combine import combine
from subkern.reference.cg import as_complex, as_real
from subkern.reference.lanczos_prox import (
    coefficients,
    data_residual,
    discrepancy,
    lanczos,
    tridiagonal,
)

method = partial(accepts_arrays, op="lanczos_prox")


class LanczosProx(GivesArrays):
    """The space that :func:`subkern.lanczos_prox` built, ready for any weight.

    A sample that is not finite, or whose N is so far from positive that I + gamma N is not, gives
    NaN; the others are not touched by it.

    Args:
        normal: N.
        layout: of the caller's images.
        z: the centre in the layout of N.
        Aty: A* y, likewise.
        M: steps.
        start: (samples,) float64, ||A z - y||^2, or None.
        reorthogonalize: see :func:`lanczos_prox`.
        backend: that was asked for, or None.
    """

    def __init__(
        self,
        normal: NormalOperator,
        layout: Layout,
        z: Tensor,
        Aty: Tensor,
        M: int,
        start: Tensor | None,
        reorthogonalize: bool,
        backend: str | None,
    ):
        self._normal, self._layout, self._backend, self._start = normal, layout, backend, start
        self._z = z.clone()  # the caller may write its own before the last weight
        self._V, alpha, self._beta = lanczos(normal, Aty - normal(z), M, reorthogonalize, dot)
        self._T = tridiagonal(alpha, self._beta)

    @property
    def T(self) -> Tensor:
        """(samples, M, M) float64, N restricted to the space."""
        return self._give(self._T)

    @property
    def beta(self) -> Tensor:
        """(samples, M + 1) float64: ||A* y - N z||, then what each next vector was scaled by."""
        return self._give(self._beta)

    def _weights(self, gamma: float | Tensor) -> Tensor:
        return check_weights("lanczos_prox", "gamma", gamma, self._z).double()

    def _coefficients(self, weights: Tensor) -> Tensor:
        return coefficients(self._T, self._beta[:, 0], weights)

    def _solve(self, weights: Tensor) -> Tensor:
        z, samples = self._z, len(self._z)
        c = self._coefficients(weights)
        with forced("lanczos_prox", self._backend), registry.unless_absent("combine"):
            found = combine(as_real(z, samples), self._V, c, backend="")
        return self._layout.write(self._normal.leave(as_complex(found, z)))

    @method
    def solve(self, gamma: float | Tensor) -> Tensor:
        """What cg_prox finds in M steps: x = z + V (T + I / gamma)^-1 e1 ||r0||.

        Args:
            gamma: >= 0, a number or (samples,).
        """
        with torch.no_grad():
            return self._give(self._solve(self._weights(gamma)))

    @method
    def residual(self, gamma: float | Tensor) -> Tensor:
        """(samples,) float64: the norm of b - H x at x(gamma), without another N."""
        with torch.no_grad():
            weights = self._weights(gamma)
            c = self._coefficients(weights)
            return self._give(weights * self._beta[:, -1] * c[:, -1].abs())

    @method
    def data_residual(self, gamma: float | Tensor) -> Tensor:
        """(samples,) float64: ||A x - y|| at x(gamma), without another A; needs ``y``."""
        start = self._begin()
        with torch.no_grad():
            weights = self._weights(gamma)
            return self._give(data_residual(self._T, self._beta[:, 0], start, weights).sqrt())

    @method
    def discrepancy(
        self, target: float | Tensor, *, low: float = 1e-6, high: float = 1e6
    ) -> tuple[Tensor, Tensor]:
        """Solve for the weight at which ||A x - y|| = target (Morozov's discrepancy principle).

        Args:
            target: norm of the noise, >= 0, a number or (samples,); out of reach, the nearest bound
                is taken.
            low: least weight.
            high: largest weight.

        Returns:
            x, and the weights (samples,) float64.

        Raises:
            ValueError: the space was built without ``y``, or the bounds are no interval.
        """
        low, high = (check_number("lanczos_prox", n, v) for n, v in (("low", low), ("high", high)))
        if not 0 < low < high:
            raise ValueError(f"lanczos_prox: low must be in (0, high), got {low} and {high}")
        start = self._begin()
        goal = check_weights("lanczos_prox", "target", target, self._z).double().square()
        with torch.no_grad():
            gamma = discrepancy(self._T, self._beta[:, 0], start, goal, low, high)
            return self._give((self._solve(gamma), gamma))

    def _begin(self) -> Tensor:
        if self._start is None:
            raise ValueError("lanczos_prox: y must be given for residuals of data, got None")
        return self._start


@torch._disable_dynamo
@accepts_arrays
def lanczos_prox(
    op: LinearOperator | Callable[[Tensor], Tensor],
    z: Tensor,
    Aty: Tensor | None = None,
    M: int = 10,
    *,
    y: Tensor | None = None,
    reorthogonalize: bool = True,
    backend: str | None = None,
) -> LanczosProx:
    """Build the Krylov space of N and A* y - N z once, for proximal steps of any weight gamma.

    M steps of Lanczos give N V = V T + ...; then x(gamma) = z + V (T + I / gamma)^-1 e1 ||r0||
    minimizes ||x - z||^2 + gamma ||A x - y||^2 over z + span V, as M steps of :func:`cg_prox` do,
    for the price of one combination of M images (Lanczos, 1950; Frommer and Maass, 1999).

    Args:
        op: see :func:`cg`; with ``y``, a LinearOperator.
        z: (samples, ...), the centre.
        Aty: A* y, like z; None if ``y`` is given.
        M: steps, and images kept, at least 1.
        y: data; needed for :meth:`LanczosProx.discrepancy`.
        reorthogonalize: against all earlier vectors; without it the vectors lose orthogonality as
            some of T's values converge.
        backend: implementation to use; None picks.

    Returns:
        :class:`LanczosProx` with ``solve``, ``residual``, ``data_residual`` and ``discrepancy``.

    Raises:
        TypeError, ValueError: an argument of the wrong kind, dtype, shape or value.

    Example:
        >>> import torch, subkern
        >>> from subkern.imaging import Dense
        >>> A = Dense(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        >>> space = subkern.lanczos_prox(A, torch.zeros(1, 2), y=torch.ones(1, 2), M=2)
        >>> [[round(v, 4) for v in space.solve(g)[0].tolist()] for g in (1.0, 100.0)]
        [[0.5, 0.4], [0.9901, 0.4988]]
    """
    given = check_vector("lanczos_prox", "z", z)
    check_steps("lanczos_prox", "M", M, 1)
    check_flag("lanczos_prox", "reorthogonalize", reorthogonalize)
    normal: NormalOperator = as_normal("lanczos_prox", op)
    layout = layout_of(op, given)
    z, start = layout.read(given), None
    normal.check("z", z)
    with torch.no_grad(), forced("lanczos_prox", backend):
        if y is not None:
            data = check_data("lanczos_prox", op, y)
            gap = called(op.matvec, z, like=data, name="y") - data  # type: ignore[union-attr]
            gaps = as_real(gap, len(gap))
            start = dot(gaps, gaps)
        if y is None or Aty is None:
            Aty = back_projection("lanczos_prox", op, given, layout, y, Aty)
        else:
            Aty = layout.read(check_alike("lanczos_prox", "Aty", Aty, given, "z"))
        z, Aty = normal.enter(z), normal.enter(Aty)
        return LanczosProx(normal, layout, z, Aty, M, start, reorthogonalize, backend)


__all__: list[Any] = ["LanczosProx", "lanczos_prox"]
