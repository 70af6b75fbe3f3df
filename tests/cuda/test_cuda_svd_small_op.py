"""The op on backend "cuda" where no kernel holds a matrix: its parts and torch's product."""

import pytest
import torch
from sktest import emulated_cuda
from sktest.linalg import as_gallery, check_poisoned, check_svd
from torch._subclasses.fake_tensor import FakeTensorMode

import subkern
from subkern.backends.composed.svd_small import svd_small as composed
from subkern.bench.gallery import gallery, nonfinite

KEPT = {"zero", "identity", "graded-columns", "zero-column-last", "hilbert", "duplicate-columns"}


@pytest.fixture
def emulated():
    with emulated_cuda.install() as module:
        yield module


def svd(A):
    return subkern.svd_small(A, info=True, backend="cuda")


def some(m, n, **options):
    return gallery(m, n, conditions=(1e7,), **options).pick(KEPT.__contains__)


@pytest.mark.parametrize("shape", [(70, 34), (34, 66)], ids="{0[0]}x{0[1]}".format)
def test_above_32_columns(emulated, shape):
    g = some(*shape)
    before = emulated.call_counts()
    U, S, Vh, info = svd(g.batch)
    check_svd(g, U, S, Vh)
    assert info[g.index("zero")] == 2
    assert info[g.index("identity")] == 0
    made = {k: n - before[k] for k, n in emulated.call_counts().items() if n != before[k]}
    assert made == {"orthonormalize": 1, "svd_small": 1}


@pytest.mark.parametrize("shape", [(67, 3), (3, 67)], ids="{0[0]}x{0[1]}".format)
def test_composed(emulated, shape):
    """Scales to the ends of the range, signs, and what is not finite."""

    def run(batch):
        with torch.no_grad():
            return composed(batch, backend="cuda")

    for scale in (1.0, 1e-38, 1e30, float("inf")):
        g = gallery(*shape, conditions=(1e7,)).scaled(scale)
        U, S, Vh, info = run(g.batch)
        check_svd(g, U, S, Vh)
        assert not (info & ~2).any()
    for case in list(nonfinite(*shape))[::4]:
        check_poisoned(run, case)
    wide = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)).bfloat16()
    U, S, Vh, _ = run(wide)
    check_svd(as_gallery(wide), U, S, Vh)
    assert all(X.is_contiguous() for X in (U, S, Vh))


def test_nothing_is_read_back():
    """Fake CUDA tensors have no values to read."""
    with FakeTensorMode():
        for m, n in ((5000, 40), (40, 5000)):
            for dtype in (torch.float32, torch.bfloat16):
                A = torch.empty(3, m, n, device="cuda", dtype=dtype)
                U, S, Vh, info = composed(A, backend="cuda")
                shapes = [tuple(x.shape) for x in (U, S, Vh, info)]
                assert shapes == [(3, m, 40), (3, 40), (3, 40, n), (3,)]
                assert {x.device.type for x in (U, S, Vh, info)} == {"cuda"}
                assert {x.dtype for x in (U, S, Vh)} == {torch.float32}


def test_no_columns(emulated):
    U, S, Vh, info = svd(torch.ones(2, 70, 0))
    assert (U.shape, S.shape, Vh.shape) == ((2, 70, 0), (2, 0), (2, 0, 0))
    assert info.tolist() == [0, 0]


def test_what_a_block_holds_is_one_launch(emulated):
    before = emulated.call_counts()
    A = torch.randn(2, 2, 90, 3, generator=torch.Generator().manual_seed(0))
    U, S, Vh, _ = svd(A)
    made = {k: n - before[k] for k, n in emulated.call_counts().items() if n != before[k]}
    assert made == {"svd_small": 1}
    torch.testing.assert_close(U @ torch.diag_embed(S) @ Vh, A, rtol=0, atol=1e-5)
