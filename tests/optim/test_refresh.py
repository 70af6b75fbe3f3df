"""Refresh engines find the leading subspace: energy, orthonormality, range, bad gradients."""

from __future__ import annotations

import pytest
import torch

from subkern.optim import _basis

ENGINES = ("svd", "rsvd", "warm", "gram")
SHAPES = ((96, 256), (256, 96), (97, 203), (203, 97), (128, 128))
SPECTRA = {
    "power": lambda i: (1 + i) ** -1.0,
    "exponential": lambda i: torch.exp(-i / 12),
    "low rank plus noise": lambda i: torch.where(i < 4, 1.0, 0.02),
}


def refresh_basis(*args):
    """Bases of a gradient that has some."""
    bases, ok = _basis.refresh_basis(*args)
    assert ok.dtype == torch.bool
    assert ok.shape == ()
    assert bool(ok)
    return bases


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


def assert_orthonormal(bases, kind=""):
    """Orthonormalized, rounded to float32; LAPACK's float32 SVD leaves one rounding per column."""
    bound = 2e-5 if kind == "svd" else 1e-6
    for P in bases:
        gram = P.double().T @ P.double()
        assert (gram - torch.eye(P.shape[1], dtype=torch.float64)).abs().max() <= bound


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
        assert_orthonormal(bases, kind)
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
        assert_orthonormal(bases, kind)
        # Entries below 1e-38 are subnormal: the gradient itself has lost digits there.
        assert captured(G.double() * 10.0**-exponent, bases, "left") >= 0.99


def deficient(name, shape):
    """Gradients whose rank is far below 64."""
    generator = torch.Generator().manual_seed(2)
    m, n = shape
    G = torch.zeros(shape)
    if name.startswith("rank"):
        r = int(name.removeprefix("rank "))
        return torch.randn(m, r, generator=generator) @ torch.randn(r, n, generator=generator)
    if name == "repeated columns":
        return torch.randn(m, 3, generator=generator).repeat(1, n)[:, :n]
    if name == "few rows":
        G[:5] = torch.randn(5, n, generator=generator)
    elif name == "one row":
        G[-1] = 1.0
    elif name == "one entry":
        G[m // 2, n // 3] = -3.0
    return G


DEFICIENT = ("rank 1", "rank 2", "rank 40", "repeated columns", "few rows", "one row", "one entry")


@pytest.mark.parametrize("side", ["left", "right", "full"])
@pytest.mark.parametrize("name", DEFICIENT)
@pytest.mark.parametrize("shape", [(80, 190), (190, 80)], ids=str)
@pytest.mark.parametrize("kind", ENGINES)
def test_rank_deficient_gradient(kind, shape, name, side):
    """All of a gradient of rank below r is captured, from any start, again and again."""
    G = deficient(name, shape)
    for rank in (64, min(shape) - 1, min(shape)):
        bases = refresh_basis(kind, G, rank, side, None, (0, 0, 0))
        for _ in range(3):
            assert_orthonormal(bases, kind)
            assert captured(G, bases, side) == pytest.approx(1, abs=1e-5)
            bases = refresh_basis(kind, G, rank, side, bases, (0, 0, 1))


@pytest.mark.parametrize("start", ["unit", "bfloat16", "same column"])
def test_warm_start_of_any_kind(start):
    """A poor start, of dependent columns even, gives an orthonormal basis that soon is good."""
    G = decaying((96, 256), "power")
    unit = torch.eye(96, 64)
    P = {
        "unit": unit,
        "bfloat16": _basis.random_start((96, 64), unit, (1,)).bfloat16(),
        "same column": torch.full((96, 64), 0.1),
    }[start]
    bases = [P]
    for count in range(1, 4):
        bases = refresh_basis("warm", G, 64, "left", bases, (0, 0, count))
        assert_orthonormal(bases)
    assert captured(G, bases, "left") >= 0.99


@pytest.mark.parametrize("on_host", [False, True])
@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf"), -float("inf")])
def test_zero_or_bad_gradient_is_refused(kind, bad, on_host):
    G = torch.zeros(12, 20)
    G[3, 4] = bad
    for side in ("left", "right", "full"):
        units = {"left": [(12, 4)], "right": [(20, 4)], "full": [(12, 4), (20, 4)]}[side]
        for previous in (None, [torch.eye(*shape) for shape in units]):
            call = (kind, G, 4, side, previous, (0, 0, 0))
            bases, ok = _basis.refresh_basis(*call, on_host=on_host)
            assert not bool(ok)
            assert [tuple(P.shape) for P in bases] == ([] if on_host else units)
            assert all(torch.isfinite(P).all() for P in bases)


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (1, 1), (5, 5)], ids=str)
def test_smallest_ranks(kind, shape):
    G = torch.arange(1.0, 1 + shape[0] * shape[1]).reshape(shape).cos()
    for side in ("left", "right", "full"):
        for rank in {1, min(shape)}:
            bases = refresh_basis(kind, G, rank, side, None, (0, 0, 0))
            assert_orthonormal(bases, kind)
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


def test_random_bases():
    """Orthonormal, of the seed alone, other columns at every refresh."""
    G, other = decaying((48, 80), "power"), decaying((48, 80), "exponential")
    for side, shapes in (("left", [(48, 8)]), ("full", [(48, 8), (80, 8)])):
        bases = refresh_basis("random", G, 8, side, None, (7, 3, 0))
        assert [tuple(P.shape) for P in bases] == shapes
        assert_orthonormal(bases)
        assert all(
            map(torch.equal, bases, refresh_basis("random", other, 8, side, bases, (7, 3, 0)))
        )
        for seed in ((8, 3, 0), (7, 4, 0), (7, 3, 1)):
            assert not torch.equal(bases[0], refresh_basis("random", G, 8, side, None, seed)[0])
    refused = _basis.refresh_basis("random", torch.zeros(48, 80), 8, "left", None, (0, 0, 0))
    assert not bool(refused[1])


def test_gram_keeps_the_side_of_the_last_basis():
    """A singular vector has no sign of its own; the moments know the last one."""
    G = decaying((48, 80), "power")
    last = refresh_basis("gram", G, 8, "left", None, (0, 0, 0))
    flipped = [last[0] * torch.tensor([1.0, -1.0]).repeat(4)]
    again = refresh_basis("gram", G, 8, "left", flipped, (0, 0, 1))
    assert torch.equal(again[0], flipped[0])
