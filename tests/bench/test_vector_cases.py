"""The cases of single passes: costs by hand, competitors verified, a group that ends noticed."""

import pytest
import torch

from subkern.bench import cg_step, combine, group_dot, scan, vectors
from subkern.bench.cases import all_cases
from subkern.bench.registry import Absent, Variant
from subkern.reference.cg_step import CONVERGED, STATUS

OPS = {"cg_step": cg_step, "combine": combine, "group_dot": group_dot}
SETUPS = {
    f"{name}-{label}": (lambda op=op, shape=shape: op.setup(shape, "cpu", True))
    for name, op in OPS.items()
    for label, shape in (("real", (3, 9, False)), ("complex", (1, 8, True)))
}
SETUPS |= {
    f"scan-{dtype}": (lambda dtype=dtype: scan.setup(3, 7, 9, dtype, "cpu", True))
    for dtype in ("fp32", "bf16")
}


def test_costs_by_hand():
    assert vectors.numbers((2, 3, True)) == 36
    assert group_dot.cost(10) == (80, 20)
    # Ten vectors and the centre read, the sum written.
    assert combine.cost(10) == (4 * 12 * 10, 200)
    # p, q; r, q, r; x, p, r, x, p: and five products and sums.
    assert cg_step.cost(10) == (4 * 10 * 10, 100)
    assert scan.cost(2, 3, "bf16") == (12, 18)


@pytest.mark.parametrize("name", SETUPS)
def test_competitors_agree(name):
    # Squares of bfloat16 are rounded to it where they are torch's.
    limit = 1e-2 if name.endswith("bf16") else 1e-5
    made = list(SETUPS[name]().variants)
    for variant in made:
        if isinstance(variant, Absent):
            assert (variant.name, variant.reason) == ("compiled", "left out by --quick")
            continue
        assert variant.verify() is None, variant.name
        assert max(variant.accuracy.values()) < limit, (variant.name, variant.accuracy)
    assert {"subkern", "eager", "compiled"} <= {variant.name for variant in made}


def test_what_is_compiled_is_the_same_step():
    start = vectors.draw(3, (2, 6, False), "cpu")
    wide, narrow = torch.float64, torch.float32
    for lines in (cg_step.new, cg_step.in_place):
        steps = cg_step.ByTorch(start, narrow, lambda *v, lines=lines: lines(wide, *v))
        found = cg_step.errors(start, steps())
        assert all(error.value <= error.bound for error in found), found


def test_timed_steps_go_on_and_on():
    setup = cg_step.setup((2, 6, False), "cpu", True)
    setup.ready()
    made = [variant for variant in setup.variants if isinstance(variant, Variant)]
    for variant in made:
        for _ in range(2000):
            variant.step()
        assert variant.confirm() is None
    for variant in made:
        if variant.name == "subkern":
            steps = variant.step()
            steps.state[1, STATUS] = CONVERGED
            variant.step()
            assert "a group took" in variant.confirm()


def test_wrong_results_are_noticed():
    start = vectors.draw(3, (2, 6, False), "cpu")
    steps = cg_step.Ours(start)("reference")
    steps.p += 1e-4
    held = {e.name: e.value <= e.bound for e in cg_step.errors(start, steps)}
    assert held == {"x": True, "r": True, "p": False}
    X = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    exact = scan.widened(X)
    X[1, 2, 3] = torch.nan
    assert not any(e.value <= e.bound for e in scan.errors(exact, scan.widened(X)))


@pytest.mark.parametrize("ways", [scan.widened, scan.eager, scan.norms])
def test_every_way_sees_what_is_not_finite(ways):
    X = torch.ones(3, 4, 5)
    X[0, 1, 2], X[1, 0, 0] = torch.nan, torch.inf
    assert ways(X)[:, 2].tolist() == [1, 1, 0]


@pytest.mark.parametrize("op", [*OPS, "scan", "sense_solve", "cgls", "lanczos_prox"])
def test_what_others_are_made_of_is_timed_on_a_cpu_alone(op):
    assert any(case.op == op for case in all_cases())
    assert not any(case.op == op for case in all_cases(device="cuda"))
