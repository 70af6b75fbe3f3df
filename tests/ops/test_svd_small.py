"""One body for every backend: the contract of svd_small on the gallery, against float64."""

import math

import pytest
import torch
from sktest import linalg
from sktest.backends import device_of, is_simulated

import subkern
from subkern.bench import gallery as matrices

OP = "svd_small"
SHAPES = [(m, n) for m, n in matrices.SHAPES if min(m, n) <= 64 and m * n < 1 << 15]
SHAPES += [(600, 31), (7, 9), (8, 64), (33, 50), (2, 300), (100, 40)]
REFERENCE_SHAPES = [(1, 1), (5, 4), (8, 8), (7, 9), (33, 33)]
ROUNDED_SHAPES = [(8, 8), (7, 9), (17, 13), (33, 33), (127, 5)]
SIMULATED_SHAPES = [(1, 1), (5, 4), (8, 8), (7, 9)]


def decompose(A, backend):
    """(U, S, Vh, info) on the CPU."""
    results = subkern.svd_small(A.to(device_of(backend)), info=True, backend=backend)
    return [x.cpu() for x in results]


def shapes_for(backend, dtype):
    if is_simulated(backend):
        return SIMULATED_SHAPES
    if backend == "reference":
        return REFERENCE_SHAPES
    return SHAPES if dtype == torch.float32 else ROUNDED_SHAPES


def few(backend, small, shapes):
    """The shapes of a test; one small one where a matrix takes its time."""
    return [small] if is_simulated(backend) or backend == "reference" else shapes


def gallery_for(backend, m, n, **options):
    slow = is_simulated(backend) or backend == "reference" or m * n > 300
    return matrices.gallery(m, n, conditions=(1e7,) if slow else None, **options)


def check(g, backend):
    U, S, Vh, info = decompose(g.batch, backend)
    linalg.check_svd(g, U, S, Vh)
    linalg.assert_all("info", (info & ~2) == 0, g)
    return U, S, Vh, info


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_gallery(backend, dtype):
    """Orthonormal to 8 eps sqrt(k), residual, values, order and signs, on every matrix."""
    for m, n in shapes_for(backend, dtype):
        g = gallery_for(backend, m, n, dtype=dtype)
        _, S, _, info = check(g, backend)
        assert info[g.index("zero")] == 2
        assert info[g.index("zero-column-last")] == (2 if m >= n else 0)
        if m >= n and dtype == torch.float32:
            at = [g.index("graded-columns")]
            linalg.check_graded(linalg.as_gallery(g.batch[at], "graded-columns"), S[at])


@pytest.mark.parametrize("scale", matrices.SCALES)
def test_scales(backend, scale):
    """The scale comes off exactly: from subnormal numbers to the largest."""
    for m, n in few(backend, (5, 4), [(8, 8), (33, 33), (64, 8), (9, 17)]):
        check(matrices.gallery(m, n, conditions=(1e2, 1e7)).scaled(scale), backend)


def test_float64():
    for m, n in REFERENCE_SHAPES:
        g = matrices.gallery(m, n, dtype=torch.float64, conditions=(1e2, 1e7))
        check(g, None)


def test_nonfinite(backend):
    """A bad matrix becomes NaN and changes no bit of another."""
    for m, n in few(backend, (5, 4), [(8, 8), (40, 40), (64, 5), (5, 64)]):
        for case in matrices.nonfinite(m, n):
            linalg.check_poisoned(lambda batch: decompose(batch, backend), case)


def test_alone_as_in_a_batch(backend):
    shapes = [(8, 8), (16, 16), (40, 40), (64, 5), (512, 8), (5, 64)]
    slow = [(8, 8), (8, 5), (5, 8)]
    for shape in slow if is_simulated(backend) or backend == "reference" else shapes:
        batch = matrices.gallery(*shape, conditions=(1e2,)).batch
        linalg.check_alone(lambda x: decompose(x, backend), batch, (0, 7, 20, batch.shape[0] - 1))


@pytest.mark.parametrize("count", matrices.BATCHES)
def test_batches(backend, count):
    """Groups of any size, and the same bits with one thread."""
    m, n = (3, 3) if is_simulated(backend) or backend == "reference" else (8, 8)
    if is_simulated(backend) and count > 17:
        pytest.skip("too many for an emulator")
    batch = torch.randn(count, m, n, generator=torch.Generator().manual_seed(count))
    U, S, Vh, info = decompose(batch, backend)
    linalg.check_svd(linalg.as_gallery(batch), U, S, Vh)
    assert info.shape == (count,)
    torch.set_num_threads(1)
    for one, two in zip(decompose(batch, backend), (U, S, Vh, info), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (1, 1), (6, 1), (1, 6)], ids=str)
def test_small_and_empty(backend, shape):
    m, n = shape
    A = torch.randn(2, 3, m, n, generator=torch.Generator().manual_seed(1)).to(device_of(backend))
    U, S, Vh, info = subkern.svd_small(A, info=True, backend=backend)
    k = min(m, n)
    assert (U.shape, S.shape, Vh.shape) == ((2, 3, m, k), (2, 3, k), (2, 3, k, n))
    assert info.tolist() == [[0] * 3] * 2
    assert torch.allclose(U @ torch.diag_embed(S) @ Vh, A, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (40, 36)], ids=str)
def test_views(backend, shape, dtype, guard):
    """Transposed, sliced, expanded and broadcast views, without a copy by the caller."""
    if is_simulated(backend) and max(shape) > 6:
        pytest.skip("too large for an emulator; tests/cuda has 36x34")
    m, n = shape
    base = torch.randn(3, m, n, generator=torch.Generator().manual_seed(2)).to(dtype)
    base = base.to(device_of(backend))
    expected = subkern.svd_small(base, backend=backend)
    wide = torch.randn(3, 2 * m, n + 5).to(base)
    wide[:, ::2, 3 : 3 + n] = base
    by_columns = base.mT.contiguous().mT
    for view in (by_columns, wide[:, ::2, 3 : 3 + n], guard.view(base, "transposed")):
        for got, want in zip(subkern.svd_small(view, backend=backend), expected, strict=True):
            assert torch.equal(got, want)
    for x in subkern.svd_small(base[1].expand(4, m, n), backend=backend):
        assert all(torch.equal(x[0], x[i]) for i in range(4))


def test_gradients_are_not_followed(backend):
    A = torch.randn(2, 4, 3, device=device_of(backend), requires_grad=True)
    assert not any(x.requires_grad for x in subkern.svd_small(A, backend=backend))


def test_check_raises(backend):
    A = torch.ones(3, 4, 4, device=device_of(backend))
    subkern.svd_small(A, check=True, backend=backend)
    A[1, 2, 2] = math.nan
    with pytest.raises(torch.linalg.LinAlgError, match="svd_small: matrix 1 of 3"):
        subkern.svd_small(A, check=True, backend=backend)


def test_opcheck(backend):
    op = torch.ops.subkern.svd_small.default
    for shape, dtype in (((3, 4, 5), torch.bfloat16), ((2, 3, 0), torch.float32)):
        A = torch.randn(shape, device=device_of(backend)).to(dtype)
        torch.library.opcheck(op, (A,), {"backend": backend})


def test_compile():
    run = torch.compile(lambda A: subkern.svd_small(A, info=True), backend="eager", fullgraph=True)
    A = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(3))
    for got, want in zip(run(A), subkern.svd_small(A, info=True), strict=True):
        assert torch.equal(got, want)
