"""Formulas, shapes, streams and the competitors of the low-rank step, on small matrices."""

import pytest
import torch

from subkern.bench import adam, baselines, lowrank_adam, peers, variants
from subkern.bench.cases import all_cases
from subkern.bench.compiled import galore_step
from subkern.bench.gradients import Stream, canonical, captured
from subkern.bench.llama_sets import SETS, Matrices
from subkern.bench.problem import Problem
from subkern.bench.registry import Absent
from subkern.bench.truth import LowRankTruth, Recipe

SMALL = Matrices(((24, 40), (40, 24), (24, 24)), ((7, 5),), 6)
RECIPE = Recipe(lr=0.01)


def test_step_bytes_by_hand():
    # m=2, n=3, r=1, fp32. W twice, G once: 3*6; R twice: 2*3; P twice: 2*2 -> 28 numbers.
    # Moments read and written: 4*3 -> 12 numbers of 4 bytes whatever the dtype.
    assert lowrank_adam.step_bytes("galore", 2, 3, 1, 4) == (28 + 12) * 4
    assert lowrank_adam.step_bytes("galore", 3, 2, 1, 2) == 28 * 2 + 12 * 4
    # Fira reads G again (24 instead of 18) and R twice more (12 instead of 6).
    assert lowrank_adam.step_bytes("fira", 2, 3, 1, 4) == (24 + 12 + 4 + 12) * 4


def test_step_flops_by_hand():
    # P'X: 1x2 by 2x3, 12 operations; P N the same.
    assert lowrank_adam.step_flops(2, 3, 1) == 24
    assert lowrank_adam.step_flops(2, 3, 99) == 48


def test_set_cost_adds_up():
    nbytes, flops = lowrank_adam.set_cost("galore", Matrices(((2, 3),), ((5, 1),), 1), 4)
    assert (nbytes, flops) == (160 + 5 * 28, 24)


def test_llama_sets_have_the_published_sizes():
    for name, millions in (("llama-60m", 58), ("llama-130m", 134)):
        matrices = SETS[name].matrices()
        total = sum(m * n for m, n in matrices.projected + matrices.plain)
        assert round(total / 1e6) == millions
    assert len(SETS["llama-60m"].matrices(2).projected) == 14


def test_cases_are_unique_and_cover_the_issue():
    cases = all_cases()
    names = [case.name for case in cases]
    assert len(set(names)) == len(names)
    for shape in ("512x1376", "768x2048", "1024x2736", "2048x5461", "llama-60m", "llama-130m"):
        for rule in ("galore", "fira"):
            for dtype in ("fp32", "bf16"):
                assert any(n.startswith(f"lowrank_adam-{rule}-{shape}-") and n.endswith(dtype)
                           for n in names)  # fmt: skip
    assert all(case.bytes > 0 for case in cases)


@pytest.mark.parametrize(
    ("rule", "shape", "dtype", "expected"),
    [("galore", "1024x2736", "fp32", [1.12, 1.15, 1.4]), ("fira", "2048x5461", "bf16", [1.3, 3.2]),
     ("galore", "llama-60m", "bf16", [2.0]), ("fira", "768x2048", "fp32", [])],
)  # fmt: skip
def test_targets(rule, shape, dtype, expected):
    assert [target.bound for target in lowrank_adam.targets(rule, shape, dtype)] == expected


def test_stream_is_reproducible_and_drifts():
    stream = Stream(24, 40, seed=3)
    first, again, later = stream.draw(0), Stream(24, 40, seed=3).draw(0), stream.draw(1)
    assert torch.equal(first, again)
    cosine = torch.cosine_similarity(first.flatten(), later.flatten(), dim=0)
    assert 0.3 < cosine < 0.9
    assert first.square().mean().sqrt() == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize("shape", [(24, 40), (40, 24)])
def test_captured_energy(shape):
    stream = Stream(*shape, seed=0)
    best = torch.linalg.svd(canonical(stream.draw(0)))[0][:, :6]
    assert captured(best, stream, 0) == pytest.approx(1.0, abs=1e-5)
    assert captured(torch.eye(24, 6), stream, 0) < 0.9


def test_truth_matches_the_plain_formula():
    g, p = torch.randn(4, 6), torch.linalg.qr(torch.randn(4, 2))[0]
    truth = LowRankTruth("galore", RECIPE, torch.zeros(4, 6), 2)
    truth.step(g, p)
    r = p.double().T @ g.double()
    n = 0.1 * r / ((0.001 * r * r).sqrt() + 1e-6)
    step = 0.01 * 0.001**0.5 / 0.1
    torch.testing.assert_close(truth.weight, -step * 0.25 * p.double() @ n)


def test_compiled_functions_are_right_uncompiled():
    x, w = torch.randn(4, 6), torch.zeros(4, 6)
    p = torch.linalg.qr(torch.randn(4, 2))[0]
    truth = LowRankTruth("galore", RECIPE, w.clone(), 2)
    truth.step(x, p)
    size = torch.tensor(0.01 * 0.001**0.5 / 0.1)
    galore_step(x, w, p, torch.zeros(2, 6), torch.zeros(2, 6), size, RECIPE)
    torch.testing.assert_close(w.double(), truth.weight, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("rule", ["galore", "fira"])
def test_every_competitor_verifies(rule, dtype):
    setup = lowrank_adam.setup(rule, SMALL, dtype, True)
    made = {variant.name: variant for variant in setup.variants}
    for variant in made.values():
        if isinstance(variant, Absent):
            assert variant.reason
            continue
        with variant.context():
            assert variant.verify() is None, variant.name
    setup.ready()
    with made["subkern"].context():
        made["subkern"].drifted()
    assert 0.9 < made["subkern"].facts["energy"] <= 1.0 + 1e-6


def test_adam_competitors_verify():
    for variant in adam.setup(((9, 5), (3, 4)), "fp32", True).variants:
        if not isinstance(variant, Absent):
            with variant.context():
                assert variant.verify() is None, variant.name


@pytest.mark.parametrize("what", ["weight", "basis", "step"])
def test_a_wrong_variant_is_found(what):
    problem = Problem(SMALL, "fp32")
    variant = variants.ours(problem, "galore", RECIPE, "reference", "eager")
    optimizer = variant.step.__self__
    first = optimizer.param_groups[-1]["params"][0]
    correct = optimizer.step

    def step():
        correct()
        with torch.no_grad():
            if what == "weight":
                first.mul_(1.01)
            elif what == "basis":
                optimizer.state[first]["basis"].mul_(1.1)
            else:
                optimizer.state[first]["exp_avg"].mul_(0.5)

    optimizer.step = step
    with variant.context():
        calls = [step, step]
        wrong = variants.verify(
            problem, "galore", RECIPE, calls,
            lambda i: optimizer.param_groups[1 if i < problem.count else 0]["params"][
                i if i < problem.count else i - problem.count
            ],
            lambda i: optimizer.state[optimizer.param_groups[1]["params"][i]]["basis"],
        )  # fmt: skip
    assert wrong
    assert "must be <=" in wrong


def test_missing_peer_is_absent(monkeypatch):
    monkeypatch.setitem(peers.PACKAGES, "galore", ("no-such-peer", "no_such_peer_of_ours.adamw"))
    absent = baselines.official(Problem(SMALL, "fp32"), "galore", RECIPE)
    assert isinstance(absent, Absent)
    assert "pip install --no-deps no-such-peer" in absent.reason
