"""The cases of imaging solvers: floors, costs by hand, competitors verified on small problems."""

import pytest
import torch
from sktest.required import missing

from subkern.bench import cg, cgls, krylov, lanczos_prox, sense_normal, sense_solve
from subkern.bench.cases import all_cases
from subkern.bench.krylov import Problem
from subkern.bench.registry import Absent
from subkern.bench.targets import Target

LINE, PLANE = (1, 3, 12, 16, True, "row"), (2, 2, 10, 12, False, "sample")
PAIRS = {
    "line": lambda wide: cgls.sense(3, 12, 16, True, wide),
    "plane": lambda wide: cgls.sense(3, 12, 16, False, wide),
    "blur": lambda wide: cgls.blur(32, wide),
}


def targets(name):
    (case,) = (case for case in all_cases() if case.name == name)
    return {t.baseline: t.bound for t in case.targets if isinstance(t, Target)}


def test_floors():
    assert targets("cg-line-row-320x320-c15-b1") == {
        ("lines", "compiled"): 2.7,
        "cleaned": 4,
        "released": 8,
        "deepinv": 8,
    }
    assert targets("cg-line-sample-320x320-c15-b1") == {"deepinv": 8}
    assert targets("sense_normal-plane-320x320-c15-b1") == {"cleaned": 1.5}
    for n in ("64x64-b1", "320x320-b1", "256x256-b8"):
        assert targets(f"cg-opaque-{n}") == {"cleaned": 1}


def test_costs_by_hand():
    # Maps once; centre, data and result.
    assert cg.traffic((1, 3, 4, 8, True, "row"), 5) == 8 * 32 * (3 + 3)
    # Six applications read maps twice and three images; five steps move ten vectors less two.
    assert cg.traffic((1, 3, 4, 8, False, "sample"), 5) == 8 * 32 * (6 * (2 * 3 + 3) + 5 * 8)
    # Two transforms of 8 points, two products, three coils of four rows, six times.
    assert cg.operations((1, 3, 4, 8, True, "row"), 5) == 6 * 96 * (2 * 5 * 3 + 16)
    assert sense_normal.cost((1, 3, 4, 8, False)) == (8 * 32 * 8, 96 * (2 * 5 * 5 + 16))
    assert sense_normal.cost((1, 3, 4, 8, False), "cuda")[0] == 8 * 32 * 20
    # Two steps, A* at the start: maps and data in, an image out; seven passes of each in a step.
    assert cgls.traffic(5, 15, 8, 2) == 8 * (2 * 15 + 5 + 2 * 7 * (5 + 15))
    # Three applications; 1 and 2 vectors orthogonalized against, four times; 2 written. Of one
    # weight: the centre and 2 vectors read, x written.
    nbytes, _ = lanczos_prox.cost((1, 3, 4, 8, True), 1, 2)
    assert nbytes == 8 * 32 * (3 * (3 + 2) + 4 * (1 + 2) + 2 + (3 + 1))


@pytest.mark.parametrize(
    "shape", [LINE, (*LINE[:5], "sample"), PLANE], ids=["row", "line", "plane"]
)
def test_solvers_agree(shape):
    setup = cg.setup(shape, 3, "cpu", True)
    names = set()
    for variant in setup.variants:
        names.add(variant.name)
        if variant.name.startswith("compiled"):  # minutes of a compiler's time
            continue
        if isinstance(variant, Absent):
            missing(variant.reason)
        assert variant.verify() is None, variant.name
        assert variant.accuracy["x"] < 1e-5, variant.name
    assert {"subkern", "cleaned", "released", "compiled"} <= names
    assert ("lines" in names) == shape[4]


@pytest.mark.parametrize(
    "shape", [(1, 3, 12, 16, True), (2, 2, 10, 12, False)], ids=["line", "plane"]
)
def test_normal_operators_agree(shape):
    for variant in sense_normal.setup(shape, "cpu", True).variants:
        assert variant.verify() is None, variant.name
        assert variant.accuracy["Nv"] < 1e-5, variant.name


def test_opaque_operators_agree():
    for variant in cg.setup_opaque(2, 12, "cpu", True).variants:
        if not variant.name.startswith("compiled"):
            assert variant.verify() is None, variant.name
            assert variant.accuracy["x"] < 1e-5, variant.name


@pytest.mark.parametrize("name", PAIRS)
def test_least_squares_agree(name):
    names = set()
    for variant in cgls.setup(PAIRS[name], 3, True).variants:
        names.add(variant.name)
        if isinstance(variant, Absent):
            missing(variant.reason)
        assert variant.verify() is None, variant.name
        assert variant.accuracy["x"] < 1e-5, variant.name
    assert {"subkern", "cg", "cleaned", "lsqr"} <= names


@pytest.mark.parametrize("name", PAIRS)
def test_lines_of_an_operator_are_adjoint(name):
    pair = PAIRS[name](True)
    y = pair.forward(pair.image)
    product = torch.vdot(y.flatten(), y.flatten())
    torch.testing.assert_close(torch.vdot(pair.image.flatten(), pair.adjoint(y).flatten()), product)
    assert pair.operator.matvec(pair.image).norm() == pytest.approx(float(y.norm()))


def test_whole_solves_agree():
    for variant in sense_solve.setup((2, 3, 12, 16), 3, "cpu", True).variants:
        assert variant.verify() is None, variant.name
        assert variant.accuracy["x"] < 1e-5, variant.name


@pytest.mark.parametrize(
    "shape", [(1, 4, 12, 16, True), (2, 2, 10, 12, False)], ids=["line", "plane"]
)
def test_many_weights_are_solved_as_well_by_all(shape):
    setup = lanczos_prox.setup(shape, (1.0, 4.0), 10, "cpu", True)
    names = {variant.name for variant in setup.variants}
    assert {"subkern", "subkern-plain", "cg", "cleaned"} <= names
    assert ({"cg-row", "lines"} <= names) == shape[4]
    for variant in setup.variants:
        assert variant.verify() is None, variant.name
        assert 0 < variant.accuracy["x"] <= lanczos_prox.TOLERANCE, variant.name


def test_a_space_that_is_too_small_is_noticed():
    setup = lanczos_prox.setup(PLANE[:5], (4.0,), 2, "cpu", True)
    ours = next(iter(setup.variants))
    assert "x must be <=" in ours.verify()


def test_solvers_take_no_step_too_many():
    exact = torch.ones(4)
    errors = [1.0, 1e-1, 1e-3, 0.5e-4, 0.0]
    assert lanczos_prox.fewest(lambda k, gamma: exact + errors[min(k, 4)], exact, 1.0) == 3


def test_a_wrong_solve_is_noticed():
    problem = Problem(1, 2, 6, 8, True)
    exact = krylov.truth(problem, 3, "row")
    assert all(e.value <= e.bound for e in cg.errors(exact, exact.to(torch.complex64)))
    one_less = krylov.solve(problem, krylov.lines(problem), 2, "row")
    assert not all(e.value <= e.bound for e in cg.errors(exact, one_less))
