"""How good a basis or factorization is: batched, in float64, cheap enough for a training log."""

from __future__ import annotations

import torch
from torch import Tensor

from subkern.ops._interop import accepts_arrays

__all__ = [
    "captured_energy",
    "orthonormality_error",
    "principal_angles",
    "reconstruction_error",
]


def _check(op: str, **tensors: Tensor) -> None:
    for name, t in tensors.items():
        if not isinstance(t, Tensor):
            raise TypeError(f"{op}: {name} must be a tensor, got {type(t).__name__}")
        if not t.is_floating_point():
            raise TypeError(f"{op}: {name} must be floating point, got {t.dtype}")
        if t.dim() < 2:
            raise ValueError(f"{op}: {name} must have shape (*batch, m, n), got {tuple(t.shape)}")


def _check_rows(op: str, name: str, t: Tensor, rows: int) -> None:
    if t.shape[-2] != rows:
        raise ValueError(f"{op}: {name} must have {rows} rows, got {t.shape[-2]}")


def _unit(a: Tensor) -> tuple[Tensor, Tensor]:
    """(a / s, s) in float64, s the largest magnitude or 1: no square overflows or vanishes."""
    wide = a.double()
    if not wide.shape[-1] * wide.shape[-2]:
        return wide, torch.ones((*wide.shape[:-2], 1, 1), dtype=wide.dtype, device=wide.device)
    largest = wide.abs().amax((-2, -1), keepdim=True)
    scale = torch.where((largest > 0) & largest.isfinite(), largest, 1.0)
    return wide / scale, scale


@accepts_arrays
def captured_energy(G: Tensor, Q: Tensor) -> Tensor:
    """Share of a matrix that a basis keeps: ||Q^T G||_F^2 / ||G||_F^2.

    Args:
        G: (*batch, m, n), any floating dtype.
        Q: (*batch, m, r) with orthonormal columns; broadcasts against ``G``.

    Returns:
        float64 of shape (*batch); 0 where G is zero.

    Raises:
        TypeError: an argument is no floating-point tensor.
        ValueError: the numbers of rows differ.

    Example:
        >>> import torch
        >>> captured_energy(torch.diag(torch.tensor([2.0, 1.0])), torch.eye(2, 1))
        tensor(0.8000, dtype=torch.float64)
    """
    _check("captured_energy", G=G, Q=Q)
    _check_rows("captured_energy", "Q", Q, G.shape[-2])
    g, _ = _unit(G)
    whole = g.square().sum((-2, -1))
    kept = (Q.double().mT @ g).square().sum((-2, -1))
    return torch.where(whole == 0, torch.zeros_like(kept), kept / whole)


@accepts_arrays
def orthonormality_error(Q: Tensor) -> Tensor:
    """Distance of the columns from orthonormal: ||Q^T Q - I|| in the 2-norm.

    Args:
        Q: (*batch, m, k).

    Returns:
        float64 of shape (*batch); NaN where Q is not finite.

    Raises:
        TypeError: ``Q`` is no floating-point tensor.

    Example:
        >>> import torch
        >>> orthonormality_error(torch.eye(5, 3))
        tensor(0., dtype=torch.float64)
    """
    _check("orthonormality_error", Q=Q)
    q = Q.double()
    k = q.shape[-1]
    if not k:
        return torch.zeros(q.shape[:-2], dtype=q.dtype, device=q.device)
    off = q.mT @ q - torch.eye(k, dtype=q.dtype, device=q.device)
    bad = ~off.isfinite().all(-1).all(-1)
    values = torch.linalg.eigvalsh(torch.where(bad[..., None, None], 0.0, off))
    return torch.where(bad, torch.nan, values.abs().amax(-1))


def _orthonormal(Q: Tensor) -> Tensor:
    """A float64 orthonormal basis of the same span."""
    return torch.linalg.qr(Q.double())[0]


@accepts_arrays
def principal_angles(Q1: Tensor, Q2: Tensor) -> Tensor:
    """Principal angles between two subspaces, ascending, in radians.

    Cosines are the singular values of Q1^T Q2. Angles below 45 degrees come from the sines, the
    singular values of Q2 - Q1 (Q1^T Q2), which alone tell small angles apart (Bjorck and Golub,
    1973).

    Args:
        Q1: (*batch, m, k1), columns independent; made orthonormal in float64 first.
        Q2: (*batch, m, k2), k2 <= k1.

    Returns:
        float64 of shape (*batch, k2).

    Raises:
        TypeError: an argument is no floating-point tensor.
        ValueError: the numbers of rows differ, or ``Q2`` has more columns than ``Q1``.

    Example:
        >>> import torch
        >>> principal_angles(torch.eye(3, 2), torch.eye(3, 1)).item()
        0.0
    """
    _check("principal_angles", Q1=Q1, Q2=Q2)
    _check_rows("principal_angles", "Q2", Q2, Q1.shape[-2])
    if Q2.shape[-1] > Q1.shape[-1]:
        raise ValueError(
            f"principal_angles: Q2 must have at most {Q1.shape[-1]} columns, got {Q2.shape[-1]}"
        )
    a, b = _orthonormal(Q1), _orthonormal(Q2)
    inner = a.mT @ b
    cosines = torch.linalg.svdvals(inner)  # descending: angles ascend
    sines = torch.linalg.svdvals(b - a @ inner).flip(-1)
    large = sines.square() > 0.5
    return torch.where(large, cosines.clamp(0, 1).acos(), sines.clamp(0, 1).asin())


@accepts_arrays
def reconstruction_error(A: Tensor, *factors: Tensor) -> Tensor:
    """Relative error of a product of factors: ||A - F1 F2 ...||_F / ||A||_F.

    Args:
        A: (*batch, m, n).
        factors: matrices, or (*batch, k) vectors that stand for diagonal matrices, as S of U S Vh.

    Returns:
        float64 of shape (*batch); where A is zero, the norm of the product itself.

    Raises:
        TypeError: an argument is no floating-point tensor.
        ValueError: no factor was given.

    Example:
        >>> import torch
        >>> U, S, Vh = torch.linalg.svd(torch.eye(4, 3).double(), full_matrices=False)
        >>> bool(reconstruction_error(torch.eye(4, 3), U, S, Vh) < 1e-15)
        True
    """
    _check("reconstruction_error", A=A)
    if not factors:
        raise ValueError("reconstruction_error: factors must be at least one, got none")
    a, scale = _unit(A)
    product: Tensor | None = None
    for factor in factors:
        f = factor.double()
        if factor.dim() == A.dim() - 1:
            product = torch.diag_embed(f) if product is None else product * f.unsqueeze(-2)
        else:
            product = f if product is None else product @ f
    assert product is not None
    norm = torch.linalg.matrix_norm(a)
    error = torch.linalg.matrix_norm(a - product / scale)
    return torch.where(norm == 0, error, error / torch.where(norm == 0, 1.0, norm))
