"""The op on backend "cuda": the gallery, what it launches, many columns, what it refuses."""

import pytest
import torch
from orthonormalize_cases import matrices
from sktest import emulated_cuda
from sktest.linalg import as_gallery, check_qr

import subkern
from subkern.backends.cuda.orthonormalize import can_serve
from subkern.bench.gallery import gallery


@pytest.fixture
def emulated():
    with emulated_cuda.install() as module:
        yield module


def launches(module, run):
    """What ``run`` returns, and the launches of each kernel that it caused."""
    before = module.call_counts()
    result = run()
    return result, {k: n - before[k] for k, n in module.call_counts().items() if n != before[k]}


def both(Y):
    return subkern.orthonormalize(Y, return_r=True, info=True, backend="cuda")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("shape", [(5, 4), (9, 7), (16, 16), (33, 33)], ids=str)
def test_gallery(emulated, shape, dtype):
    g = gallery(*shape, dtype=dtype)
    (Q, R, _), made = launches(emulated, lambda: both(g.batch))
    check_qr(g, Q, R)
    assert made == {"orthonormalize": 1}


def test_many_columns(emulated):
    """Torch's products; ours where pivots fail, and launches that do nothing where none does."""
    Y = matrices(90, 70, ("random", "dependent", "zero", "not finite"))
    (Q, R, info), made = launches(emulated, lambda: both(Y))
    check_qr(as_gallery(Y[:3]), Q[:3], R[:3])
    assert torch.equal(Q[2], torch.eye(90, 70))
    assert Q[3].isnan().all()
    assert info.tolist() == [0, 2, 2, 1]
    names = {"orthonormalize_cholesky", "orthonormalize_repair"}
    assert set(made) == names
    good, alone = launches(emulated, lambda: both(Y[:1]))
    assert set(alone) == names
    for got, expected in zip(good, (Q[:1], R[:1], info[:1]), strict=True):
        torch.testing.assert_close(got, expected)


def test_empty(emulated):
    for shape in ((0, 5, 3), (2, 0, 0), (2, 5, 0)):
        (Q, R, info), made = launches(emulated, lambda shape=shape: both(torch.ones(shape)))
        assert Q.shape == shape
        assert R.shape == (shape[0], shape[2], shape[2])
        assert info.tolist() == [0] * shape[0]
        assert made == {}


def test_refuses(emulated):
    assert "float64" in can_serve(Y=torch.ones(1, 3, 2, dtype=torch.float64), method="auto")
    assert "householder" in can_serve(Y=torch.ones(1, 3, 2), method="householder")
    meta = torch.ones(1, 3, 2, device="meta")
    assert can_serve(Y=meta, method="auto") == "serves cpu tensors only, got meta"
