"""NumPy arrays through the public functions; CuPy's by a stand-in here, by itself on a GPU."""

from __future__ import annotations

import doctest
import importlib
import sys
import types
import typing

import numpy as np
import pytest
import torch

import subkern
from subkern import diagnostics
from subkern.ops._interop import accepts_arrays


class Pair(typing.NamedTuple):
    """A named result with a hole."""

    first: object
    second: object = None


@accepts_arrays
def double(x, *, y=None, name="a"):
    """Twice x, by tensors alone."""
    assert y is None or isinstance(y, torch.Tensor)
    return Pair(x * 2), [x, name]


@accepts_arrays
def total(items):
    return sum(items)


def rows(count, size):
    return np.arange(count * size, dtype=np.float32).reshape(count, size)


CALLS = {
    "svd_small": lambda A: subkern.svd_small(A, info=True),
    "eigh_small": lambda A: subkern.eigh_small(A[:, :4], info=True),
    "orthonormalize": lambda A: subkern.orthonormalize(A, return_r=True, info=True),
    "tsqr": lambda A: subkern.tsqr(A[0], info=True),
    "tsqr tree": lambda A: subkern.tsqr(A[0], method="tree", info=True),
    "gram": subkern.gram,
    "polar": subkern.polar,
    "sample_without_replacement": lambda A: (
        (
            drawn := subkern.sample_without_replacement(
                A[..., 0] ** 2, 2, seed=1, gather=(A, A[0]), info=True
            )
        )[1]
        + (drawn.idx, drawn.info)
    ),
    "polar_many": lambda A: tuple(subkern.polar_many([A[0], A[1]])),
    "rsvd": lambda A: subkern.rsvd(A, 2),
    "topk_subspace": lambda A: subkern.topk_subspace(A, 2)[:3],
    "captured_energy": lambda A: diagnostics.captured_energy(A, A[..., :1]),
    "orthonormality_error": diagnostics.orthonormality_error,
    "principal_angles": lambda A: diagnostics.principal_angles(A, A),
    "reconstruction_error": lambda A: diagnostics.reconstruction_error(A, A, A[:, :4]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_public_functions(call):
    """The same bits as through tensors, and arrays for every result."""
    A = np.random.default_rng(0).standard_normal((2, 5, 4)).astype(np.float32)
    got, expected = call(A), call(torch.from_numpy(A.copy()))
    if not isinstance(got, tuple):
        got, expected = (got,), (expected,)
    for a, b in zip(got, expected, strict=True):
        assert type(a) is np.ndarray
        assert np.array_equal(a, b.numpy())


def test_nothing_is_copied():
    x = rows(3, 4)[:, ::2]
    (pair, (same, name)) = double(x)
    assert isinstance(pair, Pair)
    assert type(pair.first) is np.ndarray
    assert pair.second is None
    assert name == "a"
    assert same.__array_interface__["data"] == x.__array_interface__["data"]
    assert same.strides == x.strides


def test_lists_and_keywords():
    x = rows(2, 2)
    assert np.array_equal(total([x, x, x]), 3 * x)
    assert np.array_equal(double(x=x, y=x)[0].first, 2 * x)


def test_read_only_arrays_are_read_in_place():
    """Without torch's warning, and they stay read-only."""
    x = rows(3, 3)
    x.flags.writeable = False
    pair, (same, _) = double(x)
    assert np.array_equal(pair.first, 2 * x)
    assert same.__array_interface__["data"][0] == x.__array_interface__["data"][0]
    assert not x.flags.writeable


def test_tensors_stay_tensors():
    x = torch.ones(2, 2)
    pair, (same, _) = double(x)
    assert same is x
    assert isinstance(pair.first, torch.Tensor)


def test_kinds_do_not_mix():
    with pytest.raises(TypeError, match=r"double: arrays must all be of one kind, got NumPy and t"):
        double(rows(2, 2), y=torch.ones(2, 2))
    with pytest.raises(TypeError, match="total: arrays must all be of one kind"):
        total([rows(2, 2), torch.ones(2, 2)])


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (
            rows(2, 2).astype(">f4"),
            TypeError,
            r"x must have the machine's byte order, got >f4; pas",
        ),
        (
            rows(2, 2)[::-1],
            ValueError,
            r"x must have no negative strides, got \(-8, 4\); pass nump",
        ),
        (np.array(["a"]), TypeError, r"x must hold numbers that torch knows, got <U1"),
        (np.zeros(3, np.longdouble), TypeError, r"x must be an array that torch can see"),
        (np.zeros(3, [("a", "f4"), ("b", "u1")])["a"], ValueError, r"x must have strides of whole"),
    ],
    ids=["byte-order", "negative", "text", "long-double", "field"],
)
def test_what_torch_cannot_see(array, error, message):
    with pytest.raises(error, match=f"double: {message}"):
        double(array)


def test_results_that_numpy_does_not_have():
    @accepts_arrays
    def narrow(x):
        return x.bfloat16()

    with pytest.raises(TypeError, match="narrow: results must not be bfloat16, which NumPy does"):
        narrow(rows(2, 2))


def test_scalars_are_not_arrays():
    assert total([np.float32(1.0), 2.0]) == 3.0


def test_wrapper_looks_like_the_function():
    assert subkern.svd_small.__doc__.startswith("Compute the thin singular value")
    assert subkern.svd_small.__name__ == "svd_small"


@pytest.fixture
def cupy_stand_in(monkeypatch):
    """A module of the name "cupy" whose arrays are seen by DLPack alone."""
    fake = types.ModuleType("cupy")

    class ndarray:
        def __init__(self, array):
            self.array = array
            self.dtype, self.strides, self.size = array.dtype, array.strides, array.size
            self.itemsize = array.itemsize

        def __dlpack__(self, **request):
            return self.array.__dlpack__(**request)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    ndarray.__module__ = "cupy._core.core"
    fake.ndarray = ndarray
    fake.from_dlpack = lambda tensor: ndarray(np.from_dlpack(tensor))
    monkeypatch.setitem(sys.modules, "cupy", fake)
    return fake


def test_cupy_by_dlpack(cupy_stand_in):
    x = cupy_stand_in.ndarray(rows(3, 2))
    pair, (same, _) = double(x)
    assert type(pair.first) is cupy_stand_in.ndarray
    assert np.shares_memory(same.array, x.array)
    with pytest.raises(TypeError, match="double: arrays must all be of one kind, got CuPy and Num"):
        double(x, y=rows(3, 2))


@pytest.mark.gpu
def test_cupy_on_a_gpu():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    A = cupy.asarray(np.random.default_rng(0).standard_normal((2, 5, 4)).astype(np.float32))
    for name in ("svd_small", "orthonormalize"):
        got = CALLS[name](A)
        expected = CALLS[name](torch.from_dlpack(A))
        for a, b in zip(got, expected, strict=True):
            assert type(a) is cupy.ndarray
            assert torch.equal(torch.from_dlpack(a), b)


def test_importing_needs_neither():
    module = importlib.import_module("subkern.ops._interop")
    assert not {"numpy", "cupy", "np"} & set(vars(module))


def test_doctests_are_found():
    """A decorated function keeps its example."""
    found = doctest.DocTestFinder().find(importlib.import_module("subkern.ops.svd_small"))
    assert [t.name for t in found if t.examples] == ["subkern.ops.svd_small.svd_small"]
