"""Diagnostics against values known in advance."""

import math

import pytest
import torch

import subkern
from subkern.diagnostics import (
    captured_energy,
    orthonormality_error,
    principal_angles,
    reconstruction_error,
)


def rotation(angle):
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, -s], [s, c]], dtype=torch.float64)


def test_they_are_public():
    assert subkern.diagnostics.captured_energy is captured_energy


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_captured_energy(scale):
    G = scale * torch.diag_embed(torch.tensor([[3.0, 2.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]))
    got = captured_energy(G, torch.eye(3, 2))
    assert got.dtype == torch.float64
    assert got.tolist() == pytest.approx([13 / 14, 0.0, 0.0], rel=1e-6)


def test_captured_energy_of_what_is_not_finite():
    G = torch.eye(3).repeat(2, 1, 1)
    G[0, 0, 0] = math.nan
    got = captured_energy(G, torch.eye(3, 1))
    assert got[0].isnan()
    assert float(got[1]) == pytest.approx(1 / 3)


def test_orthonormality_error_is_the_2_norm():
    Q = torch.eye(6, 3).repeat(2, 1, 1)
    Q[1] *= 1.5
    assert orthonormality_error(Q).tolist() == [0.0, 1.25]
    Q[0, 0, 0] = math.inf
    assert orthonormality_error(Q).isnan().tolist() == [True, False]
    assert orthonormality_error(torch.zeros(2, 3, 0)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("angle", [1e-12, 1e-6, 0.3, 0.78, 0.79, 1.2, math.pi / 2])
def test_principal_angles(angle):
    """Small angles have all their digits: the cosine of 1e-12 is 1."""
    Q1, Q2 = torch.eye(2, 1).double(), rotation(angle)[:, :1]
    assert principal_angles(Q1, 3 * Q2).item() == pytest.approx(angle, rel=1e-9)


def test_principal_angles_ascend():
    Q1 = torch.eye(4, 2).double()
    Q2 = Q1.clone()
    Q2[[0, 2], 0] = torch.tensor([math.cos(1.0), math.sin(1.0)]).double()
    Q2[[1, 3], 1] = torch.tensor([math.cos(0.1), math.sin(0.1)]).double()
    got = principal_angles(Q1[None], Q2[None])
    assert got[0].tolist() == pytest.approx([0.1, 1.0], rel=1e-6)


def test_reconstruction_error():
    A = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)).double()
    U, S, Vh = torch.linalg.svd(A, full_matrices=False)
    assert reconstruction_error(A, U, S, Vh).max() < 1e-14
    assert reconstruction_error(A, 0.9 * A).tolist() == pytest.approx([0.1, 0.1])
    assert reconstruction_error(torch.zeros(3, 3), torch.eye(3)).item() == pytest.approx(3**0.5)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: captured_energy(torch.eye(3), torch.eye(4)), ValueError, "Q must have 3 rows"),
        (lambda: captured_energy(1.0, torch.eye(4)), TypeError, "G must be a tensor"),
        (lambda: captured_energy(torch.eye(3).int(), torch.eye(3)), TypeError, "floating"),
        (lambda: orthonormality_error(torch.ones(3)), ValueError, "shape"),
        (lambda: principal_angles(torch.eye(3, 1), torch.eye(3, 2)), ValueError, "at most 1"),
        (lambda: reconstruction_error(torch.eye(3)), ValueError, "at least one"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
