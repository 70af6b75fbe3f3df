"""Identities of the method in float64, on the reference, against definitions written out here."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sktest.lowrank import make, orthonormal

from subkern.ops import adam_, lowrank_adam_
from subkern.reference.lowrank_adam import fira_residual

SIDES = ("left", "right", "full")
TOLERANCE = 1e-12
examples = settings(max_examples=25)


@st.composite
def problems(draw, rule, sides=SIDES, full_rank=False):
    m, n = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    side = draw(st.sampled_from(sides))
    largest = {"left": m, "right": n, "full": min(m, n)}[side]
    rank = largest if full_rank else draw(st.integers(1, largest))
    return make(m, n, rank, side, rule, torch.float64, seed=draw(st.integers(0, 10**6)))


def assert_equal(got, expected, what=""):
    scale = max(float(expected.abs().max()), 1e-300)
    error = float((got - expected).abs().max()) / scale
    assert error <= TOLERANCE, f"{what}: relative error {error:.1e}"


def loops(values, axis):
    """Norm of every column (axis 0) or row (axis 1), one at a time."""
    vectors = values.T if axis == 0 else values
    return torch.stack([vector.square().sum().sqrt() for vector in vectors])


def literal_step(problem, lr, betas, eps, weight_decay, decay, correct_bias, **fira):
    """One step as the papers write it, for one matrix; returns W, M, V and prev."""
    b1, b2 = betas
    W, X, P = problem.params[0], problem.grads[0], problem.bases[0]
    side = problem.side
    Q = problem.bases_right[0] if side == "full" else None
    if side == "left":
        R, back = P.T @ X, lambda N: P @ N
    elif side == "right":
        R, back = X @ P, lambda N: N @ P.T
    else:
        R, back = P.T @ X @ Q, lambda N: P @ N @ Q.T
    t = problem.steps[0].item() + 1
    M = b1 * problem.exp_avgs[0] + (1 - b1) * R
    V = b2 * problem.exp_avg_sqs[0] + (1 - b2) * R**2
    N = M / (V.sqrt() + eps)
    eta = lr * math.sqrt(1 - b2**t) / (1 - b1**t) if correct_bias else lr
    scale = fira.pop("scale")
    U, prev = scale * back(N), None
    if problem.rule == "fira":
        E = X - (scale if fira["alpha_in_residual"] else 1.0) * back(R)
        if side == "full" or fira["granularity"] == "matrix":
            phi = N.norm() / (R.norm() + fira["norm_eps"])
        else:
            axis = 0 if side == "left" else 1
            phi = loops(N, axis) / (loops(R, axis) + fira["norm_eps"])
            phi = phi[None, :] if side == "left" else phi[:, None]
        S = phi * E
        prev, now = problem.limiters[0].item(), float(S.norm())
        if prev > 0:
            L = max(now / (prev + fira["norm_eps"]), fira["gamma"]) / fira["gamma"]
            S, now = S / L, now / L
        prev = now
        U = U + S
    if decay == "post":
        W = (W - eta * U) * (1 - lr * weight_decay)
    else:
        W = W * (1 - lr * weight_decay) - eta * U
    return W, M, V, prev


@examples
@given(
    problem=st.sampled_from(["galore", "fira"]).flatmap(problems),
    decay=st.sampled_from(["post", "pre"]),
    correct_bias=st.booleans(),
    granularity=st.sampled_from(["column", "matrix"]),
    alpha_in_residual=st.booleans(),
    growth=st.floats(0.1, 10.0),
)
def test_reference_is_the_published_step(
    problem, decay, correct_bias, granularity, alpha_in_residual, growth
):
    """alpha 0.25 inside the residual, so that no residual is round-off; two steps."""
    options = dict(lr=0.3, betas=(0.9, 0.99), eps=1e-3, weight_decay=0.1, scale=0.25)
    options |= dict(decay=decay, correct_bias=correct_bias)
    fira = dict(granularity=granularity, alpha_in_residual=alpha_in_residual)
    fira |= dict(gamma=1.01, norm_eps=1e-3)
    m, n = problem.params[0].shape
    spanned = {"left": m, "right": n, "full": max(m, n)}[problem.side]
    if problem.bases[0].shape[1] == spanned:
        fira["alpha_in_residual"] = True  # else E is nothing but rounding, and dropped
    for _ in range(2):
        W, M, V, prev = literal_step(problem, **options, **fira)
        problem.step("reference", **options, **fira)
        assert_equal(problem.params[0], W, "W")
        assert_equal(problem.exp_avgs[0], M, "M")
        assert_equal(problem.exp_avg_sqs[0], V, "V")
        if prev is not None:
            stored = problem.limiters[0].item()  # float32 by contract
            assert abs(stored - prev) <= 1e-6 * prev
        problem.grow(growth)


@examples
@given(problem=problems("fira", sides=("left", "right")), a=st.floats(0.05, 0.95))
def test_fused_formula(problem, a):
    """U = P (a N - s a phi R) + s phi X and rho^2 = |X|^2 - 2 a |R|^2 + a^2 |R|^2."""
    X, P = problem.grads[0], problem.bases[0]
    X = X if problem.side == "left" else X.T
    R = P.T @ X
    N = torch.randn(R.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    options = dict(side="left", gamma=1.01, norm_eps=1e-8, residual_scale=a)
    options |= dict(granularity="column", skip_residual=False)
    prev = torch.tensor(1e-3, dtype=torch.float64)  # far below: the limiter fires
    residual, limiter = fira_residual(X, R, N, P @ R, prev, **options)
    rr, xx, nn = (t.square().sum(0) for t in (R, X, N))
    phi = nn.sqrt() / (rr.sqrt() + 1e-8)
    rho2 = xx - 2 * a * rr + a**2 * rr
    assert_equal(rho2, (X - a * P @ R).square().sum(0), "rho^2")
    norm = (phi**2 * rho2).sum().sqrt()
    s = 1 / (torch.clamp(norm / (prev + 1e-8), min=1.01) / 1.01)
    assert_equal(limiter, norm * s, "limiter")
    fused = P @ (a * N - s * a * phi * R) + s * phi * X
    assert_equal(fused, a * P @ N + residual, "U")


@examples
@given(problem=problems("galore", sides=("left", "right"), full_rank=True))
def test_full_rank_is_dense_adam_in_rotated_coordinates(problem):
    options = dict(lr=0.3, betas=(0.9, 0.99), eps=1e-6, weight_decay=0.1)
    P, left = problem.bases[0], problem.side == "left"
    rotate = (lambda t: P.T @ t) if left else (lambda t: t @ P)
    back = (lambda t: P @ t) if left else (lambda t: t @ P.T)
    W, G = rotate(problem.params[0]), rotate(problem.grads[0])
    dense = [[W], [G], *([torch.zeros_like(W)] for _ in range(2))]
    dense += [[torch.zeros(())], [torch.zeros(())]]
    for _ in range(3):
        problem.step("reference", scale=1.0, **options)
        adam_(*dense, backend="reference", **options)
        assert_equal(problem.params[0], back(W), "W")
        problem.grow(1.5)
        G.mul_(1.5)


@examples
@given(problem=st.sampled_from(["galore", "fira"]).flatmap(problems), power=st.integers(-20, 20))
def test_scale_of_the_gradient_does_not_matter(problem, power):
    """With eps = norm_eps = 0 every update is homogeneous of degree 0 in the gradient."""
    scaled = problem.clone()
    scaled.grow(2.0**power)
    for each in (problem, scaled):
        each.step("reference", eps=0.0, norm_eps=0.0)
    assert_equal(scaled.params[0], problem.params[0], "W")


@examples
@given(problem=st.sampled_from(["galore", "fira"]).flatmap(lambda r: problems(r, ("left",))))
def test_right_is_left_transposed(problem):
    other = problem.mapped(lambda t: t.T.contiguous(), ("params", "grads", "exp_avgs"))
    other = other.mapped(lambda t: t.T.contiguous(), ("exp_avg_sqs",)).clone()
    other.side = "right"
    for each in (problem, other):
        each.step("reference")
    assert_equal(other.params[0].T, problem.params[0], "W")


@examples
@given(problem=problems("galore"))
def test_only_the_subspace_moves(problem):
    """What is orthogonal to the basis is decayed and nothing else."""
    before = problem.params[0].clone()
    problem.step("reference", weight_decay=0.0)
    change, P = problem.params[0] - before, problem.bases[0]
    inside = change @ P @ P.T if problem.side == "right" else P @ P.T @ change
    if problem.side == "full":
        inside = inside @ problem.bases_right[0] @ problem.bases_right[0].T
    assert_equal(inside, change, "change of W")


def test_limiter_of_one_norm_per_matrix():
    """Two matrices of a list keep their own limiter."""
    problem = make(6, 9, 2, "left", "fira", torch.float64, count=2)
    problem.grads[1].mul_(100)
    problem.step("reference", norm_eps=0.0)
    first = [t.item() for t in problem.limiters]
    problem.grads[0].mul_(50)
    problem.step("reference", norm_eps=0.0)
    assert problem.limiters[0].item() == pytest.approx(1.01 * first[0], rel=1e-6)
    assert problem.limiters[1].item() <= 1.01 * first[1] * (1 + 1e-6)


def test_gradients_of_the_inputs_are_not_recorded():
    """The step is an optimizer's: it runs without autograd, whatever the mode outside."""
    W = torch.zeros(4, 6, dtype=torch.float64, requires_grad=True)
    G = torch.ones(4, 6, dtype=torch.float64)
    P = orthonormal(4, 2, torch.Generator().manual_seed(0))
    state = [torch.zeros(2, 6, dtype=torch.float64) for _ in range(2)]
    scalars = [torch.zeros(()), torch.zeros(())]
    lowrank_adam_([W], [G], [P], *([t] for t in state), *([t] for t in scalars), lr=0.1)
    assert W.is_leaf
    assert W.grad_fn is None
    assert not torch.equal(W.detach(), torch.zeros_like(W))
