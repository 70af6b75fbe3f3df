"""The kernel of orthonormalize for matrices that a block holds; every result on five schedules."""

import pytest
import torch
from orthonormalize_cases import check, run

SHAPES = [(1, 1), (5, 4), (8, 8), (64, 8), (300, 3), (17, 13), (31, 31), (70, 20), (40, 33)]
NAMES = ["random", "graded", "dependent", "zero", "low rank"]


def matrices(m, k, seed=0):
    """One of each name."""
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(m, k, generator=generator)
    dependent = random.clone()
    dependent[:, -1] = dependent[:, 0]
    graded = random * 10.0 ** -torch.linspace(0, 8, k)
    low = random[:, : (k + 2) // 3] @ torch.randn((k + 2) // 3, k, generator=generator)
    return torch.stack([random, graded, dependent, torch.zeros(m, k), low])


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "{}x{}".format(*s))
def test_against_truth(kernels, shape):
    Y = matrices(*shape).to(kernels.device)
    Q, R, info = kernels.same_on_every_seed(lambda: run(kernels, Y))
    check(Y, Q, R, NAMES)
    assert torch.equal(Q[3], torch.eye(*shape))
    expected = [0, 0, 2, 2, 2] if shape[1] > 1 else [0, 0, 0, 2, 0]
    assert info.tolist() == expected
