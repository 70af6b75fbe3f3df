"""Conjugate gradients for regularized least squares."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from subkern.ops._called import called, name_of
from subkern.ops._channels import Channels, Layout, has_channels, layout_of
from subkern.ops._checks import check_number
from subkern.ops._interop import accepts_arrays
from subkern.ops._krylov import CGResult, check_data, check_steps, check_vector, dot, forced
from subkern.ops._operator import LinearOperator
from subkern.reference.cgls import cgls as iterate


@torch._disable_dynamo
@accepts_arrays
def cgls(
    op: LinearOperator,
    y: Tensor,
    x0: Tensor | None = None,
    *,
    damp: float = 0.0,
    maxiter: int = 20,
    rtol: float = 0.0,
    atol: float = 0.0,
    check_every: int = 0,
    backend: str | None = None,
) -> CGResult:
    """Minimize ||A x - y||^2 + damp^2 ||x||^2 for every sample, the residual kept in data space.

    The same iterates as :func:`cg` on (A* A + damp^2 I) x = A* y in exact arithmetic, with less
    rounding where A is ill-conditioned and the steps are many (Hestenes and Stiefel, 1952; Bjorck,
    1996)::

        q = A p    alpha = ||s||^2 / (||q||^2 + damp^2 ||p||^2)    x += alpha p    r -= alpha q
        s' = A* r - damp^2 x    p = s' + (||s'||^2 / ||s||^2) p

    Args:
        op: A, a :class:`subkern.imaging.LinearOperator`.
        y: (samples, ...), data.
        x0: image to start at; None is 0.
        damp: >= 0.
        maxiter: steps at most.
        rtol: a sample is done where ||s|| <= max(rtol ||A* y||, atol).
        atol: see there.
        check_every: steps after which the host looks whether all are done; 0 never does.
        backend: of the operator's kernels; None picks.

    Returns:
        :class:`subkern.ops.CGResult`; its residual is s.

    Raises:
        TypeError, ValueError: an argument of the wrong kind, dtype, shape or value.

    Backends: the operator's; the vector steps are torch's (any device, all four dtypes of cg).

    Example:
        >>> import torch, subkern
        >>> from subkern.imaging import Dense
        >>> A = Dense(torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))
        >>> found = subkern.cgls(A, torch.tensor([[3.0, 4.0, 5.0]]), maxiter=2)
        >>> [round(x, 5) for x in found.x[0].tolist()]
        [3.0, 2.0]
    """
    if not isinstance(op, LinearOperator):
        raise TypeError(f"cgls: op must be a LinearOperator, got {type(op).__name__}")
    layout = Channels(y) if has_channels(y, op.data_dim) else Layout()
    y = check_data("cgls", op, y)
    check_steps("cgls", "maxiter", maxiter)
    check_steps("cgls", "check_every", check_every)
    damp = check_number("cgls", "damp", damp)
    rtol, atol = check_number("cgls", "rtol", rtol), check_number("cgls", "atol", atol)
    with torch.no_grad(), forced("cgls", backend):
        if x0 is not None:
            x0 = check_vector("cgls", "x0", x0)
            layout = layout_of(op, x0)
            x0 = layout.read(x0).contiguous()
        Aty = called(op.adjoint, y, like=x0, name="x0") if x0 is not None else _image(op, y)
        found = CGResult(
            *iterate(
                partial(called, op.matvec, like=y, name="y"),
                partial(called, op.adjoint, like=Aty, name="x0"),
                *(y, Aty, x0),
                damp=damp,
                maxiter=maxiter,
                rtol=rtol,
                atol=atol,
                check_every=check_every,
                dot=dot,
            )
        )
        return found._replace(x=layout.write(found.x))


def _image(op: LinearOperator, y: Tensor) -> Tensor:
    """A* y, contiguous, where nothing is known of images."""
    who = name_of(op.adjoint)
    Aty = check_vector(who, "result", op.adjoint(y)).contiguous()
    if len(Aty) != len(y) or Aty.device != y.device:
        raise ValueError(
            f"{who}: result must have {len(y)} samples on {y.device}, "
            f"got shape {tuple(Aty.shape)} on {Aty.device}"
        )
    return Aty
