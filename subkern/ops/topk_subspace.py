"""Leading singular subspace of a matrix: the projector of low-rank methods."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from subkern.ops._checks import check_backend, check_choice, check_flag
from subkern.ops._info import raise_on
from subkern.ops._interop import accepts_arrays
from subkern.ops._library import define_op
from subkern.ops._matrices import as_batch, check_matrices, factor_dtype
from subkern.ops._sharded import sharded_subspace

OP = "topk_subspace"
SIDES = ("auto", "left", "right")
MODES = ("auto", "exact", "iterate")
ALIGNS = ("none", "sign", "procrustes")
ENERGIES = {True: "basis", False: "none", "start": "start"}
OUT_DTYPES = (None, torch.float32, torch.bfloat16, torch.float64)
SMALL_SIDE = 64  # up to here "auto" is exact
COLD_ITERATIONS, COLD_OVERSAMPLE = 2, 16  # what "auto" takes at least without a start


class SubspaceResult(NamedTuple):
    """What :func:`topk_subspace` found.

    Attributes:
        basis: (*batch, k, r), orthonormal columns, where k is the length of the side.
        energy: (*batch,) float64, ||Q^T G||_F^2 / ||G||_F^2; None with ``return_energy=False``.
        info: (*batch,) int32: bit 0 not finite, bit 1 fewer than r directions stand out of
            rounding, the other columns are arbitrary.
        values: (*batch, r), singular values, falling; None without ``order``.
        rotation: (*batch, r, r), what the basis was multiplied by; None without "procrustes".
    """

    basis: Tensor
    energy: Tensor | None
    info: Tensor
    values: Tensor | None = None
    rotation: Tensor | None = None


def _fake(
    G: Tensor,
    q_prev: Tensor | None,
    *,
    rank: int,
    side: str,
    mode: str,
    iters: int,
    oversample: int,
    relax: bool,
    order: bool,
    align: str,
    energy: str,
    out_dtype: torch.dtype | None,
    seed: int,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    b, k = G.shape[0], G.shape[1 if side == "left" else 2]
    wide = factor_dtype(G)
    return (
        G.new_empty((b, k, rank), dtype=out_dtype or wide),
        G.new_empty((0,) if energy == "none" else (b,), dtype=torch.float64),
        G.new_empty((b,), dtype=torch.int32),
        G.new_empty((b, rank) if order else (0,), dtype=wide),
        G.new_empty((b, rank, rank) if align == "procrustes" else (0,), dtype=wide),
    )


_op = define_op(
    OP,
    "(Tensor G, Tensor? q_prev, *, int rank, str side, str mode, int iters, int oversample, "
    "bool relax, bool order, str align, str energy, ScalarType? out_dtype, int seed, str backend) "
    "-> (Tensor basis, Tensor energy, Tensor info, Tensor values, Tensor rotation)",
    _fake,
)


def check_count(op: str, name: str, value: int, low: int = 0) -> int:
    """A whole number of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{op}: {name} must be a whole number, got {value!r}")
    if value < low:
        raise ValueError(f"{op}: {name} must be at least {low}, got {value}")
    return value


def plan(
    mode: str, k: int, q: int, rank: int, iters: int, oversample: int, *, warm: bool, order: bool
) -> dict[str, Any]:
    """What "auto" means for a k x q matrix, k the side of the basis: mode, iters and oversample.

    Without an entry or a column the basis is unit vectors, whatever the mode.
    """
    if not k * q * rank:
        return dict(mode="identity", iters=iters, oversample=oversample)
    if mode == "auto":
        if rank >= k:
            mode = "exact" if order else "identity"
        else:
            mode = "exact" if min(k, q) <= SMALL_SIDE else "iterate"
        if not warm:
            iters, oversample = max(iters, COLD_ITERATIONS), max(oversample, COLD_OVERSAMPLE)
    return dict(mode=mode, iters=iters, oversample=oversample)


def check_start(op: str, name: str, start: object, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """A floating-point tensor of the given shape beside ``like``."""
    start = check_matrices(op, name, start)
    if start.shape != shape:
        raise ValueError(f"{op}: {name} must have shape {shape}, got {tuple(start.shape)}")
    if start.device != like.device:
        raise ValueError(f"{op}: {name} must be on {like.device}, got {start.device}")
    return start


@accepts_arrays
def topk_subspace(
    G: Tensor,
    rank: int,
    *,
    side: str = "auto",
    mode: str = "auto",
    q_prev: Tensor | None = None,
    iters: int = 1,
    oversample: int = 0,
    relax: bool = False,
    order: bool = False,
    align: str = "sign",
    return_energy: bool | str = True,
    out_dtype: torch.dtype | None = None,
    seed: int = 0,
    check: bool = False,
    group: Any = None,
    backend: str | None = None,
) -> SubspaceResult:
    """Find an orthonormal basis Q of the leading ``rank``-dimensional singular subspace of G.

    Q has one row per row of G ("left") or per column ("right"; read G^T below). Its energy
    ||Q^T G||_F^2 / ||G||_F^2 is at most that of the leading singular vectors. An iteration::

        Z = G^T Q        Y = G Z        Q <- orthonormalize(Y)

    never lowers it. The first one starts from ``q_prev`` or from seeded Gaussian columns.

    Any finite scale works. A matrix that is not finite, or a ``q_prev`` that is not, keeps
    ``q_prev`` (or gives unit vectors) with energy NaN; a zero matrix keeps it with energy 0. Other
    matrices of the batch are not changed by either. Results carry no gradient.

    Args:
        G: (*batch, m, n) float32, bfloat16 or float64, any strides. bfloat16 is multiplied as it is
            on GPUs, summed in float32.
        rank: columns of the basis; at most the side's length are returned.
        side: ``"left"``, ``"right"``, or ``"auto"`` for the shorter side, left where equal.
        mode: ``"exact"``: eigenvectors of the Gram matrix of the shorter side, in order.
            ``"iterate"``: as above. ``"auto"``: unit vectors for rank >= side, "exact" up to a
            shorter side of 64, else "iterate"; without a start that takes at least 2 iterations and
            16 more columns.
        q_prev: (*batch, side, rank), the basis to start from and to align with, about orthonormal.
        iters: iterations, at least 1.
        oversample: Gaussian columns that iterate along; the best ``rank`` directions are kept.
        relax: over-relax the iteration, Y = G Z - Q S, where S holds up to 0.8 times the harmonic
            mean of the columns' energies: more energy for a start that follows a slow drift, less
            for a poor start in a spectrum that falls fast. Needs an orthonormal ``q_prev``. Never
            lowers the energy either.
        order: sort the columns by singular value, and return the values.
        align: ``"sign"``: flip columns so that their dot product with those of ``q_prev`` is not
            negative. ``"procrustes"``: rotate the basis to be nearest to ``q_prev``, and return the
            rotation. ``"none"``.
        return_energy: True measures the basis; iterating, that takes one more product Q^T G unless
            ``order`` or ``oversample`` has it. ``"start"`` measures ``q_prev``, which is a bound
            from below and costs nothing in an iteration. False measures nothing.
        out_dtype: of the basis; None for float32 (float64 for float64). Rounding to bfloat16 leaves
            it orthonormal to about 1e-3.
        seed: of the Gaussian columns, the same for all matrices of a batch.
        check: read ``info`` back and raise for a matrix that is not finite.
        group: process group over whose ranks the rows of one matrix are spread, evenly or not;
            every rank calls. A left basis (and ``q_prev``) is spread likewise, a right one is the
            same on all ranks, and so is all else. Iterates only; the host waits in each iteration.
        backend: implementation to use; None picks. With ``group`` that of the orthonormalization.

    Returns:
        SubspaceResult(basis, energy, info, values, rotation).

    Raises:
        TypeError: an argument of the wrong kind or dtype.
        ValueError: a wrong shape, device or value.
        torch.linalg.LinAlgError: ``check`` is set and a matrix is not finite.
        BackendUnavailableError: no backend can serve the call, or the one asked for cannot.

    Backends: reference (any device, dtype), cpu and cuda (float32, bfloat16). On a GPU an iteration
    with "none" or "sign" makes no host wait; "exact", ``order`` and ``oversample`` do so where they
    meet an eigenvalue problem of more than 64 columns.

    Example:
        >>> import torch
        >>> G = torch.diag(torch.tensor([3.0, 0.5, 4.0]))
        >>> found = topk_subspace(G, 2, order=True)
        >>> found.values.tolist(), round(float(found.energy), 4)
        ([4.0, 3.0], 0.9901)
        >>> found.basis.abs().round().tolist()
        [[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]
    """
    G = check_matrices(OP, "G", G)
    options = check_options(rank, side, mode, iters, oversample, relax, order, align, return_energy)
    if relax and (q_prev is None or oversample):
        raise ValueError(f"{OP}: relax must be False without q_prev or with oversample, got True")
    check_flag(OP, "check", check)
    if out_dtype not in OUT_DTYPES:
        raise ValueError(
            f"{OP}: out_dtype must be None, float32, bfloat16 or float64, got {out_dtype}"
        )
    check_count(OP, "seed", seed)
    if group is not None:
        options |= dict(mode=mode, iters=iters, oversample=oversample, seed=seed)
        return _of_shards(G, rank, side, q_prev, group, backend, check, out_dtype, options)
    batch, (m, n) = G.shape[:-2], G.shape[-2:]
    if side == "auto":
        side = "left" if m <= n else "right"
    k, q = (m, n) if side == "left" else (n, m)
    r = min(rank, k)
    if q_prev is not None:
        q_prev = as_batch(check_start(OP, "q_prev", q_prev, (*batch, k, r), G))
    elif return_energy == "start":
        raise ValueError(f"{OP}: return_energy must be True or False without q_prev, got 'start'")
    with torch.no_grad():
        basis, energy, info, values, rotation = _op(
            as_batch(G),
            q_prev,
            rank=r,
            side=side,
            **plan(mode, k, q, rank, iters, oversample, warm=q_prev is not None, order=order),
            **options,
            out_dtype=out_dtype,
            seed=seed,
            backend=check_backend(OP, backend),
        )
    info = info.reshape(batch)
    if check:
        raise_on(OP, info)
    return SubspaceResult(
        basis.reshape(*batch, k, r),
        energy.reshape(batch) if return_energy else None,
        info,
        values.reshape(*batch, r) if order else None,
        rotation.reshape(*batch, r, r) if align == "procrustes" else None,
    )


def _of_shards(
    G: Tensor,
    rank: int,
    side: str,
    q_prev: Tensor | None,
    group: Any,
    backend: str | None,
    check: bool,
    out_dtype: torch.dtype | None,
    options: dict[str, Any],
) -> SubspaceResult:
    if G.dim() != 2 or G.dtype == torch.float64:
        raise ValueError(
            f"{OP}: G must be one float32 or bfloat16 matrix with group, got {G.dtype} of shape "
            f"{tuple(G.shape)}"
        )
    if options["mode"] == "exact":
        raise ValueError(f"{OP}: mode must be 'auto' or 'iterate' with group, got 'exact'")
    with torch.no_grad():
        found = sharded_subspace(
            G, group, rank, side, q_prev, backend, plan, out_dtype=out_dtype, **options
        )
    basis, energy, info, values, rotation = found
    if check:
        raise_on(OP, info[0])
    return SubspaceResult(
        basis[0],
        energy[0] if options["energy"] != "none" else None,
        info[0],
        values[0] if options["order"] else None,
        rotation[0] if options["align"] == "procrustes" else None,
    )


def check_options(
    rank: int,
    side: str,
    mode: str,
    iters: int,
    oversample: int,
    relax: bool,
    order: bool,
    align: str,
    return_energy: bool | str,
) -> dict[str, Any]:
    """Raise on a wrong option; returns those that the op takes as they are."""
    check_count(OP, "rank", rank)
    check_choice(OP, "side", side, SIDES)
    check_choice(OP, "mode", mode, MODES)
    check_count(OP, "iters", iters, 1)
    check_count(OP, "oversample", oversample)
    check_flag(OP, "relax", relax)
    check_flag(OP, "order", order)
    check_choice(OP, "align", align, ALIGNS)
    if not (isinstance(return_energy, bool) or return_energy == "start"):
        raise ValueError(
            f"{OP}: return_energy must be True, False or 'start', got {return_energy!r}"
        )
    if order and align == "procrustes":
        raise ValueError(f"{OP}: align must not be 'procrustes' with order, got both")
    return dict(relax=relax, order=order, align=align, energy=ENERGIES[return_energy])
