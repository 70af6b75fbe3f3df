"""Refresh engines find the leading subspace: energy, orthonormality, range, bad gradients."""

from __future__ import annotations

import pytest
import torch

from subkern.optim._basis import orthonormalize, refresh_basis

ENGINES = ("svd", "rsvd", "warm")
SHAPES = ((96, 256), (256, 96), (97, 203), (203, 97), (128, 128))
SPECTRA = {
    "power": lambda i: (1 + i) ** -1.0,
    "exponential": lambda i: torch.exp(-i / 12),
    "low rank plus noise": lambda i: torch.where(i < 4, 1.0, 0.02),
}


def factors(shape, generator):
    m, n = shape
    k = min(m, n)
    U = torch.linalg.qr(torch.randn(m, k, generator=generator, dtype=torch.float64))[0]
    V = torch.linalg.qr(torch.randn(n, k, generator=generator, dtype=torch.float64))[0]
    return U, V


def decaying(shape, spectrum, seed=0):
    generator = torch.Generator().manual_seed(seed)
    U, V = factors(shape, generator)
    s = SPECTRA[spectrum](torch.arange(min(shape), dtype=torch.float64))
    return ((U * s) @ V.T).float()


def drifting(shape, spectrum, steps, angle=0.1):
    """Gradients whose singular vectors turn a little from one refresh to the next."""
    generator = torch.Generator().manual_seed(1)
    U, V = factors(shape, generator)
    s = SPECTRA[spectrum](torch.arange(min(shape), dtype=torch.float64))
    for _ in range(steps):
        yield ((U * s) @ V.T).float()
        turned = []
        for X in (U, V):
            step = torch.randn(X.shape, generator=generator, dtype=torch.float64)
            turned.append(torch.linalg.qr(X + angle * step / X.shape[0] ** 0.5)[0])
        U, V = turned


def captured(G, bases, side):
    """Share of the best rank-r energy that the bases hold."""
    G = G.double()
    P, Q = bases[0].double(), bases[-1].double()
    R = {"left": lambda: P.T @ G, "right": lambda: G @ Q, "full": lambda: P.T @ G @ Q}[side]()
    best = torch.linalg.svdvals(G)[: P.shape[1]].square().sum()
    return float(R.square().sum() / best)


def assert_orthonormal(bases):
    for P in bases:
        r = P.shape[1]
        gram = P.double().T @ P.double()
        # Two Cholesky passes leave a few roundings of each entry.
        assert (gram - torch.eye(r, dtype=torch.float64)).abs().max() <= 4e-6


@pytest.mark.parametrize("side", ["left", "right", "full"])
@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ENGINES)
def test_first_refresh_energy(kind, shape, spectrum, side):
    G = decaying(shape, spectrum)
    for divisor in (4, 16):
        rank = min(shape) // divisor
        bases = refresh_basis(kind, G, rank, side, None, (0, 0, 0))
        assert [P.shape for P in bases] == [
            (k, rank) for k in {"left": shape[:1], "right": shape[1:], "full": shape}[side]
        ]
        assert all(P.dtype == torch.float32 and P.is_contiguous() for P in bases)
        assert_orthonormal(bases)
        assert captured(G, bases, side) >= 0.99


@pytest.mark.parametrize("side", ["left", "right", "full"])
@pytest.mark.parametrize("spectrum", ["power", "exponential"])
@pytest.mark.parametrize("shape", SHAPES[:3], ids=str)
@pytest.mark.parametrize("divisor", [4, 16])
def test_warm_follows_a_drift(divisor, shape, spectrum, side):
    rank = min(shape) // divisor
    bases = None
    for count, G in enumerate(drifting(shape, spectrum, 8)):
        bases = refresh_basis("warm", G, rank, side, bases, (0, 0, count))
        assert_orthonormal(bases)
        assert captured(G, bases, side) >= 0.99, f"refresh {count}"


def test_drift_is_a_challenge():
    """The helper moves the subspace: the first basis is soon worse than the bound above."""
    gradients = list(drifting((96, 256), "power", 8))
    first = refresh_basis("svd", gradients[0], 6, "left", None, (0, 0, 0))
    assert captured(gradients[0], first, "left") == pytest.approx(1, abs=1e-5)
    assert captured(gradients[-1], first, "left") < 0.99


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("exponent", [-30, -20, 0, 20, 30])
def test_scale_does_not_matter(kind, exponent):
    G = decaying((48, 80), "power") * 10.0**exponent
    previous = refresh_basis("rsvd", decaying((48, 80), "power"), 12, "left", None, (0, 0, 0))
    for start in (None, previous):
        bases = refresh_basis(kind, G, 12, "left", start, (0, 0, 0))
        assert_orthonormal(bases)
        # Entries below 1e-38 are subnormal: the gradient itself has lost digits there.
        assert captured(G.double() * 10.0**-exponent, bases, "left") >= 0.99


@pytest.mark.parametrize("side", ["left", "right", "full"])
@pytest.mark.parametrize("kind", ENGINES)
def test_rank_deficient_gradient(kind, side):
    generator = torch.Generator().manual_seed(2)
    G = torch.randn(40, 3, generator=generator) @ torch.randn(3, 70, generator=generator)
    bases = refresh_basis(kind, G, 10, side, None, (0, 0, 0))
    for _ in range(2):
        assert_orthonormal(bases)
        assert captured(G, bases, side) == pytest.approx(1, abs=1e-5)
        bases = refresh_basis(kind, G, 10, side, bases, (0, 0, 1))


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf"), -float("inf")])
def test_zero_or_bad_gradient_keeps_the_basis(kind, bad):
    G = torch.zeros(12, 20)
    G[3, 4] = bad
    assert refresh_basis(kind, G, 4, "left", None, (0, 0, 0)) is None
    previous = [torch.eye(12, 4)]
    assert refresh_basis(kind, G, 4, "left", previous, (0, 0, 1)) is None


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (1, 1), (5, 5)], ids=str)
def test_smallest_ranks(kind, shape):
    G = torch.arange(1.0, 1 + shape[0] * shape[1]).reshape(shape).cos()
    for side in ("left", "right", "full"):
        for rank in {1, min(shape)}:
            bases = refresh_basis(kind, G, rank, side, None, (0, 0, 0))
            assert_orthonormal(bases)
            if rank == min(shape):
                assert captured(G, bases, side) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", ["rsvd", "warm"])
def test_same_seed_same_bits(kind):
    G = decaying((48, 80), "power")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = refresh_basis(kind, G, 8, "left", None, (7, 3, 0))
    assert torch.equal(torch.get_rng_state(), before), "the global generator was used"
    torch.manual_seed(2)
    assert torch.equal(first[0], refresh_basis(kind, G, 8, "left", None, (7, 3, 0))[0])
    for other in ((8, 3, 0), (7, 4, 0), (7, 3, 1)):
        assert not torch.equal(first[0], refresh_basis(kind, G, 8, "left", None, other)[0])


def test_input_and_start_are_not_changed():
    G, start = decaying((48, 80), "power"), torch.eye(48, 8)
    kept = G.clone(), start.clone()
    for kind in ENGINES:
        refresh_basis(kind, G, 8, "left", [start], (0, 0, 1))
    assert torch.equal(G, kept[0])
    assert torch.equal(start, kept[1])


@pytest.mark.parametrize("layout", ["transposed", "strided", "bfloat16", "float64"])
@pytest.mark.parametrize("kind", ENGINES)
def test_layouts_and_dtypes(kind, layout):
    G = decaying((48, 80), "power")
    view = {
        "transposed": G.T.contiguous().T,
        "strided": torch.stack([G, G], dim=2)[:, :, 0],
        "bfloat16": G.bfloat16(),
        "float64": G.double(),
    }[layout]
    bases = refresh_basis(kind, view, 12, "left", None, (0, 0, 0))
    assert bases[0].dtype == (torch.float64 if layout == "float64" else torch.float32)
    assert captured(G, bases, "left") >= 0.99


@pytest.mark.parametrize("condition", [1e0, 1e4, 1e8, 1e30])
def test_orthonormalize(condition):
    generator = torch.Generator().manual_seed(4)
    Y = torch.randn(60, 12, generator=generator, dtype=torch.float64)
    Y = (Y * torch.logspace(0, -torch.log10(torch.tensor(condition)), 12)).float()
    Q = orthonormalize(Y)
    assert_orthonormal([Q])
    # The span is kept: every column of Y lies in it.
    unit = Y.double() / Y.double().norm(dim=0)
    assert (unit - Q.double() @ (Q.double().T @ unit)).norm(dim=0).max() <= 1e-5


def test_orthonormalize_dependent_columns():
    y = torch.linspace(-1, 1, 30)[:, None]
    Q = orthonormalize(torch.cat([y, y, y**2, torch.zeros(30, 1)], 1))
    assert_orthonormal([Q])
    assert (y - Q @ (Q.T @ y)).norm() <= 1e-5 * y.norm()
