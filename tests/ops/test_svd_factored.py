"""One body for every backend: the decomposition of a product held as factors."""

import pytest
import torch
from sktest.backends import device_of, is_simulated
from sktest.linalg import same_bits

import subkern
from subkern import diagnostics

OP = "svd_factored"
EPS = 2.0**-23
# (k, m, n): full rank on either side, and lower; narrow and beyond svd_small.
SHAPES = [(1, 1, 1), (1, 3, 5), (3, 3, 3), (7, 7, 12), (7, 12, 7), (5, 12, 9), (31, 64, 31)]
SHAPES += [(64, 64, 80), (65, 65, 65), (70, 70, 130), (70, 130, 70), (70, 90, 100), (65, 65, 400)]
SPECTRA = {
    "even": lambda k: torch.linspace(1.0, 0.1, k),
    "falling": lambda k: torch.logspace(0, -9, k),
    "half-zero": lambda k: (torch.linspace(1.0, -1.0, k)).clamp(min=0.0),
    "equal": lambda k: torch.ones(k),
    "unsorted": lambda k: torch.rand(k, generator=torch.Generator().manual_seed(k)) + 0.1,
    "huge": lambda k: 1e30 * torch.linspace(1.0, 0.1, k),
    "tiny": lambda k: 1e-30 * torch.linspace(1.0, 0.1, k),
    "zero": lambda k: torch.zeros(k),
}


def factors(k, m, n, spectrum, turned=0.1, seed=0):
    """Orthonormal rows, turned by a training step's worth and of unit length again."""
    generator = torch.Generator().manual_seed(seed)
    sides = []
    for length in (m, n):
        Q = torch.linalg.qr(torch.randn(length, k, generator=generator))[0].mT
        Q = Q + turned * torch.randn(k, length, generator=generator) / length**0.5
        sides.append(torch.nn.functional.normalize(Q, dim=1))
    return sides[0], SPECTRA[spectrum](k), sides[1]


def check(given, found):
    """Orthonormal, sorted, with the sign rule, and the same product."""
    L, s, R = (t.cpu() for t in found)
    k = len(s)
    bound = 8 * EPS * k**0.5
    assert float(diagnostics.orthonormality_error(L.mT)) <= bound
    assert float(diagnostics.orthonormality_error(R.mT)) <= bound
    assert (s >= 0).all()
    assert (s[1:] <= s[:-1]).all()
    rows = torch.arange(k)
    assert (L[rows, L.abs().argmax(1)] > 0).all()
    W, made = ((a.double().mT * b.double()) @ c.double() for a, b, c in (given, (L, s, R)))
    size = torch.linalg.norm(W)
    assert torch.linalg.norm(W - made) <= 30 * EPS * k**0.5 * size
    exact = torch.linalg.svdvals(W)[:k]
    assert (s.double() - exact).abs().max() <= 10 * EPS * k**0.5 * max(float(exact[0]), 0.0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_contract(backend, shape):
    if is_simulated(backend) and max(shape) > 70:
        pytest.skip("emulated: the smaller shapes take the same paths")
    for spectrum in SPECTRA:
        given = factors(*shape, spectrum)
        found = subkern.svd_factored(*(t.to(device_of(backend)) for t in given), backend=backend)
        check(given, found)


@pytest.mark.parametrize("shape", [(5, 5, 8), (5, 12, 9), (66, 66, 70)], ids=str)
@pytest.mark.parametrize("scales", [(1e20, 1e-30, 1e20), (1e-25, 1e30, 1e-25), (1e30, 1.0, 1e-30)])
def test_factors_of_any_size(backend, shape, scales):
    """The product is of ordinary size: no step on the way may overflow or vanish."""
    given = factors(*shape, "even")
    given = tuple(t * scale for t, scale in zip(given, scales, strict=True))
    found = subkern.svd_factored(*(t.to(device_of(backend)) for t in given), backend=backend)
    check(given, found)


@pytest.mark.parametrize("turned", [0.0, 1.0, 30.0])
def test_factors_far_from_orthonormal(backend, turned):
    for shape in ((9, 9, 20), (5, 12, 9), (66, 66, 70)):
        given = factors(*shape, "even", turned)
        found = subkern.svd_factored(*(t.to(device_of(backend)) for t in given), backend=backend)
        check(given, found)


def test_batches_and_dtypes(backend):
    given = [torch.stack(ts) for ts in zip(*(factors(4, 6, 5, s) for s in SPECTRA), strict=True)]
    given = [t.reshape(2, 4, *t.shape[1:]).to(device_of(backend)) for t in given]
    found = subkern.svd_factored(*given, info=True, backend=backend)
    assert [t.shape for t in found] == [(2, 4, 4, 6), (2, 4, 4), (2, 4, 4, 5), (2, 4)]
    for i in range(2):
        for j in range(4):
            alone = subkern.svd_factored(*(t[i, j] for t in given), backend=backend)
            for a, b in zip(alone, found[:3], strict=True):
                assert same_bits(a, b[i, j]).all()
    narrow = subkern.svd_factored(*(t.bfloat16() for t in given), backend=backend)
    assert all(t.dtype == torch.float32 for t in narrow)


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_one_that_is_not_finite_stays_alone(backend, bad):
    given = [
        torch.stack(ts)
        for ts in zip(*(factors(4, 6, 5, "even", seed=i) for i in range(3)), strict=True)
    ]
    given = [t.to(device_of(backend)) for t in given]
    expected = subkern.svd_factored(*given, backend=backend)
    given[bad][1].view(-1)[2] = float("inf")
    *found, info = subkern.svd_factored(*given, info=True, backend=backend)
    assert info.tolist() == [0, 1, 0]
    for got, want in zip(found, expected, strict=True):
        assert got[1].isnan().all()
        assert same_bits(got[[0, 2]], want[[0, 2]]).all()
    with pytest.raises(torch.linalg.LinAlgError, match="svd_factored"):
        subkern.svd_factored(*given, check=True, backend=backend)


def test_empty(backend):
    device = device_of(backend)
    for k, m, n, batch in ((0, 3, 4, ()), (0, 0, 0, (2,)), (2, 3, 4, (0,))):
        shapes = ((*batch, k, m), (*batch, k), (*batch, k, n))
        found = subkern.svd_factored(
            *(torch.zeros(s, device=device) for s in shapes), backend=backend
        )
        assert tuple(t.shape for t in found) == shapes


def test_against_lapack():
    """Float64 on the reference equals torch.linalg.svd of the product."""
    Uh, S, Vh = (t.double() for t in factors(9, 12, 15, "even"))
    L, s, R = subkern.svd_factored(Uh, S, Vh)
    W = (Uh.mT * S) @ Vh
    torch.testing.assert_close((L.mT * s) @ R, W, rtol=0, atol=1e-14)
    torch.testing.assert_close(s, torch.linalg.svdvals(W)[:9], rtol=0, atol=1e-14)


def test_registered_and_compiled():
    given = [t[None] for t in factors(3, 4, 5, "even")]
    torch.library.opcheck(torch.ops.subkern.svd_factored.default, tuple(given), dict(backend="cpu"))
    compiled = torch.compile(lambda *t: subkern.svd_factored(*t, backend="cpu"), fullgraph=True)
    for a, b in zip(compiled(*given), subkern.svd_factored(*given, backend="cpu"), strict=True):
        assert torch.equal(a, b)
