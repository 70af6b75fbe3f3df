"""A whole step of conjugate gradients: its inner product and its halves, in one call."""

import math

import pytest
import torch
from sktest.vectors import assert_independent, assert_same_bits, vectors

import subkern
from subkern.backends.cpu.cg_step import prepare
from subkern.ops.cg_step import cg_start, cg_step_, cg_step_direction_, cg_step_residual_
from subkern.ops.group_dot import group_dot
from subkern.reference.cg_step import STATUS, start

OP = "cg_step"
LENGTHS = (1, 65, 1009, 40_009)


def make(n, backend, groups=5):
    """Vectors with positive <p, q>, but in two groups: one negative, one not a number."""
    x, r, p, q = vectors(4, groups, n, backend)
    q = 0.1 * q + 3 * p
    q[1] = -q[1]
    q[2, 0] = math.nan
    rr = r.double().square().sum(1)
    state = start(rr, rr, 0.0, 0.0, 1e-7)
    state[3, STATUS] = 0.0  # done
    return x, r, p, q, state


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("known", [True, False], ids=["known", "computed"])
def test_the_same_as_its_parts(backend, n, known):
    x, r, p, q, state = make(n, backend)
    parts = [t.clone() for t in (x, r, p, state)]
    curvature = group_dot(p, q, backend=backend)
    cg_step_residual_(parts[1], q, curvature, parts[3], backend=backend)
    cg_step_direction_(parts[0], parts[2], parts[1], parts[3], backend=backend)
    cg_step_(x, r, p, q, curvature if known else None, state, backend=backend)
    assert_same_bits("whole", (x, r, p, state), parts)
    assert state[:, STATUS].tolist() == [-1, 3, 4, 0, -1]


def test_independence(backend):
    def run(*tensors):
        x, r, p, q, state = tensors
        cg_step_(x, r, p, q, None, state, backend=backend)
        return x, r, p, state

    assert_independent(run, make(40_009, backend), backend)


def test_refusals(backend):
    if backend == "reference":
        pytest.skip("the reference serves everything")
    x, r, p, q, state = make(9, backend)
    for change in (dict(q=q[:, :8]), dict(x=x.double()), dict(state=state[:, :9])):
        call = dict(x=x, r=r, p=p, q=q, curvature=None, state=state) | change
        with pytest.raises(subkern.BackendUnavailableError):
            cg_step_(*call.values(), backend=backend)


@pytest.mark.parametrize("tolerance", [(0.0, 0.0), (0.9, 0.0), (0.0, 3.0), (1e-9, 0.0), (2.0, 9.0)])
def test_start(backend, tolerance):
    """A state is that of the inner products."""
    r, b = vectors(2, 6, 1009, backend)
    r[1], b[2], b[3] = 0.0, 0.0, 0.0
    r[3], r[4, 0], b[5, 0] = 0.0, math.nan, math.inf
    rr, bb = (group_dot(v, v, backend=backend) for v in (r, b))
    found = cg_start(r, b if any(tolerance) else None, *tolerance, backend=backend)
    assert_same_bits("state", (found,), (start(rr, bb, *tolerance, 2.0**-23),))


@pytest.mark.parametrize(
    "change",
    [dict(q=slice(8)), dict(q=torch.float64), dict(curvature=torch.float32), dict(p=slice(8))],
    ids=str,
)
def test_what_is_not_memory_is_not_read(change):
    """Steps that are prepared look at every tensor before they take its address."""
    x, r, p, q, state = make(9, "cpu")
    given = dict(q=q, p=p, curvature=torch.ones(5, dtype=torch.float64))
    for name, how in change.items():
        given[name] = given[name][:, how] if isinstance(how, slice) else given[name].to(how)
    before = [t.clone() for t in (x, r, state)]
    with pytest.raises(ValueError, match=f"cg_step: {next(iter(change))} must be"):
        prepare(x, r, given["p"], state)(given["q"], given["curvature"])
    assert_same_bits("kept", (x, r, state), before)


def test_memory_that_was_taken_away_is_not_written():
    """An operator may reach what is behind its argument: steps do not trust an old address."""
    x, r, p, q, state = make(9, "cpu")
    step = prepare(x, r, p, state)
    p.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="p and r must stay where they were"):
        step(q, None)


def test_what_is_written_must_lie_apart(backend):
    x, r, p, _, state = make(9, backend)
    with pytest.raises(ValueError, match="must not share memory"):
        cg_step_(x, r, p, p, None, state, backend=backend)


def test_opcheck():
    x, r, p, q, state = make(9, "reference")
    torch.library.opcheck(
        torch.ops.subkern.cg_step_.default, (x, r, p, q, None, state), dict(backend="")
    )
