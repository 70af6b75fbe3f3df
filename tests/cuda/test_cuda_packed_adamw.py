"""The kernel of packed_adamw: launches, schedules, alignment, indices outside their tensor."""

import pytest
import torch
from packed_adamw_cases import OPTIONS, READ, WRITTEN, arguments, inputs, prepared
from sktest.tolerance import assert_close

from subkern.reference.packed_adamw import packed_adamw_ as reference

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
TENSORS = 384  # of a launch
SIZES = ((5000, 2100), (9, 9), (40, 0), (3000, 1024))  # more than a block, a part, nothing, one
ORDER = ("W", "G", "indices", "exp_avg", "exp_avg_sq", "step")
KINDS = [(packed, own) for packed in (False, True) for own in (False, True)]
kinds = pytest.mark.parametrize(
    ("packed", "own"), KINDS, ids=["dense", "dense-own-t", "packed", "packed-own-t"]
)


def copy(lists):
    """The same values in the same alignment."""

    def same(t):
        start = t.storage_offset()
        room = torch.empty(t.numel() + start, dtype=t.dtype, device=t.device)
        return room[start:].copy_(t.reshape(-1)).view(t.shape)

    return {name: [same(t) for t in tensors] for name, tensors in lists.items()}


def run(kernels, lists, **changes):
    """One call; returns every written tensor."""
    call, _counters = arguments(kernels, lists, **changes)
    kernels.module.packed_adamw(**call)
    return [t for name in WRITTEN for t in lists[name]]


def check(lists, start):
    """Everything against the reference in float64."""
    kept = ("step", "indices")
    truth = {
        n: [t.cpu().clone() if n in kept else t.cpu().double() for t in start[n]] for n in ORDER
    }
    options = {k: v for k, v in OPTIONS.items() if k != "lr_address"}
    reference(*(truth[n] for n in ORDER), **options | dict(lr=torch.tensor(OPTIONS["lr"])))
    for name in WRITTEN:
        for i, (got, exact) in enumerate(zip(lists[name], truth[name], strict=True)):
            change = exact.double() - start[name][i].cpu().double()
            assert_close(f"{name}[{i}]", got.cpu(), exact, 8, work=torch.float32, change=change)


@kinds
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_runs(kernels, dtype, packed, own):
    """One launch for all tensors, in any alignment, the same on every schedule."""
    for offset, wide in ((0, True), (0, False), (1, True), (2, False)):
        start = inputs(
            SIZES, dtype, kernels.device, packed=packed, own=own, wide=wide, offset=offset
        )
        before = kernels.module.call_counts()["packed_adamw"]
        lists = copy(start)
        first = run(kernels, lists)
        assert kernels.module.call_counts()["packed_adamw"] == before + 1
        check(lists, start)
        if offset == 0 and wide:
            again = kernels.same_on_every_seed(lambda start=start: run(kernels, copy(start)))
            assert all(torch.equal(a.cpu(), b) for a, b in zip(first, again, strict=True))


def test_more_tensors_than_a_launch_takes(kernels):
    start = inputs([(5, i % 4) for i in range(TENSORS + 1)], packed=False, own=False,
                   device=kernels.device)  # fmt: skip
    before = kernels.module.call_counts()["packed_adamw"]
    lists = copy(start)
    run(kernels, lists)
    assert kernels.module.call_counts()["packed_adamw"] == before + 2
    check(lists, start)


@kinds
@pytest.mark.parametrize(("wide", "index"), [(True, 2**62), (True, -1), (False, 40), (False, -1)])
def test_an_index_out_of_range_is_left_alone(kernels, packed, own, wide, index):
    """A kernel cannot raise: weight, moments and count of that entry stay, the others move."""
    start = inputs([(40, 30)], device=kernels.device, packed=packed, own=own, wide=wide)
    place = int(start["indices"][0][13])
    good, bad = copy(start), copy(start)
    bad["indices"][0][13] = index
    run(kernels, good)
    run(kernels, bad)
    for name in WRITTEN:
        expected, spot = good[name][0].clone(), place if name == "W" else 13
        if expected.dim():
            expected[spot] = start[name][0][spot]
        assert torch.equal(bad[name][0], expected), name
    assert all(torch.equal(good[name][0], start[name][0]) for name in READ)


def test_rate_on_the_device(kernels):
    start = inputs([(40, 30)], device=kernels.device, packed=False, own=False)
    lr = torch.tensor(OPTIONS["lr"], device=kernels.device)
    on_device = run(kernels, copy(start), lr=0.0, lr_address=lr.data_ptr())
    number = run(kernels, copy(start), lr=float(lr))
    assert all(torch.equal(a, b) for a, b in zip(on_device, number, strict=True))


def test_no_tensors(kernels):
    before = kernels.module.call_counts()["packed_adamw"]
    run(kernels, {name: [] for name in ORDER}, counters=0)
    assert kernels.module.call_counts()["packed_adamw"] == before


BAD = [
    (dict(numel=[]), "numel must have one entry per parameter"),
    (dict(numel=[-1]), "numel must be zero or more"),
    (dict(listed=[-1]), "listed must be zero or more"),
    (dict(listed=[2**40]), "listed must be below 2\\^40 together"),
    (dict(packed=[]), "packed must have one entry per parameter"),
    (dict(per_entry=[]), "per_entry must have one entry per parameter"),
    (dict(step=[0]), "step must be the address"),
    (dict(counters=0), "counters must be the address"),
    (dict(w_dtype=2), "w_dtype must be 0"),
    (dict(device=-1), "device must be zero or more"),
]
BAD += [({name: [0]}, f"{name} must be the address") for name in ORDER[:-1]]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[m.split(" must")[0] for _, m in BAD])
def test_arguments(kernels, changes, message):
    call, tensors = prepared(kernels)
    before = [t.clone() for t in tensors]
    launched = kernels.module.call_counts()
    with pytest.raises(ValueError, match=f"^packed_adamw: {message}.*, got "):
        kernels.module.packed_adamw(**call | changes)
    assert kernels.module.call_counts() == launched
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))
