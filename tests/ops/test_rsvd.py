"""One body for every backend: randomized singular triplets against float64."""

import itertools
import math

import pytest
import torch
from sktest import linalg
from sktest.backends import device_of, is_simulated

import subkern
from subkern.bench.gallery import Gallery, gallery, nonfinite
from subkern.diagnostics import orthonormality_error, reconstruction_error

OP = "rsvd"
EPS = 2.0**-23
SHAPES = [(5, 4), (17, 30), (64, 8), (90, 33), (100, 130)]


def shapes_for(backend):
    return SHAPES[:3] if is_simulated(backend) else SHAPES


def matrices(backend, m, n, **options):
    g = gallery(m, n, **dict(conditions=(1e2, 1e7)) | options)
    if is_simulated(backend):
        few = ("geometric-1e7", "poly-2", "exact-rank", "zero", "rank-1", "exponential")
        g = g.pick(lambda name: name in few)
    return Gallery(g.names, g.families, g.batch.to(device_of(backend)))


def low_rank(m, n, rank, condition=1e3):
    """A matrix of exactly that rank but for its rounding to float32."""
    generator = torch.Generator().manual_seed(rank)
    U, V = (torch.linalg.qr(torch.randn(k, rank, generator=generator).double())[0] for k in (m, n))
    s = torch.logspace(0, -math.log10(condition), rank, dtype=torch.float64)
    return ((U * s) @ V.T).float()


def check_shape_of(g, U, S, Vh):
    """Orthonormal factors in order, with the sign rule; whatever the matrix."""
    r = S.shape[1]
    for Q in (U, Vh.mT):
        assert (orthonormality_error(Q) <= 8 * EPS * max(r, 1) ** 0.5).all()
    linalg.assert_all("S falling", S[:, 1:] <= S[:, :-1], g)
    linalg.assert_all("S >= 0", S >= 0, g)
    linalg.assert_all("sign rule", linalg.signs_right(U), g)
    assert U.is_contiguous() and Vh.is_contiguous()  # noqa: PT018


def test_gallery(backend):
    """Orthonormal always; a residual at most a little above the best of that rank."""
    for m, n in shapes_for(backend):
        g = matrices(backend, m, n)
        for rank in {1, max(min(m, n) // 3, 1)}:
            U, S, Vh = subkern.rsvd(g.batch, rank, iters=3, backend=backend)
            check_shape_of(g, U, S, Vh)
            error = reconstruction_error(g.truth, U, S, Vh).cpu()
            best = (1 - linalg.optimal_energy(g, rank)).clamp_min(0).sqrt()
            # Flat spectra converge slowly; what is lost is a part of the best residual.
            linalg.assert_all("residual", error <= 1.1 * best + 30 * EPS * rank**0.5, g)


def test_exactly_low_rank(backend):
    for m, n, rank in ((17, 30, 3), (64, 8, 4), (90, 33, 10)):
        if is_simulated(backend) and m > 64:
            continue
        A = low_rank(m, n, rank).to(device_of(backend))
        for iters in (1, 2):
            U, S, Vh = subkern.rsvd(A, rank, iters=iters, backend=backend)
            error = reconstruction_error(A.double(), U, S, Vh)
            assert float(error) <= 30 * EPS * min(m, n) ** 0.5
            exact = torch.linalg.svdvals(A.double().cpu())[:rank]
            assert ((S.double().cpu() - exact).abs() <= 10 * EPS * rank**0.5 * exact[0]).all()


@pytest.mark.parametrize("scale", [1e-30, 1e30, math.inf])
def test_scales(backend, scale):
    g = matrices(backend, 33, 20, conditions=(1e2,), families=("spectrum",)).scaled(scale)
    U, S, Vh = subkern.rsvd(g.batch, 6, iters=3, oversample=14, backend=backend)
    check_shape_of(g, U, S, Vh)
    exact = torch.linalg.svdvals(g.truth.cpu())[:, :6]
    off = (S.double().cpu() / exact[:, :1] - exact / exact[:, :1]).abs().amax(1)
    linalg.assert_all("values", (off <= 1e-5) | (exact[:, 0] > 3e38), g)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_dtypes(backend, dtype):
    A = low_rank(24, 40, 4).to(dtype).to(device_of(backend))
    if dtype == torch.float64 and backend != "reference":
        with pytest.raises(subkern.BackendUnavailableError, match="float32 and bfloat16"):
            subkern.rsvd(A, 4, backend=backend)
        return
    U, S, Vh = subkern.rsvd(A, 24, backend=backend)
    assert U.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert float(reconstruction_error(A.double(), U, S, Vh)) <= 30 * EPS * 24**0.5


def test_start_and_seed(backend):
    g = matrices(backend, 17, 30, families=("spectrum",))
    first = subkern.rsvd(g.batch, 4, backend=backend)
    same = subkern.rsvd(g.batch, 4, seed=0, backend=backend)
    assert all(map(torch.equal, first, same))
    other = subkern.rsvd(g.batch, 4, seed=1, oversample=0, iters=1, backend=backend)
    plain = subkern.rsvd(g.batch, 4, seed=0, oversample=0, iters=1, backend=backend)
    assert not torch.equal(other[0], plain[0])
    warm = subkern.rsvd(g.batch, 4, q0=first[0], oversample=0, iters=1, backend=backend)
    before = reconstruction_error(g.truth, *first)
    assert (reconstruction_error(g.truth, *warm) <= before + 1e-5).all()


def test_one_bad_member(backend):
    for case in itertools.islice(nonfinite(12, 20), 3 if is_simulated(backend) else None):
        batch, at = case.batch.to(device_of(backend)), case.position
        kept = [i for i in range(5) if i != at]
        found = subkern.rsvd(batch, 3, info=True, backend=backend)
        clean = subkern.rsvd(batch[kept], 3, info=True, backend=backend)
        for got, expected in zip(found, clean, strict=True):
            assert linalg.same_bits(got[kept], expected).all(), case.name
        assert all(x[at].isnan().all() for x in found[:3]), case.name
        assert int(found[3][at]) == 1
    with pytest.raises(torch.linalg.LinAlgError, match=r"rsvd: .* not finite"):
        subkern.rsvd(batch, 3, check=True, backend=backend)


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0), (3, 1, 1)], ids=str)
def test_empty_and_small(backend, shape):
    A = torch.full(shape, -2.0, device=device_of(backend))
    b, m, n = shape
    for rank in (0, 1, 5):
        r = min(rank, m, n)
        U, S, Vh = subkern.rsvd(A, rank, backend=backend)
        assert (U.shape, S.shape, Vh.shape) == ((b, m, r), (b, r), (b, r, n))
        if A.numel() and r:
            assert torch.allclose(S.cpu(), torch.full((3, 1), 2.0))
            assert (U.cpu() == 1).all()


def test_zero_and_deficient(backend):
    batch = torch.stack([torch.zeros(12, 20), low_rank(12, 20, 2, 2.0)]).to(device_of(backend))
    U, S, Vh, info = subkern.rsvd(batch, 4, info=True, backend=backend)
    assert info.tolist() == [2, 2]
    assert (S[0] == 0).all()
    for Q in (U, Vh.mT):
        assert (orthonormality_error(Q) <= 16 * EPS).all()
