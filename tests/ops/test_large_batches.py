"""Batches whose results go past the caches, every size of the lanes, and ties of the sign rule."""

import math

import pytest
import torch
from sktest.linalg import same_bits, signs_right

import subkern

COUNT, ROWS, COLUMNS = 300, 512, 8  # more than 2^20 floats, in rows of a whole vector
OPS = {
    "orthonormalize": lambda Y: subkern.orthonormalize(Y, return_r=True, backend="cpu"),
    "svd_small": lambda A: subkern.svd_small(A, backend="cpu"),
}


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_large_batch_is_its_parts(op, threads):
    """Bit for bit, beside matrices that are not finite, zero, dependent or out of range."""
    batch = torch.randn(COUNT, ROWS, COLUMNS, generator=torch.Generator().manual_seed(1))
    batch[7, 3, 2] = math.nan
    batch[9] = 0
    batch[11, :, 5] = batch[11, :, 1]
    batch[13] *= 1e-38
    batch[15] *= 1e30
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        whole = OPS[op](batch)
    finally:
        torch.set_num_threads(before)
    for start in range(0, COUNT, 50):
        part = OPS[op](batch[start : start + 50])
        for got, expected in zip(whole, part, strict=True):
            assert same_bits(got[start : start + 50], expected).all()
    assert all(x[7].isnan().all() for x in whole)
    assert torch.isfinite(whole[0][[9, 11, 13, 15]]).all()


@pytest.mark.parametrize("columns", range(1, 33))
def test_a_matrix_beside_others_is_the_matrix_alone(columns):
    """Bit for bit: what the other lanes turn, exchange or leave alone, this one does not see."""
    rows = columns + 3
    batch = torch.randn(17, rows, columns, generator=torch.Generator().manual_seed(columns))
    batch[3] = 0
    batch[5, :, -1] = batch[5, :, 0]
    batch[7, 0, 0] = math.nan
    batch[9] *= 1e-38
    batch[11] *= 1e30
    batch[13] = -torch.eye(rows, columns)
    batch[15] = 1
    together = subkern.svd_small(batch, backend="cpu")
    for i in range(17):
        alone = subkern.svd_small(batch[i : i + 1], backend="cpu")
        for got, expected in zip(together, alone, strict=True):
            assert same_bits(got[i : i + 1], expected).all(), i


def hadamard(order):
    H = torch.ones(1, 1)
    while len(H) < order:
        H = torch.cat([torch.cat([H, H], 1), torch.cat([H, -H], 1)])
    return H


@pytest.mark.parametrize("columns", [4, 5, 7, 8])
def test_the_first_of_equal_entries_is_positive(columns):
    """All entries of a left vector are equal in size here; the lowest index decides."""
    H = hadamard(128)
    lengths = torch.arange(columns, 0, -1.0)
    batch = torch.stack([H[:, i + 1 : i + 1 + columns] * lengths for i in range(0, 64, 8)])
    U, _, _ = subkern.svd_small(batch, backend="cpu")
    size = U.abs()
    ties = (size == size.amax(1, keepdim=True)).sum(1)
    assert (ties > 1).all()
    assert signs_right(U).all()
