"""The halves of a step of conjugate gradients: one body for every backend."""

import math
from dataclasses import dataclass, field

import pytest
import torch
from sktest.backends import device_of
from sktest.tolerance import assert_close
from sktest.vectors import LENGTHS, assert_independent, assert_same_bits, vectors
from torch._subclasses.fake_tensor import FakeTensorMode

import subkern
from subkern.ops.cg_step import cg_step_direction_, cg_step_residual_
from subkern.reference import cg_step as reference
from subkern.reference.cg_step import (
    ALPHA,
    BEST,
    BETA,
    COLUMNS,
    CONVERGED,
    CURVATURE,
    EXHAUSTED,
    FLOOR,
    ITERATIONS,
    NONFINITE,
    RHO,
    RUNNING,
    STAGNATED,
    STALLED,
    STATUS,
    TARGET,
)

OP = "cg_step_residual"
# NumPy, which interprets Triton's kernels, warns about what the cases are made of.
pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")
NAN, INF = math.nan, math.inf


@dataclass(frozen=True)
class Case:
    """A group before a step, and what becomes of it.

    Attributes:
        status: after the step.
        moves: whether the step is taken.
        state: columns that differ from a group in good health.
        relative: the same, as multiples of the squared residual after the step.
        curvature: <p, H p>.
        r: what r is filled with; None is normal.
        q: likewise.
    """

    status: int
    moves: bool = True
    state: dict = field(default_factory=dict)
    relative: dict = field(default_factory=dict)
    curvature: float = 2.0
    r: float | None = None
    q: float | None = None


CASES = {
    "runs": Case(RUNNING),
    "converged": Case(CONVERGED, relative={TARGET: 1.5}),
    "almost converged": Case(RUNNING, relative={TARGET: 0.7}),
    "at the floor": Case(STAGNATED, relative={FLOOR: 1.5}),
    "converged at the floor": Case(CONVERGED, relative={FLOOR: 1.5, TARGET: 1.5}),
    "no better": Case(RUNNING, state={STALLED: 3}, relative={BEST: 0.5}),
    "no better for long": Case(STAGNATED, state={STALLED: 7}, relative={BEST: 0.5, FLOOR: 1e-3}),
    "not long enough": Case(RUNNING, state={STALLED: 6}, relative={BEST: 0.5, FLOOR: 1e-3}),
    "not near the floor": Case(RUNNING, state={STALLED: 70}, relative={BEST: 0.5, FLOOR: 1e-5}),
    "better again": Case(RUNNING, state={STALLED: 70}, relative={BEST: 1.5, FLOOR: 1e-3}),
    "all of it": Case(CONVERGED, r=0.0, q=0.0),
    "curvature 0": Case(CURVATURE, moves=False, curvature=0.0),
    "curvature -1": Case(CURVATURE, moves=False, curvature=-1.0),
    "curvature -inf": Case(NONFINITE, moves=False, curvature=-INF),
    "curvature inf": Case(NONFINITE, moves=False, curvature=INF),
    "curvature nan": Case(NONFINITE, moves=False, curvature=NAN),
    "q nan": Case(NONFINITE, q=NAN),
    "q inf": Case(NONFINITE, q=-INF),
    "rho nan": Case(NONFINITE, state={RHO: NAN}),
    "overflow": Case(NONFINITE, state={RHO: 2.0}, r=3e38, q=-3e38),
    "rho 0": Case(RUNNING, moves=False, state={RHO: 0.0}, q=NAN),
    "rho 0, converged": Case(CONVERGED, moves=False, state={RHO: 0.0, TARGET: 1e30}, q=NAN),
    "rounds to 0": Case(RUNNING, state={RHO: 1e-60}, q=INF),
}
for _status in (CONVERGED, EXHAUSTED, STAGNATED, CURVATURE, NONFINITE):
    CASES[f"done {_status}"] = Case(_status, moves=False, state={STATUS: _status}, q=NAN)


def problem(cases, n, backend):
    """(r, q, curvature, state) with a group for each case."""
    r, q = vectors(2, len(cases), n, "cpu")
    for i, case in enumerate(cases):
        for t, value in ((r, case.r), (q, case.q)):
            if value is not None:
                t[i] = value
    curvature = torch.tensor([case.curvature for case in cases], dtype=torch.float64)
    state = torch.zeros(len(cases), COLUMNS, dtype=torch.float64)
    state[:, RHO], state[:, BEST], state[:, STATUS], state[:, ITERATIONS] = 1.5, 1e30, RUNNING, 4
    state[:, ALPHA], state[:, BETA] = 77.0, 78.0  # of the step before
    for i, case in enumerate(cases):
        for column, value in case.state.items():
            state[i, column] = value
    after = r.double() - (state[:, RHO] / curvature)[:, None] * q.double()
    for i, case in enumerate(cases):
        for column, share in case.relative.items():
            state[i, column] = share * after[i].square().sum()
    return [t.to(device_of(backend)) for t in (r, q, curvature, state)]


def judged(r, curvature, before):
    """The state that follows from the residual that a kernel left."""
    state = before.clone()
    alpha = reference.step_size(curvature, state)
    reference.judge_(curvature, alpha, r.double().square().sum(1), state)
    return state


def check_residual(cases, before, after):
    r, q, curvature, state = before
    new, new_state = after
    expected = judged(new, curvature, state)
    torch.testing.assert_close(new_state, expected, rtol=1e-12, atol=0.0, equal_nan=True)
    assert new_state[:, STATUS].tolist() == [case.status for case in cases]
    exact, wide = r.double(), state.clone()
    reference.cg_step_residual_(exact, q.double(), curvature, wide)
    for i, case in enumerate(cases):
        good = case.moves and case.status != NONFINITE
        assert bool(new_state[i, ALPHA] != 0) == good
        if good and case.q != INF:
            assert_close(f"r[{i}]", new[i], exact[i], 1, change=(exact - r.double())[i])
        elif not case.moves or case.q == INF:  # such a step is smaller than any float32
            assert_same_bits(f"r[{i}]", [new[i]], [r[i]])
        if not good:
            kept = [c for c in range(COLUMNS) if c not in (STATUS, ALPHA)]
            assert_same_bits(f"state[{i}]", [new_state[i, kept]], [state[i, kept]])


def residual(call, backend):
    """(r, state) after the step; the arguments stay as they are."""
    r, q, curvature, state = (t.clone() for t in call)
    cg_step_residual_(r, q, curvature, state, backend=backend)
    assert_same_bits("read only", [q, curvature], call[1:3])
    return r, state


@pytest.mark.parametrize("name", CASES)
def test_residual_of_every_case(backend, name):
    cases = [CASES["runs"], CASES[name]]
    call = problem(cases, 65, backend)
    check_residual(cases, call, residual(call, backend))


@pytest.mark.parametrize("n", LENGTHS)
def test_residual_lengths(backend, n):
    cases = [CASES[name] for name in ("runs", "done 1", "converged", "curvature 0")]
    call = problem(cases, n, backend)
    check_residual(cases, call, residual(call, backend))


def test_residual_of_nothing(backend):
    """No groups, and groups without numbers: those have met any tolerance."""
    call = problem([], 3, backend)
    assert residual(call, backend)[1].shape == (0, COLUMNS)
    cases = [Case(CONVERGED), CASES["done 2"], CASES["curvature -1"]]
    call = problem(cases, 0, backend)
    check_residual(cases, call, residual(call, backend))


@pytest.mark.parametrize(
    ("names", "n"), [(tuple(CASES), 65), (("runs", "done 4", "q nan", "converged"), 20_003)]
)
def test_residual_depends_on_nothing_else(backend, names, n):
    def run(*call):
        cg_step_residual_(*call, backend=backend)
        return call[0], call[3]

    assert_independent(run, problem([CASES[name] for name in names], n, backend), backend)


def directions(n, backend):
    """(x, p, z, state) of groups that moved, by much, by less than float32 holds, and not."""
    x, p, z = vectors(3, 5, n, backend)
    state = torch.zeros(5, COLUMNS, dtype=torch.float64)
    state[:, ALPHA] = torch.tensor([0.7, 0.0, -3.0, 1e-60, 0.0])
    state[:, BETA] = torch.tensor([0.3, 0.4, 0.0, 0.5, NAN])
    p[4] = z[4] = NAN
    return [x, p, z, state.to(x.device)]


@pytest.mark.parametrize("n", LENGTHS)
def test_direction(backend, n):
    before = directions(n, backend)
    x, p, z, state = (t.clone() for t in before)
    cg_step_direction_(x, p, z, state, backend=backend)
    assert_same_bits("read only", [z, state], before[2:])
    exact = [t.double() for t in before]
    reference.cg_step_direction_(*exact)
    moved = state[:, ALPHA] != 0
    for name, got, old, wide in zip("xp", (x, p), before, exact, strict=False):
        assert_close(name, got[moved], wide[moved], 1, change=(wide - old.double())[moved])
        assert_same_bits(name, [got[~moved]], [old[~moved]])
    assert_same_bits("x", [x[3]], [before[0][3]])


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
def test_direction_of_nothing(backend, shape):
    vector = torch.ones(shape, device=device_of(backend))
    state = torch.ones(shape[0], COLUMNS, dtype=torch.float64, device=device_of(backend))
    cg_step_direction_(vector, vector.clone(), vector, state, backend=backend)


def test_direction_depends_on_nothing_else(backend):
    def run(*call):
        cg_step_direction_(*call, backend=backend)
        return call[:2]

    assert_independent(run, directions(20_003, backend), backend)


def test_two_steps_solve_two_equations(backend):
    """The halves together: conjugate gradients end after as many steps as there are unknowns."""
    H = torch.tensor([[4.0, 1.0], [1.0, 3.0]], device=device_of(backend))
    b = torch.tensor([[1.0, 2.0], [-3.0, 5.0]], device=device_of(backend))
    x, r, p = torch.zeros_like(b), b.clone(), b.clone()
    rr = b.double().square().sum(1)
    state = reference.start(rr, rr, 1e-5, 0.0, torch.finfo(torch.float32).eps)
    for _ in range(3):
        q = p @ H
        curvature = (p.double() * q.double()).sum(1)
        cg_step_residual_(r, q, curvature, state, backend=backend)
        cg_step_direction_(x, p, r, state, backend=backend)
    assert state[:, STATUS].tolist() == [CONVERGED, CONVERGED]
    assert state[:, ITERATIONS].tolist() == [2, 2]
    exact = torch.linalg.solve(H.double(), b.double().mT).mT
    assert_close("x", x, exact, 8)


REFUSED = {
    "dtype": (lambda t: t.to(torch.bfloat16), "serves float(32|64) (vectors|scalars)"),
    "groups": (lambda t: t[:1], "shapes that agree"),
    "rank": (lambda t: t[None], "shapes that agree|needs vectors of shape"),
    "strides": (lambda t: torch.stack([t, t], -1)[..., 0], "contiguous"),
    "device": (lambda t: t.to("meta"), "one device"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("half", ["residual", "direction"])
def test_refuses_what_it_cannot_read(backend, half, kind):
    if backend == "reference":
        pytest.skip("the reference takes what torch takes")
    change, reason = REFUSED[kind]
    if half == "residual":
        step, call = cg_step_residual_, problem([CASES["runs"]] * 2, 5, backend)
    else:
        step, call = cg_step_direction_, directions(5, backend)
    for i in range(1, 4):
        bad = [change(t) if j == i else t for j, t in enumerate(call)]
        with pytest.raises(subkern.BackendUnavailableError, match=reason):
            step(*bad, backend=backend)


def test_memory_that_is_shared_is_refused(backend):
    r, _, curvature, state = problem([CASES["runs"]], 5, backend)
    with pytest.raises(ValueError, match="share memory"):
        cg_step_residual_(r, r, curvature, state, backend=backend)
    with pytest.raises(ValueError, match="share memory"):
        cg_step_direction_(r, r, r.clone(), state, backend=backend)


def test_float64_goes_to_the_reference():
    r, q, curvature, state = problem([CASES["runs"]], 5, "cpu")
    wide, before = r.double(), state.clone()
    cg_step_residual_(wide, q.double(), curvature, state, backend="")
    assert torch.equal(wide, r.double() - 0.75 * q.double())
    assert torch.equal(state, judged(wide, curvature, before))


def test_torch_sees_an_op(backend):
    call = problem([CASES["runs"], CASES["converged"]], 5, backend)
    torch.library.opcheck(
        torch.ops.subkern.cg_step_residual_.default, tuple(call), dict(backend=backend)
    )
    torch.library.opcheck(
        torch.ops.subkern.cg_step_direction_.default,
        tuple(directions(5, backend)),
        dict(backend=backend),
    )


def test_compiles_whole(backend):
    def step(r, q, curvature, state, x, p):
        cg_step_residual_(r, q, curvature, state, backend=backend)
        cg_step_direction_(x, p, r, state, backend=backend)
        return x * 2

    call = problem([CASES["runs"], CASES["done 1"]], 5, backend) + vectors(2, 2, 5, backend, seed=1)
    eager, compiled = ([t.clone() for t in call] for _ in range(2))
    expected = step(*eager)
    got = torch.compile(step, fullgraph=True, backend="aot_eager")(*compiled)
    assert_same_bits("compiled", [got, *compiled], [expected, *eager])


def test_without_memory():
    vector, state = ((4, 3), torch.float32), ((4, COLUMNS), torch.float64)
    shapes = [vector, vector, ((4,), torch.float64), state]
    with FakeTensorMode():
        call = [torch.ones(shape, dtype=dtype) for shape, dtype in shapes]
        cg_step_residual_(*call, backend="")
        cg_step_direction_(*call[:2], torch.ones(4, 3), call[3], backend="")
    call = [torch.ones(shape, dtype=dtype, device="meta") for shape, dtype in shapes]
    cg_step_residual_(*call, backend="")
    assert [(t.shape, t.dtype) for t in call] == shapes
