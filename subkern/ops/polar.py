"""Polar factors: the nearest matrix with orthonormal rows or columns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from subkern.ops._checks import check_backend, check_choice, check_list
from subkern.ops._interop import accepts_arrays
from subkern.ops._library import define_op
from subkern.ops._matrices import as_batch, as_given, check_matrices
from subkern.reference.polar import PRESETS, result_dtype
from subkern.reference.polar_table import STEPS

FORMS = ("auto", "standard", "gram")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def _fake(
    X: Tensor,
    *,
    preset: str,
    steps: int | None,
    form: str,
    dtype: torch.dtype | None,
    backend: str,
) -> Tensor:
    return X.new_empty(X.shape, dtype=result_dtype(X))


_op = define_op(
    "polar",
    "(Tensor X, *, str preset, int? steps, str form, ScalarType? dtype, str backend) -> Tensor",
    _fake,
)


def _check_options(preset: str, steps: int | None, form: str, dtype: torch.dtype | None) -> None:
    check_choice("polar", "preset", preset, PRESETS)
    check_choice("polar", "form", form, FORMS)
    if steps is not None:
        if isinstance(steps, bool) or not isinstance(steps, int):
            raise TypeError(f"polar: steps must be an integer or None, got {steps!r}")
        if not 1 <= steps <= len(STEPS[preset]):
            most = len(STEPS[preset])
            raise ValueError(f"polar: steps must be between 1 and {most}, got {steps}")
    if dtype is not None and dtype not in DTYPES:
        raise TypeError(f"polar: dtype must be float32, bfloat16 or float16, got {dtype!r}")
    if form == "gram" and preset != "direction":
        raise ValueError('polar: form must be "standard" for preset "orthogonal", got "gram"')
    if form == "gram" and dtype == torch.bfloat16:
        raise ValueError(f'polar: dtype must be float32 or float16 for form "gram", got {dtype}')


@accepts_arrays
def polar(
    X: Tensor,
    *,
    preset: str = "direction",
    steps: int | None = None,
    form: str = "auto",
    dtype: torch.dtype | None = None,
    backend: str | None = None,
) -> Tensor:
    """Compute the orthogonal factor of the polar decomposition, roughly or to full precision.

    Q = U V^T of X = U S V^T, by steps X <- a X + b X X^T X + c (X X^T)^2 X from X / ||X||_F, with
    the minimax coefficients of Polar Express (Amsel et al., 2025, arXiv:2505.16932). "direction"
    takes five steps: singular values of at least 1e-3 ||X||_F come to within [0.8, 1.2], which is
    what an optimizer needs. "orthogonal" goes on until those of at least 1e-7 ||X||_F are 1 to
    rounding.
    Smaller ones grow but stay below 1; zero stays zero. Carries no gradient.

    Args:
        X: (*batch, m, n) float32, bfloat16 or float64, any strides and any scale.
        preset: ``"direction"`` or ``"orthogonal"``.
        steps: take only the first so many steps; None takes all.
        form: ``"standard"``; ``"gram"``, which iterates on the Gram matrix of the short side
            ("direction" only); ``"auto"`` takes it where one side is twice the other.
        dtype: of the products: float32, bfloat16 (not in the Gram form) or float16. None takes
            float32 on the CPU and for "orthogonal", else float16 for the Gram form and bfloat16.
        backend: force ``"reference"``, ``"cpu"`` or ``"cuda"``; None picks.

    Returns:
        The shape of X, float32 (float64 for float64), contiguous. A matrix that is not finite gives
        NaN and changes no other.

    Raises:
        TypeError: X is no tensor of these dtypes, or an argument is of the wrong kind.
        ValueError: X has fewer than two dimensions, or a choice is unknown or does not fit another.
        BackendUnavailableError: the forced backend cannot serve the call.

    Backends: reference (products in float32 or float64 alone), cpu and cuda (torch's products, and
    symmetric Triton tiles for large sides on CUDA).

    Example:
        >>> import torch, subkern
        >>> Q = subkern.polar(torch.tensor([[3.0, 0.0], [0.0, -0.5]]), preset="orthogonal")
        >>> Q.round(decimals=4) + 0.0
        tensor([[ 1.,  0.],
                [ 0., -1.]])
    """
    X = check_matrices("polar", "X", X)
    _check_options(preset, steps, form, dtype)
    Q = _op(
        as_batch(X),
        preset=preset,
        steps=steps,
        form=form,
        dtype=dtype,
        backend=check_backend("polar", backend),
    )
    return as_given(Q, X.shape[:-2])


@accepts_arrays
def polar_many(
    Xs: Sequence[Tensor],
    *,
    preset: str = "direction",
    steps: int | None = None,
    form: str = "auto",
    dtype: torch.dtype | None = None,
    backend: str | None = None,
) -> list[Tensor]:
    """Compute the polar factors of a list of matrices, those of one shape as one batch.

    Q_i = polar(X_i), see :func:`polar`; the results are bit for bit the same.

    Args:
        Xs: matrices of any shapes, dtypes and devices.
        preset: as for :func:`polar`, like the rest.
        steps: as there.
        form: as there.
        dtype: as there.
        backend: as there.

    Returns:
        The factors in the order of the list.

    Raises:
        TypeError, ValueError, BackendUnavailableError: as for :func:`polar`.

    Backends: those of :func:`polar`.

    Example:
        >>> import torch, subkern
        >>> Q, P = subkern.polar_many([torch.eye(2), 3 * torch.eye(2)], preset="orthogonal")
        >>> torch.allclose(Q, P)
        True
    """
    check_list("polar_many", "Xs", Xs, len(Xs) if isinstance(Xs, (list, tuple)) else 0)
    groups: dict[tuple, list[int]] = {}
    for i, X in enumerate(Xs):
        groups.setdefault((X.shape, X.dtype, X.device), []).append(i)
    found: dict[int, Tensor] = {}
    for members in groups.values():
        batch = torch.stack([Xs[i].detach() for i in members])
        made = polar(batch, preset=preset, steps=steps, form=form, dtype=dtype, backend=backend)
        found.update(zip(members, made.unbind(0), strict=True))
    return [found[i] for i in range(len(Xs))]
