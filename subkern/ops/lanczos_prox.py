"""One Krylov space for proximal steps of many weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from subkern.backends import registry
from subkern.ops._checks import check_backend, check_flag, check_number, check_tensor
from subkern.ops._interop import accepts_arrays
from subkern.ops._operator import LinearOperator, NormalOperator, as_normal
from subkern.ops.cg import back_projection, check_alike, check_gamma, check_steps, check_vector
from subkern.ops.combine import combine
from subkern.reference.cg import as_real
from subkern.reference.lanczos_prox import (
    coefficients,
    data_residual,
    discrepancy,
    lanczos,
    real_dot,
    tridiagonal,
)


class LanczosProx:
    """The space that :func:`subkern.lanczos_prox` built, ready for any weight.

    Attributes:
        T: (samples, M, M) float64, N restricted to the space.
        beta: (samples, M + 1) float64; the first is ||A* y - N z||, the last what the next vector
            would have been scaled by.
    """

    def __init__(
        self,
        normal: NormalOperator,
        z: Tensor,
        Aty: Tensor,
        M: int,
        start: Tensor | None,
        reorthogonalize: bool,
        backend: str,
    ):
        self._normal, self._backend, self._start = normal, backend, start
        self._z = normal.enter(z)
        r = (normal.enter(Aty) - normal(self._z)).contiguous()
        self._V, self._alpha, self.beta = lanczos(normal, r, M, reorthogonalize)
        self.T = tridiagonal(self._alpha, self.beta)

    def _weights(self, gamma: float | Tensor) -> Tensor:
        weights = check_gamma("lanczos_prox", gamma, self._z)
        if weights is None:
            raise TypeError("lanczos_prox: gamma must be a number or a tensor, got None")
        return weights.double()

    def solve(self, gamma: float | Tensor) -> Tensor:
        """x = z + V (T + I / gamma)^-1 e1 ||r0||: what cg_prox finds in M steps.

        Args:
            gamma: >= 0, a number or (samples,).
        """
        with torch.no_grad():
            c = coefficients(self.T, self.beta[:, 0], self._weights(gamma))
            z, samples = self._z, len(self._z)
            V = torch.view_as_real(self._V) if self._V.is_complex() else self._V
            V = V.view(samples, V.shape[1], -1 if V.numel() else 0)
            forced = self._backend
            with registry.backend(forced) if forced else contextlib.nullcontext():
                with registry.unless_absent("combine"):
                    found = combine(as_real(z, samples), V, c, backend="")
            if z.is_complex():
                found = torch.view_as_complex(found.view(*z.shape, 2))
            return self._normal.leave(found.view(z.shape))

    def residual(self, gamma: float | Tensor) -> Tensor:
        """(samples,) float64: the norm of b - H x at x(gamma), without another N."""
        with torch.no_grad():
            weights = self._weights(gamma)
            c = coefficients(self.T, self.beta[:, 0], weights)
            return weights * self.beta[:, -1] * c[:, -1].abs()

    def data_residual(self, gamma: float | Tensor) -> Tensor:
        """(samples,) float64: ||A x - y|| at x(gamma), without another A; needs ``y``."""
        with torch.no_grad():
            weights = self._weights(gamma)
            return data_residual(self.T, self.beta[:, 0], self._begin(), weights).sqrt()

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
        goal = check_gamma("lanczos_prox", target, self._z)
        assert goal is not None
        begin = self._begin()
        with torch.no_grad():
            goal = goal.double().square()
            gamma = discrepancy(self.T, self.beta[:, 0], begin, goal, low, high)
        return self.solve(gamma), gamma

    def _begin(self) -> Tensor:
        if self._start is None:
            raise ValueError("lanczos_prox: y must be given for residuals of data, got None")
        return self._start


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
    z = check_vector("lanczos_prox", "z", z)
    check_steps("lanczos_prox", "M", M, 1)
    check_flag("lanczos_prox", "reorthogonalize", reorthogonalize)
    normal: NormalOperator = as_normal("lanczos_prox", op)
    name = check_backend("lanczos_prox", backend)
    start = None
    with torch.no_grad(), registry.backend(name) if name else contextlib.nullcontext():
        if y is not None:
            check_tensor("lanczos_prox", "y", y)
            if not isinstance(op, LinearOperator):
                raise TypeError(
                    f"lanczos_prox: op must be a LinearOperator where y is given, "
                    f"got {type(op).__name__}"
                )
            gap = op.matvec(z) - y.detach()
            start = real_dot(gap, gap)
        if Aty is None:
            Aty = back_projection("lanczos_prox", op, z, y, None)
        Aty = check_alike("lanczos_prox", "Aty", Aty, z, "z")
        return LanczosProx(normal, z, Aty, M, start, reorthogonalize, name)


__all__: list[Any] = ["LanczosProx", "lanczos_prox"]
