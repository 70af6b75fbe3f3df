"""Inner products of groups: one body for every backend."""

import math

import pytest
import torch
from sktest.backends import device_of
from sktest.vectors import LENGTHS, assert_independent, vectors
from torch._subclasses.fake_tensor import FakeTensorMode

import subkern
from subkern.backends import registry
from subkern.ops.group_dot import group_dot

OP = "group_dot"
# A product of float32 numbers is exact in float64: only the sum rounds.
ROUNDOFF = 2.0**-53


def check(u, v, found):
    """Against a sum without rounding, within the bound of a sum in any order."""
    assert found.shape == u.shape[:1]
    assert found.dtype == torch.float64
    for a, b, dot in zip(u.double().tolist(), v.double().tolist(), found.tolist(), strict=True):
        products = [x * y for x, y in zip(a, b, strict=True)]
        bound = len(a) * ROUNDOFF * math.fsum(map(abs, products))
        assert abs(dot - math.fsum(products)) <= bound


@pytest.mark.parametrize("n", LENGTHS)
def test_values(backend, n):
    u, v = vectors(2, 3, n, backend)
    check(u, v, group_dot(u, v, backend=backend))
    check(u, u, group_dot(u, u, backend=backend))


def test_products_and_sums_are_double(backend):
    """Float32 would lose what is left: 3e7 + 1 - 3e7, and the last bit of a square."""
    u = torch.tensor([[3e7, 1.0, -3e7] * 500], device=device_of(backend))
    assert group_dot(u, torch.ones_like(u), backend=backend).item() == 500.0
    u = torch.full((1, 1), 1 + 2.0**-23, device=device_of(backend))
    assert group_dot(u, u, backend=backend).item() == 1 + 2.0**-22 + 2.0**-46


def test_nothing_else_matters(backend):
    tensors = vectors(2, 3, 20_003, backend)
    assert_independent(lambda u, v: [group_dot(u, v, backend=backend)], tensors, backend)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_not_finite_stays_in_its_group(backend, poison):
    u, v = vectors(2, 3, 5000, backend)
    clean = group_dot(u, v, backend=backend)
    for where in (0, 4999):
        bad = u.clone()
        bad[1, where] = poison
        found = group_dot(bad, v, backend=backend)
        assert not found[1].isfinite()
        assert torch.equal(found[::2], clean[::2])


def test_extremes(backend):
    u = torch.tensor([[3e38, 3e38], [1e-45, 1e-45], [0.0, -0.0]], device=device_of(backend))
    check(u, u, group_dot(u, u, backend=backend))


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
def test_empty(backend, shape):
    u = torch.ones(shape, device=device_of(backend))
    found = group_dot(u, u, backend=backend)
    assert torch.equal(found.cpu(), torch.zeros(shape[0], dtype=torch.float64))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v: v.double(), "serves float32 vectors"),
        (lambda v: v[:, :4], "shapes that agree"),
        (lambda v: v.mT.contiguous().mT, "contiguous"),
        (lambda v: v[0], "shapes that agree"),
        (lambda v: v.to("meta"), "one device"),
    ],
    ids=["dtype", "length", "strides", "rank", "device"],
)
def test_refuses_what_it_cannot_read(backend, change, reason):
    if backend == "reference":
        pytest.skip("the reference takes what torch takes")
    u, v = vectors(2, 3, 5, backend)
    with pytest.raises(subkern.BackendUnavailableError, match=reason):
        registry.select(OP, device_of(backend), dict(u=u, v=change(v)), backend)


def test_what_no_kernel_takes_goes_to_the_reference():
    u, v = vectors(2, 3, 10, "cpu")
    for a, b in ((u[:, ::2], v[:, ::2]), (u.double(), v.double())):
        check(a, b, group_dot(a, b, backend=""))


def test_torch_sees_an_op(backend):
    u, v = vectors(2, 3, 5, backend)
    torch.library.opcheck(torch.ops.subkern.group_dot.default, (u, v), dict(backend=backend))
    compiled = torch.compile(
        lambda a, b: group_dot(a, b, backend=backend) * 2, fullgraph=True, backend="aot_eager"
    )
    assert torch.equal(compiled(u, v), group_dot(u, v, backend=backend) * 2)


def test_without_memory():
    with FakeTensorMode():
        fake = group_dot(torch.ones(4, 3), torch.ones(4, 3), backend="")
    meta = group_dot(*(torch.ones(4, 3, device="meta") for _ in range(2)), backend="")
    for found in (fake, meta):
        assert (found.shape, found.dtype) == ((4,), torch.float64)
