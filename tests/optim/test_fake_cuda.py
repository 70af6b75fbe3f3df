"""The step and the warm refresh never make the host wait: proven on CUDA tensors that are fake."""

from __future__ import annotations

import pytest
import torch

from subkern.backends.composed import rsvd, topk_subspace
from subkern.optim import _engine, _refresh
from subkern.reference.adam import adam_
from subkern.reference.lowrank_adam import lowrank_adam_

from .fake_cuda import FakeCuda, HostWaits, fake_streams
from .small import METHODS

PROJ_TYPES = ("std", "reverse_std", "left", "right", "full")
SHAPES = ((12, 20), (20, 12), (16, 16))
GAP = 3


@pytest.fixture
def cuda(monkeypatch):
    """Fake CUDA tensors and streams; a generator on the device is left out of the draws."""
    log = fake_streams(monkeypatch)

    class Generator:
        def __init__(self, device):
            assert device.type == "cuda"

        def manual_seed(self, seed):
            return None

    monkeypatch.setattr(torch, "Generator", Generator)
    with FakeCuda() as mode:
        mode.log = log
        yield mode


def matrix(*shape, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device="cuda")


READING = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.max()),
    "bool": lambda x: bool((x > 0).any()),
    "equal": lambda x: torch.equal(x, x),
    "to the host": lambda x: x.cpu(),
    "from the host": lambda x: torch.ones(12).to(x.device),
    "scalar from the host": lambda x: torch.tensor(2.0).to(x.device),
    "copy_ from the host": lambda x: x.copy_(torch.ones(12, 12)),
    "tensor": lambda x: torch.tensor([1.0, 2.0], device=x.device),
    "mask": lambda x: x[x > 0],
    "eigh": lambda x: torch.linalg.eigh(x),
    "svd": lambda x: torch.linalg.svd(x),
    "cholesky": lambda x: torch.linalg.cholesky(x),
    "inv": lambda x: torch.linalg.inv(x),
}


@pytest.mark.parametrize("name", READING)
def test_a_read_raises(cuda, name):
    # int(), float() and indexing meet a missing device guard first where torch has no CUDA.
    with pytest.raises((HostWaits, RuntimeError), match="device"):
        READING[name](matrix(12, 12))


def test_arithmetic_does_not_raise(cuda):
    x = matrix(12, 12)
    y = torch.where(x > 0, x @ x.T * torch.tensor(2.0), 0.0)
    assert y.device.type == "cuda"
    assert y.shape == x.shape
    assert cuda.calls["mm"] == 1


def optimizer_of(cls, *, refreshes, dtype=torch.float32, count=2, **engine):
    """Projected matrices, some of each shape, and vectors; the bases were refreshed before."""
    matrices = [torch.nn.Parameter(matrix(*s, dtype=dtype)) for _ in range(count) for s in SHAPES]
    vectors = [torch.nn.Parameter(matrix(n, dtype=dtype)) for n in (7, 20)]
    group = dict(params=matrices, rank=3, update_proj_gap=GAP)
    optimizer = cls([{"params": vectors}, group], weight_decay=0.1, **engine)
    for p in matrices:
        optimizer.state[p]["refreshes"] += refreshes
    return optimizer, matrices, vectors


def run(optimizer, params, steps):
    for _ in range(steps):
        for p in params:
            p.grad = torch.empty_like(p)
        optimizer.step()


@pytest.mark.parametrize("cls", METHODS)
@pytest.mark.parametrize("proj_type", PROJ_TYPES)
@pytest.mark.parametrize("phase", ["reference", "staggered"])
def test_steps_with_warm_refreshes(cuda, cls, proj_type, phase):
    options = dict(proj_type=proj_type, phase=phase)
    optimizer, matrices, vectors = optimizer_of(cls, refreshes=2, **options)
    expected, refreshes = 0, 0
    for call in range(1, GAP + 3):
        before = [int(optimizer.state[p]["refreshes"]) for p in matrices]
        run(optimizer, matrices + vectors, 1)
        now = [
            int(optimizer.state[p]["refreshes"]) > b for p, b in zip(matrices, before, strict=True)
        ]
        refreshes += sum(now)
        # One list op per shape, two where only some of its parameters were refreshed.
        kinds = {(p.shape, refreshed) for p, refreshed in zip(matrices, now, strict=True)}
        expected += len(kinds)
        assert cuda.calls["lowrank_adam_"] == expected
        assert cuda.calls["adam_"] == call
    assert cuda.calls["topk_subspace"] == (2 if proj_type == "full" else 1) * refreshes
    assert refreshes >= len(matrices)
    at_once = len(SHAPES) * (GAP + 2)
    assert expected == at_once if phase == "reference" else expected > at_once


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("lr", ["float", "cuda", "cuda 1-dim", "cpu"])
def test_rates_of_every_kind(cuda, lr, dtype):
    rate = {
        "float": 0.01,
        "cuda": matrix(),
        "cuda 1-dim": matrix(1),
        "cpu": torch.tensor(0.01),
    }[lr]
    optimizer, matrices, vectors = optimizer_of(METHODS[1], refreshes=2, dtype=dtype)
    for group in optimizer.param_groups:
        group["lr"] = rate
    run(optimizer, matrices + vectors, GAP + 1)
    assert all(group["lr"] is rate for group in optimizer.param_groups)


@pytest.mark.parametrize("proj_type", ["std", "full"])
def test_retries_of_the_first_refresh(cuda, proj_type):
    optimizer, matrices, vectors = optimizer_of(METHODS[0], refreshes=1, proj_type=proj_type)
    optimizer.param_groups[1]["update_proj_gap"] = 100
    for p in matrices:
        optimizer.state[p]["calls"] += 1
    refreshed = []
    for call in range(2, 18):
        before = cuda.calls["topk_subspace"]
        run(optimizer, matrices + vectors, 1)
        if cuda.calls["topk_subspace"] > before:
            refreshed.append(call)
    assert refreshed == [2, 4, 8, 16]
    assert all(int(optimizer.state[p]["refreshes"]) == 1 for p in matrices)


def test_refresh_between_replays(cuda):
    optimizer, matrices, _ = optimizer_of(METHODS[0], refreshes=2, capturable=True)
    for p in matrices:
        p.grad = torch.empty_like(p)
    optimizer.refresh()
    assert all(int(optimizer.state[p]["refreshes"]) == 3 for p in matrices)
    assert all(int(optimizer.state[p]["calls"]) == 0 for p in matrices)


def test_the_rules_of_the_cpu_would_read(cuda, monkeypatch):
    """The proof can fail: on the CPU the host reads the verdict of a refresh."""
    monkeypatch.setattr(_refresh, "host_may_read", lambda p: True)
    optimizer, matrices, _ = optimizer_of(METHODS[0], refreshes=2)
    matrices[0].grad = torch.empty_like(matrices[0])
    with pytest.raises(HostWaits, match="reads the device"):
        optimizer.step()


def test_an_exact_refresh_does_read(cuda):
    """As the docstring says: torch.linalg.svd checks its result on the host."""
    optimizer, matrices, _ = optimizer_of(METHODS[0], refreshes=0, basis="svd")
    matrices[0].grad = torch.empty_like(matrices[0])
    with pytest.raises(HostWaits, match="_linalg_svd"):
        optimizer.step()


@pytest.mark.parametrize("basis", ["warm", "rsvd", "gram", "random"])
def test_other_first_refreshes_leave_it_to_the_ops(cuda, basis):
    """What the ops do is tested with them; around them nothing reads."""
    optimizer, matrices, _ = optimizer_of(METHODS[0], refreshes=0, basis=basis)
    run(optimizer, matrices, 1)
    op = "orthonormalize" if basis == "random" else "topk_subspace"
    assert cuda.calls[op] == len(matrices)


OPTIONS = dict(mode="iterate", iters=2, oversample=0, relax=False, order=False, align="sign")
OPTIONS |= dict(energy="none", out_dtype=None, seed=3, backend="cuda")


@pytest.mark.parametrize("rank", [3, 70])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_iteration_reads_nothing(cuda, dtype, side, rank):
    """The composed op on a batch, whose inner ops are fakes: warm, aligned, measured, cold."""
    G = matrix(2, 120, 150, dtype=dtype)
    k = 120 if side == "left" else 150
    start = matrix(2, k, rank)
    options = OPTIONS | dict(rank=rank, side=side)
    for change in (
        {},
        dict(relax=True),
        dict(align="procrustes"),
        dict(energy="basis"),
        dict(energy="start"),
        dict(mode="identity"),
    ):
        found = topk_subspace.topk_subspace(G, start, **(options | change))
        assert found[0].shape == start.shape
        assert all(t.device.type == "cuda" for t in found)
    assert topk_subspace.topk_subspace(G, None, **options)[0].shape == start.shape
    before = cuda.calls["mm"]
    topk_subspace.topk_subspace(G, start, **options)
    assert cuda.calls["mm"] - before >= 8  # two products of each matrix in each iteration


def test_small_eigenvalue_problems_read_nothing_and_wide_ones_do(cuda):
    """Up to 64 columns they are ops of ours; above, torch.linalg.eigh looks at its result."""
    options = OPTIONS | dict(side="left", iters=1)
    small, large = matrix(1, 60, 90), matrix(1, 120, 150)
    for mode in ("exact", "iterate"):
        change = dict(mode=mode, order=True, rank=5, oversample=8)
        topk_subspace.topk_subspace(small, None, **(options | change))
    rsvd.rsvd(large, None, rank=5, oversample=8, iters=1, seed=0, backend="cuda")
    for change in (dict(mode="exact", rank=5), dict(order=True, rank=70)):
        with pytest.raises(HostWaits, match="_linalg_eigh"):
            topk_subspace.topk_subspace(large, None, **(options | change))


def test_streams(cuda, monkeypatch):
    """The side stream waits once, before the refreshes; the step of what they wrote comes last."""
    log = cuda.log
    inner = _engine.lowrank_adam_

    def logged(*args, **options):
        log.append("step")
        inner(*args, **options)

    monkeypatch.setattr(_engine, "lowrank_adam_", logged)
    optimizer, matrices, _ = optimizer_of(METHODS[0], refreshes=2)
    run(optimizer, matrices[:1], GAP)
    refresh = ["side cuda:0 waits for current cuda:0", "on side cuda:0", "off side cuda:0"]
    join = "current cuda:0 waits for side cuda:0"
    assert log == [*refresh, join, "step", "step", "step"]
    log.clear()
    for p in matrices[1:]:  # of every shape; these wait for their turn, the first is due
        optimizer.state[p]["calls"] += 1
    run(optimizer, matrices, 1)
    assert log == [*refresh, *["step"] * len(SHAPES), join, "step"]


def test_closure_and_missing_gradients(cuda):
    optimizer, matrices, vectors = optimizer_of(METHODS[1], refreshes=2)
    loss = matrix()

    def closure():
        for p in matrices[::2] + vectors[:1]:
            p.grad = torch.empty_like(p)
        return loss

    assert optimizer.step(closure) is loss
    assert [int(optimizer.state[p]["calls"]) for p in matrices] == [1, 0] * (len(matrices) // 2)


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("lr", ["cpu", "cuda"])
@pytest.mark.parametrize("side", ["left", "right", "full"])
@pytest.mark.parametrize("rule", ["galore", "fira"])
def test_reference(cuda, rule, side, lr, skip):
    """The plain PyTorch step waits neither for a value nor for a rate on its way to the device."""
    m, n, r = 12, 20, 3
    rows, cols = {"left": (r, n), "right": (m, r), "full": (r, r)}[side]
    rate = torch.tensor(0.01, dtype=torch.float64) if lr == "cpu" else matrix()
    numbers = dict(lr=rate, beta1=0.9, beta2=0.999, eps=1e-6, weight_decay=0.1, decay="post")
    for correct_bias in (True, False):
        options = numbers | dict(correct_bias=correct_bias, skip_nonfinite=skip)
        adam_([matrix(7)], [matrix(7)], [matrix(7)], [matrix(7)], [matrix()], [matrix()], **options)
        lowrank_adam_(
            *([matrix(m, n)], [matrix(m, n)], [matrix(n if side == "right" else m, r)]),
            *([matrix(rows, cols)], [matrix(rows, cols)], [matrix()], [matrix()], [matrix()]),
            [matrix(n, r)] if side == "full" else [],
            **options,
            **dict(side=side, rule=rule, scale=0.25, gamma=1.01, norm_eps=1e-8),
            **dict(alpha_in_residual=True, granularity="column"),
        )
    assert cuda.calls["mm"] >= 4
