"""What every solver of (I + gamma N) x = z + gamma A* y must do, step by step.

A solver is a function (A, z, y, gamma, steps) -> x that starts at z. What breaks a property raises
AssertionError: tests run solvers through all of them, and the doubles to prove that they can fail.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from sktest.krylov import Problem, hermitian, phantom, relative, rounding, sense
from subkern.imaging import LinearOperator

Solver = Callable[[LinearOperator, Tensor, Tensor, float, int], Tensor]


def iterates(solve: Solver, p: Problem, steps: int) -> list[Tensor]:
    """x_0 ... x_steps, each from a run of its own."""
    return [solve(p.A, p.z, p.y, p.gamma, k) for k in range(steps + 1)]


def first_step(solve: Solver, p: Problem) -> None:
    """P1: steepest descent with an exact line search."""
    found, r = solve(p.A, p.z, p.y, p.gamma, 1), p.residual(p.z)
    for i in range(len(r)):
        alpha = hermitian(r[i], r[i]) / hermitian(r[i], p.H[i] @ r[i])
        exact = p.flat(p.z)[i] + alpha * r[i]
        error = float(relative(found[i : i + 1], exact[None]))
        assert error <= rounding(p.z.dtype, p.condition), f"first step of sample {i}: {error:.1e}"


def convergence(solve: Solver, p: Problem, steps: int = 10) -> None:
    """P3: the error in the norm of H falls by q = (sqrt(K) - 1) / (sqrt(K) + 1) and more a step."""
    root = p.condition**0.5
    q = (root - 1) / (root + 1)
    errors = [p.energy(x) for x in iterates(solve, p, steps)]
    for k, error in enumerate(errors):
        if bool((errors[0] * 2 * q**k <= 1e-5 * errors[0]).any()):
            return
        assert bool((error <= 2 * q**k * errors[0]).all()), (
            f"error after {k} steps: {(error / errors[0]).tolist()} of the first, "
            f"more than {2 * q**k:.2e}"
        )


def descent(solve: Solver, p: Problem, steps: int = 8) -> None:
    """P4: the error in the norm of H falls at every step, but for rounding."""
    errors = [p.energy(x) for x in iterates(solve, p, steps)]
    for k, (before, after) in enumerate(itertools.pairwise(errors)):
        assert bool((after <= before + 1e-6 * errors[0]).all()), f"the error rises at step {k + 1}"


def orthogonal_residuals(solve: Solver, p: Problem, steps: int = 5) -> None:
    """P5: residuals of different steps are orthogonal."""
    residuals = [p.residual(x) for x in iterates(solve, p, steps)]
    for (i, u), (j, v) in itertools.combinations(enumerate(residuals), 2):
        cosine = (u.conj() * v).sum(1).abs() / (u.norm(dim=1) * v.norm(dim=1))
        assert bool((cosine <= 1e-3).all()), f"residuals {i} and {j}: {cosine.tolist()}"


def copies(solve: Solver, p: Problem, count: int = 3) -> None:
    """P6: copies of a problem have the bits of one, in their real and imaginary parts."""
    z, y = (v[:1].expand(count, *[-1] * (v.dim() - 1)) for v in (p.z, p.y))
    alone = solve(p.A, p.z[:1], p.y[:1], p.gamma, 5)
    found = solve(p.A, z, y, p.gamma, 5)
    for i in range(count):
        assert torch.equal(*(torch.view_as_real(x) for x in (found[i], alone[0]))), f"copy {i}"


def solution(solve: Solver, p: Problem, steps: int = 25) -> None:
    """P9: a converged solve is that of the dense system."""
    error = p.off(solve(p.A, p.z, p.y, p.gamma, steps))
    assert error <= rounding(p.z.dtype, p.condition), f"error {error:.1e}"


def fixed_point(solve: Solver, device: str = "cpu") -> None:
    """E0: an image that explains its own data exactly is not changed by a step."""
    A, gamma = sense("line", device=device), 5.0
    z = phantom(16, 16, 2).to(device, torch.complex64)
    found = solve(A, z, A.matvec(z), gamma, 5)
    error = float(relative(found, z).max())
    assert error <= rounding(z.dtype, 1 + gamma), f"the truth moved by {error:.1e}"
