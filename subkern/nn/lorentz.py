"""The Lorentz model of hyperbolic space: points (t, s) with t > 0 and -t^2 + ||s||^2 = -1/c.

The curvature is -c. A point is a vector of d + 1 features, time t first; its space part s alone
says which point it is, because t = sqrt(1/c + ||s||^2).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from subkern.ops._checks import check_floating, check_number, check_tensor

__all__ = ["distance", "project"]


def check_curvature(op: str, c: float) -> float:
    """A finite number above zero."""
    if check_number(op, "c", c) == 0:
        raise ValueError(f"{op}: c must be positive, got {c}")
    return float(c)


def _check_features(op: str, name: str, value: Tensor, least: int) -> None:
    check_tensor(op, name, value)
    check_floating(op, name, [value])
    if value.dim() < 1 or value.shape[-1] < least:
        raise ValueError(
            f"{op}: {name} must have a last dimension of at least {least}, "
            f"got shape {tuple(value.shape)}"
        )


def project(features: Tensor, *, c: float = 1.0) -> Tensor:
    """Take Euclidean features as the space part of a point: (sqrt(1/c + ||s||^2), s).

    Args:
        features: s (*batch, d), floating point, d >= 1.
        c: minus the curvature, > 0.

    Returns:
        Points (*batch, d + 1) of the dtype of ``features``. Time is computed in float32 at least,
        from the space part as it is stored.

    Raises:
        TypeError: an argument of the wrong kind or dtype.
        ValueError: a wrong shape or value.

    Example:
        >>> import torch
        >>> [round(v, 5) for v in project(torch.tensor([0.75, 1.0]), c=0.5).tolist()]
        [1.88746, 0.75, 1.0]
    """
    _check_features("project", "features", features, 1)
    check_curvature("project", c)
    wide = features.to(torch.promote_types(features.dtype, torch.float32))
    time = (1 / c + wide.square().sum(dim=-1, keepdim=True)).sqrt()
    return torch.cat([time.to(features.dtype), features], dim=-1)


def distance(x: Tensor, y: Tensor, *, c: float = 1.0) -> Tensor:
    """Length of the geodesic: arcosh(c (t_x t_y - s_x . s_y)) / sqrt(c).

    That form loses every digit where the points are close, and half of them far out; this one, in
    float64, does not::

        2 / sqrt(c) arsinh(sqrt(c q) / 2)    q = ||s_x - s_y||^2 - (t_x - t_y)^2
        t_x - t_y = (s_x - s_y) . (s_x + s_y) / (t_x + t_y)

    Args:
        x: points (*batch, d + 1); only their space part is read, so that no rounding of the time
            matters.
        y: points (*batch, d + 1); the batches broadcast.
        c: minus the curvature, > 0.

    Returns:
        Distances (*batch), float32, or float64 if ``x`` or ``y`` is. The gradient where two points
        coincide is zero.

    Raises:
        TypeError: an argument of the wrong kind or dtype.
        ValueError: a wrong shape or value.

    Example:
        >>> import torch
        >>> x, y = project(torch.tensor([[0.0], [1.0]])), project(torch.tensor([[0.0], [1.0001]]))
        >>> [round(d, 7) for d in distance(x, y).tolist()]
        [0.0, 7.07e-05]
    """
    for name, point in dict(x=x, y=y).items():
        _check_features("distance", name, point, 2)
    check_curvature("distance", c)
    try:
        torch.broadcast_shapes(x.shape[:-1], y.shape[:-1])
        broadcast = x.shape[-1] == y.shape[-1]
    except RuntimeError:
        broadcast = False
    if not broadcast:
        raise ValueError(
            f"distance: y must have features and a batch that fit x {tuple(x.shape)}, "
            f"got {tuple(y.shape)}"
        )
    sx, sy = x[..., 1:].double(), y[..., 1:].double()
    tx, ty = ((1 / c + s.square().sum(dim=-1)).sqrt() for s in (sx, sy))
    apart = sx - sy
    q = apart.square().sum(dim=-1) - ((apart * (sx + sy)).sum(dim=-1) / (tx + ty)).square()
    # The root has no slope at zero: coincident points go around it.
    length = torch.asinh(torch.where(q > 0, q, 1.0).sqrt() * (math.sqrt(c) / 2))
    result = torch.where(q > 0, length * (2 / math.sqrt(c)), 0.0)
    return result.to(torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32))
