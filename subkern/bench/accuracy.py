"""How accurate a factorization is, with its contract's bound: in float64, worst of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from subkern.bench.registry import Variant
from subkern.diagnostics import orthonormality_error, reconstruction_error

EPS = 2.0**-23
# LAPACK's tests call a result wrong from here on.
LARGEST_RATIO = 30.0


@dataclass(frozen=True)
class Error:
    """One measured error: the worst matrix of the batch.

    Attributes:
        name: Of the report.
        value: Relative.
        bound: Of the contract.
        size: The larger dimension, for LAPACK's ratio; 0 where that makes no sense.
    """

    name: str
    value: float
    bound: float
    size: int = 0

    @property
    def ratio(self) -> float | None:
        """The error in units of max(m, n) eps."""
        return self.value / (self.size * EPS) if self.size else None


def worst(values: Tensor) -> float:
    """The largest of a batch; infinity where one is not finite."""
    if not values.numel():
        return 0.0
    largest = values.double().nan_to_num(nan=torch.inf).max().item()
    return float(largest)


def orthonormality(name: str, Q: Tensor) -> Error:
    """||Q'Q - I|| in the 2-norm, at most 8 eps sqrt(k)."""
    m, k = Q.shape[-2:]
    return Error(name, worst(orthonormality_error(Q)), 8 * EPS * k**0.5, m)


def qr(Y: Tensor, Q: Tensor, R: Tensor) -> list[Error]:
    """Of Y = QR: ||Q'Q - I|| and ||Y - QR||_F / ||Y||_F."""
    residual = worst(reconstruction_error(Y, Q, R))
    bound = 10 * EPS * Y.shape[-1] ** 0.5
    return [orthonormality("orth", Q), Error("residual", residual, bound, Y.shape[-2])]


def svd(A: Tensor, U: Tensor, S: Tensor, Vh: Tensor, *, true: Tensor | None = None) -> list[Error]:
    """Of A = U S Vh: both factors, the product, and the values against ``true``, in float64."""
    n, size = min(A.shape[-2:]), max(A.shape[-2:])
    true = torch.linalg.svdvals(A.double()) if true is None else true
    off = (S.double() - true).abs().amax(-1) / true[..., 0].clamp_min(1e-300)
    residual = worst(reconstruction_error(A, U, S, Vh))
    return [
        orthonormality("orth U", U),
        orthonormality("orth V", Vh.mT),
        Error("residual", residual, 30 * EPS * n**0.5, size),
        Error("values", worst(off), 10 * EPS * n**0.5, size),
    ]


def eigh(C: Tensor, w: Tensor, V: Tensor) -> list[Error]:
    """Of C = V w V', as an svd is judged."""
    n = C.shape[-1]
    true = torch.linalg.eigvalsh(C.double())
    largest = true.abs().amax(-1).clamp_min(1e-300)
    off = (w.double() - true).abs().amax(-1) / largest
    residual = worst(reconstruction_error(C, V, w, V.mT))
    return [
        orthonormality("orth", V),
        Error("residual", residual, 30 * EPS * n**0.5, n),
        Error("values", worst(off), 10 * EPS * n**0.5, n),
    ]


def product(name: str, got: Tensor, want: Tensor, bound: float) -> Error:
    """||got - want||_F / ||want||_F for a `want` in float64."""
    norm = torch.linalg.matrix_norm(want).clamp_min(1e-300)
    return Error(name, worst(torch.linalg.matrix_norm(got.double() - want) / norm), bound)


def judge(variant: Variant, errors: Sequence[Error], held: bool) -> str | None:
    """Leave the errors with the variant for the report.

    Args:
        variant: Whose.
        errors: What was measured.
        held: Whether the contract holds this variant: ours; a baseline's errors are only shown.

    Returns:
        What breaks the contract, or None.
    """
    variant.accuracy = {error.name: error.value for error in errors}
    ratios = [error.ratio for error in errors if error.ratio is not None]
    variant.lapack_ratio = max(ratios, default=None)
    if not held:
        return None
    broken = [
        f"{error.name} must be <= {error.bound:.1e}, got {error.value:.1e}"
        for error in errors
        if not error.value <= error.bound
    ]
    if variant.lapack_ratio is not None and not variant.lapack_ratio < LARGEST_RATIO:
        broken.append(f"error / (max(m, n) eps) must be < 30, got {variant.lapack_ratio:.3g}")
    return "; ".join(broken) or None
