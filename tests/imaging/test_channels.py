"""Complex images as two real channels: read without a copy where strides allow, returned alike."""

import pytest
import torch
from sktest.backends import device_of
from sktest.krylov import birdcage, mask, phantom, same_bits, sense

import subkern
from subkern.imaging import CartesianSense, Dense, FourierMask
from subkern.ops._channels import Channels

OP = "cg"
pytestmark = pytest.mark.usefixtures("one_thread")


def channels(v, last=False):
    """(samples, 2, ...) of complex numbers, in memory channels first or last."""
    pairs = torch.view_as_real(v.resolve_conj()).movedim(-1, 1)
    return pairs if last else pairs.contiguous()


def case(backend, name):
    """An operator, two images and their data."""
    device = device_of(backend)
    z = phantom(8, 6, 2).to(device, torch.complex64)
    if name == "sets":
        maps = torch.stack([birdcage(3, 8, 6), birdcage(3, 8, 6).flip(1)])
        A = CartesianSense(maps.to(device, torch.complex64), mask("line", 8, 6).to(device))
        z = torch.stack([z, 0.5 * z], 1)
    elif name == "fourier":
        A = FourierMask(mask("plane", 8, 6)[:, 0].to(device))
    else:
        A = sense(name, 8, 6, 3, device=device)
    return A, z, A.matvec(1.5 * z)


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("name", ["line", "plane", "sets", "fourier"])
def test_solvers(backend, name, last):
    """The bits of complex images, in the layout and the order in memory that were given."""
    A, z, y = case(backend, name)
    two, Aty = channels(z, last), A.adjoint(y)
    call = dict(gamma=3.0, backend=backend)
    pairs = [
        (subkern.cg(A, two, **call), subkern.cg(A, z, **call)),
        (subkern.cg(A, two, two, info=True, **call), subkern.cg(A, z, z, info=True, **call)),
        (subkern.cg_prox(A, two, y, **call), subkern.cg_prox(A, z, y, **call)),
        (
            subkern.cg_prox(A, two, Aty=channels(Aty, not last), **call),
            subkern.cg_prox(A, z, Aty=Aty, **call),
        ),
        (subkern.cg_prox(A, two, channels(y), **call), subkern.cg_prox(A, z, y, **call)),
        (subkern.cgls(A, y, two, maxiter=3), subkern.cgls(A, y, z, maxiter=3)),
        (subkern.cgls(A, channels(y), maxiter=3), subkern.cgls(A, y, maxiter=3)),
    ]
    for found, _ in pairs[:-1]:
        assert found.x.shape == two.shape
        assert found.x.stride() == two.stride()
    for found, exact in pairs:
        assert same_bits(found.x, channels(exact.x))
        assert all(map(same_bits, found[1:], exact[1:]))
    for data in (y, channels(y)):
        space = subkern.lanczos_prox(A, two, y=data, M=3, backend=backend)
        exact = subkern.lanczos_prox(A, z, y=y, M=3, backend=backend)
        assert same_bits(space.solve(2.0), channels(exact.solve(2.0)))
        assert same_bits(space.data_residual(2.0), exact.data_residual(2.0))
        assert space.solve(2.0).stride() == two.stride()


def test_nothing_is_copied():
    """Channels that are last in memory are the complex numbers themselves, both ways."""
    z = phantom(8, 6, 2).to(torch.complex64)
    last, first = channels(z, last=True), channels(z)
    layout = Channels(last)
    assert layout.read(last).data_ptr() == z.data_ptr()
    assert layout.write(z).data_ptr() == z.data_ptr()
    assert layout.read(first).data_ptr() != first.data_ptr()
    assert same_bits(layout.read(first), z)
    nhwc = torch.empty(2, 2, 8, 6).to(memory_format=torch.channels_last)
    assert layout.read(nhwc).data_ptr() == nhwc.data_ptr()
    for odd in (torch.zeros(1 + 2 * 2 * 48)[1:].view(2, 8, 6, 2), torch.zeros(2, 8, 6, 3)[..., :2]):
        assert layout.read(odd.movedim(-1, 1)).shape == (2, 8, 6)  # steps that pairs cannot have


def test_options(backend):
    """out, workspace and preconditioner are in the layout given."""
    A, z, y = case(backend, "line")
    call = dict(gamma=3.0, backend=backend)
    plain = subkern.cg_prox(A, z, y, precond=lambda r: 0.5 * r, **call)
    for last in (False, True):
        two = channels(z, last)
        shapes = []

        def precond(r, two=two, shapes=shapes):
            shapes.append((r.shape, r.dtype, r.stride()))
            return 0.5 * r

        out = torch.full_like(two, torch.nan)
        space = torch.zeros(2 * two.numel(), device=two.device)
        more = dict(out=out, workspace=space, precond=precond)
        found = subkern.cg_prox(A, two, y, **more, **call)
        assert found.x is out
        assert same_bits(out, channels(plain.x))
        assert set(shapes) == {(two.shape, two.dtype, two.stride())}
        assert space.any()
        with pytest.raises(ValueError, match="workspace must start at an even element"):
            subkern.cg_prox(A, two, y, workspace=torch.cat([space, space])[1:], **call)
        kept = two.clone()
        subkern.cg_prox(A, two, y, **call)
        assert same_bits(two, kept)
        start = two.clone()
        assert subkern.cg_prox(A, start, y, out=start, **call).x is start
        assert same_bits(start, channels(subkern.cg_prox(A, z, y, **call).x))


def test_double_precision():
    A = sense("plane", 8, 6, 3, dtype=torch.complex128)
    z = phantom(8, 6, 2)
    found = subkern.cg(A, channels(z), gamma=1.0)
    assert found.x.dtype == torch.float64
    assert same_bits(found.x, channels(subkern.cg(A, z, gamma=1.0).x))
    with pytest.raises(TypeError, match=r"CartesianSense: b must be torch.complex128, got torch.c"):
        subkern.cg(A, channels(z).float(), gamma=1.0)


def test_numpy():
    A, z, y = case("reference", "line")
    found = subkern.cg_prox(A, channels(z).numpy(), y.numpy(), gamma=2.0)
    assert found.x.shape == (2, 2, 8, 6)
    assert same_bits(torch.from_numpy(found.x), channels(subkern.cg_prox(A, z, y, gamma=2.0).x))
    space = subkern.lanczos_prox(A, channels(z).numpy(), y=y.numpy(), M=2)
    assert space.solve(1.0).shape == (2, 2, 8, 6)


def test_only_where_complex_numbers_are_wanted():
    """Real vectors of other operators and callables with a second axis of two stay real."""
    b = torch.ones(3, 2)
    assert subkern.cg(Dense(torch.eye(2)), b, gamma=1.0).x.tolist() == [[0.5, 0.5]] * 3
    assert subkern.cg(lambda v: v, torch.ones(3, 2, 4), gamma=1.0).x.shape == (3, 2, 4)
    with pytest.raises(
        TypeError, match=r"CartesianSense: b must be torch.complex64, got torch.flo"
    ):
        subkern.cg(sense("line", 8, 6, 3), torch.ones(2, 3, 8, 6))
    with pytest.raises(
        TypeError, match=r"CartesianSense: b must be torch.complex64, got torch.flo"
    ):
        subkern.cg(sense("line", 2, 6, 3), torch.ones(3, 2, 6))
    with pytest.raises(ValueError, match=r"CartesianSense: b must have shape \(samples, 8, 6\)"):
        subkern.cg(sense("line", 8, 6, 3), torch.ones(2, 2, 8, 7))
