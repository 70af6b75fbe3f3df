"""Conjugate gradients on batches of Hermitian positive definite systems."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from subkern.backends import registry
from subkern.ops._called import called
from subkern.ops._channels import Layout, layout_of
from subkern.ops._checks import check_choice, check_flag, check_number
from subkern.ops._interop import accepts_arrays
from subkern.ops._krylov import (
    CGResult,
    back_projection,
    check_alike,
    check_gamma,
    check_out,
    check_steps,
    check_vector,
    check_workspace,
    forced,
)
from subkern.ops._operator import LinearOperator, NormalOperator, as_normal

COUPLINGS = ("sample", "row", "all")


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
    given: tuple[Tensor, str],
    layout: Layout,
    tensors: dict[str, Tensor | None],
    gamma: float | Tensor | None,
    o: Options,
) -> CGResult:
    """Check what is left, enter the operator's layout, run, and leave it.

    Args:
        op: the entry point.
        operator: as the caller gave it.
        given: a tensor like the solution, as the caller gave it, and its name.
        layout: of that tensor.
        tensors: rhs, x0 and centre, read from that layout.
        gamma: weights.
        o: the rest.
    """
    like, like_name = given
    normal: NormalOperator = as_normal(op, operator)
    rhs = tensors["rhs"]
    assert rhs is not None
    normal.check(like_name, rhs)
    weights = check_gamma(op, gamma, rhs)
    check_steps(op, "maxiter", o.maxiter)
    check_steps(op, "replace_every", o.replace_every)
    check_steps(op, "check_every", o.check_every)
    rtol, atol = check_number(op, "rtol", o.rtol), check_number(op, "atol", o.atol)
    check_choice(op, "coupling", o.coupling, COUPLINGS)
    if o.coupling == "row" and not normal.has_rows:
        raise ValueError(
            f"{op}: coupling must be 'sample' or 'all' for an operator whose rows are not "
            "independent, got 'row'"
        )
    check_flag(op, "info", o.info)
    if o.precond is not None and not callable(o.precond):
        raise TypeError(f"{op}: precond must be callable, got {type(o.precond).__name__}")
    check_workspace(op, o.workspace, like, **{like_name: like}, **tensors)
    check_out(op, o.out, like, like_name)
    with torch.no_grad(), forced(op, o.backend):
        entered = {k: None if v is None else normal.enter(v) for k, v in tensors.items()}
        call = dict(
            normal=normal,
            **entered,
            gamma=weights,
            coupling=o.coupling,
            workspace=_scratch(o.workspace, like, rhs),
            true_residual=o.info,
            maxiter=o.maxiter,
            rtol=rtol,
            atol=atol,
            precond=_within(normal, layout, o.precond),
            replace_every=o.replace_every,
            check_every=o.check_every,
        )
        x, norms, iterations, status = registry.run("cg", rhs.device.type, call)
        x = layout.write(normal.leave(x))
        if o.out is not None:
            x = o.out.copy_(x)
    return CGResult(x, norms, iterations, status)


def _scratch(workspace: Tensor | None, like: Tensor, rhs: Tensor) -> Tensor | None:
    """A workspace in the dtype of the operator's images."""
    if workspace is None or rhs.dtype == like.dtype:
        return workspace
    if workspace.storage_offset() % 2:
        raise ValueError("cg: workspace must start at an even element, got an odd one")
    return torch.view_as_complex(workspace[: 2 * like.numel()].view(-1, 2))


def _within(
    normal: NormalOperator, layout: Layout, precond: Callable[[Tensor], Tensor] | None
) -> Callable[[Tensor], Tensor] | None:
    """A preconditioner of images as one of N's own layout."""
    if precond is None:
        return None
    return lambda r: normal.enter(layout.read(called(precond, layout.write(normal.leave(r)))))


@torch._disable_dynamo  # the operator is anybody's: compiled code is cut at a solve
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
        >>> found = subkern.cg(lambda v: v @ K, torch.tensor([[1.0, 2.0]]), rtol=1e-5)
        >>> [round(x, 4) for x in found.x[0].tolist()], found.status.tolist()
        ([0.0909, 0.6364], [0])
    """
    b = check_vector("cg", "b", b)
    layout = layout_of(op, b)
    start = None if x0 is None else layout.read(check_alike("cg", "x0", x0, b, "b"))
    options = Options(
        *(maxiter, rtol, atol, precond, coupling, replace_every, check_every),
        *(workspace, out, info, backend),
    )
    tensors = dict(rhs=layout.read(b), x0=start, centre=None)
    return _solve("cg", op, (b, "b"), layout, tensors, gamma, options)


@torch._disable_dynamo
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
    layout = layout_of(op, z)
    with torch.no_grad(), forced("cg_prox", backend):
        Aty = back_projection("cg_prox", op, z, layout, y, Aty)
    if gamma is None:
        raise TypeError("cg_prox: gamma must be a number or a tensor, got None")
    options = Options(
        *(maxiter, rtol, atol, precond, coupling, replace_every, check_every),
        *(workspace, out, info, backend),
    )
    tensors = dict(rhs=Aty, x0=None, centre=layout.read(z))
    return _solve("cg_prox", op, (z, "z"), layout, tensors, gamma, options)
