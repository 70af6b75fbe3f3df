"""H v of multi-coil imaging: one body for every backend, against complex128."""

import math

import pytest
import torch
from sktest import emulated_cuda
from sktest.backends import is_simulated
from sktest.sense_tensors import EPS, LINES, LONG, make, sizes, wide

from subkern.backends import BackendUnavailableError
from subkern.ops.sense_normal import sense_normal, sense_pack
from subkern.reference import sense_normal as reference

OP = "sense_normal"
PLANES = [(2, 2), (3, 5), (8, 20), (16, 16), (25, 18), (40, 30)]
LARGE = [(320, 320), (256, 384), (75, 1024), (1000, 27)]


def check(v, maps, weights, gamma, backend, packed=None):
    out, dot = sense_normal(v, maps, weights, gamma, packed, backend=backend)
    exact, exact_dot = reference.sense_normal(*wide(v, maps, weights, gamma))
    # Each of two transforms loses a few units for every stage; their sums grow with the root.
    points = v.shape[-1] if weights.dim() == 2 else v[0].numel()
    bound = EPS * (8 + 2 * math.log2(points))
    assert (out - exact).norm() <= bound * exact.norm(), "H v"
    scale = (v.abs().double().square().sum() * exact.abs().square().sum()).sqrt()
    assert dot.shape == exact_dot.shape
    assert (dot - exact_dot).abs().max() <= bound * scale, "<v, H v>"
    return out, dot


@pytest.mark.parametrize("shifted", [True, False], ids=["shifted", "plain"])
@pytest.mark.parametrize("line", [True, False], ids=["line", "plane"])
def test_against_truth(backend, line, shifted):
    for shape in sizes(backend, LINES, LONG) if line else sizes(backend, PLANES, LARGE):
        v, maps, weights, gamma = make(shape, line, backend)
        check(v, maps, weights, gamma if shifted else None, backend)


@pytest.mark.parametrize("line", [True, False], ids=["line", "plane"])
def test_sets_and_coils(backend, line):
    """Maps and weights of all images, or of each; more coils than warps or lanes."""
    for images, map_sets, weight_sets, coils in ((2, 2, 1, 1), (4, 2, 4, 4), (1, 1, 1, 19)):
        options = dict(images=images, map_sets=map_sets, weight_sets=weight_sets, coils=coils)
        v, maps, weights, gamma = make((6, 20), line, backend, **options)
        packed = sense_pack(maps, weights, backend=backend)
        found = check(v, maps, weights, gamma, backend, packed)
        again = sense_normal(v, maps, weights, gamma, None, backend=backend)
        assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))


@pytest.mark.parametrize("line", [True, False], ids=["line", "plane"])
def test_alone_on_one_thread_on_any_schedule(backend, line):
    v, maps, weights, gamma = make((25, 40), line, backend, images=3)
    out, dot = sense_normal(v, maps, weights, gamma, None, backend=backend)
    if backend == "reference":  # its transforms are torch's
        return
    for i in range(3):
        one = slice(i, i + 1)
        alone = sense_normal(v[one], maps, weights, gamma[one], None, backend=backend)
        assert torch.equal(alone[0], out[one])
        assert torch.equal(alone[1], dot[one])
    torch.set_num_threads(1)
    assert torch.equal(sense_normal(v, maps, weights, gamma, None, backend=backend)[0], out)
    for seed in emulated_cuda.SEEDS[1:] if backend == "cuda" and is_simulated(backend) else ():
        emulated_cuda.set_seed(seed)
        again = sense_normal(v, maps, weights, gamma, None, backend=backend)
        assert torch.equal(again[0], out), f"seed {seed}"
        assert torch.equal(again[1], dot), f"seed {seed}"


@pytest.mark.parametrize("line", [True, False], ids=["line", "plane"])
@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_not_finite(backend, line, poison):
    v, maps, weights, gamma = make((18, 20), line, backend, images=3)
    clean = sense_normal(v, maps, weights, gamma, None, backend=backend)
    v[1, 7, 3] = poison
    out, dot = sense_normal(v, maps, weights, gamma, None, backend=backend)
    assert not dot[1].isfinite().all()
    assert dot[::2].isfinite().all()
    if backend != "reference":
        assert torch.equal(out[::2], clean[0][::2])
        if line:  # a row alone
            rest = [row for row in range(18) if row != 7]
            assert torch.equal(out[1, rest], clean[0][1, rest])


def test_nothing_to_do(backend):
    for line in (True, False):
        v, maps, weights, gamma = make((4, 6), line, backend, images=0)
        out, dot = sense_normal(v, maps, weights, gamma, None, backend=backend)
        assert out.shape == (0, 4, 6)
        assert dot.shape == ((0, 4) if line else (0,))


def test_refusals(backend):
    if backend == "reference":
        pytest.skip("the reference serves everything")
    v, maps, weights, gamma = make((4, 6), True, backend)
    refused = [
        (dict(maps=maps.to(torch.complex128)), "serves complex64"),
        (dict(v=v.to(torch.complex128)), "needs images like the maps"),
        (dict(v=v[:, :3]), "needs images"),
        (dict(v=v.mT.contiguous().mT), "needs contiguous images"),
        (dict(weights=weights[:, :5]), "needs weights"),
        (dict(gamma=gamma.double()), "needs gamma"),
        (dict(gamma=gamma[:1]), "needs gamma"),
        (dict(v=v[:1], maps=maps.expand(2, -1, -1, -1).contiguous()), "needs whole sets"),
    ]
    for change, reason in refused:
        call = dict(v=v, maps=maps, weights=weights, gamma=gamma) | change
        with pytest.raises(BackendUnavailableError, match=reason):
            sense_normal(*call.values(), None, backend=backend)


@pytest.mark.parametrize("line", [True, False], ids=["line", "plane"])
def test_other_lengths_are_torchs(backend, line):
    """Seven, a prime beyond the kernels' longest, one point: the same contract."""
    for shape in ((4, 7), (7, 4), (1, 1), (2, 1031)):
        v, maps, weights, gamma = make(shape, line, backend)
        packed = sense_pack(maps, weights, backend=backend)
        check(v, maps, weights, gamma, backend, packed)


def test_packed_memory_is_checked(backend):
    if backend == "reference":
        pytest.skip("packs nothing")
    v, maps, weights, gamma = make((4, 6), True, backend)
    with pytest.raises(ValueError, match="packed_floats must be at least"):
        sense_normal(v, maps, weights, gamma, torch.zeros(3), backend=backend)


def test_compile_and_opcheck():
    v, maps, weights, gamma = make((4, 6), True, "reference")

    def call(v):
        return sense_normal(v, maps, weights, gamma, None, backend="")

    compiled = torch.compile(call, fullgraph=True)(v)
    assert all(torch.equal(a, b) for a, b in zip(compiled, call(v), strict=True))
    torch.library.opcheck(
        torch.ops.subkern.sense_normal.default, (v, maps, weights, gamma, None), dict(backend="")
    )
