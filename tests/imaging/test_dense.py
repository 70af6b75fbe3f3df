"""Dense: matrices of all dtypes, shared or one for each sample, to the same bits everywhere."""

import pytest
import torch
from sktest.krylov import relative, rounding, same_bits
from sktest.krylov_cases import vectors

import subkern
from subkern.imaging import Dense, dot_test

pytestmark = pytest.mark.usefixtures("one_thread")
DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("samples", [None, 3])
def test_products(dtype, samples):
    A = vectors(5 * (samples or 1), 7, dtype).view(*([samples] if samples else []), 5, 7)
    x, y = vectors(3, 7, dtype, seed=50), vectors(3, 5, dtype, seed=70)
    op, wide = Dense(A), A.to(torch.complex128)
    exact = (wide @ x.to(wide.dtype)[:, :, None])[:, :, 0]
    assert float(relative(op.matvec(x), exact).max()) <= rounding(dtype, 1)
    back = (wide.mH @ y.to(wide.dtype)[:, :, None])[:, :, 0]
    assert float(relative(op.adjoint(y), back).max()) <= rounding(dtype, 1)
    assert dot_test(op, x, y) <= 8 * torch.finfo(dtype).eps
    largest = torch.linalg.matrix_norm(wide, 2).max() ** 2
    assert op.norm_bound == pytest.approx(float(largest), rel=1e-4)


def test_real_matrix_of_complex_vectors():
    A, x = Dense(vectors(5, 7, torch.float32)), vectors(2, 7)
    parts = torch.complex(A.matvec(x.real), A.matvec(x.imag))
    assert float(relative(A.matvec(x), parts).max()) <= rounding(x.dtype, 1)
    solved = subkern.cg(A, x, gamma=1.0, maxiter=9)
    assert solved.x.dtype == x.dtype
    with pytest.raises(TypeError, match=r"Dense: x must be torch.complex64, got torch.float32"):
        Dense(vectors(5, 7)).matvec(x.real)


@pytest.mark.parametrize("n", [3, 64, 100, 5000])
def test_bits(n):
    """Of a sample, whatever the batch and the threads."""
    A, x = Dense(vectors(6, n)), vectors(4, n, seed=20)
    y = A.matvec(x)
    back = A.adjoint(y)
    for kept in ([2], [0, 3]):
        assert same_bits(A.matvec(x[kept]), y[kept])
        assert same_bits(A.adjoint(y[kept]), back[kept])
    torch.set_num_threads(2)
    assert same_bits(A.matvec(x[:1]), y[:1])
    assert same_bits(A.adjoint(y[:1]), back[:1])


def test_a_matrix_for_each_sample():
    """Solves of systems that have nothing to do with each other."""
    A = vectors(24, 6, torch.complex128).view(4, 6, 6) + 2 * torch.eye(6)
    b = vectors(4, 6, torch.complex128, seed=40)
    exact = torch.linalg.solve(torch.eye(6) + 0.5 * (A.mH @ A), b[:, :, None])[:, :, 0]
    found = subkern.cg(Dense(A), b, gamma=0.5, maxiter=30)
    assert float(relative(found.x, exact).max()) <= 1e-10
    assert Dense(A[0].conj()).A.is_conj() is False
