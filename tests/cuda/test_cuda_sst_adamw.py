"""The kernel of sst_adamw: launches, schedules, alignment, rows that do not wait, indices."""

import pytest
import torch
from sktest.tolerance import assert_close
from sst_adamw_cases import OPTIONS, WRITTEN, arguments, inputs, prepared

from subkern.reference.sst_adamw import sst_adamw_ as reference

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
dtypes = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
ENTRIES = 384  # of a launch


def copy(lists):
    """The same values in the same alignment."""

    def same(t):
        if t is None or not t.dim():
            return t if t is None else t.clone()
        start = t.storage_offset()
        return t.new_empty(t.numel() + start)[start:].copy_(t.reshape(-1)).view(t.shape)

    return {name: [same(t) for t in tensors] for name, tensors in lists.items()}


def run(kernels, lists, **changes):
    """One call; returns every written tensor."""
    call, _counters = arguments(kernels, lists, **changes)
    kernels.module.sst_adamw(**call)
    return [t for name in WRITTEN for t in lists[name] if t is not None]


def stepped(kernels, start, **changes):
    """The lists after one step, the same on every schedule."""
    last = {}

    def once():
        nonlocal last
        last = copy(start)
        return run(kernels, last, **changes)

    kernels.same_on_every_seed(once)
    return last


def check(lists, start):
    """Everything against the reference in float64."""
    order = ("X", "G", "exp_avg", "exp_avg_sq", "step", "skipped", "table", "sampled")
    kept = ("step", "skipped", "sampled")
    truth = {
        n: [t.cpu().clone() if n in kept else t.cpu().double() for t in start[n] if t is not None]
        for n in order
    }
    options = {k: v for k, v in OPTIONS.items() if k != "lr_address"}
    reference(*(truth[n] for n in order), **options | dict(lr=torch.tensor(OPTIONS["lr"])))
    for name in WRITTEN:
        got = [t.cpu() for t in lists[name] if t is not None]
        before = [t.cpu().double() for t in start[name] if t is not None]
        for i, (g, exact, old) in enumerate(zip(got, truth[name], before, strict=True)):
            length = g.shape[-1] if g.dim() == 2 else 1
            change = exact.double() - old
            assert_close(f"{name}[{i}]", g, exact, length, work=torch.float32, change=change)


@dtypes
@pytest.mark.parametrize("length", [1, 8, 255, 1032, 11272])
def test_one_launch_for_all(kernels, dtype, length):
    """Rows that packs fill and rows that they do not; the last are too long to wait."""
    start = inputs([3, 1], length, dtype, kernels.device)
    before = kernels.module.call_counts()["sst_adamw"]
    lists = copy(start)
    run(kernels, lists)
    assert kernels.module.call_counts()["sst_adamw"] == before + 1
    check(lists, start)
    if length < 2000:
        again = stepped(kernels, start)
        assert torch.equal(again["X"][1], lists["X"][1])


@dtypes
def test_alignment(kernels, dtype):
    """Rows of whole packs that start off a boundary."""
    for offset in (1, 2, 4):
        start = inputs([2], 64, dtype, kernels.device, offset)
        lists = copy(start)
        run(kernels, lists)
        check(lists, start)


def test_more_entries_than_a_launch_takes(kernels):
    start = inputs([i % 3 for i in range(ENTRIES // 2 + 1)], 4, torch.float32, kernels.device)
    before = kernels.module.call_counts()["sst_adamw"]
    lists = copy(start)
    run(kernels, lists)
    assert kernels.module.call_counts()["sst_adamw"] == before + 2
    check(lists, start)


@pytest.mark.parametrize("index", [-1, 7, 2**62, -(2**62)])
def test_an_index_outside_its_table_writes_no_table(kernels, index):
    """A kernel cannot raise: the vector moves, the table keeps that row."""
    start = inputs([4], 20, torch.float32, kernels.device)
    good, bad = copy(start), copy(start)
    row = int(start["sampled"][1][2])
    bad["sampled"][1][2] = index
    run(kernels, good)
    run(kernels, bad)
    expected = good["table"][1].clone()
    expected[row] = start["table"][1][row]
    assert torch.equal(bad["table"][1], expected)
    assert torch.equal(bad["X"][1], good["X"][1])


@dtypes
def test_refused_rows_on_every_schedule(kernels, dtype):
    start = inputs([4], 40, dtype, kernels.device)
    start["G"][1][1, 7] = float("inf")
    start["G"][1][3, 39] = float("nan")
    start["G"][0][2] = float("nan")
    lists = stepped(kernels, start)
    assert [int(t) for t in lists["skipped"]] == [1, 2]
    assert [int(t) for t in lists["step"]] == [5, 5]
    for name in ("X", "exp_avg", "exp_avg_sq"):
        assert torch.equal(lists[name][0], start[name][0])
        moved = (lists[name][1] != start[name][1]).any(dim=1)
        assert moved.tolist() == [True, False, True, False]


def test_rate_on_the_device(kernels):
    start = inputs([4], 20, torch.float32, kernels.device)
    lr = torch.tensor(OPTIONS["lr"], device=kernels.device)
    on_device = run(kernels, copy(start), lr=0.0, lr_address=lr.data_ptr())
    number = run(kernels, copy(start), lr=float(lr))
    assert all(torch.equal(a, b) for a, b in zip(on_device, number, strict=True))


def test_no_entries(kernels):
    before = kernels.module.call_counts()["sst_adamw"]
    empty = {name: [] for name in (*WRITTEN, "G", "sampled")}
    run(kernels, empty, counters=0)
    assert kernels.module.call_counts()["sst_adamw"] == before


BAD = [
    (dict(rows=[4, 4]), "rows must be 1 for values"),
    (dict(rows=[1]), "rows must have one entry per parameter"),
    (dict(rows=[1, -1]), "rows must be zero or more"),
    (dict(rows=[1, 2**31]), "rows must be below 2\\^31 together"),
    (dict(length=[7, 2**31]), "length must be below 2\\^31 together"),
    (dict(length=[7, 2**59]), "length must keep the matrix below"),
    (dict(table_rows=[0, -7]), "table_rows must be below 2\\^31 together"),
    (dict(sampled=[0, 0]), "sampled must be the address"),
    (dict(table=[0]), "table must have one entry per parameter"),
    (dict(counters=0), "counters must be the address"),
    (dict(dtype=2), "dtype must be 0"),
    (dict(device=-1), "device must be zero or more"),
]
BAD += [
    ({name: [0, 0]}, f"{name}(\\[0\\])? must be the address")
    for name in ("X", "G", "exp_avg", "exp_avg_sq", "step", "skipped")
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[m.split(" must")[0] for _, m in BAD])
def test_arguments(kernels, changes, message):
    call, tensors = prepared(kernels, [4], 20)
    before = [t.clone() for t in tensors]
    launched = kernels.module.call_counts()
    with pytest.raises(ValueError, match=f"^sst_adamw: {message}.*, got "):
        kernels.module.sst_adamw(**call | changes)
    assert kernels.module.call_counts() == launched
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))
