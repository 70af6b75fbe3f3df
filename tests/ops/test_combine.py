"""Sums of basis vectors: one body for every backend."""

import math

import pytest
import torch
from sktest.backends import device_of
from sktest.tolerance import assert_close
from sktest.vectors import LENGTHS, assert_independent, vectors
from torch._subclasses.fake_tensor import FakeTensorMode

import subkern
from subkern.backends import registry
from subkern.ops.combine import combine
from subkern.reference.combine import combine as reference

OP = "combine"
COUNTS = [0, 1, 2, 3, 4, 5, 8, 13]  # of basis vectors; kernels take four or more at a time


def make(groups, m, n, backend):
    generator = torch.Generator().manual_seed(m)
    V = torch.randn(groups, m, n, generator=generator)
    c = torch.randn(groups, m, generator=generator, dtype=torch.float64)
    return [*vectors(1, groups, n, backend), *(t.to(device_of(backend)) for t in (V, c))]


def check(z, V, c, found):
    """Against float64; coefficients are rounded to float32 before they multiply."""
    exact = reference(z.double(), V.double(), c.float().double())
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    assert_close("z + V c", found, exact, V.shape[1] + 1)


@pytest.mark.parametrize("n", LENGTHS)
def test_lengths(backend, n):
    call = make(3, 5, n, backend)
    check(*call, combine(*call, backend=backend))


@pytest.mark.parametrize("m", [*COUNTS, 300])
def test_counts(backend, m):
    call = make(2, m, 70, backend)
    before = [t.clone() for t in call]
    check(*call, combine(*call, backend=backend))
    assert all(map(torch.equal, call, before))


def test_nothing_else_matters(backend):
    tensors = make(3, 6, 20_003, backend)
    assert_independent(lambda *call: [combine(*call, backend=backend)], tensors, backend)


def test_not_finite_stays_in_its_group(backend):
    z, V, c = make(3, 5, 100, backend)
    clean = combine(z, V, c, backend=backend)
    V[1, 4, 7] = math.nan
    found = combine(z, V, c, backend=backend)
    assert found[1].isnan().nonzero().tolist() == [[7]]
    assert torch.equal(found[::2], clean[::2])


@pytest.mark.parametrize("shape", [(0, 2, 3), (2, 3, 0), (0, 0, 0)])
def test_empty(backend, shape):
    groups, m, n = shape
    device = device_of(backend)
    z, V = torch.ones(groups, n, device=device), torch.ones(shape, device=device)
    c = torch.ones(groups, m, dtype=torch.float64, device=device)
    assert combine(z, V, c, backend=backend).shape == (groups, n)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("z", lambda z: z.double(), "serves float32 vectors"),
        ("V", lambda V: V.double(), "serves float32 vectors"),
        ("coefficients", lambda c: c.float(), "serves float64 scalars"),
        ("z", lambda z: z[:, :4].contiguous(), "shapes that agree"),
        ("V", lambda V: V[:, :2].contiguous(), "shapes that agree"),
        ("V", lambda V: V[0], "shapes that agree"),
        ("coefficients", lambda c: c[:1], "shapes that agree"),
        ("z", lambda z: z[0], r"shape \(groups, n\)"),
        ("z", lambda z: z.mT.contiguous().mT, "contiguous"),
        ("V", lambda V: V.mT.contiguous().mT, "contiguous"),
        ("coefficients", lambda c: c.mT.contiguous().mT, "contiguous"),
        ("V", lambda V: V.to("meta"), "one device"),
    ],
)
def test_refuses_what_it_cannot_read(backend, name, change, reason):
    if backend == "reference":
        pytest.skip("the reference takes what torch takes")
    call = dict(zip(("z", "V", "coefficients"), make(3, 4, 5, backend), strict=True))
    with pytest.raises(subkern.BackendUnavailableError, match=reason):
        registry.select(OP, device_of(backend), call | {name: change(call[name])}, backend)


def test_float64_goes_to_the_reference():
    z, V, c = make(2, 3, 10, "cpu")
    found = combine(z.double(), V.double(), c, backend="")
    assert torch.equal(found, reference(z.double(), V.double(), c))


def test_torch_sees_an_op(backend):
    call = tuple(make(2, 3, 5, backend))
    torch.library.opcheck(torch.ops.subkern.combine.default, call, dict(backend=backend))
    compiled = torch.compile(
        lambda *call: combine(*call, backend=backend) * 2, fullgraph=True, backend="aot_eager"
    )
    assert torch.equal(compiled(*call), combine(*call, backend=backend) * 2)


def test_without_memory():
    def shapes(device):
        made = [torch.ones(s, device=device) for s in ((4, 3), (4, 2, 3), (4, 2))]
        return combine(*made, backend="")

    with FakeTensorMode():
        fake = shapes("cpu")
    for found in (fake, shapes("meta")):
        assert (found.shape, found.dtype) == ((4, 3), torch.float32)
