"""The spectral layer's gradients: against their published formulas, autograd, and memory."""

import pytest
import torch
from sktest.tolerance import assert_close
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from subkern.ops.spectral_linear import merge, merged_pays, spectral_linear
from subkern.reference import spectral_linear as reference

SHAPES = [
    (1, 1, 1, 1),
    (5, 7, 5, 2),
    (7, 5, 5, 5),
    (130, 33, 33, 4),
    (300, 40, 40, 3),
    (9, 8, 4, 2),
]
MODES = ("factored", "merged")


def layer(m, n, k, r, dtype=torch.float64, seed=0):
    """(Uh, S, Vh, U_sampled, V_sampled, sampled) with gradients wanted where there are some."""
    generator = torch.Generator().manual_seed(seed)
    Uh, Vh = (
        torch.nn.functional.normalize(torch.randn(k, d, generator=generator), dim=1) for d in (m, n)
    )
    S = torch.rand(k, generator=generator)
    sampled = torch.randperm(k, generator=generator)[:r]
    S, U, V = (t.to(dtype).requires_grad_() for t in (S, Uh[sampled], Vh[sampled]))
    return Uh.to(dtype), S, Vh.to(dtype), U, V, sampled


def run(x, factors, mode, dy=None, **options):
    """Output and gradients (x, S, U, V) of one pass."""
    Uh, S, Vh, U, V, _ = factors
    weight = merge(Uh, S.detach(), Vh) if mode == "merged" else None
    y = spectral_linear(x, *factors, weight=weight, **options)
    dy = torch.ones_like(y) if dy is None else dy
    return y, torch.autograd.grad(y, (x, S, U, V), dy)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_by_the_published_formulas(shape, mode):
    factors = layer(*shape)
    Uh, S, Vh, _, _, sampled = factors
    x = torch.randn(3, 4, shape[1], dtype=torch.float64, requires_grad=True)
    dy = torch.randn(3, 4, shape[0], dtype=torch.float64)
    y, found = run(x, factors, mode, dy)
    expected = reference.spectral_gradients(x.detach(), dy, Uh, S.detach(), Vh, sampled)
    torch.testing.assert_close(y, reference.spectral_linear(x, Uh, S, Vh))
    for name, got, want in zip("xSUV", found, expected, strict=True):
        torch.testing.assert_close(got.reshape(want.shape), want, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_of_autograd(shape, mode):
    """dS is that of autograd, and so are dU and dV without the enhancement."""
    factors = layer(*shape)
    Uh, S, Vh, U, V, sampled = factors
    x = torch.randn(6, shape[1], dtype=torch.float64, requires_grad=True)
    dy = torch.randn(6, shape[0], dtype=torch.float64)
    L, R = Uh.index_copy(0, sampled, U), Vh.index_copy(0, sampled, V)
    y = reference.spectral_linear(x, L, S, R)
    expected = torch.autograd.grad(y, (x, S, U, V), dy)
    _, found = run(x, factors, mode, dy, enhanced=False)
    for got, want in zip(found, expected, strict=True):
        torch.testing.assert_close(got, want)
    _, enhanced = run(x, factors, mode, dy)
    for got, want in zip(enhanced[2:], expected[2:], strict=True):
        torch.testing.assert_close(got * S.detach()[sampled, None], want)


@pytest.mark.parametrize("mode", MODES)
def test_by_finite_differences(mode):
    factors = layer(5, 4, 4, 4)
    Uh, S, Vh, _, _, _ = factors
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)

    def function(x, S):
        weight = merge(Uh, S.detach(), Vh) if mode == "merged" else None
        return spectral_linear(x, Uh, S, Vh, *factors[3:], weight=weight)

    assert torch.autograd.gradcheck(function, (x, S))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_low_precision(mode, dtype):
    shape = (130, 65, 65, 4)
    factors = layer(*shape, dtype=dtype)
    x = torch.randn(31, 65).to(dtype).requires_grad_()
    exact = layer(*shape, dtype=dtype)
    exact = [t.detach().double() if t.is_floating_point() else t for t in exact]
    exact = [t.requires_grad_() if i in (1, 3, 4) else t for i, t in enumerate(exact)]
    wide = x.detach().double().requires_grad_()
    y, found = run(x, factors, mode)
    want, expected = run(wide, exact, mode)
    intermediate = torch.bfloat16 if dtype == torch.bfloat16 else None
    for name, got, true in zip(("y", *"xSUV"), (y, *found), (want, *expected), strict=True):
        options = dict(work=torch.float32, intermediate=intermediate)
        # W, or x Vh^T, is stored in between and enters sums of 130 terms.
        assert_close(name, got.detach(), true.detach(), 130 * 130, **options)


class Storages(TorchDispatchMode):
    """Bytes of blocks of memory that operations come back with: each, and the most at a time."""

    def __init__(self, known):
        super().__init__()
        self.known = {t.untyped_storage()._cdata for t in known}
        self.made = []
        self.peak = 0
        self._live = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        results = function(*args, **(kwargs or {}))
        for t in tree_leaves(results):
            if isinstance(t, torch.Tensor) and t.untyped_storage()._cdata not in self.known:
                storage = t.untyped_storage()
                self.made.append(storage.nbytes())
                self._live[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self._live = {key: one for key, one in self._live.items() if not one[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._live.values()))
        return results


@pytest.mark.parametrize(
    ("m", "n"), [(1500, 1500), (3000, 700), (128, 4096), (4096, 128), (64, 96), (16, 16)]
)
def test_no_gradient_of_the_size_of_the_weight(m, n):
    """No block of a backward pass in either mode is an m x n matrix, nor are all of a large one."""
    factors = layer(m, n, min(m, n), 8, dtype=torch.float32)
    x = torch.randn(4, n, requires_grad=True)
    Uh, S, Vh, U, V, _ = factors
    for mode in MODES:
        weight = merge(Uh, S.detach(), Vh) if mode == "merged" else None
        y = spectral_linear(x, *factors, weight=weight)
        known = [t for t in (Uh, S, Vh, U, V, x, y, weight) if t is not None]
        seen = Storages(known)
        with seen:
            torch.autograd.grad(y, (x, S, U, V), torch.ones_like(y))
        assert seen.made
        dense = 4 * m * n
        assert max(seen.made) < dense, f"{mode}: a block of {max(seen.made)} bytes"
        if min(m, n) > 256:
            assert seen.peak < dense, f"{mode}: {seen.peak} bytes"


def test_frozen_parts_get_no_gradient():
    factors = list(layer(6, 5, 5, 2))
    factors[1] = factors[1].detach()
    factors[4] = factors[4].detach()
    x = torch.randn(3, 5, dtype=torch.float64)
    for mode in MODES:
        weight = merge(factors[0], factors[1], factors[2]) if mode == "merged" else None
        y = spectral_linear(x, *factors, weight=weight)
        y.sum().backward()
        assert factors[3].grad is not None
        assert factors[1].grad is None
        assert factors[4].grad is None


@pytest.mark.parametrize("mode", MODES)
def test_autocast(mode):
    factors = layer(12, 10, 10, 3, dtype=torch.float32)
    x = torch.randn(7, 10, requires_grad=True)
    weight = merge(factors[0], factors[1].detach(), factors[2]) if mode == "merged" else None
    with torch.autocast("cpu", torch.bfloat16):
        y = spectral_linear(x, *factors, weight=weight, bias=torch.zeros(12))
    assert y.dtype == torch.bfloat16
    found = torch.autograd.grad(y.float().sum(), (x, *factors[1:2], *factors[3:5]))
    assert all(t.dtype == torch.float32 for t in found)
    _, expected = run(x, factors, mode)
    for got, want in zip(found, expected, strict=True):
        torch.testing.assert_close(got, want, rtol=0.05, atol=0.05 * float(want.abs().max()))


def test_the_cheaper_way_by_operations():
    def counted(tokens, m, n, k, r, training):
        thin = tokens * k * (m + n)
        if not training:
            return m * n * k + tokens * m * n < thin
        return 2 * m * n * k + 3 * tokens * m * n + r * m * n < 2 * thin + tokens * r * (m + n)

    for m, n in ((256, 256), (256, 688), (1024, 1024), (2736, 1024)):
        for tokens in (1, 100, 600, 5000):
            for training in (True, False):
                k, r = min(m, n), 16
                found = merged_pays(tokens, m, n, k, r, training=training)
                assert found == counted(tokens, m, n, k, r, training)
    assert not merged_pays(10**6, 512, 512, 16, 4, training=True)  # a low rank stays factored
    assert merged_pays(4096, 512, 512, 512, 32, training=True)


@pytest.mark.parametrize("mode", MODES)
def test_compiled_forward_and_backward(mode):
    factors = layer(9, 8, 8, 3, dtype=torch.float32)
    x = torch.randn(5, 8, requires_grad=True)
    Uh, S, Vh, U, V, sampled = factors

    def loss(x, S, U, V):
        weight = merge(Uh, S.detach(), Vh) if mode == "merged" else None
        return spectral_linear(x, Uh, S, Vh, U, V, sampled, weight=weight).square().sum()

    inputs = (x, S, U, V)
    expected = torch.autograd.grad(loss(*inputs), inputs)
    found = torch.autograd.grad(torch.compile(loss, fullgraph=True)(*inputs), inputs)
    for got, want in zip(found, expected, strict=True):
        torch.testing.assert_close(got, want)
