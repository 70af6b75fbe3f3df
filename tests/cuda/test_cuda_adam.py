"""The kernels of adam: values, alignment, launches, skipping; every result on five schedules."""

import itertools
import math

import pytest
import torch
from adam_cases import check as check_values
from adam_cases import copy, inputs, run

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Around a vector, a block of apply (8192) and one of scan (32768).
SIZES = [1, 2, 3, 0, 4, 7, 8, 9, 31, 255, 256, 1025, 8191, 8192, 8193, 32767, 32769, 40009]
dtypes = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)


def step(kernels, start, **changes):
    """The lists after one step, the same on every schedule."""
    last = {}

    def once():
        nonlocal last
        last = copy(start)
        return run(kernels, last, **changes)

    kernels.same_on_every_seed(once)
    return last


@dtypes
def test_sizes(kernels, dtype):
    start = inputs(SIZES, dtype, kernels.device)
    check_values(step(kernels, start), start)


@dtypes
@pytest.mark.parametrize(
    ("post_decay", "correct_bias", "skip_nonfinite"),
    list(itertools.product([True, False], repeat=3)),
)
def test_options(kernels, dtype, post_decay, correct_bias, skip_nonfinite):
    changes = dict(post_decay=post_decay, correct_bias=correct_bias, skip_nonfinite=skip_nonfinite)
    start = inputs([5, 300, 9000], dtype, kernels.device)
    lists = copy(start)
    run(kernels, lists, **changes)
    check_values(lists, start, **changes)


@dtypes
def test_alignment_does_not_change_a_bit(kernels, dtype):
    """Scalars at the ends or everywhere, vectors between: one arithmetic."""
    aligned = inputs([8209, 77], dtype, kernels.device)
    expected = run(kernels, copy(aligned))
    for offset in (1, 2, 3, 4, 6, 8):
        shifted = inputs([8209, 77], dtype, kernels.device, offset)
        assert shifted["W"][0].data_ptr() % 16 == offset * shifted["W"][0].element_size() % 16
        for i, (a, b) in enumerate(zip(run(kernels, shifted), expected, strict=True)):
            assert torch.equal(a, b), f"result {i} at offset {offset}"
    mixed = inputs([8209, 77], dtype, kernels.device)
    mixed["exp_avg"] = inputs([8209, 77], dtype, kernels.device, 1)["exp_avg"]
    for i, (a, b) in enumerate(zip(run(kernels, mixed), expected, strict=True)):
        assert torch.equal(a, b), f"result {i} with one buffer off its boundary"


def test_no_stray_writes(kernels):
    """Neighbours in one allocation stay as they are."""
    start = inputs([517], torch.bfloat16, kernels.device, 3)
    rooms = {name: torch.full_like(start[name][0]._base, 99.0) for name in ("W", "exp_avg")}
    for name, room in rooms.items():
        room[3:519] = start[name][0][:516]
        start[name] = [room[3:519]]
    start["G"], start["exp_avg_sq"] = [start["G"][0][:516]], [start["exp_avg_sq"][0][:516]]
    run(kernels, start)
    for name, room in rooms.items():
        assert room[:3].tolist() == [99.0] * 3, name
        assert room[519:].tolist() == [99.0], name


@pytest.mark.parametrize("skip_nonfinite", [True, False])
def test_more_tensors_than_a_launch_takes(kernels, skip_nonfinite):
    most = kernels.module.adam_tensors_per_launch
    count = 2 * most + 1
    start = inputs([i % 40 for i in range(count)], torch.float32, kernels.device)
    before = kernels.module.call_counts()
    lists = copy(start)
    run(kernels, lists, skip_nonfinite=skip_nonfinite)
    check_values(lists, start, skip_nonfinite=skip_nonfinite)
    after = kernels.module.call_counts()
    assert {k: after[k] - before[k] for k in after if after[k] != before[k]} == {
        "adam_scan": 3,
        "adam_apply": 3,
    }


@dtypes
@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_skips_nonfinite(kernels, dtype, poison):
    """A bad element anywhere: in a vector, at the ends of a block, in a tail, off a boundary."""
    for where, offset in itertools.product((0, 8191, 32768, 40008), (0, 1)):
        clean = inputs([7, 40009, 65], dtype, kernels.device, offset)
        expected = copy(clean)
        run(kernels, expected)
        clean["G"][1][where] = poison
        lists = step(kernels, clean) if where == 0 else copy(clean)
        if where:
            run(kernels, lists)
        for name in ("W", "exp_avg", "exp_avg_sq", "step"):
            assert torch.equal(lists[name][1], clean[name][1]), f"{name} at {where}"
            for i in (0, 2):
                assert torch.equal(lists[name][i], expected[name][i]), f"{name}[{i}] at {where}"
        assert [t.item() for t in lists["skipped"]] == [0, 2, 2]


def test_largest_finite_gradients_are_no_reason_to_skip(kernels):
    for dtype in DTYPES.values():
        lists = inputs([40], dtype, kernels.device)
        lists["G"][0][:20] = torch.finfo(dtype).max
        run(kernels, lists)
        assert lists["skipped"][0] == 0
        assert lists["step"][0] == 1


def test_nonfinite_spreads_when_asked(kernels):
    lists = inputs([70, 3], torch.float32, kernels.device)
    lists["G"][0][69] = math.nan
    run(kernels, lists, skip_nonfinite=False)
    assert lists["W"][0].isnan().nonzero().tolist() == [[69]]
    assert [t.item() for t in lists["step"]] == [1, 2]
    assert [t.item() for t in lists["skipped"]] == [0, 1]


def test_many_steps_of_bias_correction(kernels):
    """Late steps and rates next to one, where 1 - beta^t cancels."""
    for t, beta1, beta2 in ((0, 0.0, 0.0), (0, 0.9999, 0.999999), (10**6, 0.9, 0.9999999)):
        start = inputs([300], torch.float32, kernels.device)
        start["step"][0].fill_(t)
        lists = copy(start)
        run(kernels, lists, beta1=beta1, beta2=beta2)
        check_values(lists, start, beta1=beta1, beta2=beta2)


def test_rate_on_the_device(kernels):
    start = inputs([300], torch.float32, kernels.device)
    number, read = copy(start), copy(start)
    rate = torch.tensor(0.125, device=kernels.device)
    expected = run(kernels, number, lr=0.125)
    got = run(kernels, read, lr=77.0, lr_address=rate.data_ptr())
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_empty_list(kernels):
    before = kernels.module.call_counts()
    assert run(kernels, inputs([], torch.float32, kernels.device)) == []
    assert kernels.module.call_counts() == before
