"""The scan of a batch: one body for every backend."""

import math

import pytest
import torch
from sktest import emulated_cuda
from sktest.backends import device_of, is_simulated

from subkern.ops.scan import scan

OP = "scan"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SHAPES = [(1, 1, 1), (2, 3, 5), (3, 31, 37), (2, 64, 64), (1, 181, 190), (2, 257, 300)]


def make(shape, dtype, backend):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(
        device_of(backend), dtype
    )


def check(X, found):
    """Against float64: exact but for the order of the sum."""
    wide = X.double().flatten(1)
    assert torch.equal(found[:, 0], wide.abs().amax(1))
    torch.testing.assert_close(found[:, 1], wide.square().sum(1), rtol=1e-12, atol=0.0)
    assert (found[:, 2] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_values(backend, shape, dtype):
    X = make(shape, DTYPES[dtype], backend)
    found = scan(X, backend=backend)
    check(X, found)
    check(X, scan(X.mT.contiguous().mT, backend=backend))
    for seed in emulated_cuda.SEEDS[1:] if backend == "cuda" and is_simulated(backend) else ():
        emulated_cuda.set_seed(seed)
        assert torch.equal(scan(X, backend=backend), found), f"seed {seed}"


def test_neither_alignment_nor_batch_nor_threads_change_a_bit(backend):
    X = make((3, 211, 331), torch.float32, backend)
    found = scan(X, backend=backend)
    room = torch.empty(X.numel() + 1, device=X.device)[1:].view(X.shape).copy_(X)
    assert torch.equal(scan(room, backend=backend), found) or backend == "reference"
    if backend != "reference":
        for i in range(3):
            assert torch.equal(scan(X[i : i + 1], backend=backend), found[i : i + 1])
        torch.set_num_threads(1)
        assert torch.equal(scan(X, backend=backend), found)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_not_finite(backend, poison, dtype):
    X = make((3, 40, 50), DTYPES[dtype], backend)
    clean = scan(X, backend=backend)
    for where in ((0, 0), (39, 49)):
        bad = X.clone()
        bad[1, where[0], where[1]] = poison
        found = scan(bad, backend=backend)
        assert found[1, :2].isnan().all()
        assert found[:, 2].tolist() == [0, 1, 0]
        assert torch.equal(found[::2], clean[::2])


def test_extremes(backend):
    for value in (3e38, 1e-45, 0.0):
        X = torch.full((1, 9, 9), value, device=device_of(backend))
        check(X, scan(X, backend=backend))


def test_empty(backend):
    for shape in ((0, 3, 4), (2, 0, 4), (2, 3, 0)):
        found = scan(torch.ones(shape, device=device_of(backend)), backend=backend)
        assert torch.equal(found.cpu(), torch.zeros(shape[0], 3, dtype=torch.float64))


def test_gaps_go_to_the_reference():
    X = torch.randn(2, 9, 12)[:, :, :7]
    check(X, scan(X, backend=""))


def test_fake_keeps_shapes():
    meta = scan(torch.ones(4, 3, 2, device="meta"), backend="")
    assert meta.shape == (4, 3)
    assert meta.dtype == torch.float64
