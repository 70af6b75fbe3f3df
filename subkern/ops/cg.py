"""Conjugate gradients on batches of Hermitian positive definite systems."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from subkern.backends import registry
from subkern.ops._checks import check_backend, check_choice, check_flag, check_number, check_tensor
from subkern.ops._interop import accepts_arrays
from subkern.ops._operator import LinearOperator, NormalOperator, as_normal

DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)
COUPLINGS = ("sample", "row", "all")


class CGResult(NamedTuple):
    """What a solve found.

    Attributes:
        x: the solution.
        residual_norm: (samples,) float64, ||b - H x||; of the recursion, unless ``info=True``.
        iterations: (samples,) int32.
        status: (samples,) int32; 0 met the tolerance, 1 did all the steps, 2 stagnated near the
            rounding floor, 3 met curvature that is not positive, 4 is not finite. On 2, 3 and 4 x
            is the last that was good.
    """

    x: Tensor
    residual_norm: Tensor
    iterations: Tensor
    status: Tensor


def check_vector(op: str, name: str, value: object) -> Tensor:
    """A batch of real or complex images or vectors, detached."""
    check_tensor(op, name, value)
    assert isinstance(value, Tensor)
    if value.dtype not in DTYPES:
        raise TypeError(
            f"{op}: {name} must be float32, float64, complex64 or complex128, got {value.dtype}"
        )
    if value.dim() < 2:
        raise ValueError(
            f"{op}: {name} must have shape (samples, ...), got {tuple(value.shape)}"
        )
    return value.detach()


def check_alike(op: str, name: str, value: object, like: Tensor, like_name: str) -> Tensor:
    """A tensor in the shape, dtype and device of another, detached."""
    check_tensor(op, name, value)
    assert isinstance(value, Tensor)
    if value.dtype != like.dtype:
        raise TypeError(f"{op}: {name} must be {like.dtype} like {like_name}, got {value.dtype}")
    if value.shape != like.shape:
        raise ValueError(
            f"{op}: {name} must have shape {tuple(like.shape)} like {like_name}, "
            f"got {tuple(value.shape)}"
        )
    if value.device != like.device:
        raise ValueError(f"{op}: {name} must be on {like.device}, got {value.device}")
    return value.detach()


def check_steps(op: str, name: str, value: object, least: int = 0) -> int:
    """A whole number of steps."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{op}: {name} must be an int, got {type(value).__name__}")
    if value < least:
        raise ValueError(f"{op}: {name} must be at least {least}, got {value}")
    return value


def check_gamma(op: str, gamma: float | Tensor | None, like: Tensor) -> Tensor | None:
    """One weight for each sample, real, or None; the values of a tensor are not looked at."""
    if gamma is None:
        return None
    real = like.real.dtype
    if isinstance(gamma, Tensor):
        check_tensor(op, "gamma", gamma)
        if not gamma.is_floating_point():
            raise TypeError(f"{op}: gamma must be floating point, got {gamma.dtype}")
        if gamma.shape not in ((), (1,), (len(like),)):
            raise ValueError(
                f"{op}: gamma must be a number or have one for each of {len(like)} samples, "
                f"got shape {tuple(gamma.shape)}"
            )
        if gamma.device != like.device and gamma.dim():
            raise ValueError(f"{op}: gamma must be on {like.device}, got {gamma.device}")
        return gamma.detach().to(like.device, real).expand(len(like)).contiguous()
    check_number(op, "gamma", gamma)
    return torch.full((len(like),), float(gamma), dtype=real, device=like.device)


def check_workspace(op: str, workspace: object, like: Tensor) -> Tensor | None:
    """Scratch for the residual and the direction."""
    if workspace is None:
        return None
    check_tensor(op, "workspace", workspace)
    assert isinstance(workspace, Tensor)
    if workspace.dtype != like.dtype or workspace.device != like.device:
        raise TypeError(
            f"{op}: workspace must be {like.dtype} on {like.device}, "
            f"got {workspace.dtype} on {workspace.device}"
        )
    if workspace.dim() != 1 or workspace.numel() < 2 * like.numel() or workspace.stride(0) != 1:
        raise ValueError(
            f"{op}: workspace must be a contiguous vector of at least {2 * like.numel()} elements, "
            f"got shape {tuple(workspace.shape)}"
        )
    return workspace


class Options(NamedTuple):
    """What both entry points pass on."""

    maxiter: int
    rtol: float
    atol: float
    precond: Callable[[Tensor], Tensor] | None
    coupling: str
    replace_every: int
    check_every: int
    workspace: Tensor | None
    out: Tensor | None
    info: bool
    backend: str | None


def _solve(
    op: str,
    operator: Any,
    rhs: Tensor,
    x0: Tensor | None,
    centre: Tensor | None,
    gamma: float | Tensor | None,
    o: Options,
) -> CGResult:
    normal: NormalOperator = as_normal(op, operator)
    weights = check_gamma(op, gamma, rhs)
    check_steps(op, "maxiter", o.maxiter)
    check_steps(op, "replace_every", o.replace_every)
    check_steps(op, "check_every", o.check_every)
    rtol, atol = check_number(op, "rtol", o.rtol), check_number(op, "atol", o.atol)
    check_choice(op, "coupling", o.coupling, COUPLINGS)
    check_flag(op, "info", o.info)
    if o.precond is not None and not callable(o.precond):
        raise TypeError(f"{op}: precond must be callable, got {type(o.precond).__name__}")
    if o.out is not None:
        check_alike(op, "out", o.out, rhs, "the right-hand side")
        if not o.out.is_contiguous():
            raise ValueError(f"{op}: out must be contiguous, got strides {o.out.stride()}")
    name = check_backend(op, o.backend)
    forced = registry.backend(name) if name else contextlib.nullcontext()
    with torch.no_grad(), forced:
        enter = lambda v: None if v is None else normal.enter(v)  # noqa: E731
        call = dict(
            normal=normal,
            rhs=enter(rhs),
            x0=enter(x0),
            centre=enter(centre),
            gamma=weights,
            coupling=o.coupling,
            workspace=check_workspace(op, o.workspace, rhs),
            true_residual=o.info,
            maxiter=o.maxiter,
            rtol=rtol,
            atol=atol,
            precond=_within(normal, o.precond),
            replace_every=o.replace_every,
            check_every=o.check_every,
        )
        x, norms, iterations, status = registry.run("cg", rhs.device.type, call)
        x = normal.leave(x)
        if o.out is not None:
            x = o.out.copy_(x)
    return CGResult(x, norms, iterations, status)


def _within(
    normal: NormalOperator, precond: Callable[[Tensor], Tensor] | None
) -> Callable[[Tensor], Tensor] | None:
    """A preconditioner of images as one of N's own layout."""
    if precond is None:
        return None
    return lambda r: normal.enter(precond(normal.leave(r)))


@accepts_arrays
def cg(
    op: LinearOperator | Callable[[Tensor], Tensor],
    b: Tensor,
    x0: Tensor | None = None,
    *,
    gamma: float | Tensor | None = None,
    maxiter: int = 5,
    rtol: float = 0.0,
    atol: float = 0.0,
    precond: Callable[[Tensor], Tensor] | None = None,
    coupling: str = "sample",
    replace_every: int = 0,
    check_every: int = 0,
    workspace: Tensor | None = None,
    out: Tensor | None = None,
    info: bool = False,
    backend: str | None = None,
) -> CGResult:
    """Solve H x = b for every sample by conjugate gradients, H = N or I + gamma N.

    N = A* A is Hermitian and positive semidefinite. For every sample (Hestenes and Stiefel, 1952)::

        q = H p    alpha = rho / <p, q>    x += alpha p    r -= alpha q
        rho' = <r, P r>    p = P r + (rho' / rho) p        <u, v> = Re sum conj(u) v

    A sample stops where ||r|| <= max(rtol ||b||, atol) and is not written any more; without a
    tolerance all ``maxiter`` steps are taken, nothing is read by the host, and the call can be
    captured in a CUDA graph. Nothing is added to a denominator: data of any scale gives the same
    iterates. Samples do not influence each other. Results carry no gradient.

    Args:
        op: a :class:`subkern.imaging.LinearOperator`, or a callable v -> N v on such batches.
        b: (samples, ...) float32, complex64 (fast), float64 or complex128.
        x0: like b, where to start; None is 0.
        gamma: weight of N, >= 0, a number or (samples,); None solves N x = b.
        maxiter: steps at most.
        rtol: tolerance relative to ||b||. Below the rounding of the dtype a solve ends in status 2.
        atol: absolute tolerance.
        precond: r -> P r, P Hermitian and positive definite.
        coupling: what shares its scalars alpha and beta: each "sample", each "row" (an operator
            that leaves image rows independent, :class:`subkern.imaging.CartesianSense` with a line
            mask: never a larger error in the norm of H), or "all" samples, as one system.
        replace_every: steps after which r is computed anew from x; 0 never does.
        check_every: steps after which the host looks whether all samples are done, which waits for
            a GPU; 0 never does.
        workspace: scratch of the dtype of b, at least 2 b.numel() elements; None allocates.
        out: tensor for x, like b; may be x0.
        info: compute the residual norms from x, at the cost of one N.
        backend: implementation to use, of the operator's kernels too; None picks.

    Returns:
        :class:`CGResult` (x, residual_norm, iterations, status).

    Raises:
        TypeError, ValueError: an argument of the wrong kind, dtype, shape, device or value.
        BackendUnavailableError: no backend can serve the call, or the one asked for cannot.

    Backends: reference (any device, dtype), cpu, cuda and triton (float32, complex64).

    Example:
        >>> import torch, subkern
        >>> K = torch.tensor([[4.0, 1.0], [1.0, 3.0]])
        >>> found = subkern.cg(lambda v: v @ K, torch.tensor([[1.0, 2.0]]), maxiter=2)
        >>> [round(x, 4) for x in found.x[0].tolist()], found.status.tolist()
        ([0.0909, 0.6364], [1])
    """
    b = check_vector("cg", "b", b)
    if x0 is not None:
        x0 = check_alike("cg", "x0", x0, b, "b")
    options = Options(
        *(maxiter, rtol, atol, precond, coupling, replace_every, check_every),
        *(workspace, out, info, backend),
    )
    return _solve("cg", op, b, x0, None, gamma, options)


@accepts_arrays
def cg_prox(
    op: LinearOperator | Callable[[Tensor], Tensor],
    z: Tensor,
    y: Tensor | None = None,
    *,
    Aty: Tensor | None = None,
    gamma: float | Tensor,
    maxiter: int = 5,
    rtol: float = 0.0,
    atol: float = 0.0,
    precond: Callable[[Tensor], Tensor] | None = None,
    coupling: str = "sample",
    replace_every: int = 0,
    check_every: int = 0,
    workspace: Tensor | None = None,
    out: Tensor | None = None,
    info: bool = False,
    backend: str | None = None,
) -> CGResult:
    """Take the proximal step of data consistency: min_x ||x - z||^2 + gamma ||A x - y||^2.

    Solves (I + gamma N) x = z + gamma A* y by :func:`cg` from z. The right-hand side is never
    formed: the first residual is gamma (A* y - N z). With a mask of zeros x is z. This is the step
    of the Decomposed Diffusion Sampler (Chung, Lee and Ye, 2024, arXiv:2303.05754).

    Args:
        op: see :func:`cg`; with ``y``, a LinearOperator.
        z: (samples, ...), the centre.
        y: data; None if ``Aty`` is given.
        Aty: A* y, like z.
        gamma: weight of the data, >= 0, a number or (samples,).
        maxiter: see :func:`cg`; so for all that follow.
        rtol: relative to ||z + gamma A* y||.
        atol: absolute tolerance.
        precond: r -> P r.
        coupling: "sample", "row" or "all".
        replace_every: steps after which the residual is computed anew.
        check_every: steps after which the host looks.
        workspace: scratch.
        out: tensor for x; may be z.
        info: compute the residual norms from x.
        backend: implementation to use.

    Returns:
        :class:`CGResult`.

    Raises:
        TypeError, ValueError: see :func:`cg`; both or neither of y and Aty are given.

    Backends: as :func:`cg`.

    Example:
        >>> import torch, subkern
        >>> from subkern.imaging import Dense
        >>> A = Dense(torch.eye(2))
        >>> subkern.cg_prox(A, torch.zeros(1, 2), torch.ones(1, 2), gamma=3.0).x.tolist()
        [[0.75, 0.75]]
    """
    z = check_vector("cg_prox", "z", z)
    Aty = back_projection("cg_prox", op, z, y, Aty)
    if gamma is None:
        raise TypeError("cg_prox: gamma must be a number or a tensor, got None")
    options = Options(
        *(maxiter, rtol, atol, precond, coupling, replace_every, check_every),
        *(workspace, out, info, backend),
    )
    return _solve("cg_prox", op, Aty, None, z, gamma, options)


def back_projection(
    op: str, operator: Any, z: Tensor, y: Tensor | None, Aty: Tensor | None
) -> Tensor:
    """A* y, given or computed, in the shape of z."""
    if (y is None) == (Aty is None):
        given = "neither" if y is None else "both"
        raise ValueError(f"{op}: y or Aty must be given, one of them, got {given}")
    if Aty is None:
        if not isinstance(operator, LinearOperator):
            raise TypeError(
                f"{op}: op must be a LinearOperator where y is given, "
                f"got {type(operator).__name__}; pass Aty"
            )
        check_tensor(op, "y", y)
        with torch.no_grad():
            Aty = operator.adjoint(y)  # type: ignore[arg-type]
    return check_alike(op, "Aty", Aty, z, "z")
