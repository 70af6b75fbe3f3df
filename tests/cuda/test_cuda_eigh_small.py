"""The kernels of eigh_small: accuracy on hard matrices, strides, neighbours, five schedules."""

import pytest
import torch
from sktest.linalg import as_gallery, check_alone, check_eigh, check_poisoned
from svd_small_cases import CODES, SENTINEL, hard

from subkern.bench.gallery import nonfinite

sizes = pytest.mark.parametrize("n", [1, 2, 5, 8, 9, 16, 31, 32, 33, 64])


def eigh(kernels, C, **changes):
    """w, V, info of the binding."""
    C = C.to(kernels.device)
    batch, n, _ = C.shape
    w = torch.full((batch, n), SENTINEL, device=C.device)
    V = torch.full((batch, n, n), SENTINEL, device=C.device)
    info = torch.full((batch,), -1, dtype=torch.int32, device=C.device)
    steps = zip(("batch_stride", "row_stride", "col_stride"), C.stride(), strict=True)
    call = dict(C=C.data_ptr(), dtype=CODES[C.dtype], batch=batch, n=n, **dict(steps))
    call |= dict(w=w.data_ptr(), V=V.data_ptr(), info=info.data_ptr()) | kernels.queue
    kernels.module.eigh_small(**call | changes)
    return [w, V, info]


@sizes
def test_contract(kernels, n):
    g = hard(n, n)  # lower triangles of anything are symmetric matrices
    w, V, info = (t.cpu() for t in eigh(kernels, g.batch))
    check_eigh(g, w, V)
    assert not info.any()


@pytest.mark.parametrize("n", [5, 8, 16, 21, 33])
def test_semidefinite_and_signed_pairs(kernels, n):
    """Gram matrices of rank n / 2, and eigenvalues in pairs of opposite sign."""
    generator = torch.Generator().manual_seed(n)
    X = torch.randn(3, n, n // 2, generator=generator, dtype=torch.float64)
    Q = torch.linalg.qr(torch.randn(3, n, n, generator=generator, dtype=torch.float64))[0]
    signs = torch.tensor([(-1.0) ** i for i in range(n)], dtype=torch.float64)
    batch = torch.cat([X @ X.mT, (Q * signs) @ Q.mT, torch.eye(n)[None].double()]).float()
    w, V, info = (t.cpu() for t in eigh(kernels, batch))
    check_eigh(as_gallery(batch), w, V)
    assert not info.any()
    assert torch.equal(w[-1], torch.ones(n))
    assert torch.equal(V[-1], torch.eye(n))


@sizes
def test_schedules(kernels, n):
    batch = hard(n, n, count=4).batch[:5]
    kernels.same_on_every_seed(lambda: eigh(kernels, batch))


@pytest.mark.parametrize("scale", [1e-38, 1e30, float("inf")])
def test_scales(kernels, scale):
    g = hard(9, 9).scaled(scale)
    w, V, _ = (t.cpu() for t in eigh(kernels, g.batch))
    check_eigh(g, w, V)


@pytest.mark.parametrize("n", [7, 33])
def test_only_the_lower_triangle_is_read(kernels, n):
    """From transposed, sliced and bfloat16 views too: NaN above the diagonal changes no bit."""
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(3, n + 2, 2 * n, generator=generator)
    for view in (whole[:, :n, ::2].mT, whole[:, 1 : n + 1, :n], whole[:, :n, :n].bfloat16()):
        copy = view.float().tril()
        poisoned = view + torch.full((n, n), torch.nan, dtype=view.dtype).triu(1)
        strided = torch.empty_like(view).copy_(poisoned)
        for got, expected in zip(eigh(kernels, strided), eigh(kernels, copy), strict=True):
            assert torch.equal(got, expected)


@pytest.mark.parametrize("n", [8, 14, 20, 34])
def test_neighbours_do_not_matter(kernels, n):
    for case in list(nonfinite(n, n))[::4]:
        check_poisoned(lambda batch: eigh(kernels, batch), case)
    batch = hard(n, n, count=7).batch[:7]
    check_alone(lambda batch: eigh(kernels, batch), batch, [0, 3, 6])


@pytest.mark.parametrize("shape", [(0, 3, 3), (2, 0, 0)])
def test_nothing_to_do(kernels, shape):
    before = kernels.module.call_counts()["eigh_small"]
    eigh(kernels, torch.zeros(shape))
    assert kernels.module.call_counts()["eigh_small"] == before
