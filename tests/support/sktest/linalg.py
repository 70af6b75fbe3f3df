"""The accuracy contracts of the linear algebra ops as checks on a gallery of matrices.

Every norm is taken in float64 against the input widened to float64. eps is 2^-23, or 2^-52 for
float64 input. A failure names the worst matrices; the largest part of each bound that was used up,
per family of matrices, is printed at the end of a verbose run (pytest -v).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from subkern.bench.gallery import Gallery, Poisoned
from subkern.diagnostics import (
    captured_energy,
    orthonormality_error,
    principal_angles,
    reconstruction_error,
)

RATIO = 30.0  # LAPACK's: error / (max(m, n) eps) stays below

# (quantity, family) -> part of the bound used up, the matrix and its shape.
worst: dict[tuple[str, str], tuple[float, str]] = {}


def as_gallery(batch: Tensor, name: str = "matrix") -> Gallery:
    """Any batch (count, m, n) under the names ``name[i]``, to be checked like a gallery."""
    names = tuple(f"{name}[{i}]" for i in range(batch.shape[0]))
    return Gallery(names, (name,) * len(names), batch)


def eps_of(g: Gallery) -> float:
    """The eps that the bounds are multiples of."""
    return 2.0**-52 if g.batch.dtype == torch.float64 else 2.0**-23


def remember(quantity: str, family: str, used: float, name: str) -> None:
    """Keeps the largest part of a bound that was used up, and by which matrix."""
    if used >= worst.get((quantity, family), (0.0, ""))[0]:
        worst[quantity, family] = used, name


def assert_bounded(quantity: str, values: Tensor, bounds: Tensor | float, g: Gallery) -> None:
    """Every value is at most its bound; a NaN is not. Remembers the largest part used up."""
    values = values.double().cpu()
    assert values.shape == (len(g.names),), f"{quantity}: shape {tuple(values.shape)}"
    bounds = torch.as_tensor(bounds, dtype=torch.float64).cpu().expand(values.shape)
    used = torch.where(values == 0, 0.0, values / bounds).nan_to_num(nan=math.inf)
    shape = "x".join(map(str, g.batch.shape[1:]))
    for i, (name, family) in enumerate(zip(g.names, g.families, strict=True)):
        remember(quantity, family, float(used[i]), f"{name} {shape}")
    bad = (used > 1).nonzero().flatten().tolist()
    if bad:
        bad.sort(key=lambda i: -float(used[i]))
        lines = [f"  {g.names[i]}: {float(values[i]):.2e} > {float(bounds[i]):.2e}" for i in bad]
        more = [f"  and {len(bad) - 8} more"] if len(bad) > 8 else []
        raise AssertionError("\n".join([f"{quantity}, {shape}:", *lines[:8], *more]))


def assert_all(quantity: str, holds: Tensor, g: Gallery) -> None:
    """A property without tolerance holds for every matrix: (count, ...) of bool."""
    good = holds.reshape(len(g.names), -1).all(1) if holds.numel() else torch.ones(len(g.names))
    failed = [name for name, ok in zip(g.names, good.tolist(), strict=True) if not ok]
    shape = "x".join(map(str, g.batch.shape[1:]))
    assert not failed, f"{quantity}, {shape}: not for {', '.join(failed[:8])}"


def worst_lines() -> list[str]:
    """One line per quantity and family: the part of the bound used up, and by which matrix."""
    rows = sorted(worst.items())
    return [f"{used:7.1%}  {what} ({family}): {name}" for (what, family), (used, name) in rows]


def _ratio(quantity: str, error: Tensor, g: Gallery, spacing: Tensor | float = 0.0) -> None:
    """LAPACK's ratio of an error that is relative already."""
    scale = max(*g.batch.shape[1:], 1) * eps_of(g)
    assert_bounded(f"{quantity}, LAPACK ratio", error / scale, RATIO + spacing / scale, g)


def _spacing(g: Gallery, entries: int) -> Tensor:
    """What rounding so many float32 results to subnormal numbers costs, relative to ||A||_F."""
    if g.batch.dtype == torch.float64:
        return torch.zeros(len(g.names), dtype=torch.float64)
    norm = torch.linalg.matrix_norm(g.truth.cpu())
    return torch.where(norm > 0, entries**0.5 * 2.0**-149 / norm, 0.0)


def _placed(Q: Tensor, g: Gallery, shape: Sequence[int], name: str) -> Tensor:
    wide = torch.float64 if g.batch.dtype == torch.float64 else torch.float32
    assert Q.dtype == wide, f"{name}: {Q.dtype}, not {wide}"
    assert tuple(Q.shape) == tuple(shape), f"{name}: shape {tuple(Q.shape)}, not {tuple(shape)}"
    assert not Q.requires_grad, f"{name} requires grad"
    return Q


def check_orthonormal(g: Gallery, Q: Tensor, name: str = "Q") -> None:
    """||Q^T Q - I||_2 <= 8 eps sqrt(k)."""
    error = orthonormality_error(Q)
    assert_bounded(f"{name} orthonormality", error, 8 * eps_of(g) * max(Q.shape[-1], 1) ** 0.5, g)
    _ratio(f"{name} orthonormality", error, g)


def check_qr(g: Gallery, Q: Tensor, R: Tensor | None = None) -> None:
    """Contract of orthonormalize and tsqr, for an input of shape (count, m, k)."""
    count, m, k = g.batch.shape
    truth, q = g.truth.to(Q.device), _placed(Q, g, (count, m, k), "Q").double()
    bound = 10 * eps_of(g) * max(k, 1) ** 0.5
    check_orthonormal(g, Q)
    error = reconstruction_error(truth, q, q.mT @ truth)
    assert_bounded("range residual", error, bound, g)
    _ratio("range residual", error, g)
    if R is None:
        return
    _placed(R, g, (count, k, k), "R")
    error, spacing = reconstruction_error(truth, Q, R), _spacing(g, k * k)
    assert_bounded("QR residual", error, bound + spacing, g)
    _ratio("QR residual", error, g, spacing)
    assert_all("R upper triangular", R.tril(-1) == 0, g)
    assert_all("diag(R) >= 0", R.diagonal(dim1=-2, dim2=-1) >= 0, g)


def signs_right(U: Tensor) -> Tensor:
    """Whether the entry of largest magnitude (lowest index on ties) of each column is positive."""
    if not U.shape[-2]:
        return torch.ones((*U.shape[:-2], U.shape[-1]), dtype=torch.bool)
    size = U.abs()
    rows = torch.arange(U.shape[-2], device=U.device)[:, None]
    first = torch.where(size == size.amax(-2, keepdim=True), rows, U.shape[-2]).amin(-2)
    return U.gather(-2, first.clamp_max(U.shape[-2] - 1).unsqueeze(-2)).squeeze(-2) > 0


def check_svd(g: Gallery, U: Tensor, S: Tensor, Vh: Tensor) -> None:
    """Contract of svd_small."""
    count, m, n = g.batch.shape
    p = min(m, n)
    truth, eps = g.truth.to(U.device), eps_of(g)
    _placed(U, g, (count, m, p), "U")
    _placed(S, g, (count, p), "S")
    _placed(Vh, g, (count, p, n), "Vh")
    check_orthonormal(g, U, "U")
    check_orthonormal(g, Vh.mT, "V")
    error, spacing = reconstruction_error(truth, U, S, Vh), _spacing(g, p)
    assert_bounded("SVD residual", error, 30 * eps * max(p, 1) ** 0.5 + spacing, g)
    _ratio("SVD residual", error, g, spacing)
    exact = torch.linalg.svdvals(truth)
    check_values(g, "singular values", S, exact)
    assert_all("S >= 0", S >= 0, g)
    assert_all("S descending", S[:, 1:] <= S[:, :-1], g)
    assert_all("sign rule on U", signs_right(U), g)


def check_values(g: Gallery, quantity: str, got: Tensor, exact: Tensor) -> None:
    """|s - s_ref| <= 10 eps sqrt(n) times the largest magnitude; exact values in float64."""
    if not got.shape[-1]:
        return
    largest = exact.abs().amax(-1)
    off = (got.double() - exact).abs().amax(-1)
    error = torch.where(largest == 0, off, off / torch.where(largest == 0, 1.0, largest))
    spacing = _spacing(g, min(g.batch.shape[1:]))
    assert_bounded(quantity, error, 10 * eps_of(g) * got.shape[-1] ** 0.5 + spacing, g)
    _ratio(quantity, error, g, spacing)


def check_graded(g: Gallery, S: Tensor, bound: float = 1e-3) -> None:
    """Relative error of every singular value >= 1e-6 s_1, for matrices graded by columns."""
    exact = torch.linalg.svdvals(g.truth)
    counts = exact >= 1e-6 * exact[:, :1]
    error = torch.where(counts, (S.double() - exact).abs() / exact.clamp_min(1e-300), 0.0)
    assert_bounded("graded singular values", error.amax(-1), bound, g)


def check_eigh(g: Gallery, w: Tensor, V: Tensor) -> None:
    """Contract of eigh_small, for symmetric matrices; the lower triangle is the truth."""
    count, n, _ = g.batch.shape
    lower = g.truth.to(w.device).tril()
    truth, eps = lower + lower.tril(-1).mT, eps_of(g)
    _placed(w, g, (count, n), "w")
    check_orthonormal(g, _placed(V, g, (count, n, n), "V"), "V")
    error, spacing = reconstruction_error(truth, V, w, V.mT), _spacing(g, n)
    assert_bounded("eigh residual", error, 30 * eps * max(n, 1) ** 0.5 + spacing, g)
    _ratio("eigh residual", error, g, spacing)
    check_values(g, "eigenvalues", w, torch.linalg.eigvalsh(truth))
    assert_all("w ascending", w[:, 1:] >= w[:, :-1], g)
    assert_all("sign rule on V", signs_right(V), g)


def optimal_energy(g: Gallery, rank: int) -> Tensor:
    """Largest share of the energy that any basis of that rank can capture; 1 for zero matrices."""
    # The Gram matrix of a scaled copy: sums of eigenvalues are as good as those of singular values.
    truth = g.truth
    a = truth / truth.abs().amax((-2, -1), keepdim=True).clamp_min(1e-300)
    a = a if a.shape[-2] <= a.shape[-1] else a.mT
    values = torch.linalg.eigvalsh(a @ a.mT).clamp_min(0)
    whole = values.sum(-1)
    return torch.where(whole == 0, 1.0, values[:, -rank:].sum(-1) / whole.clamp_min(1e-300))


def check_basis(
    g: Gallery, Q: Tensor, *, energy: Tensor | None = None, least: Tensor | None = None
) -> None:
    """Contract of a basis (count, m, r) of columns: orthonormal, and it captures enough.

    Args:
        g: what the basis is of; transpose the batch for a basis of rows.
        Q: the basis.
        energy: what the op said it captures; compared with the truth to 1e-5.
        least: share of the energy that it has to capture: optimal_energy(g, r) * (1 - 1e-5) for
            exact bases, the start's - 1e-6 for iterated ones. Zero matrices capture nothing.
    """
    check_orthonormal(g, Q, "basis")
    captured = captured_energy(g.truth.to(Q.device), Q).cpu()
    nothing = g.truth.flatten(1).eq(0).all(1)
    if least is not None:
        missing = torch.where(nothing, 0.0, least.double().cpu() - captured)
        assert_all("captured energy", missing <= 0, g)
    if energy is not None:
        assert_bounded("energy as reported", (energy.double().cpu() - captured).abs(), 1e-5, g)


def check_subspace(g: Gallery, Q: Tensor) -> None:
    """Sine of the largest angle to the true subspace, where the gap of the spectrum defines it."""
    r = Q.shape[-1]
    U, S, _ = torch.linalg.svd(g.truth, full_matrices=False)
    if r >= S.shape[-1]:
        return
    gap = S[:, r - 1].square() - S[:, r].square()
    bound = 50 * eps_of(g) * S[:, 0].square() / gap.clamp_min(1e-300)
    sine = principal_angles(U[:, :, :r], Q.cpu()).amax(-1).sin()
    bound = torch.where((gap > 0) & (bound < 0.1), bound, math.inf)
    assert_bounded("subspace distance", sine, bound, g)


def check_polar_direction(g: Gallery, Q: Tensor, low: float = 0.80, high: float = 1.20) -> None:
    """Singular values of Q in [low, high] where the least of X is at least 1e-3 ||X||_F."""
    S = torch.linalg.svdvals(g.truth)
    counts = (S[:, -1] >= 1e-3 * torch.linalg.vector_norm(S, dim=-1)) & (S[:, 0] > 0)
    got = torch.linalg.svdvals(Q.double().cpu())
    above = torch.where(counts, got.amax(-1), 1.0)
    below = torch.where(counts, got.amin(-1), 1.0)
    assert_bounded("polar, largest singular value", above, high, g)
    assert_all(f"polar, least singular value >= {low}", below >= low, g)
    assert_bounded("polar, largest of any matrix", got.amax(-1), high, g)


def check_polar_orthogonal(g: Gallery, Q: Tensor) -> None:
    """Contract of the preset "orthogonal", for condition numbers up to 1e6."""
    X, q = g.truth.to(Q.device), Q.double()
    if X.shape[-2] < X.shape[-1]:
        X, q = X.mT, q.mT
    n = X.shape[-1]
    eye = torch.eye(n, dtype=torch.float64, device=Q.device)
    error = torch.linalg.matrix_norm(q.mT @ q - eye) / n**0.5
    assert_bounded("polar, Q^T Q - I", error, 5e-6, g)
    inner = q.mT @ X
    H = (inner + inner.mT) / 2
    size = torch.linalg.matrix_norm(X)
    assert_bounded("polar, X - Q H", torch.linalg.matrix_norm(X - q @ H) / size, 5e-6, g)
    least = torch.linalg.eigvalsh(H)[:, 0].clamp_max(0).abs()
    assert_bounded("polar, H below zero", least / size, 1e-5, g)


def same_bits(a: Tensor, b: Tensor) -> Tensor:
    """Per matrix of two batches: equal bit for bit, where NaN equals NaN."""
    equal = (a == b) & (a.signbit() == b.signbit()) if a.is_floating_point() else a == b
    if a.is_floating_point():
        equal |= a.isnan() & b.isnan()
    return equal.reshape(a.shape[0], -1).all(1)


def check_poisoned(run: Callable[[Tensor], Sequence[Tensor]], case: Poisoned) -> None:
    """A matrix that is not finite gives NaN (info: bit 0) and changes no other by a bit.

    ``run`` maps a batch (5, m, n) to the results of the op, each with the batch in front.
    """
    got, clean = run(case.batch), run(case.others)
    at = case.position
    for i, (result, expected) in enumerate(zip(got, clean, strict=True)):
        bad, rest = result[at], torch.cat([result[:at], result[at + 1 :]])
        said = bad.isnan().all() if bad.is_floating_point() else (bad & 1 == 1).all()
        assert said, f"{case.name}: result {i} of that matrix is {bad.flatten()[:4].tolist()}"
        assert bool(same_bits(rest, expected).all()), f"{case.name}: result {i} of another changed"
        assert rest.dtype == torch.int32 or not rest.isnan().any(), f"{case.name}: NaN spread"


def check_alone(
    run: Callable[[Tensor], Sequence[Tensor]], batch: Tensor, positions: Sequence[int]
) -> None:
    """A matrix computed alone has the bits it has in the batch, wherever it stands."""
    whole = run(batch)
    for i in positions:
        for j, (alone, together) in enumerate(zip(run(batch[i : i + 1]), whole, strict=True)):
            assert bool(same_bits(alone, together[i : i + 1]).all()), f"result {j} of matrix {i}"
