"""The kernels of svd_small: accuracy on hard matrices, strides, neighbours, five schedules."""

import pytest
import torch
from sktest.linalg import as_gallery, check_alone, check_graded, check_poisoned, check_svd
from svd_small_cases import SENTINEL, hard, svd

from subkern.bench.gallery import nonfinite

# Around 8, 16 and 32 columns in a warp, 33 to 64 in a block; wide ones are read as their transpose.
SHAPES = [(1, 1), (1, 6), (5, 4), (8, 8), (9, 7), (16, 16), (12, 17), (32, 31), (33, 33), (40, 64)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids="{0[0]}x{0[1]}".format)


@shapes
def test_contract(kernels, shape):
    g = hard(*shape)
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
        graded = g.pick("graded-columns".__eq__)
        check_graded(graded, S[[g.index(name) for name in graded.names]])


@shapes
def test_schedules(kernels, shape):
    batch = hard(*shape, count=4).batch[:5]
    kernels.same_on_every_seed(lambda: svd(kernels, batch))


@pytest.mark.parametrize("scale", [1e-38, 1e30, 3e38])
def test_scales(kernels, scale):
    g = hard(9, 7).scaled(scale) if scale < 3e38 else hard(9, 7).scaled(float("inf"))
    U, S, Vh, _ = (t.cpu() for t in svd(kernels, g.batch))
    check_svd(g, U, S, Vh)


@pytest.mark.parametrize("shape", [(7, 5), (5, 11), (36, 34)], ids="{0[0]}x{0[1]}".format)
def test_views_are_read_in_place(kernels, shape):
    """Transposed, sliced, broadcast and bfloat16 input gives the bits of its contiguous copy."""
    m, n = shape
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(3, n + 2, 2 * m, generator=generator)
    views = [whole[:, :n, ::2].mT, whole[:1, :n, :m].mT.expand(3, m, n), whole[::2, :n, :m].mT]
    views.append(whole[:, :n, :m].mT.to(torch.bfloat16))
    for view in views:
        copy = view.float().contiguous()
        for got, expected in zip(svd(kernels, view), svd(kernels, copy), strict=True):
            assert torch.equal(got, expected)


@pytest.mark.parametrize("shape", [(8, 8), (11, 16), (20, 20), (34, 33)])
def test_neighbours_do_not_matter(kernels, shape):
    for case in list(nonfinite(*shape))[::4]:
        check_poisoned(lambda batch: svd(kernels, batch), case)
    batch = hard(*shape, count=7).batch[:7]
    check_alone(lambda batch: svd(kernels, batch), batch, [0, 3, 6])


def test_zero_matrix_has_unit_vectors(kernels):
    for m, n in ((3, 3), (6, 4), (33, 40)):
        U, S, Vh, info = (t.cpu() for t in svd(kernels, torch.zeros(2, m, n)))
        assert not S.any()
        assert (info == 2).all()
        for X in (U, Vh.mT):
            assert torch.equal(X.abs().sum(-2), torch.ones(2, min(m, n)))


@pytest.mark.parametrize("shape", [(0, 3, 3), (2, 0, 3), (2, 3, 0)])
def test_nothing_to_do(kernels, shape):
    before = kernels.module.call_counts()["svd_small"]
    svd(kernels, torch.zeros(shape))
    assert kernels.module.call_counts()["svd_small"] == before


def test_one_launch(kernels):
    before = kernels.module.call_counts()["svd_small"]
    U, S, Vh, _ = svd(kernels, torch.randn(9, 5, 4, generator=torch.Generator().manual_seed(1)))
    assert kernels.module.call_counts()["svd_small"] == before + 1
    assert not any((t == SENTINEL).any() for t in (U, S, Vh))


def test_gallery_of_one(kernels):
    """Values that are known: a rotation, scaled."""
    A = torch.tensor([[[0.0, -3.0], [2.0, 0.0]]])
    U, S, Vh, info = (t.cpu() for t in svd(kernels, A))
    assert torch.equal(S, torch.tensor([[3.0, 2.0]]))
    assert torch.equal(U, torch.eye(2)[None])
    assert torch.equal(Vh, torch.tensor([[[0.0, -1.0], [1.0, 0.0]]]))
    assert info.tolist() == [0]
    check_svd(as_gallery(A), U, S, Vh)
