"""NumPy arrays through solvers, callables, handles and operators; CuPy's by a stand-in."""

import sys
import types

import numpy as np
import pytest
import torch
from sktest.krylov import birdcage, mask, phantom, same_bits, sense

import subkern
from subkern.imaging import Blur, CartesianSense, Dense, FourierMask

pytestmark = pytest.mark.usefixtures("one_thread")
K = np.array([[4.0, 1.0], [1.0, 2.0]], np.float32)  # products by it are exact in any order
B = np.array([[1.0, 2.0], [0.5, -1.0]], np.float32)


def tensors(*arrays):
    return [torch.from_numpy(np.array(a)) for a in arrays]


def images(samples=2):
    """z, y and the operator of arrays, all of them NumPy's."""
    A = sense("line", 6, 8, 3)
    z = phantom(6, 8, samples).to(torch.complex64)
    return A, z.numpy(), A.matvec(2 * z).numpy()


def assert_same(got, expected):
    """Arrays with the bits of tensors, field by field."""
    got, expected = ((v,) if not isinstance(v, tuple) else v for v in (got, expected))
    for a, b in zip(got, expected, strict=True):
        assert type(a) is np.ndarray
        assert same_bits(torch.from_numpy(a), b)


@pytest.mark.parametrize("options", [dict(), dict(gamma=0.5, rtol=1e-4, info=True)], ids=str)
def test_a_callable_is_handed_arrays(options):
    """And may answer with them; they cannot be written."""
    seen = []

    def op(v):
        seen.append(v)
        return v @ K

    found = subkern.cg(op, B, **options)
    assert isinstance(found, subkern.ops.CGResult)
    b, k = tensors(B, K)
    assert_same(found, subkern.cg(lambda v: v @ k, b, **options))
    assert all(type(v) is np.ndarray and v.shape == (2, 2) and v.dtype == B.dtype for v in seen)
    with pytest.raises(ValueError, match="read-only"):
        subkern.cg(lambda v: np.multiply(v, 2, out=v), B)


def test_preconditioners_and_starts():
    inverse = 1 / K.diagonal()
    call = dict(x0=B + 1, gamma=np.array([0.5, 2.0]), maxiter=2)
    found = subkern.cg(lambda v: v @ K, B, precond=lambda r: r * inverse, **call)
    b, k, i, x0 = tensors(B, K, inverse, B + 1)
    call |= dict(x0=x0, gamma=torch.tensor([0.5, 2.0], dtype=torch.float64))
    assert_same(found, subkern.cg(lambda v: v @ k, b, precond=lambda r: r * i, **call))
    prox = subkern.cg_prox(lambda v: v @ K, B, Aty=B - 1, gamma=2.0)
    assert_same(prox, subkern.cg_prox(lambda v: v @ k, b, Aty=b - 1, gamma=2.0))


def test_what_callables_answer():
    """A tensor is as good; another dtype or a list is an error that names the callable."""
    k = torch.from_numpy(K)
    found = subkern.cg(lambda v: torch.from_numpy(v.copy()) @ k, B)
    assert_same(found, subkern.cg(lambda v: v @ k, torch.from_numpy(B)))
    assert_same(subkern.cg(lambda v: v, B), subkern.cg(lambda v: v, torch.from_numpy(B)))
    with pytest.raises(
        TypeError, match=r"<lambda>: result must be torch.float32 like its argument"
    ):
        subkern.cg(lambda v: v @ K.astype(np.float64), B)
    with pytest.raises(TypeError, match="<lambda>: result must be a tensor, got list"):
        subkern.cg(lambda v: v.tolist(), B)
    with pytest.raises(ValueError, match="cg: the result of op must have no negative strides"):
        subkern.cg(lambda v: (v @ K)[::-1], B)


def test_modules_and_operators_are_handed_tensors():
    module = torch.nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(K))
    found = subkern.cg(module, B)
    assert_same(found, subkern.cg(module, torch.from_numpy(B)))
    A = Dense(K)
    for op in (A, A.normal_operator()):
        assert_same(subkern.cg(op, B), subkern.cg(op, torch.from_numpy(B)))


@pytest.mark.parametrize("coupling", ["sample", "row"])
def test_imaging(coupling):
    A, z, y = images()
    tz, ty = tensors(z, y)
    call = dict(gamma=3.0, coupling=coupling)
    assert_same(subkern.cg_prox(A, z, y, **call), subkern.cg_prox(A, tz, ty, **call))
    assert_same(subkern.cg(A, z, **call), subkern.cg(A, tz, **call))
    Aty = A.adjoint(y)
    assert_same(subkern.cg_prox(A, z, Aty=Aty, **call), subkern.cg_prox(A, tz, ty, **call))


def test_least_squares():
    A, z, y = images()
    tz, ty = tensors(z, y)
    assert_same(subkern.cgls(A, y, maxiter=3), subkern.cgls(A, ty, maxiter=3))
    assert_same(subkern.cgls(A, y, z, damp=0.1), subkern.cgls(A, ty, tz, damp=0.1))


def test_lanczos():
    """The handle answers in the kind that it was made of, whatever the weights are."""
    A, z, y = images()
    tz, ty = tensors(z, y)
    space, exact = (subkern.lanczos_prox(A, a, y=b, M=4) for a, b in ((z, y), (tz, ty)))
    for weights in (2.0, np.array([1.0, 5.0]), torch.tensor([1.0, 5.0])):
        same = torch.from_numpy(weights) if isinstance(weights, np.ndarray) else weights
        for name in ("solve", "residual", "data_residual", "discrepancy"):
            assert_same(getattr(space, name)(weights), getattr(exact, name)(same))
    assert_same((space.T, space.beta), (exact.T, exact.beta))
    assert isinstance(exact.solve(2.0), torch.Tensor)
    by_callable = subkern.lanczos_prox(lambda v: v @ K, B, B + 1, 2)
    b, k = tensors(B, K)
    assert_same(
        by_callable.solve(2.0), subkern.lanczos_prox(lambda v: v @ k, b, b + 1, 2).solve(2.0)
    )


def test_memory():
    """x shares memory with out; what is read-only is read, and refused where it is written."""
    out, b = np.full_like(B, np.nan), B.copy()
    b.flags.writeable = False
    found = subkern.cg(lambda v: v @ K, b, out=out)
    assert np.shares_memory(found.x, out)
    assert np.array_equal(found.x, out)
    assert np.array_equal(out, subkern.cg(lambda v: v @ K, B).x)
    space = np.full(8, np.nan, np.float32)
    assert np.array_equal(subkern.cg(lambda v: v @ K, B, workspace=space).x, out)
    assert np.isfinite(space).all()
    for name, v in (("out", out), ("workspace", space)):
        v.flags.writeable = False
        with pytest.raises(ValueError, match=f"cg: {name} must be writeable, got a read-only"):
            subkern.cg(lambda v: v @ K, B, **{name: v})


def test_kinds_do_not_mix():
    A, z, y = images()
    for call in (
        lambda: subkern.cg(A, z, torch.from_numpy(z)),
        lambda: subkern.cg_prox(A, z, torch.from_numpy(y), gamma=1.0),
        lambda: subkern.cgls(A, y, torch.from_numpy(z)),
        lambda: subkern.lanczos_prox(A, z, y=torch.from_numpy(y)),
        lambda: CartesianSense(birdcage(2, 6, 8).numpy(), torch.ones(8)),
    ):
        with pytest.raises(TypeError, match="arrays must all be of one kind, got NumPy and torch"):
            call()


def test_operators():
    """Constructors, update, and both sides of every operator."""
    maps, m = birdcage(3, 6, 8).to(torch.complex64), mask("line", 6, 8)
    x, kernel, matrix = phantom(6, 8, 2).to(torch.complex64), torch.rand(2, 3), torch.rand(5, 48)
    pairs = [
        (CartesianSense(maps.numpy(), m.numpy()), CartesianSense(maps, m), x),
        (CartesianSense(maps.numpy(), m[0, 0, 0].numpy() > 0), CartesianSense(maps, m), x),
        (FourierMask(m[:, 0].numpy()), FourierMask(m[:, 0]), x),
        (Blur(kernel.numpy(), (6, 8)), Blur(kernel, (6, 8)), x),
        (Dense(matrix.numpy()), Dense(matrix), x.flatten(1)),
    ]
    for by_arrays, by_tensors, image in pairs:
        data = by_tensors.matvec(image)
        for name, v in (("matvec", image), ("adjoint", data), ("normal", image)):
            expected = getattr(by_tensors, name)(v)
            assert_same(getattr(by_arrays, name)(v.numpy()), expected)
            assert same_bits(getattr(by_arrays, name)(v), expected)
    F = FourierMask(m[:, 0])
    weights = torch.tensor([1.0, 2.0])
    assert_same(F.prox(x.numpy(), x.numpy(), weights.numpy()), F.prox(x, x, weights))
    A = pairs[0][0]
    A.update(mask=mask("plane", 6, 8).numpy())
    assert_same(A.normal(x.numpy()), CartesianSense(maps, mask("plane", 6, 8)).normal(x))
    with pytest.raises(
        TypeError, match=r"CartesianSense: x must be torch.complex64, got torch.floa"
    ):
        A.matvec(x.real.numpy())
    with pytest.raises(ValueError, match="CartesianSense: maps must have no negative strides"):
        CartesianSense(maps.numpy()[..., ::-1], m.numpy())


def test_an_operator_of_ones_own():
    """What a subclass defines is handed tensors and gives arrays back."""

    class Twice(subkern.imaging.LinearOperator):
        def matvec(self, x):
            assert isinstance(x, torch.Tensor)
            return 2 * x

        adjoint = matvec

    x = np.ones((2, 3), np.float32)
    assert np.array_equal(Twice().matvec(x), 2 * x)
    assert np.array_equal(Twice().adjoint(x), 2 * x)
    assert np.allclose(subkern.cg(Twice(), x).x, x / 4)


@pytest.fixture
def cupy_stand_in(monkeypatch):
    """A module of the name "cupy" whose arrays know DLPack and a product."""
    fake = types.ModuleType("cupy")

    class ndarray:
        def __init__(self, array):
            self.array = array
            self.dtype, self.strides, self.size = array.dtype, array.strides, array.size
            self.itemsize = array.itemsize

        def __matmul__(self, other):
            return ndarray(self.array @ other)

        def __dlpack__(self, **request):
            return self.array.__dlpack__(**request)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    ndarray.__module__ = "cupy._core.core"
    fake.ndarray = ndarray
    fake.from_dlpack = lambda tensor: ndarray(np.from_dlpack(tensor))
    monkeypatch.setitem(sys.modules, "cupy", fake)
    return fake


def test_cupy(cupy_stand_in):
    b = cupy_stand_in.ndarray(B)
    seen = []

    def op(v):
        seen.append(v)
        return v @ K

    found = subkern.cg(op, b, gamma=0.5)
    assert all(type(v) is cupy_stand_in.ndarray for v in (*seen, *found))
    b_tensor, k = tensors(B, K)
    exact = subkern.cg(lambda v: v @ k, b_tensor, gamma=0.5)
    assert_same(tuple(v.array for v in found), exact)
    space = subkern.lanczos_prox(op, b, b, 2)
    assert type(space.solve(1.0)) is cupy_stand_in.ndarray
    assert type(Dense(K).matvec(b)) is cupy_stand_in.ndarray


@pytest.mark.gpu
def test_cupy_on_a_gpu():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    b, k = cupy.asarray(B), cupy.asarray(K)
    found = subkern.cg(lambda v: v @ k, b, gamma=0.5)
    assert type(found.x) is cupy.ndarray
    exact = np.linalg.solve(np.eye(2) + 0.5 * K, B.T).T
    assert np.allclose(cupy.asnumpy(found.x), exact, rtol=1e-5)
