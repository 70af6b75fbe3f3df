"""Backend "cuda" as dispatch sees it: what it refuses and why, what it launches, the stand-in."""

from types import ModuleType

import pytest
import torch
from sktest import emulated_cuda
from sktest.lowrank import make

from subkern.backends import BackendUnavailableError, native
from subkern.backends.cuda import adam as cuda_adam
from subkern.ops import adam_


@pytest.fixture
def emulated():
    with emulated_cuda.install() as module:
        yield module


def lists(*tensors):
    """Arguments of adam_ for parameters like these."""
    zeros = [[torch.zeros_like(t, dtype=torch.float32) for t in tensors] for _ in range(2)]
    scalars = [[torch.zeros(()) for _ in tensors] for _ in range(2)]
    return [list(tensors), [torch.ones_like(t) for t in tensors], *zeros, *scalars]


def launches(module, run):
    """Launches of each kernel that ``run`` caused."""
    before = module.call_counts()
    run()
    return {k: n - before[k] for k, n in module.call_counts().items() if n != before[k]}


def test_stand_in_serves_and_goes(emulated):
    assert native.refusal("_CUDA") is None
    assert native.module("_CUDA") is emulated
    without = ModuleType("without_devices")
    without.device_count = lambda: 0
    with native.replace("_CUDA", without):
        assert native.refusal("_CUDA") == "cannot run here (found no CUDA device)"
    assert native.module("_CUDA") is emulated


def test_nothing_stays_behind():
    before = native.refusal("_CUDA")
    with emulated_cuda.install():
        assert native.refusal("_CUDA") is None
    assert native.refusal("_CUDA") == before


def test_only_an_explicit_request_picks_it(emulated):
    assert launches(emulated, lambda: adam_(*lists(torch.ones(5)), lr=0.1)) == {}
    step = lists(torch.ones(5))
    made = launches(emulated, lambda: adam_(*step, lr=0.1, backend="cuda"))
    assert made == {"adam_scan": 1, "adam_apply": 1}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, and the backend is on")
def test_without_a_device_it_says_so():
    with pytest.raises(BackendUnavailableError, match=r"'cuda' was asked for but .*(_CUDA|device)"):
        adam_(*lists(torch.ones(5)), lr=0.1, backend="cuda")
    with pytest.raises(RuntimeError, match=r"subkern\._CUDA "):
        native.module("_CUDA")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"params": torch.float64, "grads": torch.float64}, "serves float32 and bfloat16"),
        ({"exp_avgs": torch.bfloat16, "exp_avg_sqs": torch.bfloat16}, "keeps moments in float32"),
    ],
    ids=["params", "moments"],
)
def test_refuses_dtypes(emulated, changes, reason):
    names = ("params", "grads", "exp_avgs", "exp_avg_sqs")
    call = {n: [torch.ones(4, dtype=changes.get(n, torch.float32))] for n in names}
    assert reason in cuda_adam.can_serve(**call)


def test_refuses_devices(emulated):
    call = {n: [torch.ones(4, device="meta")] for n in ("params", "grads", "exp_avgs")}
    reason = cuda_adam.can_serve(**call, exp_avg_sqs=[torch.ones(4, device="meta")])
    assert reason == "serves cpu tensors only, got meta"


def test_refuses_strides_that_differ(emulated):
    turned = torch.ones(4, 6).T.contiguous().T
    call = dict(exp_avgs=[turned.clone()], exp_avg_sqs=[turned.clone()], params=[turned])
    assert cuda_adam.can_serve(**call, grads=[turned.clone()]) is None
    assert "same strides" in cuda_adam.can_serve(**call, grads=[torch.ones(4, 6)])
    wide = torch.ones(4, 7)[:, :6]
    assert "dense" in cuda_adam.can_serve(**call, grads=[wide])


def test_dense_views_walk_flat(emulated):
    turned = lists(torch.randn(6, 4).T)
    plain = [[t.contiguous() if t.dim() else t.clone() for t in tensors] for tensors in turned]
    adam_(*turned, lr=0.1, backend="cuda")
    adam_(*plain, lr=0.1, backend="cuda")
    assert torch.equal(turned[0][0], plain[0][0])


@pytest.mark.parametrize("rule", ["galore", "fira"])
@pytest.mark.parametrize("side", ["left", "right", "full"])
def test_one_moments_launch_per_chunk(emulated, side, rule):
    problem = make(12, 20, 3, side, rule, count=5)
    assert launches(emulated, lambda: problem.step("cuda")) == {"lowrank_adam_moments": 1}
    assert [t.item() for t in problem.steps] == [1] * 5
