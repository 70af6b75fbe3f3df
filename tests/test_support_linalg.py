"""The accuracy checks pass what LAPACK computes and catch what is slightly wrong."""

import pytest
import torch
from sktest import linalg

from subkern.bench.gallery import gallery, nonfinite


def signed(U, Vh):
    """The sign rule, imposed on factors."""
    rows = torch.arange(U.shape[1])[:, None]
    size = U.abs()
    first = torch.where(size == size.amax(1, keepdim=True), rows, U.shape[1]).amin(1, keepdim=True)
    sign = U.gather(1, first).sign()
    return U * sign, Vh * sign.mT


@pytest.fixture(scope="module")
def square():
    return gallery(9, 7)


@pytest.fixture(scope="module")
def factors(square):
    U, S, Vh = torch.linalg.svd(square.truth, full_matrices=False)
    U, Vh = signed(U.float(), Vh.float())
    return U, S.float(), Vh


def test_svd(square, factors):
    U, S, Vh = factors
    linalg.check_svd(square, U, S, Vh)
    for change, words in (
        (lambda: (U * (1 + 2e-5), S, Vh), "U orthonormality"),
        (lambda: (U, S * (1 + 1e-4), Vh), "SVD residual"),
        (lambda: (-U, S, -Vh), "sign rule"),
        (lambda: (U.flip(2), S.flip(1), Vh.flip(1)), "singular values|descending"),
        (lambda: (U, S.where(S > 0, torch.nan), Vh), "singular values|residual"),
    ):
        with pytest.raises(AssertionError, match=words):
            linalg.check_svd(square, *change())
    with pytest.raises(AssertionError, match=r"not torch\.float32"):
        linalg.check_svd(square, U.double(), S, Vh)


def test_qr(square):
    Q, R = torch.linalg.qr(square.truth)
    sign = torch.where(R.diagonal(dim1=1, dim2=2) < 0, -1.0, 1.0).double()
    Q, R = (Q * sign[:, None]).float(), (R * sign[:, :, None]).float()
    linalg.check_qr(square, Q, R)
    with pytest.raises(AssertionError, match="diag"):
        linalg.check_qr(square, -Q, -R)
    with pytest.raises(AssertionError, match="range residual"):
        linalg.check_qr(square, torch.linalg.qr(Q.flip(1))[0])
    with pytest.raises(AssertionError, match="QR residual"):
        linalg.check_qr(square, Q, R * (1 + 1e-4))


def test_eigh():
    g = gallery(8, 8)
    g = linalg.as_gallery((g.batch + g.batch.mT) / 2)
    w, V = torch.linalg.eigh(g.truth)
    V = signed(V.float(), V.float())[0]
    linalg.check_eigh(g, w.float(), V)
    with pytest.raises(AssertionError, match=r"eigenvalues|residual"):
        linalg.check_eigh(g, w.float() + 1e-4, V)


def test_basis(square, factors):
    Q = factors[0][:, :, :3].contiguous()
    best = linalg.optimal_energy(square, 3)
    linalg.check_basis(square, Q, least=best * (1 - 1e-5))
    linalg.check_subspace(square, Q)
    other = torch.eye(9, 3).expand_as(Q)
    with pytest.raises(AssertionError, match="captured energy"):
        linalg.check_basis(square, other, least=best * (1 - 1e-5))
    with pytest.raises(AssertionError, match="subspace"):
        linalg.check_subspace(square, other)


def test_polar(square, factors):
    g = square.pick(lambda name: name in ("geometric-100", "normal", "geometric-1e6"))
    U, _, Vh = (t[[square.index(name) for name in g.names]] for t in factors)
    Q = U @ Vh
    linalg.check_polar_direction(g, Q)
    linalg.check_polar_orthogonal(g, Q)
    with pytest.raises(AssertionError, match="Q\\^T Q"):
        linalg.check_polar_orthogonal(g, Q * 1.0001)
    with pytest.raises(AssertionError, match="least singular value"):
        linalg.check_polar_direction(g, Q * 0.75)


def test_a_failure_names_the_matrix(square):
    values = torch.zeros(len(square.names))
    values[square.index("kahan")] = 2.0
    with pytest.raises(AssertionError, match=r"kahan: 2\.00e\+00 > 1\.00e\+00"):
        linalg.assert_bounded("quantity", values, 1.0, square)
    assert any("kahan 9x7" in line for line in linalg.worst_lines())
    del linalg.worst["quantity", "structured"]


def test_what_one_bad_matrix_does():
    def right(batch):
        bad = ~batch.isfinite().flatten(1).all(1)
        result = torch.where(bad[:, None, None], torch.nan, batch)
        return result, bad.int()

    def spreads(batch):
        result, info = right(batch)
        return result + (0.0 if not info.any() else 1e-7), info

    def silent(batch):
        return batch, torch.zeros(batch.shape[0], dtype=torch.int32)

    for case in nonfinite(5, 4):
        linalg.check_poisoned(right, case)
        for wrong in (spreads, silent):
            with pytest.raises(AssertionError):
                linalg.check_poisoned(wrong, case)


def test_alone_and_together():
    batch = torch.rand(5, 3, 3)
    linalg.check_alone(lambda b: (2 * b,), batch, (0, 4))
    with pytest.raises(AssertionError, match="matrix 4"):
        linalg.check_alone(lambda b: (b + b.shape[0],), batch, (4,))
