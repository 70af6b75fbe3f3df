"""What is particular to lowrank_adam in Triton: slices, chunks, fusion, scratch, skips."""

import contextlib
import dataclasses
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from sktest.backends import refusal
from sktest.lowrank import WRITTEN, check_steps, compare, make

from subkern.backends.triton import launch, lowrank_adam, lowrank_launch, lowrank_plan
from subkern.ops import adam_

if (reason := refusal("lowrank_adam", "triton")) is not None:
    pytest.skip(reason, allow_module_level=True)

FP32, BF16 = torch.float32, torch.bfloat16
BACKEND = "triton"


def problem(*shape, **options):
    return make(*shape, backend=BACKEND, **options)


def assert_same_bits(a, b, message):
    for name in WRITTEN:
        for i, (x, y) in enumerate(zip(getattr(a, name), getattr(b, name), strict=True)):
            assert torch.equal(x, y), f"{message}: {name}[{i}]"


def count_launches(function):
    before = Counter(launch.call_counts())
    function()
    return sum((Counter(launch.call_counts()) - before).values())


def with_plan(monkeypatch, **changes):
    """Every plan from now on has these fields."""
    make_plan = lowrank_plan.make_plan

    def changed(call):
        return dataclasses.replace(make_plan(call), **changes)

    monkeypatch.setattr(lowrank_adam, "make_plan", changed)


@pytest.mark.parametrize("dtype", [FP32, BF16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("shape", "side"), [((2100, 20, 3), "left"), ((20, 2100, 3), "right")])
def test_slices_of_a_sum(shape, side, dtype, monkeypatch):
    """A product cut into slices agrees with the whole one, and both with the truth."""
    cut = problem(*shape, side, "fira", dtype)
    before, whole = cut.clone(), cut.clone()
    seen = []
    monkeypatch.setattr(
        lowrank_adam,
        "project",
        lambda plan, *rest: seen.append(plan.slices) or lowrank_launch.project(plan, *rest),
    )
    check_steps(cut, BACKEND, steps=1, growth=1)
    monkeypatch.setattr(lowrank_plan, "slices", lambda *_: 1)
    whole.step(BACKEND)
    assert seen == [2, 1]
    compare(cut, whole.double(), before, BACKEND)


@pytest.mark.parametrize("rule", ["galore", "fira"])
@pytest.mark.parametrize("side", ["left", "right", "full"])
def test_chunks_do_not_change_bits(side, rule, monkeypatch):
    """The same list in one chunk, and in as many as there are parameters."""
    together = problem(30, 41, 3, side, rule, count=3)
    apart = together.clone()
    launches = count_launches(lambda: together.step(BACKEND))
    monkeypatch.setattr(lowrank_plan, "CHUNK_BYTES", 1)
    assert count_launches(lambda: apart.step(BACKEND)) == 3 * launches
    assert_same_bits(together, apart, "the chunks")


def test_what_chunks_share_is_made_once(monkeypatch):
    """Chunks of one size use one scratch, the stages of a chunk one table: both cost host time."""
    made, tables = [], []
    make_scratch, table = lowrank_adam.make_scratch, lowrank_plan.table
    monkeypatch.setattr(
        lowrank_adam, "make_scratch", lambda *of: made.append(of) or make_scratch(*of)
    )
    monkeypatch.setattr(lowrank_plan, "table", lambda *of: tables.append(of) or table(*of))
    five = problem(30, 41, 3, "full", "fira", count=5)
    step = lowrank_adam.step
    monkeypatch.setattr(lowrank_adam, "step", lambda *of: step(*of, most=2))
    five.step(BACKEND)
    assert ([count for _, count in made], len(tables)) == ([2, 1], 3)


@pytest.mark.parametrize("dtype", [FP32, BF16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("side", ["left", "right", "full"])
def test_scratch_is_what_the_plan_counts(side, dtype, monkeypatch):
    """The limit of a chunk is worth what the count of bytes per parameter is."""
    made = []
    make_scratch = lowrank_adam.make_scratch

    def note(plan, count):
        scratch = make_scratch(plan, count)
        tensors = [t for t in vars(scratch).values() if t is not None]
        made.append((sum(t.nbytes for t in tensors), count * plan.bytes_per_parameter()))
        return scratch

    monkeypatch.setattr(lowrank_adam, "make_scratch", note)
    problem(21, 34, 3, side, "fira", dtype, count=2).step(BACKEND)
    problem(21, 34, 3, side, "galore", dtype, count=2).step(BACKEND, skip_nonfinite=False)
    assert len(made) == 2
    for found, counted in made:
        assert found == counted


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("dtype", [FP32, BF16], ids=["fp32", "bf16"])
def test_fused_moments_equal_the_stage_between(side, dtype, monkeypatch):
    fused = problem(45, 70, 6, side, "galore", dtype, count=2)
    before, apart = fused.clone(), fused.clone()
    assert count_launches(lambda: fused.step(BACKEND, skip_nonfinite=False)) == 2
    with_plan(monkeypatch, fused=False)
    assert count_launches(lambda: apart.step(BACKEND, skip_nonfinite=False)) == 3
    compare(fused, apart.double(), before, BACKEND)


@pytest.mark.parametrize("rule", ["galore", "fira"])
@pytest.mark.parametrize(("side", "launches"), [("left", 3), ("right", 3), ("full", 5)])
def test_launches_per_chunk(side, launches, rule):
    one, many = (problem(9, 14, 2, side, rule, count=count) for count in (1, 3))
    for each in (one, many):
        assert count_launches(lambda each=each: each.step(BACKEND)) == launches


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("side", ["left", "full"])
def test_launches_go_to_the_device_of_the_parameters(side, skip, monkeypatch):
    """Triton launches on the current device, which need not be theirs; two GPUs: test_gpu.py."""
    current, seen = [], []

    @contextlib.contextmanager
    def on(device):
        current.append(device)
        yield
        current.pop()

    monkeypatch.setattr(launch, "on", on)
    monkeypatch.setattr(launch, "run", lambda *_, **__: seen.append(list(current)))
    problem(9, 14, 2, side).step(BACKEND, skip_nonfinite=skip)
    where = problem(2, 2, 1, side).params[0].device
    W, G, M, V = ([torch.zeros(5, device=where)] for _ in range(4))
    t, skips = ([torch.zeros((), device=where)] for _ in range(2))
    adam_(W, G, M, V, t, skips, lr=0.1, backend=BACKEND)
    assert seen
    assert all(devices == [where] for devices in seen)


@pytest.mark.parametrize("layout", ["contiguous", "transposed", "offset"])
@pytest.mark.parametrize("side", ["left", "right", "full"])
def test_odd_widths_in_views(side, layout, guard):
    """Several tiles each way, none of them full, between guard bands."""
    for rule, dtype in (("fira", BF16), ("galore", FP32)):
        views = problem(131, 137, 9, side, rule, dtype).guarded(guard, layout)
        check_steps(views, BACKEND, steps=1)


@pytest.mark.parametrize("skip", [True, False], ids=["stage", "fused"])
@pytest.mark.parametrize(("shape", "side"), [((24, 1, 8), "left"), ((24, 5, 1), "right")])
def test_a_column_of_moments_laid_out_as_a_row(shape, side, skip):
    """A transposed row is contiguous too, with stride 1 along the column."""
    column = problem(*shape, side)
    moments = ("exp_avgs", "exp_avg_sqs")
    column = column.mapped(lambda t: t.new_empty(t.shape[::-1]).T.copy_(t), moments)
    assert all(t.is_contiguous() and t.stride() == (1, len(t)) for t in column.exp_avgs)
    check_steps(column, BACKEND, steps=1, skip_nonfinite=skip)


def test_several_threads_at_once():
    together = [problem(40, 70, 5, "left", "fira", seed=seed) for seed in range(4)]
    alone = [each.clone() for each in together]
    for each in alone:
        each.step(BACKEND)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda each: each.step(BACKEND), together))
    for each, expected in zip(together, alone, strict=True):
        assert_same_bits(each, expected, "another thread changed a result")


def test_strides_that_overflow_a_tile_are_refused():
    """Pages are touched by no one: the refusal comes before any kernel."""
    longest = lowrank_adam.LONGEST_STRIDE
    for n, served in ((longest - 1, True), (longest, False)):
        W, M = torch.empty(2, n, dtype=torch.bfloat16), torch.empty(1, n)
        lists = dict(params=[W], grads=[W], bases=[W[:, :1].clone()])
        reason = lowrank_adam.can_serve(**lists, exp_avgs=[M], exp_avg_sqs=[M])
        assert (reason is None) == served, reason


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
@pytest.mark.parametrize("rule", ["galore", "fira"])
@pytest.mark.parametrize("side", ["left", "right", "full"])
def test_skip_when_the_last_tile_alone_is_bad(side, rule, poison):
    """Nothing of the bad parameter changes by a bit, and nobody else notices."""
    shape = (40, 300, 3) if side != "right" else (300, 40, 3)
    bad = problem(*shape, side, rule, count=2)
    clean = bad.clone()
    bad.grads[1][-1, -1] = poison
    before = bad.clone()
    bad.step(BACKEND)
    clean.step(BACKEND)
    first, second = slice(0, 1), slice(1, 2)
    assert_same_bits(bad.part(first), clean.part(first), "the good one")
    assert bad.skipped[1] == 1
    bad.skipped[1].zero_()
    assert_same_bits(bad.part(second), before.part(second), "the bad one")


@pytest.mark.parametrize("rule", ["galore", "fira"])
def test_rate_from_the_device_equals_a_number(rule, monkeypatch):
    """A rate that the kernels read themselves gives the bits of one passed by value."""
    number = problem(12, 20, 3, "left", rule)
    tensor = number.clone()
    number.step(BACKEND, lr=0.1)
    rate = torch.tensor(0.1, device=number.params[0].device)
    with_plan(monkeypatch, lr=7.0, lr_tensor=rate)
    tensor.step(BACKEND, lr=0.3)
    assert_same_bits(number, tensor, "the rate")


@pytest.mark.parametrize("skip", [True, False], ids=["skip", "spread"])
@pytest.mark.parametrize("rule", ["galore", "fira"])
@pytest.mark.parametrize("side", ["left", "right", "full"])
def test_what_scratch_held_before_does_not_matter(side, rule, skip, monkeypatch):
    """Every entry is written before it is read: NaN in the scratch reaches no result."""
    usual = problem(21, 133, 5, side, rule, BF16, count=2)
    filled = usual.clone()
    usual.step(BACKEND, skip_nonfinite=skip)
    empty = torch.empty

    def full_of_nan(*shape, **options):
        t = empty(*shape, **options)
        return t.fill_(float("nan") if t.is_floating_point() else 0x7F7F7F7F)

    monkeypatch.setattr(torch, "empty", full_of_nan)
    filled.step(BACKEND, skip_nonfinite=skip)
    assert_same_bits(usual, filled, "old scratch")
