"""A large matrix as the subspace ops see it: products with thin factors, sums over its sides.

Products are torch's, in float32; what is small goes to the factorizations of one backend, by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from subkern.backends.registry import BackendUnavailableError
from subkern.reference.topk_subspace import random_columns, unit_columns

SMALL = 64  # widest problem of svd_small and eigh_small


def widened(X: Tensor) -> Tensor:
    """bfloat16 stays on a GPU alone: without matrix units its products are far slower."""
    return X.float() if X.device.type == "cpu" else X


def product(A: Tensor, B: Tensor) -> Tensor:
    """A B per matrix in float32, one at a time: a batched product's bits may depend on the batch.

    A is float32, or bfloat16 on a GPU: then B is rounded too and the sums stay float32.
    """
    out = A.new_empty((A.shape[0], A.shape[1], B.shape[2]), dtype=torch.float32)
    for i in range(A.shape[0]):
        if A.dtype == torch.float32:
            torch.mm(A[i], B[i], out=out[i])
        else:
            torch.mm(A[i], B[i].to(A.dtype), out_dtype=torch.float32, out=out[i])
    return out


def product64(A: Tensor, B: Tensor) -> Tensor:
    """A B of float64 matrices, one at a time for the same reason."""
    out = A.new_empty((A.shape[0], A.shape[1], B.shape[2]))
    for i in range(A.shape[0]):
        torch.mm(A[i], B[i], out=out[i])
    return out


def gram64(Z: Tensor) -> Tensor:
    """Z^T Z per matrix, summed in float64."""
    Z = Z.double()
    return product64(Z.mT, Z)


def eigenpairs(T: Tensor, ok: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Leading eigenpairs of symmetric float64 T, falling; of the identity where not ``ok``."""
    eye = torch.eye(T.shape[1], dtype=T.dtype, device=T.device)
    w, V = torch.linalg.eigh(torch.where(ok, T, eye))
    return w.flip(1)[:, :count].clamp_min(0), V.flip(2)[:, :, :count].float()


def padded(A: Tensor, columns: int) -> Tensor:
    """Zero columns on the right."""
    return torch.nn.functional.pad(A, (0, columns - A.shape[2]))


def small_op(name: str, backend: str, *tensors: Tensor, **options: Any) -> Any:
    """A factorization on ``backend``, or in plain PyTorch: on a GPU without our CUDA module."""
    op = getattr(torch.ops.subkern, name).default
    try:
        return op(*tensors, **options, backend=backend)
    except BackendUnavailableError:
        return op(*tensors, **options, backend="reference")


class Matrix:
    """X (b, k, q), all of it here. Left factors have k rows, right ones q.

    Attributes:
        X: float32, or bfloat16 on a GPU; any strides.
        scale: (b, 1, 1) powers of two that bring the largest entries to about 1. They go to the
            thin factors: X is neither copied nor scaled.
        rows: length of each side.
        backend: whose small factorizations are called.
        squares: (b,) ||X||_F^2 of what is here, not scaled, float64.
    """

    def __init__(self, X: Tensor, scale: Tensor, backend: str, squares: Tensor) -> None:
        self.X, self.scale, self.backend, self.squares = X, scale, backend, squares
        self.rows = {"left": X.shape[1], "right": X.shape[2]}

    def unit(self, columns: int) -> Tensor:
        """The first unit vectors as left factors."""
        return unit_columns(len(self.scale), self.rows["left"], columns, self.scale)

    def gaussian(self, side: str, columns: int, seed: int) -> Tensor:
        """Gaussian columns as factors of a side, of length about 1."""
        drawn = random_columns(self.rows[side], columns, seed, self.scale)
        return drawn.expand(len(self.scale), -1, -1)

    def down(self, Q: Tensor) -> Tensor:
        """Z = X^T Q, scaled."""
        return product(self.X.mT, Q * self.scale)

    def up(self, Z: Tensor) -> Tensor:
        """Y = X Z, scaled."""
        return product(self.X, Z * self.scale)

    def total(self, t: Tensor, side: str) -> Tensor:
        """A sum over the rows of factors of a side, complete."""
        return t

    def agreed(self, make: Callable[[], list[Tensor]], like: list[Tensor]) -> list[Tensor]:
        """Small results that must be the same wherever there is a part of X, shaped as ``like``."""
        return make()

    def energy(self) -> Tensor:
        """||X||_F^2, scaled, in float64."""
        return self.squares * self.scale.double().flatten().square()

    def norms(self, F: Tensor, side: str) -> Tensor:
        """||F||_F^2 of a factor in float64."""
        return self.total(small_op("scan", self.backend, F)[:, 1], side)

    def orthonormal(self, Y: Tensor, side: str) -> tuple[Tensor, Tensor, Tensor]:
        """(Q, R, info) of a factor."""
        Q, R, info = small_op("orthonormalize", self.backend, Y, method="auto")
        return Q, R, info

    def ritz(self, Q: Tensor, ok: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Squared values, falling, in float64, and V: Q V are the best directions in span(Q)."""
        Z = self.down(Q)
        if Z.shape[2] > min(SMALL, Z.shape[1]):
            return eigenpairs(gram64(Z), ok, count)
        _, S, Vh, _ = small_op("svd_small", self.backend, torch.where(ok, Z, 0.0))
        return S[:, :count].double().square(), Vh.mT[:, :, :count]

    def eigen(self, C: Tensor, ok: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Leading eigenpairs of a float32 Gram matrix, falling, the values in float64."""
        if C.shape[1] > SMALL:
            return eigenpairs(C.double(), ok, count)
        w, V, _ = small_op("eigh_small", self.backend, torch.where(ok, C, 0.0))
        return w.flip(1)[:, :count].double().clamp_min(0), V.flip(2)[:, :, :count]

    def nearest_rotation(self, C: Tensor, ok: Tensor) -> Tensor:
        """Orthogonal factor of C; orthonormalized again, as an iteration may leave a null space."""
        C = torch.where(ok, C, torch.eye(C.shape[1], dtype=C.dtype, device=C.device))
        if C.shape[1] <= SMALL:
            U, _, Vh, _ = small_op("svd_small", self.backend, C)
            return product(U, Vh)
        how = dict(preset="orthogonal", steps=None, form="auto", dtype=None)
        near = small_op("polar", self.backend, C, **how)
        return small_op("orthonormalize", self.backend, near, method="auto")[0]
