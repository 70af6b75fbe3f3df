"""orthonormalize for matrices that no block holds, and the rare paths on their own."""

import pytest
import torch
from orthonormalize_cases import check, describe, matrices, run

from subkern.reference import orthonormalize as reference

SHAPES = [(7300, 8), (4300, 13), (1810, 31), (700, 64)]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "{}x{}".format(*s))
def test_against_truth(kernels, shape):
    names = ("random", "graded" if shape[1] < 64 else "dependent", "not finite")
    Y = matrices(*shape, names).to(kernels.device)
    before = kernels.module.call_counts()["orthonormalize_split"]
    Q, R, info = kernels.same_on_every_seed(lambda: run(kernels, Y))
    assert kernels.module.call_counts()["orthonormalize_split"] - before == 9 * 5
    check(Y[:2], Q[:2], R[:2])
    assert Q[2].isnan().all()
    assert R[2].isnan().all()
    assert info.tolist() == [0, 0 if shape[1] < 64 else 2, 1]


@pytest.mark.parametrize("rows", [200, 3700], ids=["held", "tall"])
def test_third_pass(kernels, rows):
    """Columns so dependent that two passes are not enough."""
    generator = torch.Generator().manual_seed(2)
    left = torch.linalg.qr(torch.randn(rows, 16, generator=generator, dtype=torch.float64))[0]
    right = torch.linalg.qr(torch.randn(16, 16, generator=generator, dtype=torch.float64))[0]
    values = torch.ones(16, dtype=torch.float64)
    values[8:] = 10**-6.8
    Y = (left * values @ right.mT).float()
    factor = torch.linalg.cholesky(Y.double().mT @ Y.double(), upper=True).float()
    once = torch.linalg.solve_triangular(factor, Y, upper=True, left=False).double()
    assert (once.mT @ once - torch.eye(16)).abs().max() > 0.1
    Y = torch.stack([Y, Y.flip(0)]).to(kernels.device)
    Q, R, info = run(kernels, Y)
    check(Y, Q, R)
    assert info.tolist() == [0, 0]


@pytest.mark.parametrize(("m", "k"), [(40, 36), (20, 5)])
def test_repair(kernels, m, k):
    """Columns made in device memory are the reference's; a matrix without failures stays."""
    Y = matrices(m, k, ("low rank", "zero", "random")).to(kernels.device)
    start = torch.tensor([(k + 2) // 3, 0, k], dtype=torch.int32, device=kernels.device)
    exponent = torch.full((3, k), 2, dtype=torch.int32, device=kernels.device)
    ordered, triangle = torch.linalg.qr(Y.double())
    diagonal = triangle.diagonal(dim1=1, dim2=2)
    ordered = (ordered * torch.where(diagonal < 0, -1.0, 1.0)[:, None, :]).float()
    good = torch.arange(k, device=kernels.device) < start[:, None]
    Q0 = torch.where(good[:, None, :], ordered, torch.nan).contiguous()
    R0 = (Q0.nan_to_num().double().mT @ (Y.double() / 4)).triu()

    def once():
        Q, R = Q0.clone(), R0.clone()
        column, coefficients = Q.new_empty(3, m), R.new_empty(3, k)
        addresses = dict(Q=Q, R=R, exponent=exponent, first=start, column=column)
        addresses = {n: t.data_ptr() for n, t in addresses.items()}
        kernels.module.orthonormalize_repair(
            **describe(Y), **addresses, coefficients=coefficients.data_ptr(), **kernels.queue
        )
        return [Q, R]

    Q, R = kernels.same_on_every_seed(once)
    check(Y[:2], Q[:2], (4 * R[:2]).float())
    assert torch.equal(Q[2], Q0[2].cpu())
    assert torch.equal(R[2], R0[2].cpu())
    assert torch.equal(Q[1], torch.eye(m, k))


@pytest.mark.parametrize("k", [1, 6, 70])
def test_cholesky(kernels, k):
    """The reference's factor and failed columns; what is not wanted stays."""
    Y = matrices(100, k, ("random", "zero", "zero", "random")).double().to(kernels.device)
    few = (k + 2) // 3
    Y[1] = Y[0, :, :few] @ Y[3, :few, :k]  # of that rank to rounding of float64
    G, threshold = Y.mT @ Y, reference.pivot_threshold(100)
    wanted = torch.tensor([1, 3, 1, 0], dtype=torch.int32, device=kernels.device)

    def once():
        R = torch.full_like(G, -77.0)
        good = torch.ones(4, k, dtype=torch.bool, device=kernels.device)
        good[0, k // 2] = False  # failed before
        addresses = dict(G=G, wanted=wanted, R=R, good=good)
        addresses = {n: t.data_ptr() for n, t in addresses.items()}
        kernels.module.orthonormalize_cholesky(
            **addresses, threshold=threshold, count=4, cols=k, **kernels.queue
        )
        return [R, good]

    R, good = kernels.same_on_every_seed(once)
    before = torch.ones(4, k, dtype=torch.bool)
    before[0, k // 2] = False
    exact, exact_good = reference.factor(G.cpu(), before, threshold)
    assert torch.equal(good[:3], exact_good[:3])
    torch.testing.assert_close(R[:3], exact[:3], rtol=1e-9, atol=1e-9)
    assert (R[3] == -77).all()
    assert good[3].all()
