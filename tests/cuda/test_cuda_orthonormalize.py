"""The kernel of orthonormalize for matrices that a block holds; every result on five schedules."""

import pytest
import torch
from orthonormalize_cases import check, matrices, run

SHAPES = [(1, 1), (5, 4), (8, 8), (64, 8), (300, 3), (17, 13), (31, 31), (70, 20), (40, 33)]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "{}x{}".format(*s))
def test_against_truth(kernels, shape):
    Y = matrices(*shape).to(kernels.device)
    Q, R, info = kernels.same_on_every_seed(lambda: run(kernels, Y))
    check(Y, Q, R)
    assert torch.equal(Q[3], torch.eye(*shape))
    assert info.tolist() == ([0, 0, 2, 2, 2] if shape[1] > 1 else [0, 0, 0, 2, 0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("shape", [(40, 8), (33, 7), (24, 20)], ids=lambda s: "{}x{}".format(*s))
def test_layout_does_not_change_a_bit(kernels, shape, dtype):
    """Vectors of 16 bytes, elements one by one, columns that lie together: one arithmetic."""
    m, k = shape
    dense = matrices(m, k, ("random", "graded")).to(kernels.device, dtype)
    expected = run(kernels, dense)
    room = torch.full((2, m + 3, k + 5), torch.nan, dtype=dtype, device=kernels.device)
    room[:, 2 : m + 2, 3 : k + 3] = dense
    shifted = torch.empty(2 * m * k + 1, dtype=dtype, device=kernels.device)[1:].view(2, m, k)
    views = {
        "window": room[:, 2 : m + 2, 3 : k + 3],
        "transposed": dense.mT.contiguous().mT,
        "off a boundary": shifted.copy_(dense),
        "every other row": dense.repeat_interleave(2, 1)[:, ::2],
    }
    for name, view in views.items():
        for i, (got, same) in enumerate(zip(run(kernels, view), expected, strict=True)):
            assert torch.equal(got, same), f"{name}: result {i}"


@pytest.mark.parametrize("k", [4, 12, 24, 40])
def test_not_finite(kernels, k):
    """That matrix is NaN; the others are what they are without it."""
    Y = matrices(50, k, ("random", "not finite", "dependent")).to(kernels.device)
    Q, R, info = run(kernels, Y)
    assert Q[1].isnan().all()
    assert R[1].isnan().all()
    assert info.tolist() == [0, 1, 2]
    for got, alone in zip((Q, R), run(kernels, Y[::2].contiguous()), strict=False):
        assert torch.equal(got[::2], alone)


def test_extreme_scales(kernels):
    for scale in (1e-38, 1e-30, 1e30, 3e38 / 20):
        Y = matrices(20, 6, ("random", "dependent")).clamp(-1, 1).to(kernels.device) * scale
        Q, R, info = run(kernels, Y)
        check(Y, Q, R)
        assert info.tolist() == [0, 2]


def test_position_does_not_change_a_bit(kernels):
    Y = matrices(9, 5, ("random",)).to(kernels.device)
    outer = run(kernels, torch.cat([Y, Y, Y]))
    inner = run(kernels, Y)
    for got, one in zip(outer, inner, strict=True):
        assert all(torch.equal(got[i : i + 1], one) for i in range(3))
