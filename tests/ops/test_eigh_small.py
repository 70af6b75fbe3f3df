"""One body for every backend: the contract of eigh_small on symmetric matrices, against float64."""

import math

import pytest
import torch
from sktest import linalg
from sktest.backends import device_of, is_simulated

import subkern
from subkern.bench import gallery as matrices

OP = "eigh_small"
SIZES = [1, 2, 3, 8, 16, 17, 32, 33, 64]
ROUNDED_SIZES = [3, 17, 40]
REFERENCE_SIZES = [1, 2, 7, 16]
SIMULATED_SIZES = [1, 3, 8]


def decompose(C, backend):
    """(w, V, info) on the CPU."""
    results = subkern.eigh_small(C.to(device_of(backend)), info=True, backend=backend)
    return [x.cpu() for x in results]


def symmetric(n, scale=1.0, dtype=torch.float32, conditions=(1e2, 1e7)):
    """The gallery's matrices and their Gram matrices, lower triangles; NaN above."""
    g = matrices.gallery(n, n, conditions=conditions)
    both = torch.cat([g.truth, g.truth.mT @ g.truth / n]) * scale
    rubbish = torch.full_like(both, math.nan).triu(1)
    batch = torch.where(torch.ones(n, n, dtype=torch.bool).tril(), both, rubbish).to(dtype)
    return linalg.Gallery((*g.names, *(f"gram of {x}" for x in g.names)), g.families * 2, batch)


def few(backend, small, sizes):
    """The sizes of a test; one small one where a matrix takes its time."""
    return [small] if is_simulated(backend) or backend == "reference" else sizes


def check(g, backend):
    w, V, info = decompose(g.batch, backend)
    clean = torch.where(torch.ones_like(g.batch, dtype=torch.bool).tril(), g.batch, 0)
    linalg.check_eigh(linalg.Gallery(g.names, g.families, clean), w, V)
    linalg.assert_all("info", info == 0, g)


def sizes_for(backend, dtype):
    if is_simulated(backend):
        return SIMULATED_SIZES
    if backend == "reference":
        return REFERENCE_SIZES
    return SIZES if dtype == torch.float32 else ROUNDED_SIZES


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_gallery(backend, dtype):
    """Only the lower triangle is read: the upper one is NaN."""
    for n in sizes_for(backend, dtype):
        check(symmetric(n, dtype=dtype), backend)


@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1e20, 1e36])
def test_scales(backend, scale):
    for n in few(backend, 4, [8, 40]):
        check(symmetric(n, scale), backend)


def test_float64():
    for n in REFERENCE_SIZES:
        check(symmetric(n, dtype=torch.float64), None)


def test_nonfinite(backend):
    """A bad matrix becomes NaN and changes no bit of another; above the diagonal nothing counts."""
    for n in few(backend, 4, [8, 40]):
        clean = symmetric(n).batch[:5]
        for position in (0, 2, 4):
            for value in (math.nan, math.inf, -math.inf):
                batch = clean.clone()
                batch[position, n - 1, 1] = value
                case = matrices.Poisoned(f"{value} in {position}", batch, position)
                linalg.check_poisoned(lambda x: decompose(x, backend), case)


def test_alone_as_in_a_batch(backend):
    for n in few(backend, 4, [8, 24, 40]):
        batch = symmetric(n).batch
        linalg.check_alone(lambda x: decompose(x, backend), batch, (0, 9, 20, batch.shape[0] - 1))


@pytest.mark.parametrize("count", matrices.BATCHES)
def test_batches(backend, count):
    """Groups of any size, and the same bits with one thread."""
    n = 3 if is_simulated(backend) or backend == "reference" else 8
    if is_simulated(backend) and count > 17:
        pytest.skip("too many for an emulator")
    batch = torch.randn(count, n, n, generator=torch.Generator().manual_seed(count))
    results = decompose(batch, backend)
    linalg.check_eigh(linalg.as_gallery(batch), *results[:2])
    torch.set_num_threads(1)
    for one, two in zip(decompose(batch, backend), results, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_small_and_empty(backend, n):
    C = torch.full((2, 3, n, n), -2.0, device=device_of(backend))
    w, V, info = subkern.eigh_small(C, info=True, backend=backend)
    assert (w.shape, V.shape) == ((2, 3, n), (2, 3, n, n))
    assert info.tolist() == [[0] * 3] * 2
    expected = torch.tensor([[], [-2.0], [-4.0, 0.0]][n])
    assert torch.allclose(w.cpu(), expected.expand(2, 3, n), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("n", [5, 40])
def test_views(backend, n, dtype):
    if is_simulated(backend) and n > 5:
        pytest.skip("too large for an emulator; tests/cuda has 33")
    C = torch.randn(3, n, n, generator=torch.Generator().manual_seed(2)).to(dtype)
    C = (C + C.mT).to(device_of(backend))
    expected = subkern.eigh_small(C, backend=backend)
    wide = torch.randn(3, 2 * n, n + 5).to(C)
    wide[:, ::2, 3 : 3 + n] = C
    for view in (C.mT, wide[:, ::2, 3 : 3 + n]):
        for got, want in zip(subkern.eigh_small(view, backend=backend), expected, strict=True):
            assert torch.equal(got, want)


def test_gradients_are_not_followed(backend):
    C = torch.eye(3, device=device_of(backend)).requires_grad_()
    assert not any(x.requires_grad for x in subkern.eigh_small(C, backend=backend))


def test_check_raises(backend):
    C = torch.ones(3, 4, 4, device=device_of(backend))
    subkern.eigh_small(C, check=True, backend=backend)
    C[1, 2, 2] = math.nan
    with pytest.raises(torch.linalg.LinAlgError, match="eigh_small: matrix 1 of 3"):
        subkern.eigh_small(C, check=True, backend=backend)


def test_opcheck(backend):
    op = torch.ops.subkern.eigh_small.default
    for shape, dtype in (((3, 4, 4), torch.bfloat16), ((2, 0, 0), torch.float32)):
        C = torch.randn(shape, device=device_of(backend)).to(dtype)
        torch.library.opcheck(op, (C,), {"backend": backend})


def test_compile():
    run = torch.compile(lambda C: subkern.eigh_small(C, info=True), backend="eager", fullgraph=True)
    C = torch.randn(4, 6, 6, generator=torch.Generator().manual_seed(3))
    for got, want in zip(run(C), subkern.eigh_small(C, info=True), strict=True):
        assert torch.equal(got, want)
