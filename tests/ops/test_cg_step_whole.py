"""A whole step of conjugate gradients: its inner product and its halves, in one call."""

import math

import pytest
import torch
from sktest.vectors import assert_independent, assert_same_bits, vectors

import subkern
from subkern.ops.cg_step import cg_step_, cg_step_direction_, cg_step_residual_
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


def test_what_is_written_must_lie_apart(backend):
    x, r, p, _, state = make(9, backend)
    with pytest.raises(ValueError, match="must not share memory"):
        cg_step_(x, r, p, p, None, state, backend=backend)


def test_opcheck():
    x, r, p, q, state = make(9, "reference")
    torch.library.opcheck(
        torch.ops.subkern.cg_step_.default, (x, r, p, q, None, state), dict(backend="")
    )
