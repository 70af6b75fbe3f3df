"""Errors beside times, thread counts, budgets and idle machines, on made-up competitors."""

import math

import pytest
import torch

from subkern.bench import accuracy, idle, linalg, pages, registry
from subkern.bench.machine import inspect
from subkern.bench.registry import Case, Setup, Variant
from subkern.bench.runner import run, run_case
from subkern.bench.targets import Budget, Target, energy_against
from subkern.bench.timer import Timing

EPS = accuracy.EPS


def _timing(seconds):
    return Timing(seconds, seconds, seconds, 1, 1)


def _case(variants, **more):
    setup = lambda quick: Setup(list(variants))  # noqa: E731
    return Case("toy-8x8", "toy", "8x8", "fp32", setup, 640, 64, **more)


def _qr(batch=3, m=20, k=4):
    Y = torch.randn(batch, m, k, generator=torch.Generator().manual_seed(0))
    return (Y, *torch.linalg.qr(Y))


def test_a_right_factorization_is_within_the_contract():
    Y, Q, R = _qr()
    errors = accuracy.qr(Y, Q, R)
    assert [error.name for error in errors] == ["orth", "residual"]
    assert all(0 < error.value <= error.bound for error in errors)
    assert errors[0].bound == pytest.approx(8 * EPS * 2)
    assert errors[1].bound == pytest.approx(10 * EPS * 2)
    assert errors[0].ratio == pytest.approx(errors[0].value / (20 * EPS))


@pytest.mark.parametrize("what", ["Q", "R", "nan"])
def test_a_wrong_member_of_the_batch_is_seen(what):
    Y, Q, R = _qr()
    if what == "R":
        R[2, 0, 1] += 1e-3
    else:
        Q[1, 3, 2] = math.nan if what == "nan" else Q[1, 3, 2] + 1e-3
    variant = Variant("subkern", lambda: None, lambda: None)
    wrong = accuracy.judge(variant, accuracy.qr(Y, Q, R), held=True)
    assert "residual must be <=" in wrong
    assert variant.accuracy["residual"] > 1e-5
    # Of a baseline the same errors are shown and nothing is held against it.
    baseline = Variant("linalg-qr", lambda: None, lambda: None)
    assert accuracy.judge(baseline, accuracy.qr(Y, Q, R), held=False) is None
    assert baseline.accuracy == variant.accuracy


def test_lapack_ratio_alone_can_fail():
    variant = Variant("subkern", lambda: None, lambda: None)
    error = accuracy.Error("residual", 31 * EPS, 1.0, 1)
    assert "must be < 30, got 31" in accuracy.judge(variant, [error], held=True)


def test_svd_and_eigh_errors_see_wrong_values():
    A = torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(1))
    U, S, Vh = torch.linalg.svd(A, full_matrices=False)
    assert all(error.value <= error.bound for error in accuracy.svd(A, U, S, Vh))
    S[1, 2] *= 1.001
    values = {error.name: error for error in accuracy.svd(A, U, S, Vh)}
    assert values["values"].value > values["values"].bound
    C = A.mT @ A
    w, V = torch.linalg.eigh(C)
    assert all(error.value <= error.bound for error in accuracy.eigh(C, w, V))
    found = {error.name: error for error in accuracy.eigh(C, w.flip(-1), V)}
    assert found["residual"].value > found["residual"].bound


def test_errors_stand_in_the_rows_of_both():
    Y, Q, R = _qr()
    rough = Q * 1.001
    made = [
        linalg.competitor("subkern", lambda: (Q, R), lambda r: accuracy.qr(Y, *r), held=True),
        linalg.competitor("rough", lambda: (rough, R), lambda r: accuracy.qr(Y, *r)),
        linalg.competitor("wrong", lambda: (rough, R), lambda r: accuracy.qr(Y, *r), held=True),
    ]
    rows = run_case(_case(made), inspect(1, peaks=False), quick=True)
    by_name = {row.variant: row for row in rows}
    assert by_name["wrong"].status == "error"
    assert by_name["wrong"].median_ms is None
    for name in ("subkern", "rough"):
        assert by_name[name].status == "ok"
        assert by_name[name].accuracy.startswith("orth ")
    assert by_name["subkern"].lapack_ratio < 1 < by_name["rough"].lapack_ratio


@pytest.mark.parametrize("once", [False, True])
def test_a_slow_competitor_is_verified_on_its_only_call(once):
    calls = []

    def call():
        calls.append(1)
        return torch.eye(3)

    judged = []
    made = linalg.competitor("x", call, lambda r: judged.append(r) or [], once=once)
    run_case(_case([made]), inspect(1, peaks=False), quick=True)
    assert len(judged) == 1
    assert (len(calls) == 1) == once


def test_each_variant_runs_on_its_own_threads():
    seen = {}

    def variant(name, threads):
        call = lambda: seen.setdefault(name, set()).add(torch.get_num_threads())  # noqa: E731
        return Variant(name, call, lambda: None, threads=threads)

    before = torch.get_num_threads()
    made = [variant("one", 1), variant("two", 2), variant("run", None)]
    rows = run_case(_case(made), inspect(1, peaks=False), quick=True)
    assert (seen["one"], seen["two"]) == ({1}, {2})
    assert 1 in seen["run"]
    assert {row.variant: row.step_threads for row in rows} == {"one": 1, "two": 2, "run": 1}
    assert torch.get_num_threads() == before


def test_the_second_threads_target_is_judged_on_its_own_row():
    x = torch.ones(4)
    made = [Variant(n, lambda: x.add_(0), lambda: None) for n in ("subkern", "subkern-2")]
    targets = (Target("step", "subkern", "speedup", 1e9, variant="subkern-2"),)
    rows = run_case(_case(made, targets=targets), inspect(1, peaks=False), quick=True)
    ours, second = rows
    assert (ours.targets, ours.targets_missed) == ("", 0)
    assert "faster than subkern (at least 1e+09): NOT MET" in second.targets
    assert second.targets_missed == 1


def test_slow_baselines_of_a_gpu_are_called_once():
    assert linalg.one_by_one("cuda", 2048, 8)
    assert not linalg.one_by_one("cuda", 32, 32)
    assert not linalg.one_by_one("cpu", 2048, 8)


def test_targets_of_a_batch():
    cpu = linalg.targets(3.0, "linalg-qr", 256, where="cpu")
    assert [(t.baseline, t.bound, t.variant) for t in cpu] == [
        ("linalg-qr", 3.0, ""), ("subkern", 1.7, "subkern-2"),
    ]  # fmt: skip
    assert linalg.targets(None, "linalg-qr", 255, where="cpu") == ()
    assert linalg.targets(None, "x", 1000, where="cuda", budget_s=1e-3) == (Budget("step", 1e-3),)


def test_a_budget_is_a_time():
    budget = Budget("step", 90e-6)
    assert budget.verdict(_timing(80e-6), {}, 0.0) == ("step 0.08 ms (budget 0.09 ms): met", False)
    assert budget.verdict(_timing(1e-4), {}, 0.0) == (
        "step 0.1 ms (budget 0.09 ms): NOT MET", True,
    )  # fmt: skip


def test_energy_is_judged_against_a_peers():
    assert not energy_against(0.9, "svd-lowrank", 0.9)[1]
    assert energy_against(0.9, "svd-lowrank", 0.91)[1]
    assert energy_against(0.9, "svd-lowrank", None) == (
        "energy against svd-lowrank: not measured", False,
    )  # fmt: skip
    x = torch.ones(4)
    made = [
        Variant(n, lambda: x.add_(0), lambda: None, facts={"energy": e})
        for n, e in (("subkern", 0.5), ("peer", 0.6))
    ]
    ours, _ = run_case(
        _case(made, energy_against=("peer",)), inspect(1, peaks=False), quick=True
    )  # fmt: skip
    assert "basis captures 0.50000, peer's 0.60000 (no less): NOT MET" in ours.targets


def test_several_ops_may_be_named():
    cases = [Case(n, n, "8x8", "fp32", lambda q: Setup([]), 1, 1) for n in ("a", "b", "c")]
    assert [case.name for case in registry.select(cases, op="a,c")] == ["a", "c"]
    with pytest.raises(ValueError, match="--op must be one of a, b, c, got 'd'"):
        registry.select(cases, op="a,d")


def test_what_others_use():
    before, after = idle.Usage(1.0, 10.0, 100.0), idle.Usage(2.0, 14.0, 102.0)
    # Four seconds of work, one of them ours, of the four that two cores have in two seconds.
    assert idle.others(before, after, cores=2) == pytest.approx(0.75)
    assert idle.others(before, idle.Usage(9.0, 14.0, 102.0), cores=2) == 0.0
    assert idle.others(None, after) is None


def test_counters_are_read_without_idle_time(tmp_path):
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 20 30 4000 500 6 7 8 0 0\ncpu0 1\n")
    ticks = idle.os.sysconf("SC_CLK_TCK")
    assert idle.now(stat).all == pytest.approx((100 + 20 + 30 + 6 + 7 + 8) / ticks)
    assert idle.now(tmp_path / "none") is None


@pytest.mark.parametrize(("shares", "attempts"), [([0.5, 0.01], 2), ([0.5, 0.4, 0.6], 3)])
def test_a_disturbed_case_is_timed_again(monkeypatch, shares, attempts):
    made = []
    pending = iter(shares)
    monkeypatch.setattr(idle, "wait", lambda seconds: made.append(seconds))
    monkeypatch.setattr(idle, "others", lambda before, after: next(pending))
    x = torch.ones(4)
    case = _case([Variant("subkern", lambda: x.add_(0), lambda: None)])
    ((_, rows, _),) = run([case], inspect(1, peaks=False), quick=True, idle_s=7.0)
    assert made == [7.0] * attempts
    assert [row.others for row in rows] == [min(shares)]


def test_a_case_is_timed_once_unless_told_to_wait(monkeypatch):
    monkeypatch.setattr(idle, "wait", lambda seconds: pytest.fail("waited"))
    monkeypatch.setattr(idle, "others", lambda before, after: 0.9)
    x = torch.ones(4)
    case = _case([Variant("subkern", lambda: x.add_(0), lambda: None)])
    ((_, rows, _),) = run([case], inspect(1, peaks=False), quick=True)
    assert rows[0].others == 0.9


def test_sections_of_a_page():
    page = "a\n<!-- t: x -->\nold\n<!-- end -->\nb\n<!-- t: y -->\n<!-- end -->\n"
    assert pages.section(page, "t: x") == "old"
    assert pages.replaced(page, "t: x", ["1", "2"]).startswith("a\n<!-- t: x -->\n1\n2\n<!-- end")
    assert "<!-- t: y -->\n1\n<!-- end -->" in pages.replaced(page, "t: y", ["1"])
    with pytest.raises(ValueError, match="must have a section 't: z'"):
        pages.replaced(page, "t: z", [])
