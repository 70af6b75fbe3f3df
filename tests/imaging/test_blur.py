"""Blur: circular convolution by its sum, its adjoint, and solves."""

import itertools

import pytest
import torch
from sktest.krylov import matrix, phantom, relative, rounding
from sktest.krylov_cases import vectors

import subkern
from subkern.imaging import Blur, dot_test

pytestmark = pytest.mark.usefixtures("one_thread")


def convolved(kernel, x):
    """sum_ab k[a, b] x[i - a + h // 2, j - b + w // 2], indices modulo the size."""
    h, w = kernel.shape
    found = torch.zeros_like(x, dtype=torch.promote_types(x.dtype, kernel.dtype))
    for a, b in itertools.product(range(h), range(w)):
        found += kernel[a, b] * torch.roll(x, (a - h // 2, b - w // 2), (-2, -1))
    return found


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 5), (4, 2), (6, 7)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("image", [torch.float64, torch.complex128], ids=str)
def test_matvec(shape, dtype, image):
    kernel = vectors(shape[0], shape[1], dtype)
    x = vectors(2, 42, image).view(2, 6, 7)
    A = Blur(kernel, (6, 7))
    if dtype.is_complex and not image.is_complex:
        with pytest.raises(TypeError, match=r"Blur: x must be torch.complex128, got torch.float64"):
            A.matvec(x)
        return
    exact = convolved(kernel, x)
    assert float((A.matvec(x) - exact).norm()) <= 1e-14 * 42 * float(exact.norm())
    assert A.matvec(x).dtype == image
    assert dot_test(A, x, x) <= 1e-13
    narrow = Blur(kernel.to(torch.complex64 if dtype.is_complex else torch.float32), (6, 7))
    low = x.to(torch.complex64 if image.is_complex else torch.float32)
    assert dot_test(narrow, low, low) <= 1e-6
    N = matrix(A.normal, x[:1])
    exact_N = matrix(lambda v: A.adjoint(A.matvec(v)), x[:1])
    assert float((N - exact_N).norm()) <= 1e-13 * float(N.norm())
    assert float(torch.linalg.eigvalsh(N).max()) == pytest.approx(A.norm_bound)


def test_deconvolution():
    """Real images through cg and cg_prox, against the dense solutions."""
    kernel = torch.tensor([[0.05, 0.2, 0.05], [0.1, 0.8, 0.1]])
    A, x = Blur(kernel, (8, 6)), phantom(8, 6, 2).abs().float()
    N = matrix(Blur(kernel.double(), (8, 6)).normal, x[:1].double())[0].real
    b = A.normal(x)
    found = subkern.cg(A, b, maxiter=100, rtol=1e-7)
    condition = float(torch.linalg.cond(N))
    assert found.x.dtype == torch.float32
    assert float(relative(found.x, x).max()) <= rounding(x.dtype, condition)
    prox = subkern.cg_prox(A, 0.5 * x, A.matvec(x), gamma=20.0, maxiter=60)
    rhs = 0.5 * x.double() + 20.0 * (N @ x.double().flatten(1).mT).mT.view_as(x)
    exact = torch.linalg.solve(torch.eye(48) + 20.0 * N, rhs.flatten(1).mT).mT
    assert float(relative(prox.x, exact).max()) <= rounding(x.dtype, 1 + 20 * A.norm_bound)
