"""The GPU's cases on small matrices: everything but the device is the same on a CPU."""

import gc

import pytest
import torch
from sktest.backends import simulated
from sktest.fake_cuda import FakeCuda

from subkern.bench import adam, lowrank_adam, lowrank_adam_gpu, variants
from subkern.bench.cases import all_cases
from subkern.bench.device import CudaDevice
from subkern.bench.gradients import captured
from subkern.bench.llama_sets import GPU_SETS, Llama, Matrices
from subkern.bench.machine import inspect
from subkern.bench.problem import Problem
from subkern.bench.registry import Absent
from subkern.bench.runner import run
from subkern.bench.targets import FLOOR, Target, count, energy_verdict
from subkern.bench.timer import Timing
from subkern.bench.variants import one_backend
from subkern.optim import _engine

SMALL = Llama(hidden=16, intermediate=24, layers=1, rank=8, vocabulary=20)
TINY = {"llama-1b": SMALL, "llama-7b": SMALL}


@pytest.fixture
def gpu(monkeypatch):
    """A made-up GPU whose clock stands still, so that nothing below depends on a time."""
    monkeypatch.setattr(lowrank_adam_gpu, "GPU_SETS", TINY)
    return CudaDevice(FakeCuda(), where="cpu", flush_bytes=4096)


class Stopwatch(CudaDevice):
    """Says one millisecond for every call, and runs it."""

    def sample(self, function, calls):
        function()
        return 1e-3, 1e-4


@pytest.fixture(autouse=True)
def quick_collections():
    """The harness collects garbage around each case; torch's own objects need no look."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def no_interpreter(monkeypatch):
    """Without a GPU the Triton backend is interpreted: too slow to be called again and again."""
    monkeypatch.setattr(variants, "one_backend", lambda *rest: Absent(rest[-1], "made up"))


def _run(cases, quick=True):
    device = Stopwatch(FakeCuda(), where="cpu", flush_bytes=4096)
    machine = inspect(1, device=device, peaks=False)
    peaks = {"peak_gb_s": 3e3, "peak_gflop_s_fp32": 5e4, "peak_gflop_s_bf16": 8e5}
    machine = type(machine)(**(machine.as_row() | peaks))
    rows = {}
    for case, found, _ in run(cases, machine, quick=quick, device=device):
        rows[case.name] = found
    return rows


def test_the_list_names_what_the_budgets_speak_of():
    cases = all_cases(device="cuda")
    names = [case.name for case in cases]
    assert len(set(names)) == len(names)
    for shape in ("4096x4096", "4096x11008", "2048x5461", "2048x5464"):
        for rank in (128, 256, 512, 1024):
            for rule in ("galore", "fira"):
                assert f"lowrank_adam-{rule}-{shape}-r{rank}-bf16" in names
    for model, rank in (("llama-1b", 512), ("llama-7b", 1024)):
        assert f"lowrank_adam-galore-{model}-r{rank}-bf16" in names
        assert f"lowrank_adam-fira-{model}-r256-bf16" in names
    assert {"topk_subspace-warm-4096x11008-r512-drift0.1-bf16", "adam-llama-1b-plain-bf16"} <= set(
        names
    )
    assert names.index("lowrank_adam-fira-2048x5464-r256-bf16") < names.index(
        "lowrank_adam-fira-2048x5461-r256-bf16"
    )


@pytest.mark.parametrize(
    ("rule", "shape", "rank", "dtype", "expected"),
    [
        ("galore", "4096x4096", 256, "bf16", [(FLOOR, 1.3), ("adamw-fused", 1.0), ("eager", 1.4)]),
        ("fira", "4096x11008", 512, "bf16", [(FLOOR, 1.3), ("eager", 2.0)]),
        ("fira", "llama-7b", 256, "bf16", [(FLOOR, 1.3), ("adamw-fused", 1.0)]),
        ("galore", "llama-7b", 1024, "bf16", [(FLOOR, 1.3)]),
        ("galore", "2048x5461", 256, "bf16", [(FLOOR, 1.3), ("eager", 1.4), ("subkern", 1.3)]),
        ("galore", "4096x4096", 256, "fp32", [(FLOOR, 1.3), ("eager", 1.4)]),
    ],
)
def test_targets(rule, shape, rank, dtype, expected):
    found = lowrank_adam_gpu.targets(rule, shape, rank, dtype)
    first = [t.baseline if isinstance(t.baseline, str) else t.baseline[0] for t in found]
    assert list(zip(first, [t.bound for t in found], strict=True)) == expected


def test_models_have_the_published_sizes():
    for name, billions in (("llama-1b", 1.34), ("llama-7b", 6.74)):
        matrices = GPU_SETS[name].matrices()
        total = sum(m * n for m, n in matrices.projected + matrices.plain)
        assert round(total / 1e9, 2) == billions


def test_a_7b_step_fits_one_gpu():
    matrices = GPU_SETS["llama-7b"].matrices()
    total = sum(m * n for m, n in matrices.projected + matrices.plain)
    low = sum(1024 * max(shape) for shape in matrices.projected)
    bases = sum(1024 * min(shape) for shape in matrices.projected)
    plain = sum(m * n for m, n in matrices.plain)
    ours = 4 * total + 8 * (low + plain) + 2 * bases
    dense = 8 * total
    assert max(ours, dense) < 60e9  # leaves room for the fp64 truth of one matrix per shape


def test_single_matrices_run_verified(gpu):
    shapes = {"large": [(16, 24)], "widths": [(16, 22), (16, 21)], "ranks": [8], "sets": {}}
    first, later = lowrank_adam_gpu.cases(True, "cpu", **shapes)
    rows = _run([*first, *later])
    assert len(rows) == 2 * (3 + 1)
    for name, found in rows.items():
        status = {(row.variant, row.kind): row.status for row in found}
        assert "error" not in status.values(), (name, [row.note for row in found])
        for variant in ("subkern", "eager", "adamw-fused"):
            assert status[variant, "amortised"] == "ok"
        assert status["pair", "step"] == "ok"
        assert status["triton", "step"] == status["cuda", "step"] == "absent"
        assert all(row.floor_ms for row in found if row.variant == "subkern" and row.kind == "step")


@pytest.mark.parametrize("backend", lowrank_adam_gpu.BACKENDS)
def test_a_backend_by_its_name_is_verified(backend):
    problem = Problem(Matrices(((16, 24),), (), 8), "fp32")
    with simulated(backend):
        variant = one_backend(problem, "fira", lowrank_adam.RECIPE, backend)
        assert not isinstance(variant, Absent), variant.reason
        with variant.context():
            assert variant.verify() is None
    assert (variant.name, variant.backend) == (backend, backend)


@pytest.mark.parametrize("rule", ["galore", "fira"])
def test_our_step_may_be_captured(rule, monkeypatch):
    """Short steps are timed as replays of a graph, which the optimizer has to allow."""
    problem = Problem(Matrices(((16, 24),), (9,), 4), "fp32")
    variant = variants.ours(problem, rule, lowrank_adam.RECIPE, "reference", "subkern")
    variant.step()
    monkeypatch.setattr(_engine, "is_capturing", lambda: True)
    variant.step()


def test_the_budget_between_two_widths(gpu, monkeypatch):
    monkeypatch.setattr(lowrank_adam_gpu, "ODD", "16x21")
    monkeypatch.setattr(lowrank_adam_gpu, "EVEN", "16x22")
    first, _ = lowrank_adam_gpu.cases(
        True, "cpu", large=[], widths=[(16, 22), (16, 21)], ranks=[8], sets={}
    )
    rows = _run(first)
    (ours,) = [
        row
        for row in rows["lowrank_adam-fira-16x21-r8-bf16"]
        if (row.variant, row.kind) == ("subkern", "step")
    ]
    even = "step 1.00x of subkern of lowrank_adam-fira-16x22-r8-bf16 (at most 1.3): met"
    assert even in ours.targets
    assert "the fastest of 1 (compiled not measured)" in ours.targets


def test_models_run_together_and_alone(gpu):
    first, later = lowrank_adam_gpu.cases(True, "cpu", large=[], widths=[], ranks=[4], sets=TINY)
    assert {case.rank for case in first} == {4}
    assert {case.rank for case in later} == {8}
    rows = _run(first)
    one, seven = (rows[f"lowrank_adam-fira-{name}-r4-bf16"] for name in TINY)
    for found in (one, seven):
        assert "error" not in {row.status for row in found}, [row.note for row in found]
    timed = {row.variant for row in seven if row.status == "ok"}
    assert timed == {"subkern", "adamw-fused"}
    assert {"subkern", "eager", "pair"} <= {row.variant for row in one if row.status == "ok"}
    ratio = [row for row in seven if (row.variant, row.kind) == ("subkern", "amortised")]
    assert "adamw-fused" in ratio[0].targets


def test_unprojected_tensors_of_a_model(gpu):
    cases = adam.gpu_cases("cpu", TINY)
    assert [len(case.targets) for case in cases] == [1, 2]
    assert cases[0].bytes == lowrank_adam.plain_bytes(2 * 20 * 16 + 3 * 16, 2)
    for found in _run(cases).values():
        assert "error" not in {row.status for row in found}, [row.note for row in found]
        assert {row.variant for row in found} >= {"subkern", "adamw-fused", "triton", "cuda"}


def test_a_case_after_the_budget_is_absent():
    first, _ = lowrank_adam_gpu.cases(True, "cpu", large=[(16, 24)], widths=[], ranks=[8], sets={})
    machine = inspect(1, peaks=False)
    (_, rows, seconds), *_ = run(first, machine, budget_s=-1.0)
    assert (rows[0].status, rows[0].note, seconds) == ("absent", "not begun within -1 s", 0.0)


def test_a_variant_that_does_not_fit_is_absent():
    from subkern.bench.variants import attempt

    def make():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")

    (absent,) = attempt({"adamw-fused": make})
    assert absent == Absent("adamw-fused", "does not fit: CUDA out of memory")


def _timing(seconds):
    return Timing(seconds, seconds, seconds, 1, 1)


def test_verdicts():
    times = {"step": {"eager": _timing(3.0), "compiled": _timing(2.0)}}
    best = Target("step", ("eager", "compiled"), "speedup", 1.5)
    assert best.verdict(_timing(1.0), times, 0.0) == (
        "step 2.00x faster than compiled, the fastest of 2 (at least 1.5): met",
        False,
    )
    del times["step"]["compiled"]
    assert (
        "eager, the fastest of 1 (compiled not measured)"
        in best.verdict(_timing(1.0), times, 0.0)[0]
    )
    assert best.verdict(_timing(1.0), {}, 0.0) == (
        "step against eager or compiled: not measured",
        False,
    )
    floor = Target("step", FLOOR, "over", 1.3)
    assert floor.verdict(_timing(2.0), {}, 1.0) == (
        "step 2.00x of floor (at most 1.3): NOT MET",
        True,
    )
    assert floor.verdict(_timing(2.0), {}, 0.0)[0] == "step against floor: not measured"
    lines = ["a: met; b: NOT MET", "", "c: not measured", energy_verdict(0.999)[0]]
    assert count(lines) == {"met": 2, "missed": 1, "not measured": 1}


def test_inputs_follow_the_device_of_the_problem():
    problem = Problem(Matrices(((24, 40), (24, 40)), (), 6), "fp32")
    first, second = problem.cheap_basis(0), problem.cheap_basis(1)
    assert torch.equal(first, second)
    assert first.data_ptr() != second.data_ptr()
    assert captured(first, problem.streams[0], 0) > 0.9
