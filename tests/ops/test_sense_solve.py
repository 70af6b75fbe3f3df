"""Whole solves of multi-coil imaging: one body for every backend, against complex128."""

import math

import pytest
import torch
from sktest.sense_tensors import EPS, LINES, LONG, make, sizes, wide

from subkern.ops.sense_solve import sense_solve
from subkern.reference.sense_solve import sense_solve as reference_solve

OP = "sense_solve"


def solve(v, start, maps, weights, gamma, prox, maxiter, backend):
    options = dict(prox=prox, maxiter=maxiter)
    found = sense_solve(v, start, maps, weights, gamma, None, **options, backend=backend)
    exact = reference_solve(*wide(v, start, maps, weights, gamma), **options)
    return found, exact


@pytest.mark.parametrize("form", ["prox", "from x0", "from zero", "unshifted"])
def test_solves(backend, form):
    for shape in sizes(backend, LINES[3:], LONG[:3]):
        v, maps, weights, gamma = make(shape, True, backend)
        start = None if form == "from zero" else torch.flip(v, (1,))
        weight = None if form == "unshifted" else gamma
        if form == "unshifted":  # well away from singular, for the iterates to be comparable
            weights = weights + 0.5
        found, exact = solve(v, start, maps, weights, weight, form == "prox", 3, backend)
        x, rr, iterations, status = found
        assert (x - exact[0]).norm() <= 100 * EPS * exact[0].norm(), shape
        assert (rr - exact[1]).abs().max() <= 1e-4 * v.abs().double().square().sum()
        assert torch.equal(iterations, exact[2])
        assert torch.equal(status, exact[3])


def test_statuses(backend):
    v, maps, weights, gamma = make((18, 20), True, backend)
    clean = sense_solve(v, v, maps, weights, gamma, None, prox=True, maxiter=4, backend=backend)
    bad = v.clone()
    bad[0, 5, 2] = math.nan
    x, _, iterations, status = sense_solve(
        bad, v, maps, weights, gamma, None, prox=True, maxiter=4, backend=backend
    )
    assert status.view(2, 18)[0, 5] == 4
    assert iterations.view(2, 18)[0, 5] == 0
    assert torch.equal(x[0, 5], v[0, 5])
    rest = torch.arange(36) != 5
    assert (status.cpu()[rest] == 1).all()
    if backend != "reference":
        assert torch.equal(x.view(36, 20)[rest], clean[0].view(36, 20)[rest])
    # Nothing to solve: a right-hand side of zeros, weights of zeros.
    zero = torch.zeros_like(v)
    for rhs, start, w, prox in ((zero, None, weights, False), (v, v, weights * 0, True)):
        x, rr, iterations, status = sense_solve(
            rhs,
            start,
            maps,
            w,
            gamma * 0 if prox else gamma,
            None,
            prox=prox,
            maxiter=4,
            backend=backend,
        )
        assert torch.equal(x, zero if start is None else start)
        assert not rr.any()
        assert not iterations.any()
        assert not status.any()
    # Curvature that is not positive: N of weights below zero.
    x, _, _, status = sense_solve(
        v, None, maps, -weights - 0.1, None, None, prox=False, maxiter=4, backend=backend
    )
    assert (status == 3).all()
    assert not x.any()


def test_scale(backend):
    """The same iterates up to scale, at both ends of what data come in."""
    v, maps, weights, gamma = make((6, 20), True, backend)
    options = dict(prox=False, maxiter=3, backend=backend)
    x, *_ = sense_solve(v, None, maps, weights, gamma, None, **options)
    for power in (2.0**-40, 2.0**40):
        scaled, *_ = sense_solve(v * power, None, maps, weights, gamma, None, **options)
        torch.testing.assert_close(scaled / power, x, rtol=1e-5, atol=1e-6)


def test_other_lengths_are_torchs(backend):
    """Seven, a prime beyond the kernels' longest, one point: the same contract."""
    for shape in ((4, 7), (7, 4), (1, 1), (2, 1031)):
        v, maps, weights, gamma = make(shape, True, backend)
        found, exact = solve(v, v, maps, weights, gamma, True, 2, backend)
        assert (found[0] - exact[0]).norm() <= 100 * EPS * exact[0].norm(), shape


def test_opcheck():
    v, maps, weights, gamma = make((4, 6), True, "reference")
    options = dict(prox=True, maxiter=2, backend="")
    torch.library.opcheck(
        torch.ops.subkern.sense_solve.default, (v, v, maps, weights, gamma, None), options
    )
