"""Polar factors by odd polynomials of the matrix, in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.reference.polar_table import STEPS

PRESETS = tuple(STEPS)
# Added to the Frobenius norm, in units where the largest entry is 1: zero stays zero.
TINY = 1e-7
# Steps after which the Gram form multiplies out and starts again: small eigenvalues of the Gram
# matrix are squares, and lost below the precision; two steps lift them out of it.
RESTART = 2


def chosen_form(X: Tensor, preset: str, form: str) -> str:
    """The form of the iteration: "gram" pays where one side is at least twice the other."""
    if form != "auto":
        return form
    short, long = sorted(X.shape[-2:])
    return "gram" if preset == "direction" and long >= 2 * short else "standard"


def result_dtype(X: Tensor) -> torch.dtype:
    """float64 for float64, else float32."""
    return torch.float64 if X.dtype == torch.float64 else torch.float32


def normalized(X: Tensor, dtype: torch.dtype) -> Tensor:
    """X / (||X||_F + tiny) with the short side first; entries are scaled before they are squared.

    A matrix that is not finite becomes NaN throughout.
    """
    x = X.to(result_dtype(X))
    if x.shape[1] > x.shape[2]:
        x = x.mT
    if not x.numel():
        return x.to(dtype)
    largest = x.abs().amax((1, 2), keepdim=True)
    # Powers of two, so that the scaling rounds nothing; 0 for zero, in two halves for the extremes.
    exponent = torch.frexp(largest).exponent.clamp(-140, 128)
    half = exponent // 2
    x = torch.ldexp(torch.ldexp(x, -half), half - exponent)
    # In float64, whose rounding, unlike the batch and the threads, does not show after this one.
    norm = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True, dtype=torch.float64)
    x = x / (norm + TINY).to(x.dtype)
    return torch.where(largest.isfinite(), x, torch.nan).to(dtype)


def polynomial(R: Tensor, step: tuple[float, float, float]) -> Tensor:
    """The matrix a I + b R + c R^2, R symmetric."""
    a, b, c = step
    eye = torch.eye(R.shape[1], dtype=R.dtype, device=R.device)
    return a * eye + b * R + c * (R @ R)


def polar(
    X: Tensor, *, preset: str, steps: int | None, form: str, dtype: torch.dtype | None
) -> Tensor:
    """Nearest matrix with orthonormal rows or columns; see :func:`subkern.ops.polar.polar`."""
    work = result_dtype(X)
    x = normalized(X, work)
    table = STEPS[preset][:steps]
    if chosen_form(X, preset, form) == "standard":
        for step in table:
            x = polynomial(x @ x.mT, step) @ x
    else:
        for part in (table[:RESTART], table[RESTART:]):
            R, Q = x @ x.mT, torch.eye(x.shape[1], dtype=work, device=x.device)
            for step in part:
                P = polynomial(R, step)
                R, Q = P @ R @ P, P @ Q
            x = Q @ x
    return x.mT.contiguous() if X.shape[1] > X.shape[2] else x
