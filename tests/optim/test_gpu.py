"""On a real GPU: no synchronization, side streams, graph capture and replay, launch counts."""

from __future__ import annotations

import contextlib

import pytest
import torch
from sktest import backends

import subkern
from subkern.backends import native
from subkern.backends.triton import launch
from subkern.optim import _engine

from .small import METHODS

pytestmark = pytest.mark.gpu
SHAPES = ((48, 80), (80, 48), (64, 64), (48, 80))
VECTORS = (7, 300)
GAP = 4


@pytest.fixture(params=["reference", "triton", "cuda"])
def backend(request):
    """Backends that serve CUDA tensors."""
    if (reason := backends.refusal("lowrank_adam", request.param)) is not None:
        pytest.skip(reason)
    with subkern.backend(request.param):
        yield request.param


class Run:
    """An optimizer over CUDA parameters whose gradients keep their memory."""

    def __init__(self, cls, *, lr=0.01, dtype=torch.float32, gap=GAP, **engine):
        generator = torch.Generator().manual_seed(0)

        def parameter(*shape):
            return torch.nn.Parameter(torch.randn(shape, generator=generator).to("cuda", dtype))

        self.matrices = [parameter(*shape) for shape in SHAPES]
        self.params = [parameter(n) for n in VECTORS] + self.matrices
        for p in self.params:
            p.grad = torch.zeros_like(p)
        group = dict(params=self.matrices, rank=8, update_proj_gap=gap)
        groups = [dict(params=self.params[: len(VECTORS)]), group]
        self.optimizer = cls(groups, lr=lr, weight_decay=0.1, **engine)

    def fill(self, seed):
        generator = torch.Generator().manual_seed(seed)
        for p in self.params:
            p.grad.copy_(torch.randn(p.shape, generator=generator))
        torch.cuda.synchronize()

    def steps(self, count, start=0):
        for seed in range(start, start + count):
            self.fill(seed)
            self.optimizer.step()
        return self

    def assert_equals(self, other, *, but=()):
        for i, (p, q) in enumerate(zip(self.params, other.params, strict=True)):
            assert torch.equal(p, q), i
            theirs = other.optimizer.state[q]
            for name, value in self.optimizer.state[p].items():
                assert name in but or torch.equal(value, theirs[name]), (i, name)


@contextlib.contextmanager
def no_synchronization():
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_guard_sees_a_read():
    x = torch.ones(2, device="cuda")
    with no_synchronization(), pytest.raises(RuntimeError):
        x.sum().item()


@pytest.mark.parametrize("rate", ["float", "tensor"])
@pytest.mark.parametrize("proj_type", ["std", "full"])
@pytest.mark.parametrize("cls", METHODS)
def test_steps_and_warm_refreshes_do_not_synchronize(backend, cls, proj_type, rate):
    """Calls 2 to 6 hold retries of the first refresh and, on call 5, a warm one."""
    lr = 0.01 if rate == "float" else torch.tensor(0.01, device="cuda")
    run = Run(cls, lr=lr, proj_type=proj_type).steps(1)
    for seed in range(1, 6):
        run.fill(seed)
        with no_synchronization():
            run.optimizer.step()
    assert all(int(run.optimizer.state[p]["refreshes"]) == 2 for p in run.matrices)


@pytest.mark.parametrize("phase", ["reference", "staggered"])
@pytest.mark.parametrize("basis", ["warm", "rsvd"])
@pytest.mark.parametrize("cls", METHODS)
def test_side_stream_changes_nothing(backend, monkeypatch, cls, basis, phase):
    beside = Run(cls, basis=basis, phase=phase).steps(2 * GAP + 2)

    class InOrder:
        def on(self, device):
            return contextlib.nullcontext()

        def join(self):
            pass

    monkeypatch.setattr(_engine, "SideStreams", InOrder)
    beside.assert_equals(Run(cls, basis=basis, phase=phase).steps(2 * GAP + 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("proj_type", ["std", "full"])
@pytest.mark.parametrize("cls", METHODS)
def test_capture_and_replay(backend, cls, proj_type, dtype):
    """Replays equal eager steps, through changes of the rate and a refresh between them."""
    rates = [torch.tensor(0.01, device="cuda") for _ in range(2)]
    options = dict(proj_type=proj_type, dtype=dtype, gap=1000)
    replayed = Run(cls, lr=rates[0], capturable=True, **options)
    eager = Run(cls, lr=rates[1], **options)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        replayed.steps(3)
    torch.cuda.current_stream().wait_stream(stream)
    eager.steps(3)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        replayed.optimizer.step()
    replayed.assert_equals(eager)  # a capture runs nothing
    for seed in range(10, 20):
        for rate in rates:
            rate.fill_(0.01 / (1 + seed % 3))
        replayed.fill(seed)
        eager.fill(seed)
        graph.replay()
        eager.optimizer.step()
        if seed == 14:
            replayed.optimizer.refresh()
            eager.optimizer.refresh()
    if backend == "reference":  # cuBLAS may choose other kernels under capture
        for p, q in zip(replayed.params, eager.params, strict=True):
            tolerance = 1e-5 if dtype == torch.float32 else 2e-2
            torch.testing.assert_close(p, q, rtol=tolerance, atol=tolerance)
    else:
        replayed.assert_equals(eager, but=("calls",))
    assert all(int(replayed.optimizer.state[p]["calls"]) == 3 for p in replayed.matrices)
    assert all(int(replayed.optimizer.state[p]["refreshes"]) == 2 for p in replayed.matrices)


def test_capture_that_makes_its_gradients(backend):
    """Their addresses are new to it, as after zero_grad(set_to_none=True)."""
    replayed = Run(METHODS[1], capturable=True, gap=1000).steps(2)
    eager = Run(METHODS[1], gap=1000).steps(2)
    sources = [torch.zeros_like(p) for p in replayed.params]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for p, source in zip(replayed.params, sources, strict=True):
            p.grad = source + 0
        replayed.optimizer.step()
    for seed in (10, 11):
        eager.fill(seed)
        for p, source in zip(eager.params, sources, strict=True):
            source.copy_(p.grad)
        graph.replay()
        eager.optimizer.step()
    for p, q in zip(replayed.params, eager.params, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-5)


def test_capture_without_capturable_raises(backend):
    run = Run(METHODS[0]).steps(1)
    refused = pytest.raises(RuntimeError, match="capturable is False")
    with refused, torch.cuda.graph(torch.cuda.CUDAGraph()):
        run.optimizer.step()


def launches():
    counts = sum(launch.call_counts().values())
    if native.refusal("_CUDA") is None:
        counts += sum(native.module("_CUDA").call_counts().values())
    return counts


@pytest.mark.parametrize("proj_type", ["std", "full"])
@pytest.mark.parametrize("cls", METHODS)
def test_launches_of_a_step(backend, cls, proj_type):
    """At most 3 launches per bucket (5 for full) and 2 for the unprojected parameters."""
    if backend == "reference":
        pytest.skip("the reference launches PyTorch's kernels, which nobody counts")
    run = Run(cls, proj_type=proj_type, gap=1000).steps(3)
    before = launches()
    run.optimizer.step()
    buckets = len(set(SHAPES))
    assert buckets <= launches() - before <= buckets * (5 if proj_type == "full" else 3) + 2


def test_a_device_that_is_not_the_current_one(backend):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    here = Run(METHODS[1]).steps(3)
    with torch.cuda.device(1):
        there = Run(METHODS[1])
    there.steps(3)  # with device 0 current
    assert all(p.device.index == 1 for p in there.params)
    for p, q in zip(here.params, there.params, strict=True):
        torch.testing.assert_close(p.cpu(), q.cpu())


def test_zero_first_gradient_is_made_good(backend):
    run = Run(METHODS[1])
    run.optimizer.step()
    run.fill(1)
    run.optimizer.step()
    for p in run.matrices:
        state = run.optimizer.state[p]
        basis = state["basis"].double()
        assert not torch.equal(basis, torch.eye(*basis.shape, dtype=basis.dtype, device="cuda"))
        gram = basis.T @ basis - torch.eye(8, dtype=basis.dtype, device="cuda")
        assert gram.abs().max() <= 1e-6
        assert (int(state["calls"]), int(state["refreshes"])) == (2, 1)
