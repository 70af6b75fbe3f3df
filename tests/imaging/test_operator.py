"""The operator protocol: what may be an operator, what solvers make of a bad one, copies of one."""

import copy
import io
import math
import pickle

import pytest
import torch
from sktest.backends import device_of
from sktest.krylov import birdcage, mask, phantom, same_bits, sense
from sktest.krylov_cases import ring, vectors

import subkern
from subkern.imaging import (
    Blur,
    CartesianSense,
    Dense,
    FourierMask,
    LinearOperator,
    NormalOperator,
    dot_test,
)

OP = "cg"
pytestmark = pytest.mark.usefixtures("one_thread")


class Difference(LinearOperator):
    """A x = x - S x along the last axis."""

    def matvec(self, x):
        return x - torch.roll(x, 1, -1)

    def adjoint(self, y):
        return y - torch.roll(y, -1, -1)


def solvers(backend):
    """Everything that calls v -> N v, by name."""
    return {
        "cg": lambda op, v: subkern.cg(op, v, backend=backend),
        "cg x0": lambda op, v: subkern.cg(op, v, v, gamma=1.0, backend=backend),
        "cg_prox": lambda op, v: subkern.cg_prox(op, v, Aty=v, gamma=1.0, backend=backend),
        "lanczos_prox": lambda op, v: subkern.lanczos_prox(op, v, v, 3, backend=backend),
    }


def test_an_operator_of_ones_own(backend):
    """matvec and adjoint are enough; its N as a callable or NormalOperator gives the same bits."""
    A, b = Difference(), vectors(2, device=device_of(backend))
    assert dot_test(A, b, b) <= 1e-6
    for run in solvers(backend).values():
        found = [run(op, b) for op in (A, A.normal, NormalOperator(A.normal))]
        xs = [f.solve(2.0) if hasattr(f, "solve") else f.x for f in found]
        assert same_bits(xs[0], xs[1])
        assert same_bits(xs[0], xs[2])
    assert same_bits(subkern.cgls(A, b).x, subkern.cgls(A, b, torch.zeros_like(b)).x)


def test_an_operator_that_lacks_a_side():
    class Half(LinearOperator):
        def matvec(self, x):
            return x

    with pytest.raises(NotImplementedError):
        subkern.cg(Half(), torch.ones(1, 3))


class Bad(LinearOperator):
    """Answers with what it is told to."""

    def __init__(self, answer):
        self._answer = answer

    def matvec(self, x):
        return x

    def adjoint(self, y):
        return self._answer(y)


ANSWERS = {
    "list": (lambda v: [v], TypeError, "result must be a tensor, got list"),
    "none": (lambda v: None, TypeError, "result must be a tensor, got NoneType"),
    "shape": (lambda v: v[:, :-1], ValueError, r"result must be strided and have shape \(2, 24\)"),
    "samples": (lambda v: v[:1], ValueError, r"result must be strided and have shape \(2, 24\)"),
    "axes": (lambda v: v[None], ValueError, r"result must be strided and have shape \(2, 24\)"),
    "double": (lambda v: v.to(torch.complex128), TypeError, "must be torch.complex64 like its ar"),
    "real": (lambda v: v.real, TypeError, "must be torch.complex64 like its argument, got torch.f"),
    "device": (
        lambda v: v.to("meta"),
        ValueError,
        r"result must be on .* like its argument, got m",
    ),
    "sparse": (lambda v: v.to_sparse(), ValueError, "result must be strided"),
    "written": (lambda v: v.mul_(2), ValueError, "its argument must not be written"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_bad_answers(backend, name):
    """An error that names what answered, from every solver; nothing is read past an end."""
    answer, error, words = ANSWERS[name]
    v = vectors(2, device=device_of(backend))
    for run in solvers(backend).values():
        for op, who in ((answer, "<lambda>"), (Bad(answer), r"Bad\.(normal|adjoint)")):
            with pytest.raises(error, match=f"{who}: .*{words}"):
                run(op, v.clone())


@pytest.mark.parametrize("name", [n for n in ANSWERS if n not in ("samples",)])
def test_bad_answers_in_least_squares(backend, name):
    answer, error, words = ANSWERS[name]
    words = words.replace("its ar", "").replace("gument", "").split(" like ")[0]
    y = vectors(2, device=device_of(backend))

    class Forward(Difference):
        def matvec(self, x):
            return answer(x)

    with pytest.raises(error, match=rf"Forward\.matvec: .*{words}"):
        subkern.cgls(Forward(), y, backend=backend)
    with pytest.raises(error, match=rf"Bad\.adjoint: .*{words}"):
        subkern.cgls(Bad(answer), y.clone(), y.clone(), backend=backend)


@pytest.mark.parametrize("name", ["list", "shape", "double", "written", "real"])
def test_bad_preconditioners(backend, name):
    answer, error, words = ANSWERS[name]
    v = vectors(2, device=device_of(backend))
    with pytest.raises(error, match=f"<lambda>: .*{words}"):
        subkern.cg(ring, v, precond=answer, backend=backend)


@pytest.mark.parametrize(
    "op",
    [
        lambda v: v,
        lambda v: v.view(v.shape),
        lambda v: (2 * v).mT.contiguous().mT,
        lambda v: torch.stack([v, v], -1)[..., 0],
        lambda v: v[:, :1].expand(v.shape) * 0 + v,
        lambda v: v.conj_physical().conj(),
        lambda v: torch._neg_view(-v),
    ],
    ids=["itself", "a view", "transposed", "strided", "expanded", "conjugate", "negative"],
)
def test_unusual_answers(backend, op):
    """Its argument, views, other strides: the bits of a plain tensor of those numbers."""
    v, x0 = (vectors(2, device=device_of(backend), seed=s) for s in (0, 6))
    kept = [v.clone(), x0.clone()]

    def plain(u):
        return op(u).resolve_conj().clone(memory_format=torch.contiguous_format)

    for call in (dict(), dict(gamma=0.5), dict(rtol=1e-3, precond=op), dict(replace_every=2)):
        found, exact = (subkern.cg(f, v, x0, backend=backend, **call) for f in (op, plain))
        assert all(map(same_bits, found, exact))
    space, exact = (subkern.lanczos_prox(f, v, x0, 3, backend=backend) for f in (op, plain))
    assert same_bits(space.solve(0.5), exact.solve(0.5))
    assert all(map(same_bits, kept, (v, x0)))


def test_answers_in_memory_that_is_used_again(backend):
    """An operator may answer in the same tensor every time."""
    v = vectors(2, device=device_of(backend))
    memory = torch.empty_like(v)

    def op(u):
        return memory.copy_(ring(u))

    for call in (dict(), dict(gamma=0.5), dict(precond=lambda r: op(r)), dict(replace_every=2)):
        other = {k: ring if k == "precond" else value for k, value in call.items()}
        found = subkern.cg(op, v, v, backend=backend, **call)
        assert all(map(same_bits, found, subkern.cg(ring, v, v, backend=backend, **other)))
    space, exact = (subkern.lanczos_prox(f, v, v, 4, backend=backend) for f in (op, ring))
    assert same_bits(space.solve(0.5), exact.solve(0.5))


def made(name, device="cpu"):
    line, plane = (mask(kind, 6, 8).to(device) for kind in ("line", "plane"))
    maps = birdcage(3, 6, 8).to(device, torch.complex64)
    kernel = torch.tensor([[0.2, 0.5]], device=device)
    makers = {
        "line": lambda: CartesianSense(maps, line),
        "plane": lambda: CartesianSense(maps, plane, centered=False),
        "sets": lambda: CartesianSense(torch.stack([maps, maps.flip(1)]), plane),
        "fourier": lambda: FourierMask(plane[:, 0]),
        "blur": lambda: Blur(kernel, (6, 8)),
        "dense": lambda: Dense(vectors(20, 48, device=device)),
    }
    return makers[name]()


@pytest.mark.parametrize("name", ["line", "plane", "sets", "fourier", "blur", "dense"])
def test_copies(backend, name):
    """deepcopy, pickle and torch.save, before and after kernels prepared what they want."""
    device = device_of(backend)
    A = made(name, device)
    x = phantom(6, 8, 2).to(device, torch.complex64)
    x = {"sets": torch.stack([x, x], 1), "dense": x.flatten(1)}.get(name, x)
    expected = subkern.cg(A, x, gamma=2.0, backend=backend).x
    size = len(pickle.dumps(made(name, device)))
    file = io.BytesIO()
    torch.save(A, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    for other in (copy.deepcopy(A), pickle.loads(pickle.dumps(A)), loaded, copy.copy(A)):
        assert type(other) is type(A)
        assert same_bits(subkern.cg(other, x, gamma=2.0, backend=backend).x, expected)
        assert same_bits(other.matvec(x), A.matvec(x))
    assert len(pickle.dumps(A)) == size, "what kernels prepared went along"


def test_a_deep_copy_is_apart():
    """update of a copy leaves the operator alone."""
    A, x = made("line"), phantom(6, 8, 1).to(torch.complex64)
    before, other = A.normal(x), copy.deepcopy(A)
    other.update(mask=torch.ones(8))
    assert same_bits(A.normal(x), before)
    assert not same_bits(other.normal(x), before)


def test_dot_test():
    """Rounding for a pair, large for what is none, Inf for NaN; n and seed count."""
    A, x = Difference(), vectors(2)
    good = dot_test(A, x, x)
    assert 0 < good <= 1e-6

    class Wrong(Difference):
        def adjoint(self, y):
            return y + torch.roll(y, -1, -1)

    class NoNumber(Difference):
        def adjoint(self, y):
            return y * math.nan

    class Unconjugated(Difference):
        def matvec(self, x):
            return 1j * x

        def adjoint(self, y):
            return 1j * y

    assert dot_test(Wrong(), x, x) >= 0.05
    assert dot_test(NoNumber(), x, x) == math.inf
    assert dot_test(Unconjugated(), x, x) >= 0.05
    assert dot_test(A, x, x, n=1, seed=3) == dot_test(A, x, x, n=1, seed=3)
    assert dot_test(A, x, x, n=40) >= dot_test(A, x, x, n=8) == good
    assert dot_test(sense("line"), torch.empty(2, 16, 16, dtype=torch.complex64)) <= 1e-6
    assert dot_test(A, x) <= 1e-6
    assert dot_test(lambda v: 0 * v, x) == 0.0


def test_operators_are_no_callables():
    with pytest.raises(TypeError):
        Difference()(vectors(1))
