"""The oracles and problems of the solvers' tests, by themselves."""

import math

import pytest
import torch
from sktest.krylov import (
    KINDS,
    birdcage,
    mask,
    matrix,
    phantom,
    problem,
    relative,
    same_bits,
    sense,
    textbook,
)
from sktest.krylov_cases import chain, ring, vectors


def test_textbook_solves():
    """Exact in as many steps as there are eigenvalues, and not before."""
    H = torch.diag(torch.tensor([1.0, 2.0, 5.0, 5.0], dtype=torch.complex128))
    b = torch.tensor([1.0, 1.0, 1.0j, 2.0], dtype=torch.complex128)
    errors = [float((H @ x - b).norm()) for x in textbook(lambda v: H @ v, b, 0 * b, 3)]
    assert errors[3] <= 1e-14
    assert min(errors[:3]) >= 1e-2


def test_matrix():
    A = torch.randn(3, 4, 5, dtype=torch.complex128)
    found = matrix(lambda v: (A @ v[:, :, None])[:, :, 0], torch.zeros(3, 5, dtype=A.dtype))
    assert torch.equal(found, A)


@pytest.mark.parametrize(("op", "low", "high"), [(ring, 1.0, 5.0), (chain, 0.5, 4.5)])
def test_maps(op, low, high):
    """Hermitian, and of the eigenvalues that their words promise."""
    N = matrix(op, torch.zeros(1, 24, dtype=torch.complex128))[0]
    assert torch.equal(N, N.mH)
    values = torch.linalg.eigvalsh(N)
    assert low - 1e-12 <= float(values[0]) <= low + 0.1
    assert high - 0.1 <= float(values[-1]) <= high + 1e-12


def test_phantom_and_birdcage():
    x = phantom(16, 12, 2)
    assert x.shape == (2, 16, 12)
    assert torch.allclose(x[0].abs(), x[1].abs())
    assert float(x.imag.abs().max()) > 0.3
    S = birdcage(5, 16, 12)
    assert torch.allclose(S.abs().square().sum(1), torch.ones(1, 16, 12, dtype=torch.float64))
    # The nearest coil is the most sensitive: coil 0 stands to the right.
    assert int(S[0, :, 8, 11].abs().argmax()) == 0


def test_masks():
    for kind in KINDS:
        m = mask(kind, 9, 11, 3)
        assert m.shape == (3 if kind.startswith("per-sample") else 1, 1, 9, 11)
        assert (m >= 0).all()
        part = float((m > 0).double().mean())
        assert part == {"full": 1.0, "zero": 0.0}.get(kind, pytest.approx(0.5, abs=0.25))
    assert not torch.equal(mask("per-sample", 9, 11, 3)[0], mask("per-sample", 9, 11, 3)[1])
    assert len(mask("weighted", 9, 11).unique()) > 3


def test_problem():
    """Its numbers belong together: H x = b, and no energy is left in x."""
    p = problem(lambda dtype, device: sense("plane", 6, 8, dtype=dtype), phantom(6, 8, 2))
    assert float(p.residual(p.x).norm()) <= 1e-12 * float(p.b.norm())
    assert float(p.energy(p.x).max()) == 0
    assert p.off(p.x) == 0
    assert float(p.energy(p.z).min()) > 0.1
    wide = sense("plane", 6, 8, dtype=torch.complex128)
    Aty = wide.adjoint(p.y.to(torch.complex128))
    b = p.z.to(torch.complex128) + p.gamma * Aty
    assert torch.allclose(p.b, b.flatten(1))


def test_bits_and_distances():
    x = torch.tensor([0.0, math.nan, 1.0])
    assert same_bits(x, x.clone())
    assert not same_bits(x, torch.tensor([-0.0, math.nan, 1.0]))
    assert not same_bits(x, x.double())
    assert not same_bits(x, x[None])
    assert not same_bits(x[2], torch.nextafter(x[2], x[0]))
    z = torch.tensor([1.0 + 1j])
    assert same_bits(z.conj(), torch.tensor([1.0 - 1j]))
    assert not same_bits(z.conj(), z)
    assert torch.allclose(
        relative(torch.tensor([[3.0, 0.0]]), torch.tensor([[3.0, 4.0]])).float(),
        torch.tensor([0.8]),
    )
    assert vectors(3).shape == (3, 24)
    assert same_bits(vectors(3)[:1], vectors(1))
