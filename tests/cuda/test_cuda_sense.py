"""Multi-coil imaging on CUDA: bad arguments are refused by name, coils in parts add up."""

import pytest
import torch
from sense_cases import prepared

from subkern.backends import native
from subkern.ops.sense_normal import sense_normal
from subkern.reference.sense_normal import sense_normal as reference

ADDRESSES = {
    "sense_normal": ("maps", "packed", "v", "out", "dot"),
    "sense_solve": ("maps", "packed", "rhs", "start", "gamma", "x", "rr", "iterations", "status"),
}
BAD = [(op, {n: 0}, f"{n} must be the address") for op, names in ADDRESSES.items() for n in names]
for _op in ADDRESSES:
    BAD += [(_op, {name: 0}, f"{name} must be in") for name in ("map_sets", "weight_sets", "coils")]
    BAD += [(_op, {"w": w}, "w must be in .* with the factors") for w in (1, 7, 1025)]
    BAD += [
        (_op, {"images": -1}, "images must be in"),
        (_op, {"images": 1 << 19, "h": 1 << 13, "w": 2}, "images must have less than"),
        (_op, {"packed_floats": 3}, "packed_floats must be at least"),
        (_op, {"device": -1}, "device must be"),
    ]
BAD.append(("sense_solve", {"maxiter": -1}, "maxiter must be zero or more"))


@pytest.mark.parametrize(("op", "changes", "message"), BAD)
def test_arguments(kernels, op, changes, message):
    call, written = prepared(kernels, op)
    before = {name: t.clone() for name, t in written.items()}
    with pytest.raises(ValueError, match=f"^{op}: {message}.*, got "):
        getattr(kernels.module, op)(**call | changes)
    assert all(torch.equal(t, before[name]) for name, t in written.items())
    getattr(kernels.module, op)(**call)
    assert not any(torch.equal(t, before[name]) for name, t in written.items() if name != "kept")


def test_workspace_of_a_plane_is_checked(kernels):
    call, _ = prepared(kernels, "sense_normal", line=False)
    with pytest.raises(ValueError, match="workspace_bytes must be at least"):
        kernels.module.sense_normal(**call | dict(workspace_bytes=8))


def test_coils_in_parts(kernels):
    """More coil images than a chunk holds: the sums of several passes."""
    if kernels.device.type == "cpu" and not kernels.module.emulated:
        pytest.skip("needs the device of the kernels")
    generator = torch.Generator().manual_seed(1)
    coils, h, w = 4, 1024, 1000  # 8 MB a coil, 24 a chunk
    if kernels.module.emulated:
        assert kernels.module.sense_workspace(line=False, images=2, coils=coils, h=h, w=w) == (
            2 * h * w * 8
        ) + (h * w * 8 if 3 * h * w * 8 <= 24 << 20 else 0)
        return  # minutes for an emulator
    v, maps = (
        torch.randn(shape, dtype=torch.complex64, generator=generator).to(kernels.device)
        for shape in ((2, h, w), (1, coils, h, w))
    )
    weights = torch.rand(1, h, w, generator=generator).to(kernels.device)
    with native.replace("_CUDA", kernels.module):
        out, dot = sense_normal(v, maps, weights, None, None, backend="cuda")
    wide = torch.complex128
    exact, exact_dot = reference(v.to(wide), maps.to(wide), weights.double(), None)
    assert (out - exact).norm() <= 1e-5 * exact.norm()
    assert torch.allclose(dot, exact_dot, rtol=1e-5)
