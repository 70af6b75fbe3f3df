"""Operators of other libraries as operators of this one, and this solver inside of theirs.

Nothing is imported from them: an adapter asks an object for what it needs.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from subkern.imaging.cartesian_sense import CartesianSense
from subkern.ops._channels import to_channels, to_complex
from subkern.ops._checks import check_backend, check_choice, check_number
from subkern.ops._operator import LinearOperator, NormalOperator
from subkern.ops.cg import COUPLINGS, cg, cg_prox, check_steps


class Callables(LinearOperator):
    """An operator made of functions; see :func:`from_callables`."""

    def __init__(
        self,
        matvec: Callable[[Tensor], Tensor],
        adjoint: Callable[[Tensor], Tensor],
        normal: Callable[[Tensor], Tensor] | None = None,
    ):
        self._matvec, self._adjoint, self._normal = matvec, adjoint, normal

    def matvec(self, x: Tensor) -> Tensor:
        """A x."""
        return self._matvec(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """A* y."""
        return self._adjoint(y)

    def normal(self, x: Tensor) -> Tensor:
        """A* A x."""
        return super().normal(x) if self._normal is None else self._normal(x)


def from_callables(
    matvec: Callable[[Tensor], Tensor],
    adjoint: Callable[[Tensor], Tensor],
    normal: Callable[[Tensor], Tensor] | None = None,
) -> LinearOperator:
    """An operator from x -> A x and y -> A* y on batches; :func:`dot_test` tells if they match.

    Args:
        matvec: (samples, ...) -> (samples, ...).
        adjoint: its adjoint in the Hermitian inner product.
        normal: x -> A* A x where there is a shorter way; None composes the two.

    Raises:
        TypeError: an argument is not callable.

    Example:
        >>> import torch, subkern
        >>> A = from_callables(lambda x: 2 * x, lambda y: 2 * y)
        >>> subkern.cg_prox(A, torch.zeros(1, 2), torch.ones(1, 2), gamma=1.0).x.tolist()
        [[0.4000000059604645, 0.4000000059604645]]
    """
    for name, value in (("matvec", matvec), ("adjoint", adjoint), ("normal", normal)):
        if not callable(value) and not (name == "normal" and value is None):
            raise TypeError(f"from_callables: {name} must be callable, got {type(value).__name__}")
    return Callables(matvec, adjoint, normal)


def from_sigpy(linop: Any) -> LinearOperator:
    """An operator on batches from a ``sigpy.linop.Linop``, which takes one sample at a time.

    Samples are passed as NumPy or CuPy arrays that share the tensors' memory. Data types are those
    that the Linop returns: sigpy keeps complex64.

    Args:
        linop: with ``ishape``, ``oshape`` and ``H``; its ``N`` is A* A where it has one.

    Raises:
        TypeError: the object is no Linop.
        ValueError: (on use) a sample has another shape than the Linop takes.
    """
    for name in ("ishape", "oshape", "H"):
        if not hasattr(linop, name) or not callable(linop):
            raise TypeError(
                f"from_sigpy: linop must be a sigpy.linop.Linop, got {type(linop).__name__}"
            )
    normal = getattr(linop, "N", None)
    return Callables(
        _by_sample(linop), _by_sample(linop.H), None if normal is None else _by_sample(normal)
    )


def _by_sample(linop: Any) -> Callable[[Tensor], Tensor]:
    """One application after another, results in one tensor."""

    def apply(x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != tuple(linop.ishape):
            raise ValueError(
                f"from_sigpy: x must have shape (samples, {', '.join(map(str, linop.ishape))}), "
                f"got {tuple(x.shape)}"
            )
        out = None
        for i, sample in enumerate(x.detach().resolve_conj()):
            found = torch.from_dlpack(linop(_array(sample)))
            if out is None:
                out = found.new_empty((len(x), *found.shape))
            out[i] = found
        return x.new_empty((0, *linop.oshape)) if out is None else out

    return apply


def _array(x: Tensor) -> Any:
    if x.device.type == "cpu":
        return x.numpy()
    with torch.cuda.device(x.device):
        return importlib.import_module("cupy").from_dlpack(x)


def _is_physics(physics: object) -> bool:
    return all(callable(getattr(physics, name, None)) for name in ("A", "A_adjoint"))


def from_deepinv(physics: Any) -> LinearOperator:
    """An operator from a ``deepinv.physics.LinearPhysics``, in its layout of images and data.

    Complex images stay two-channel real ones, (samples, 2, H, W): as real vectors they have the
    inner product that conjugate gradients need. A two-dimensional ``MultiCoilMRI`` is solved for
    by the kernels of :class:`CartesianSense`, with the mask and the maps it has at the time.

    Args:
        physics: with ``A`` and ``A_adjoint``; ``A_adjoint_A`` is used where there is one.

    Raises:
        TypeError: the object is no linear physics.
    """
    if not _is_physics(physics):
        raise TypeError(
            f"from_deepinv: physics must be a deepinv LinearPhysics, got {type(physics).__name__}"
        )
    return Physics(physics)


class Physics(LinearOperator):
    """See :func:`from_deepinv`."""

    def __init__(self, physics: Any):
        self.physics = physics
        self._stamp: tuple[int, ...] | None = None
        self._kept: tuple[Tensor, ...] = ()  # while they live, no other tensor has their id
        self._sense: ChannelNormal | None = None

    def matvec(self, x: Tensor) -> Tensor:
        """Images as the physics takes them -> its data, without noise."""
        return self.physics.A(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """The physics' data -> images."""
        return self.physics.A_adjoint(y)

    def normal(self, x: Tensor) -> Tensor:
        """A* A x."""
        found = getattr(self.physics, "A_adjoint_A", None)
        return super().normal(x) if found is None else found(x)

    def normal_operator(self) -> NormalOperator:
        """N for solvers; kernels for multi-coil Cartesian imaging."""
        maps, mask = (getattr(self.physics, name, None) for name in ("coil_maps", "mask"))
        kind = f"{type(self.physics).__module__}.{type(self.physics).__name__}"
        plain = kind == "deepinv.physics.mri.MultiCoilMRI" and not self.physics.three_d
        if not plain or not isinstance(maps, Tensor) or not isinstance(mask, Tensor):
            return NormalOperator(self.normal)
        # The maps and the mask may be replaced, or written to, between two solves.
        stamp = (id(maps), _writes(maps), id(mask), _writes(mask))
        if stamp != self._stamp:
            self._stamp, self._kept, self._sense = stamp, (maps, mask), _sense(maps, mask)
        return self._sense or NormalOperator(self.normal)


def _writes(x: Tensor) -> int:
    """How often a tensor was written to; not known of those made in inference mode."""
    return 0 if x.is_inference() else x._version


def _sense(maps: Tensor, mask: Tensor) -> ChannelNormal | None:
    """N by kernels; None if the mask is not one mask of real and imaginary parts."""
    alike = mask.dim() == 4 and maps.dim() == 4 and bool((mask == mask[:, :1]).all())
    samples = {len(maps), len(mask)} - {1}
    if not alike or len(samples) > 1 or maps.dtype != torch.complex64:
        return None
    weights = mask[:, :1].abs().to(maps.real.dtype)
    if samples and len(maps) == 1:
        maps = maps.expand(len(mask), -1, -1, -1)
    return ChannelNormal(CartesianSense(maps, weights).normal_operator())


class ChannelNormal(NormalOperator):
    """An operator on complex images for solvers that are given two-channel ones."""

    def __init__(self, inner: NormalOperator):
        self._inner, self.has_rows = inner, inner.has_rows

    def __call__(self, v: Tensor) -> Tensor:
        """N v, complex."""
        return self._inner(v)

    def enter(self, v: Tensor) -> Tensor:
        """(samples, 2, H, W) real -> the layout of the kernels."""
        return self._inner.enter(to_complex(v))

    def leave(self, v: Tensor) -> Tensor:
        """The inverse of ``enter``."""
        return to_channels(self._inner.leave(v))

    def groups(self, coupling: str, samples: int, v: Tensor) -> int:
        """As without channels: the vectors iterated with are the kernels' own."""
        return self._inner.groups(coupling, samples, v)

    def fused(self, v: Tensor, gamma: Tensor | None, coupling: str) -> tuple[Tensor, Tensor] | None:
        """Likewise."""
        return self._inner.fused(v, gamma, coupling)

    def solve_fixed(self, *args: Any, **options: Any) -> Any:
        """Likewise."""
        return self._inner.solve_fixed(*args, **options)


class DeepinvProx:
    """What :func:`deepinv_prox` returns; copying a physics copies it along."""

    def __init__(self, physics: Any, maxiter: int, rtol: float, coupling: str, backend: str | None):
        self.operator = from_deepinv(physics)
        self.maxiter, self.rtol, self.coupling, self.backend = maxiter, rtol, coupling, backend

    def __call__(
        self,
        z: Tensor | float | None,
        y: Tensor,
        gamma: float | Tensor | None,
        solver: str | None = None,
        max_iter: int | None = None,
        tol: float | None = None,
        verbose: bool = False,
        **other: object,
    ) -> Tensor:
        """The arguments of ``LinearPhysics.prox_l2``; ``solver`` and ``verbose`` are not used."""
        if other:
            raise TypeError(f"deepinv_prox: arguments must be prox_l2's, got {sorted(other)}")
        if torch.is_grad_enabled() and any(
            isinstance(v, Tensor) and v.requires_grad for v in (z, y, gamma)
        ):
            raise ValueError(
                "deepinv_prox: z, y and gamma must not require gradients, which the solver does "
                "not carry; call it under torch.no_grad()"
            )
        maxiter = self.maxiter if max_iter is None else int(max_iter)
        rtol = self.rtol if tol is None else float(tol)
        options: dict[str, Any] = dict(coupling=self.coupling, backend=self.backend)
        # A tolerance ends a solve early only where the host looks.
        options |= dict(maxiter=maxiter, rtol=rtol, check_every=1 if rtol else 0)
        with torch.no_grad():
            Aty = self.operator.adjoint(y)
            if not isinstance(z, Tensor):
                z = torch.full_like(Aty, 0.0 if z is None else float(z))
            if gamma is None:
                return cg(self.operator, Aty, z, **options).x
            if isinstance(gamma, Tensor):
                gamma = _weights(gamma, len(Aty))
            return cg_prox(self.operator, z, Aty=Aty, gamma=gamma, **options).x


def _weights(gamma: Tensor, samples: int) -> Tensor:
    """A weight for each sample; deepinv also passes (samples, 1, ...)."""
    count = gamma.numel()
    if count not in (1, samples) or (gamma.dim() > 1 and len(gamma) != count):
        raise ValueError(
            f"deepinv_prox: gamma must be a number or have one for each of {samples} samples, "
            f"got shape {tuple(gamma.shape)}"
        )
    return gamma.reshape(-1)


def deepinv_prox(
    physics: Any,
    *,
    maxiter: int = 5,
    rtol: float = 0.0,
    coupling: str = "sample",
    backend: str | None = None,
) -> DeepinvProx:
    """This library's solver in the place of deepinv's, for a whole pipeline in one line.

    ``physics.prox_l2 = deepinv_prox(physics)`` replaces the proximal step of the data term, which
    has the same meaning in both: argmin_x gamma / 2 ||A x - y||^2 + 1 / 2 ||x - z||^2, started at
    z. Data-fidelity terms, plug-and-play iterations and networks that call ``physics.prox_l2`` take
    the new solver from then on; ``del physics.prox_l2`` brings the old one back. The new one takes
    ``maxiter`` steps and looks at nothing on the way unless it is given a tolerance.

    Args:
        physics: a ``deepinv.physics.LinearPhysics``.
        maxiter: steps, unless the call says ``max_iter``.
        rtol: tolerance relative to the right-hand side, unless the call says ``tol``.
        coupling: see :func:`subkern.cg`.
        backend: implementation to use; None picks.

    Returns:
        A callable with the arguments of ``LinearPhysics.prox_l2``. It carries no gradient, and
        refuses tensors that require one.

    Raises:
        TypeError, ValueError: an argument of the wrong kind or value.
    """
    if not _is_physics(physics):
        raise TypeError(
            f"deepinv_prox: physics must be a deepinv LinearPhysics, got {type(physics).__name__}"
        )
    check_steps("deepinv_prox", "maxiter", maxiter)
    check_number("deepinv_prox", "rtol", rtol)
    check_choice("deepinv_prox", "coupling", coupling, COUPLINGS)
    check_backend("deepinv_prox", backend)
    return DeepinvProx(physics, maxiter, rtol, coupling, backend)
