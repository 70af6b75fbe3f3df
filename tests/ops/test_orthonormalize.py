"""One body for every backend: orthonormal columns of everything in the gallery."""

import math

import pytest
import torch
from sktest.backends import device_of, is_simulated
from sktest.linalg import as_gallery, check_alone, check_poisoned, check_qr, same_bits

import subkern
from subkern.bench.gallery import SCALES, gallery, nonfinite

OP = "orthonormalize"
SHAPES = [(1, 1), (2, 1), (3, 3), (5, 4), (8, 8), (9, 7), (16, 16), (17, 13), (31, 31), (33, 33)]
SHAPES += [(64, 8), (127, 5), (512, 8), (129, 16), (200, 20)]
TALL = [(64, 64), (2048, 8), (2048, 31), (4097, 3), (300, 72)]
SMALL = [(1, 1), (3, 3), (9, 7), (33, 8)]  # what an emulator can do


def run(Y, backend, **options):
    """(Q, R, info) on the CPU."""
    options = dict(return_r=True, info=True, backend=backend) | options
    return tuple(x.cpu() for x in subkern.orthonormalize(Y.to(device_of(backend)), **options))


def check(g, backend):
    Q, R, info = run(g.batch, backend)
    check_qr(g, Q, R)
    assert not (info & ~2).any()
    return Q, R, info


def sizes(backend, all_of=SHAPES):
    return [s for s in all_of if not is_simulated(backend) or s in SMALL]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_gallery(backend, dtype):
    for m, k in sizes(backend):
        check(gallery(m, k, dtype=dtype), backend)


@pytest.mark.parametrize("shape", TALL, ids="{0[0]}x{0[1]}".format)
def test_gallery_tall(backend, shape):
    if is_simulated(backend):
        pytest.skip("too large for an emulator")
    check(gallery(*shape, conditions=(1e2, 1e7)), backend)


@pytest.mark.parametrize("scale", SCALES)
def test_scales(backend, scale):
    for m, k in [(9, 7), (33, 8)] if is_simulated(backend) else [(9, 7), (64, 8), (40, 33)]:
        check(gallery(m, k, conditions=(1e2, 1e7)).scaled(scale), backend)


def test_scales_of_columns(backend):
    """Columns of one matrix from 1e-30 to 1e30: each has its own exact scale."""
    Y = torch.randn(2, 20, 7, generator=torch.Generator().manual_seed(0))
    plain, _, _ = run(Y, backend)
    powers = 2.0 ** torch.tensor([100.0, -100, 0, 40, -60, 99, -99])
    Q, R, info = run(Y * powers, backend)
    check_qr(as_gallery(Y), Q, (R.double() / powers.double()).float())
    assert (Q - plain).abs().max() < 1e-6
    assert not info.any()


def test_full_rank_is_unique(backend):
    """diag(R) > 0 makes Q unique: compare with reflections in float64."""
    Y = torch.randn(3, 40, 12, generator=torch.Generator().manual_seed(1))
    Q, R, info = run(Y, backend)
    exact, exact_R = torch.linalg.qr(Y.double())
    sign = exact_R.diagonal(dim1=1, dim2=2).sign()
    assert (Q - exact * sign[:, None]).abs().max() < 1e-6
    assert (R - exact_R * sign[:, :, None]).abs().max() < 1e-5
    assert not info.any()


def test_info_names_dependent_columns(backend):
    g = gallery(12, 6)
    info = dict(zip(g.names, check(g, backend)[2].tolist(), strict=True))
    dependent = {"zero", "one-entry", "zero-column-first", "zero-column-last", "duplicate-columns"}
    assert all(info[name] == 2 for name in dependent)
    independent = {"normal", "identity", "orthonormal", "geometric-100", "graded-columns"}
    assert all(info[name] == 0 for name in independent)


def test_zero_gives_unit_vectors_and_duplicates_exact_zeros(backend):
    Q, R, info = run(torch.zeros(2, 7, 4), backend)
    assert torch.equal(Q, torch.eye(7, 4).expand(2, 7, 4))
    assert not R.any()
    assert info.tolist() == [2, 2]
    Y = torch.randn(1, 15, 4, generator=torch.Generator().manual_seed(2))
    Y[..., 2] = Y[..., 0]
    _, R, _ = run(Y, backend)
    assert R[0, 2, 2] == 0
    assert R[0, 3, 3] > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_nonfinite(backend, dtype):
    for m, k in [(9, 7), (40, 20)]:
        for case in nonfinite(m, k, dtype=dtype):
            check_poisoned(lambda Y: run(Y, backend), case)


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 33, 1000])
def test_batches(backend, count):
    """The bits of a matrix depend neither on the batch nor on its place in it."""
    if is_simulated(backend) and count > 33:
        pytest.skip("too large for an emulator")
    g = gallery(20, 6)
    batch = g.batch.repeat(-(-count // len(g.names)) if count else 1, 1, 1)[:count]
    whole = run(batch, backend)
    assert [tuple(x.shape) for x in whole] == [(count, 20, 6), (count, 6, 6), (count,)]
    if count and backend != "reference":  # torch's batched products may sum in another order
        check_alone(lambda Y: run(Y, backend), batch, sorted({0, count // 2, count - 1}))
    if count == 33:
        check_qr(as_gallery(batch), *whole[:2])


@pytest.mark.parametrize("shape", [(0, 0), (3, 0), (1, 1)])
@pytest.mark.parametrize("batch", [(), (0,), (2, 3), (2, 0)])
def test_empty_and_batch_dimensions(backend, batch, shape):
    m, k = shape
    Q, R, info = run(torch.ones(*batch, m, k), backend)
    assert (Q.shape, R.shape, info.shape) == ((*batch, m, k), (*batch, k, k), batch)
    assert torch.equal(Q, torch.ones(*batch, m, k))
    assert not info.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("k", [5, 8, 20])
def test_strides(backend, k, dtype):
    """Views of any strides: the bits of the contiguous copy, and nothing around them is touched."""
    m = 37
    plain = torch.randn(3, m, k, generator=torch.Generator().manual_seed(3)).to(dtype)
    expected = run(plain, backend)
    hosts = {
        "transposed": plain.mT.contiguous().mT,
        "padded": torch.full((3, m + 2, k + 3), 9.0, dtype=dtype)[:, 1:-1, 2:-1],
        "stepped": torch.full((3, 2 * m, 3 * k), 9.0, dtype=dtype)[:, ::2, ::3],
        "batch last": torch.full((m, k, 3), 9.0, dtype=dtype).permute(2, 0, 1),
        "sliced transpose": torch.full((3, k + 1, m + 5), 9.0, dtype=dtype)[:, 1:, 2:-3].mT,
    }
    for name, view in hosts.items():
        view.copy_(plain)
        for got, want in zip(run(view, backend), expected, strict=True):
            assert bool(same_bits(got, want).all()), name
        assert torch.equal(view, plain), name


def test_same_bits_on_one_and_two_threads(backend):
    if is_simulated(backend):
        pytest.skip("threads are the CPU's")
    for m, k in [(64, 8), (50, 20), (300, 3)]:
        g = gallery(m, k, conditions=(1e7,))
        two = run(g.batch, backend)
        torch.set_num_threads(1)
        one = run(g.batch, backend)
        torch.set_num_threads(2)
        assert all(bool(same_bits(a, b).all()) for a, b in zip(one, two, strict=True)), (m, k)


@pytest.mark.parametrize("scale", [1.0, 1e200, 1e-200])
def test_float64(scale):
    """Reflections throughout, judged by float64's own eps."""
    g = gallery(20, 12, dtype=torch.float64)
    Q, R, _ = run(g.batch * scale, None)
    check_qr(g, Q, R / scale)


def test_householder():
    g = gallery(20, 12)
    check_qr(g, *run(g.batch, None, method="householder")[:2])


def test_results_that_were_asked_for():
    Y = torch.randn(5, 3, requires_grad=True)
    Q = subkern.orthonormalize(Y)
    assert isinstance(Q, torch.Tensor)
    assert not Q.requires_grad
    assert [x.shape for x in subkern.orthonormalize(Y, return_r=True)] == [(5, 3), (3, 3)]
    assert [x.shape for x in subkern.orthonormalize(Y, info=True)] == [(5, 3), ()]


def test_check_raises():
    Y = torch.randn(3, 5, 2)
    subkern.orthonormalize(Y * 0, check=True)
    Y[1, 2, 1] = math.inf
    with pytest.raises(torch.linalg.LinAlgError, match="matrix 1 of 3 met"):
        subkern.orthonormalize(Y, check=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_opcheck(backend, dtype):
    Y = torch.randn(2, 6, 3).to(dtype).to(device_of(backend))
    options = dict(method="auto", backend=backend)
    torch.library.opcheck(torch.ops.subkern.orthonormalize.default, (Y,), options)


def test_compiles_without_graph_breaks():
    compiled = torch.compile(
        lambda Y: subkern.orthonormalize(Y, return_r=True), backend="aot_eager", fullgraph=True
    )
    Y = torch.randn(2, 6, 3)
    for a, b in zip(compiled(Y), subkern.orthonormalize(Y, return_r=True), strict=True):
        assert torch.equal(a, b)
