"""FourierMask: its transform, its N, and the proximal step in closed form."""

import pytest
import torch
from sktest.krylov import mask, matrix, phantom, relative, rounding, same_bits
from sktest.krylov_cases import vectors

import subkern
from subkern.imaging import CartesianSense, FourierMask, dot_test

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("size", [(6, 8), (5, 7)], ids=str)
def test_is_one_coil_of_ones(size, centered):
    """The same map as multi-coil imaging with one coil, which the transform written out judges."""
    m = mask("plane", *size)
    A = FourierMask(m[:, 0], centered=centered)
    ones = torch.ones(1, 1, *size, dtype=torch.complex128)
    S = CartesianSense(ones, m, centered=centered)
    x = phantom(*size, 2)
    assert float((A.matvec(x) - S.matvec(x)[:, 0]).norm()) <= 1e-13 * float(x.norm())
    assert float((A.normal(x) - S.normal(x)).norm()) <= 1e-13 * float(x.norm())
    assert dot_test(A, x, x) <= 1e-13
    assert dot_test(A, x.to(torch.complex64), x.to(torch.complex64)) <= 1e-6


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
def test_prox(dtype):
    """The dense minimizer, for masks and weights of each sample."""
    m = torch.cat([mask("plane", 6, 7), 0.6 * mask("line", 6, 7)])[:, 0]
    A = FourierMask(m)
    z, y = phantom(6, 7, 2), vectors(2, 42, torch.complex128).view(2, 6, 7)
    N = matrix(A.normal, z)
    weights = torch.tensor([2.0, 9.0], dtype=torch.float64)
    H = torch.eye(42) + weights[:, None, None] * N
    b = z + weights[:, None, None] * A.adjoint(y)
    exact = torch.linalg.solve(H, b.flatten(1)[:, :, None])[:, :, 0]
    found = A.prox(z.to(dtype), y.to(dtype), weights)
    assert found.dtype == dtype
    assert float(relative(found, exact).max()) <= rounding(dtype, 10)
    for i, gamma in enumerate((2, 9.0)):
        alone = FourierMask(m[i : i + 1]).prox(
            z[i : i + 1].to(dtype), y[i : i + 1].to(dtype), gamma
        )
        assert same_bits(alone, found[i : i + 1])


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.float16, torch.float64], ids=str)
def test_dtypes_of_masks(dtype):
    """Any real dtype, for images of either precision."""
    m = mask("plane", 6, 8)[:, 0]
    for precision in (torch.complex64, torch.complex128):
        x = phantom(6, 8, 2).to(precision)
        found = FourierMask(m.to(dtype)).matvec(x)
        assert found.dtype == precision
        assert same_bits(found, FourierMask(m).matvec(x))


def test_norm_bound():
    m = 0.7 * mask("plane", 5, 6)[:, 0]
    A = FourierMask(m)
    N = matrix(A.normal, torch.zeros(1, 5, 6, dtype=torch.complex128))
    assert float(torch.linalg.eigvalsh(N).max()) == pytest.approx(A.norm_bound)


def test_solvers():
    """Its N has two eigenvalues: cg is done after two steps."""
    A = FourierMask(mask("plane", 8, 9)[:, 0])
    z = phantom(8, 9, 3).to(torch.complex64)
    y = A.matvec(2 * z)
    found = subkern.cg_prox(A, z, y, gamma=4.0, maxiter=3)
    assert float(relative(found.x, A.prox(z, y, 4.0)).max()) <= rounding(z.dtype, 5)
