"""The kernel of svd_small for tall matrices that a block holds, and for their transposes."""

import pytest
import torch
from sktest.linalg import as_gallery, check_alone, check_graded, check_poisoned, check_svd
from svd_small_cases import SENTINEL, hard, svd

from subkern.bench.gallery import gallery, nonfinite

# Around 8, 16 and 32 columns; blocks of one warp to eight.
SHAPES = [(33, 1), (40, 8), (9, 70), (66, 16), (300, 5), (40, 32)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids="{0[0]}x{0[1]}".format)


@shapes
def test_contract(kernels, shape):
    g = hard(*shape, count=12)
    U, S, Vh, info = (t.cpu() for t in svd(kernels, g.batch))
    check_svd(g, U, S, Vh)
    assert not (info & ~2).any()
    exact = torch.linalg.svdvals(g.truth)
    assert not info[exact[:, -1] >= 1e-4 * exact[:, 0].clamp_min(1e-300)].any()
    along = -2 if shape[0] >= shape[1] else -1
    lost = (g.truth == 0).all(along).any(-1)
    assert lost.any()
    assert (info[lost] == 2).all()
    if shape[0] >= shape[1]:
        check_graded(g.pick("graded-columns".__eq__), S[[g.index("graded-columns")]])


@shapes
def test_schedules(kernels, shape):
    batch = hard(*shape, count=4).batch[:3]
    kernels.same_on_every_seed(lambda: svd(kernels, batch))


@pytest.mark.parametrize("scale", [1e-38, 1e30, float("inf")])
def test_scales(kernels, scale):
    """Subnormal matrices keep their digits: R is float64 until its scale is known."""
    g = gallery(35, 4, conditions=(1e7,)).scaled(scale)
    U, S, Vh, info = (t.cpu() for t in svd(kernels, g.batch))
    check_svd(g, U, S, Vh)
    assert not (info & ~2).any()


@pytest.mark.parametrize("shape", [(40, 5), (5, 40), (34, 12)], ids="{0[0]}x{0[1]}".format)
def test_neighbours_do_not_matter(kernels, shape):
    for case in list(nonfinite(*shape))[::4]:
        check_poisoned(lambda batch: svd(kernels, batch), case)
    batch = hard(*shape, count=7).batch[:7]
    check_alone(lambda batch: svd(kernels, batch), batch, [0, 3, 6])


@pytest.mark.parametrize("shape", [(36, 5), (5, 36)], ids="{0[0]}x{0[1]}".format)
def test_views_are_read_in_place(kernels, shape):
    """Transposed, sliced, broadcast and bfloat16 input gives the bits of its contiguous copy."""
    m, n = shape
    whole = torch.randn(3, n + 2, 2 * m, generator=torch.Generator().manual_seed(0))
    views = [whole[:, :n, ::2].mT, whole[:1, :n, :m].mT.expand(3, m, n), whole[::2, :n, :m].mT]
    views.append(whole[:, :n, :m].mT.to(torch.bfloat16))
    for view in views:
        copy = view.float().contiguous()
        for got, expected in zip(svd(kernels, view), svd(kernels, copy), strict=True):
            assert torch.equal(got, expected)


def test_equal_entries(kernels):
    """Of entries of one magnitude the first decides the sign, in any part of the block."""
    A = torch.ones(2, 150, 1)
    A[0, ::2] = -1.0
    A[1, 1:] = -1.0
    U, S, Vh, _ = (t.cpu() for t in svd(kernels, A))
    assert (U[:, 0] > 0).all()
    assert Vh.flatten().tolist() == [-1.0, 1.0]
    check_svd(as_gallery(A), U, S, Vh)


def test_zero_matrix_has_unit_vectors(kernels):
    for m, n in ((36, 4), (4, 36)):
        U, S, Vh, info = (t.cpu() for t in svd(kernels, torch.zeros(2, m, n)))
        assert not S.any()
        assert (info == 2).all()
        for X in (U, Vh.mT):
            assert torch.equal(X.abs().sum(-2), torch.ones(2, 4))


def test_one_launch_up_to_what_a_block_holds(kernels):
    A = torch.randn(2, 2048, 8, generator=torch.Generator().manual_seed(1))
    assert kernels.module.svd_small_fits(m=2048, n=8, device=0)
    before = kernels.module.call_counts()["svd_small"]
    U, S, Vh, info = (t.cpu() for t in svd(kernels, A))
    assert kernels.module.call_counts()["svd_small"] == before + 1
    assert not any((t == SENTINEL).any() for t in (U, S, Vh))
    assert info.tolist() == [0, 0]
    check_svd(as_gallery(A), U, S, Vh)


def test_what_fits():
    from sktest import emulated_cuda

    fits = emulated_cuda.module().svd_small_fits
    for m, n, expected in (
        *((64, 64, True), (65, 33, False), (33, 65, False), (2048, 8, True), (8, 2048, True)),
        *((8000, 8, False), (1500, 32, True), (1 << 40, 1, False)),
    ):
        assert fits(m=m, n=n, device=0) == expected
